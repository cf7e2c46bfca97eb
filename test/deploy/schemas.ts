/** Kubernetes objects against the published schemas of Kubernetes, the Prometheus operator and KEDA. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1';
import {
  PrometheusRule,
  ServiceMonitor,
} from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
import { Deployment } from 'kubernetes-models/apps/v1';
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2';
import { Job } from 'kubernetes-models/batch/v1';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { ConfigMap, Secret, Service, ServiceAccount } from 'kubernetes-models/v1';
import { parseAllDocuments } from 'yaml';

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly [field: string]: unknown;
}

interface Schema {
  new (data?: never): { validate(): void };
  readonly apiVersion: string;
  readonly kind: string;
}

const ROOT = join(import.meta.dirname, '..', '..');

/** by the module that has their types */
const SCHEMAS: Record<string, readonly Schema[]> = {
  '@kubernetes-models/keda/keda.sh/v1alpha1': [ScaledObject],
  '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1': [PrometheusRule, ServiceMonitor],
  'kubernetes-models/apps/v1': [Deployment],
  'kubernetes-models/autoscaling/v2': [HorizontalPodAutoscaler],
  'kubernetes-models/batch/v1': [Job],
  'kubernetes-models/networking.k8s.io/v1': [NetworkPolicy],
  'kubernetes-models/policy/v1': [PodDisruptionBudget],
  'kubernetes-models/v1': [ConfigMap, Secret, Service, ServiceAccount],
};

/** @throws about text that is no YAML, with its line */
export function objectsOf(yaml: string): KubernetesObject[] {
  return parseAllDocuments(yaml, { version: '1.1', merge: true }).flatMap((document) => {
    const [error] = [...document.errors, ...document.warnings];
    if (error !== undefined) throw error;
    const value = document.toJS() as KubernetesObject | null;
    return value === null ? [] : [value];
  });
}

function schemaOf({ apiVersion, kind }: KubernetesObject): readonly [string, Schema] {
  for (const [module, schemas] of Object.entries(SCHEMAS))
    for (const schema of schemas)
      if (schema.apiVersion === apiVersion && schema.kind === kind) return [module, schema];
  throw new Error(`there is no schema for ${kind} of ${apiVersion}`);
}

/** @throws about fields that are missing, or have a wrong type or value */
export function checkSchemas(objects: readonly KubernetesObject[]): void {
  for (const object of objects) {
    const [, schema] = schemaOf(object);
    try {
      new schema(object as never).validate();
    } catch (error) {
      throw new Error(`${object.kind} ${object.metadata.name}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
}

/**
 * The schemas allow fields that they don't know, such as a misspelled one, which the API server drops. The types that
 * are made from the same schemas do not, so the compiler is asked, once for all objects.
 * @throws with the compiler's complaints
 */
export function checkFields(objects: readonly KubernetesObject[]): void {
  const folder = mkdtempSync(join(tmpdir(), 'manifests-'));
  try {
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    const lines = objects.map((object, at) => {
      const [module] = schemaOf(object);
      return `export const object${at}: import('${module}').I${object.kind} = ${JSON.stringify(object)};\n`;
    });
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    writeFileSync(join(folder, 'objects.ts'), lines.join(''));
    const compiler = join(ROOT, 'node_modules', '.bin', 'tsc');
    const options = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--types', ''];
    execFileSync(process.execPath, [compiler, ...options, 'objects.ts'], { cwd: folder, encoding: 'utf8' });
  } catch (error) {
    throw new Error(String((error as { stdout?: string }).stdout ?? error), { cause: error });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
