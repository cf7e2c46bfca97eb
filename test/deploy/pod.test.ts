/** The proxy as the Deployment starts it: its arguments, its variables and its files, as an unknown user. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { IJob } from 'kubernetes-models/batch/v1';
import { Client } from 'pg';
import { isReachableUnprivileged, removeFolder, temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { Cluster } from '../support/cluster.ts';
import { noFfi } from '../support/ffi.ts';
import { freePort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { found, Kustomize, noKustomize, podOf, withComponent } from './kustomize.ts';
import type { KubernetesObject } from './schemas.ts';

const COMMAND = join(import.meta.dirname, '..', '..', 'bin', 'pgswitchyard');
const isRoot = process.getuid?.() === 0;
const skip =
  noKustomize || (isRoot && !isReachableUnprivileged(COMMAND) ? 'only root can read the checkout' : false);

/** Secrets have base64, ConfigMaps text. */
function contentsOf({ kind, data }: KubernetesObject): readonly (readonly [string, string])[] {
  return Object.entries(data as Record<string, string>).map(([name, value]) => [
    name,
    kind === 'Secret' ? Buffer.from(value, 'base64').toString() : value,
  ]);
}

test('a pod serves its clients and passes its probes', { skip }, async (t) => {
  const objects = new Kustomize({ after: (cleanUp) => t.after(cleanUp) }).build('overlays/eks');
  const pod = podOf(objects);
  const [container] = pod.containers;
  const cluster = await Cluster.start(t);
  const root = await temporaryFolder('pod');
  t.after(() => removeFolder(root));
  await chmod(root, 0o755);

  for (const { name, mountPath } of container!.volumeMounts ?? []) {
    const { secret, configMap } = pod.volumes!.find((volume) => volume.name === name)!;
    await mkdir(join(root, mountPath), { recursive: true });
    if (secret === undefined && configMap === undefined) await chmod(join(root, mountPath), 0o777);
    else if (secret?.optional !== true) {
      const source = found(objects, secret ? 'Secret' : 'ConfigMap', secret?.secretName ?? configMap?.name);
      for (const [file, text] of contentsOf(source)) await writeFile(join(root, mountPath, file), text);
    }
  }

  const [port, httpPort] = [await freePort(), await freePort()];
  const secrets = container!.envFrom!.flatMap(({ secretRef }) =>
    contentsOf(found(objects, 'Secret', secretRef!.name)),
  );
  const variables = container!.env!.map(({ name, value = '' }) => {
    const isMounted = container!.volumeMounts!.some(({ mountPath }) => value.startsWith(mountPath));
    return [name, isMounted ? join(root, value) : value] as const;
  });
  const child = spawn(process.execPath, [COMMAND, ...container!.args!], {
    cwd: dirname(join(root, '/etc/pgswitchyard/user-functions')),
    env: {
      PATH: process.env['PATH'],
      ...Object.fromEntries([...secrets, ...variables]),
      PGB_DATABASE1: `app = ${cluster.connectionString()} user=postgres`,
      PGB_LISTEN_PORT: String(port),
      PGSWITCHYARD_HTTP_LISTEN_PORT: String(httpPort),
      PGSWITCHYARD_SHUTDOWN_DELAY: '0',
    },
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(isRoot && { uid: pod.securityContext!.runAsUser, gid: pod.securityContext!.runAsGroup }),
  });
  t.after(() => child.kill('SIGKILL'));
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (log += text));

  const statusOf = async (path: string, headers = {}): Promise<number> => {
    try {
      return (await fetch(`http://127.0.0.1:${httpPort}${path}`, { headers })).status;
    } catch {
      return 0;
    }
  };
  const paths = [container!.startupProbe, container!.readinessProbe, container!.livenessProbe].map(
    (probe) => probe!.httpGet!.path!,
  );
  for (const path of paths) {
    await until(path, async () => child.exitCode !== null || (await statusOf(path)) === 200);
    assert.equal(child.exitCode, null, log);
  }
  assert.equal(await statusOf('/metrics'), 401);
  assert.equal(await statusOf('/metrics', { authorization: 'Bearer replace-me' }), 200);

  const client = new Client({
    host: '127.0.0.1',
    port,
    user: 'app',
    password: 'replace-me',
    database: 'app',
  });
  await client.connect();
  assert.deepEqual((await client.query('select 1 as one')).rows, [{ one: 1 }]);
  await client.end();
  const lines = log
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { level: string; msg: string });
  const complaints = lines.filter(
    // Node 24 cannot set all of the socket options, and says so
    ({ level, msg }) => /warn|error|fatal/i.test(level) && !(noFfi && msg.includes('node:ffi')),
  );
  assert.deepEqual(complaints, []);
  child.kill('SIGTERM');
  await until('the proxy to end', () => child.exitCode !== null);
  assert.equal(child.exitCode, 0);
});

test("a fleet's Job makes the tables, and may run again", { skip }, async (t) => {
  const objects = withComponent(new Kustomize({ after: (cleanUp) => t.after(cleanUp) }), 'fleet');
  const job = (found(objects, 'Job', 'pgswitchyard-fleet-init') as unknown as IJob).spec!.template.spec!;
  const [container] = job.containers;
  const cluster = await Cluster.start(t);
  const folder = await temporaryFolder('job');
  t.after(() => removeFolder(folder));
  await chmod(folder, 0o755);
  const users = join(folder, 'userlist.txt');
  await writeFile(users, '"app" "replace-me"\n');
  const secrets = container!.envFrom!.flatMap(({ secretRef }) =>
    contentsOf(found(objects, 'Secret', secretRef!.name)),
  );
  const variables = container!.env!.map(
    ({ name, value = '' }) => [name, name.endsWith('_AUTH_FILE') ? users : value] as const,
  );
  const run = () =>
    spawnSync(process.execPath, [COMMAND, ...container!.command!.slice(3)], {
      cwd: folder,
      encoding: 'utf8',
      env: {
        PATH: process.env['PATH'],
        // what the image sets
        user_functions_state_dir: '/var/lib/pgswitchyard/versions',
        ...Object.fromEntries([...secrets, ...variables]),
        PGSWITCHYARD_FLEET_STORE: `postgres:${cluster.connectionString()} user=postgres`,
      },
      ...(isRoot && { uid: job.securityContext!.runAsUser, gid: job.securityContext!.runAsGroup }),
    });
  for (const said of [/were made/, /are of version/]) {
    const { status, stdout, stderr } = run();
    assert.deepEqual([status, stderr], [0, '']);
    assert.match(stdout, said);
  }
  assert.deepEqual(await cluster.sql('SELECT count(*)::int AS stores FROM pgswitchyard.store'), [
    { stores: 1 },
  ]);
});
