/** The objects that `kubectl kustomize` makes of deploy/kubernetes, with the secrets of the examples. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IDeployment } from 'kubernetes-models/apps/v1';
import type { Scope } from '../support/scope.ts';
import { objectsOf, type KubernetesObject } from './schemas.ts';

const SOURCE = join(import.meta.dirname, '..', '..', 'deploy', 'kubernetes');

/** kubectl brings kustomize; before 1.21 it was one that knows no components. */
function whyNoKustomize(): string | false {
  const { status, stdout } = spawnSync('kubectl', ['version', '--client'], { encoding: 'utf8' });
  if (status !== 0) return 'kubectl is not on PATH';
  return /Kustomize Version: v[4-9]/.test(stdout) ? false : "kubectl's kustomize is too old";
}

/** For `test(..., { skip: noKustomize })`. */
export const noKustomize = whyNoKustomize();

/** A copy of the folder. */
export class Kustomize {
  readonly folder: string;
  readonly #built = new Map<string, KubernetesObject[]>();

  constructor(scope: Scope) {
    this.folder = mkdtempSync(join(tmpdir(), 'kustomize-'));
    scope.after(() => rmSync(this.folder, { recursive: true }));
    cpSync(SOURCE, this.folder, { recursive: true });
    for (const example of globSync(join(this.folder, 'base', '*.secrets.example')))
      cpSync(example, example.replace(/\.example$/, ''));
  }

  /** @param path of a kustomization in the folder */
  build(path: string): KubernetesObject[] {
    let objects = this.#built.get(path);
    if (objects === undefined) {
      const yaml = execFileSync('kubectl', ['kustomize', join(this.folder, path)], { encoding: 'utf8' });
      objects = objectsOf(yaml);
      this.#built.set(path, objects);
    }
    return objects;
  }
}

/** The objects of the overlay `eks` with one more component. */
export function withComponent(kustomize: Kustomize, component: string): KubernetesObject[] {
  const overlay = join('overlays', component);
  cpSync(join(kustomize.folder, 'overlays', 'eks'), join(kustomize.folder, overlay), { recursive: true });
  const file = join(kustomize.folder, overlay, 'kustomization.yaml');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace(/^components:$/m, `$&\n  - ../../components/${component}`));
  return kustomize.build(overlay);
}

export function found(
  objects: readonly KubernetesObject[],
  kind: string,
  name = 'pgswitchyard',
): KubernetesObject {
  const object = objects.find((each) => each.kind === kind && each.metadata.name === name);
  assert.ok(object, `${kind} ${name}`);
  return object;
}

type DeploymentSpec = NonNullable<IDeployment['spec']>;
type PodSpec = NonNullable<DeploymentSpec['template']['spec']>;

export const deploymentOf = (objects: readonly KubernetesObject[]): DeploymentSpec =>
  (found(objects, 'Deployment') as unknown as IDeployment).spec!;

export const podOf = (objects: readonly KubernetesObject[]): PodSpec => deploymentOf(objects).template.spec!;

/** The value that the proxy's container gets; undefined: none. */
export const variable = (objects: readonly KubernetesObject[], name: string): string | undefined =>
  podOf(objects).containers[0]!.env?.find((each) => each.name === name)?.value;
