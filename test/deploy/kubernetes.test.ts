/** The manifests of deploy/kubernetes: what each overlay makes, and whether Kubernetes would take it. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { after, test } from 'node:test';
import type { IJob } from 'kubernetes-models/batch/v1';
import type { IService } from 'kubernetes-models/v1';
import { parse } from 'yaml';
import { deploymentOf, found, Kustomize, noKustomize, podOf, variable, withComponent } from './kustomize.ts';
import { checkFields, checkSchemas, objectsOf } from './schemas.ts';

const OVERLAYS = ['eks', 'eks-internet-facing', 'local'];
const skip = noKustomize;
const kustomize = new Kustomize({ after });
const { folder } = kustomize;

interface Kustomization {
  readonly resources?: readonly string[];
  readonly components?: readonly string[];
  readonly configurations?: readonly string[];
  readonly patches?: readonly { readonly path: string }[];
  readonly configMapGenerator?: readonly { readonly files: readonly string[] }[];
  readonly secretGenerator?: readonly {
    readonly files?: readonly string[];
    readonly envs?: readonly string[];
  }[];
}

test('every file that a kustomization names exists, and every file is named', () => {
  const named = new Set<string>();
  for (const file of globSync(join(folder, '**', 'kustomization.yaml'))) {
    const made = parse(readFileSync(file, 'utf8')) as Kustomization;
    const generators = [...(made.configMapGenerator ?? []), ...(made.secretGenerator ?? [])];
    const paths = [
      ...(made.resources ?? []),
      ...(made.components ?? []),
      ...(made.configurations ?? []),
      ...(made.patches ?? []).map(({ path }) => path),
      ...generators.flatMap((each) => [...(each.files ?? []), ...('envs' in each ? each.envs : [])]),
    ];
    for (const path of paths) {
      const full = join(dirname(file), path.replace(/^[^/]*=/, ''));
      assert.ok(existsSync(full), `${relative(folder, file)} names ${path}`);
      named.add(full);
    }
  }
  for (const file of globSync(join(folder, '**', '*.yaml')))
    if (!file.endsWith('/kustomization.yaml')) assert.ok(named.has(file), relative(folder, file));
});

test('every resource fits its published schema', () => {
  const files = globSync(join(folder, '{base,components/*}', '*.yaml'));
  const objects = files
    .filter((file) => /^kind: (?!Kustomization|Component)/m.test(readFileSync(file, 'utf8')))
    // the second is a patch
    .filter((file) => !/(name-references|components\/.*\/deployment)\.yaml$/.test(file))
    .flatMap((file) => objectsOf(readFileSync(file, 'utf8')));
  assert.ok(objects.length >= 10);
  checkSchemas(objects);
  checkFields(objects);
});

test('every overlay fits the published schemas', { skip }, () => {
  const objects = OVERLAYS.flatMap((overlay) => kustomize.build(`overlays/${overlay}`));
  for (const object of objects) assert.equal(object.metadata.namespace, 'pgswitchyard');
  checkSchemas(objects);
  checkFields(objects);
});

test('a misspelled field would be found', () => {
  const [object] = objectsOf(readFileSync(join(folder, 'base', 'poddisruptionbudget.yaml'), 'utf8'));
  const spec = { ...(object!['spec'] as object), maxUnavailabel: 1 };
  assert.throws(() => checkFields([{ ...object!, spec }]), /maxUnavailabel/);
  assert.throws(() => checkSchemas([{ ...object!, spec: { maxUnavailable: {} } }]), /maxUnavailable/);
});

test('pods are as restricted as the strictest pod security standard wants', { skip }, () => {
  for (const overlay of OVERLAYS) {
    const pod = podOf(kustomize.build(`overlays/${overlay}`));
    assert.equal(pod.securityContext?.runAsNonRoot, true);
    assert.equal(pod.securityContext?.seccompProfile?.type, 'RuntimeDefault');
    assert.equal(pod.automountServiceAccountToken, false);
    for (const { securityContext } of pod.containers)
      assert.deepEqual(securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    for (const volume of pod.volumes ?? [])
      assert.ok(volume.secret ?? volume.configMap ?? volume.emptyDir, volume.name);
  }
});

test('a pod has time for the delay before it drains', { skip }, () => {
  for (const overlay of OVERLAYS) {
    const objects = kustomize.build(`overlays/${overlay}`);
    const delay = Number(variable(objects, 'PGSWITCHYARD_SHUTDOWN_DELAY'));
    assert.ok(podOf(objects).terminationGracePeriodSeconds! >= 2 * delay, overlay);
  }
});

test('only one overlay faces the internet: with TLS, and with the PostgreSQL port alone', { skip }, () => {
  for (const overlay of OVERLAYS) {
    const objects = kustomize.build(`overlays/${overlay}`);
    const services = objects.filter(({ kind }) => kind === 'Service') as unknown as IService[];
    const exposed = services.filter(({ spec }) => spec?.type !== 'ClusterIP');
    assert.deepEqual(
      exposed.map(({ metadata, spec }) => [metadata?.name, spec?.type, spec?.ports]),
      overlay === 'local'
        ? []
        : [['pgswitchyard', 'LoadBalancer', [{ name: 'postgres', port: 5432, targetPort: 'postgres' }]]],
    );
    const isPublic = overlay === 'eks-internet-facing';
    for (const { metadata, spec } of exposed) {
      const scheme = metadata?.annotations?.['service.beta.kubernetes.io/aws-load-balancer-scheme'];
      assert.equal(scheme, isPublic ? 'internet-facing' : 'internal');
      assert.equal(spec?.loadBalancerSourceRanges !== undefined, isPublic);
    }
    const tls = variable(objects, 'PGSWITCHYARD_CLIENT_TLS_SSLMODE');
    assert.equal(tls, isPublic ? 'require' : undefined);
  }
});

test('changed secrets are a rolling update, and changed rules are not', { skip }, () => {
  const objects = kustomize.build('overlays/eks');
  const secrets = objects.filter(({ kind }) => kind === 'Secret').map(({ metadata }) => metadata.name);
  assert.equal(secrets.length, 3);
  for (const name of secrets) assert.match(name, /-[a-z0-9]{10}$/);
  const text = JSON.stringify(objects.filter(({ kind }) => kind !== 'Secret'));
  for (const name of secrets) assert.ok(text.includes(`"${name}"`), `${name} is used`);
  found(objects, 'ConfigMap', 'pgswitchyard-rules');
});

test('an autoscaler has the number of pods to itself', { skip }, () => {
  const objects = kustomize.build('overlays/eks');
  found(objects, 'HorizontalPodAutoscaler');
  assert.equal(deploymentOf(objects).replicas, undefined);
  assert.equal(deploymentOf(kustomize.build('overlays/local')).replicas, 1);
});

test('scaling by connections takes the place of scaling by processor time', { skip }, () => {
  cpSync(join(folder, 'overlays', 'eks'), join(folder, 'overlays', 'keda'), { recursive: true });
  const file = join(folder, 'overlays', 'keda', 'kustomization.yaml');
  writeFileSync(
    file,
    readFileSync(file, 'utf8').replace('components/cpu-scaling', 'components/connection-scaling'),
  );
  const objects = kustomize.build('overlays/keda');
  assert.equal(deploymentOf(objects).replicas, undefined);
  assert.ok(!objects.some(({ kind }) => kind === 'HorizontalPodAutoscaler'));
  found(objects, 'ScaledObject');
});

test(
  'the component of a fleet adds a Job with the image, the Secrets and the confinement of the proxies',
  { skip },
  () => {
    const objects = withComponent(kustomize, 'fleet');
    checkSchemas(objects);
    checkFields(objects);
    const job = (found(objects, 'Job', 'pgswitchyard-fleet-init') as unknown as IJob).spec!.template;
    const [init] = job.spec!.containers;
    const pod = podOf(objects);
    const [proxy] = pod.containers;
    assert.equal(init!.image, proxy!.image);
    assert.deepEqual(init!.envFrom, proxy!.envFrom);
    assert.deepEqual(init!.securityContext, proxy!.securityContext);
    assert.deepEqual(
      job.spec!.volumes,
      pod.volumes!.filter(({ name }) => name === 'users'),
    );
    // no Service sends clients to it
    assert.notEqual(job.metadata?.labels?.['app.kubernetes.io/component'], 'proxy');
    assert.ok(
      proxy!.env!.some(({ name, valueFrom }) => name.endsWith('FLEET_ADDRESS') && valueFrom?.fieldRef),
    );
    const { egress } = found(objects, 'NetworkPolicy')['spec'] as { egress: unknown[] };
    assert.match(JSON.stringify(egress.at(-1)), /"postgres".*"podSelector"/);
  },
);
