/** The Helm chart, rendered with several values, against the published schemas and the kustomize manifests. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { render } from './helm.ts';
import { deploymentOf, found, podOf, variable } from './kustomize.ts';
import { checkFields, checkSchemas, objectsOf, type KubernetesObject } from './schemas.ts';

const DEPLOY = join(import.meta.dirname, '..', '..', 'deploy');
const CHART = join(DEPLOY, 'helm', 'pgswitchyard');
type Values = Record<string, unknown>;

/** As Helm merges values: maps by key, everything else as a whole. */
function merged(base: unknown, over: unknown): unknown {
  const isMap = (value: unknown): value is Values =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isMap(base) || !isMap(over)) return over;
  const result = { ...base };
  for (const [name, value] of Object.entries(over))
    result[name] = name in base ? merged(base[name], value) : value;
  return result;
}

function install(values: Values): KubernetesObject[] {
  const defaults: unknown = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8'));
  const scope = {
    Values: merged(defaults, values),
    Release: { Name: 'pgswitchyard', Namespace: 'pooling' },
  };
  return globSync(join(CHART, 'templates', '*.yaml')).flatMap((file) => {
    const text = render(readFileSync(file, 'utf8'), CHART, scope);
    try {
      return objectsOf(text);
    } catch (error) {
      throw new Error(`${file}: ${String(error)}\n${text}`, { cause: error });
    }
  });
}

const SECRETS = {
  env: { PGB_DATABASE1: 'app = host=db', PGB_ADMIN_USERS: 'ops' },
  userlist: '"app" "secret"\n',
  metricsToken: 'random',
};
const VARIANTS: Record<string, Values> = {
  'the defaults': { secrets: SECRETS },
  'everything switched on': {
    secrets: { ...SECRETS, tls: 'certificate' },
    rules: { 'routing_rules.ts': 'export const routing_rules = () => null;\n' },
    service: {
      type: 'LoadBalancer',
      loadBalancerClass: 'service.k8s.aws/nlb',
      loadBalancerSourceRanges: ['192.0.2.0/24'],
      annotations: { 'service.beta.kubernetes.io/aws-load-balancer-scheme': 'internal' },
    },
    scaling: { by: 'connections' },
    fleet: { enabled: true, store: 'postgres:host=db dbname=control user=fleet' },
    monitoring: { enabled: true, labels: { release: 'prometheus' } },
    podAnnotations: { team: 'data' },
    nodeSelector: { 'kubernetes.io/arch': 'arm64' },
    tolerations: [{ key: 'dedicated', operator: 'Exists' }],
  },
  'everything switched off': {
    secrets: { existing: { env: 'a', users: 'b', metrics: 'c' } },
    scaling: { by: 'none' },
    networkPolicy: { enabled: false },
  },
};

test('every variant fits the published schemas', () => {
  const objects = Object.values(VARIANTS).flatMap(install);
  checkSchemas(objects);
  checkFields(objects);
});

test('the defaults make what the kustomize base makes', () => {
  const objects = install(VARIANTS['the defaults']!);
  const base = objectsOf(readFileSync(join(DEPLOY, 'kubernetes', 'base', 'deployment.yaml'), 'utf8'));
  const comparable = (from: readonly KubernetesObject[]): unknown => {
    const { initContainers: _, topologySpreadConstraints: __, ...pod } = podOf(from);
    const [container] = pod.containers;
    const { image: ___, imagePullPolicy: ____, env, ...rest } = container!;
    const byName = env!.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return { ...pod, containers: [{ ...rest, env: byName }] };
  };
  const withoutSecretNames = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
  assert.deepEqual(withoutSecretNames(comparable(objects)), withoutSecretNames(comparable(base)));
  found(objects, 'HorizontalPodAutoscaler');
  found(objects, 'NetworkPolicy');
  found(objects, 'PodDisruptionBudget');
  assert.ok(!objects.some(({ kind }) => kind === 'ServiceMonitor' || kind === 'ScaledObject'));
});

/** A value without the labels, the query's selector and the image that tell one release from another. */
function ofAnyRelease(value: unknown): unknown {
  const text = JSON.stringify(value, (key, each: unknown) =>
    /kubernetes\.io\/(name|instance)$|^image/.test(key) ? undefined : each,
  );
  return JSON.parse(text.replaceAll('namespace=\\"pooling\\", ', ''));
}

test('every other object is that of the kustomize base and components, too', () => {
  const objects = [
    ...install(VARIANTS['the defaults']!),
    ...install({
      secrets: SECRETS,
      fleet: { enabled: true, store: 'postgres:host=db dbname=control user=fleet' },
      scaling: { by: 'connections' },
      monitoring: { enabled: true },
    }),
  ];
  const theirs = globSync(join(DEPLOY, 'kubernetes', '{base,components/*}', '*.yaml'))
    .map((file) => readFileSync(file, 'utf8'))
    .filter((text) => /^kind: (?!Kustomization|Component|Deployment)/m.test(text))
    .flatMap(objectsOf);
  assert.equal(theirs.length, 10);
  for (const { kind, metadata, spec } of theirs)
    assert.deepEqual(
      ofAnyRelease(found(objects, kind, metadata.name)['spec'] ?? {}),
      ofAnyRelease(spec ?? {}),
      kind,
    );
  const kinds = new Set(['Deployment', 'Secret', 'ConfigMap', ...theirs.map(({ kind }) => kind)]);
  for (const { kind } of objects) assert.ok(kinds.has(kind), kind);
});

test('values switch TLS, the load balancer, scaling by connections and alerts on', () => {
  const objects = install(VARIANTS['everything switched on']!);
  assert.equal(variable(objects, 'PGSWITCHYARD_CLIENT_TLS_SSLMODE'), 'require');
  assert.deepEqual(
    objects.filter(({ kind }) => kind === 'HorizontalPodAutoscaler'),
    [],
  );
  assert.equal(deploymentOf(objects).replicas, undefined);
  assert.match(JSON.stringify(found(objects, 'ScaledObject')), /namespace=\\"pooling\\"/);
  assert.match(JSON.stringify(found(objects, 'Service')), /192\.0\.2\.0\/24/);
  assert.match(JSON.stringify(found(objects, 'PrometheusRule')), /PgswitchyardClientsWait/);
});

test('Secrets that exist are used, and none is made', () => {
  const objects = install(VARIANTS['everything switched off']!);
  assert.ok(!objects.some(({ kind }) => kind === 'Secret' || kind === 'NetworkPolicy'));
  const pod = podOf(objects);
  const names = (pod.volumes ?? []).flatMap(({ secret }) => secret?.secretName ?? []);
  assert.deepEqual([pod.containers[0]!.envFrom![0]!.secretRef!.name, ...names], ['a', 'b', 'c']);
  assert.equal(deploymentOf(objects).replicas, 2);
});

test('a fleet has its store in the Secret, a Job, and a way from proxy to proxy', () => {
  const objects = install(VARIANTS['everything switched on']!);
  const secret = found(objects, 'Secret') as { stringData?: Record<string, string> };
  assert.equal(secret.stringData?.['PGSWITCHYARD_FLEET_STORE'], 'postgres:host=db dbname=control user=fleet');
  const alone = install({
    secrets: { metricsToken: 'x' },
    fleet: { enabled: true, store: 'postgres:host=db' },
  });
  assert.deepEqual(found(alone, 'Secret')['stringData'], { PGSWITCHYARD_FLEET_STORE: 'postgres:host=db' });
  const job = found(objects, 'Job', 'pgswitchyard-fleet-init');
  assert.match(JSON.stringify(job), /"fleet","init"/);
  const withoutFleet = install(VARIANTS['the defaults']!);
  const egress = (from: readonly KubernetesObject[]): number =>
    (found(from, 'NetworkPolicy')['spec'] as { egress: unknown[] }).egress.length;
  assert.equal(egress(objects), egress(withoutFleet) + 1);
  assert.ok(!withoutFleet.some(({ kind }) => kind === 'Job'));
  assert.throws(() => install({ secrets: SECRETS, fleet: { enabled: true } }), /fleet\.store is missing/);
});

test('a missing token is an error that names it', () => {
  assert.throws(() => install({}), /secrets\.metricsToken is missing/);
});

test("the chart's alerts are those of the kustomize component", () => {
  const [rule] = objectsOf(
    readFileSync(join(DEPLOY, 'kubernetes', 'components', 'prometheus', 'prometheusrule.yaml'), 'utf8'),
  );
  assert.deepEqual(parse(readFileSync(join(CHART, 'files', 'alerts.yaml'), 'utf8')), rule!['spec']);
});
