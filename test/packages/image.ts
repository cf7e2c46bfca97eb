/**
 * The container image: the Dockerfile's steps in clean Debian systems, then its entry point as a container runtime would
 * start it: process 1 of its own processes, not root, on a read-only file system.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Client } from 'pg';
import { Cluster } from '../support/cluster.ts';
import { freePort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { missingForRoots, runInside, startInside } from './clean-root.ts';
import { buildImage } from './dockerfile-steps.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const output = (command: string): string => execFileSync('sh', ['-c', command], { encoding: 'utf8' }).trim();
/** The machine's own, so that packages are not loaded again, and the authorities that its network needs. */
const NPM_CACHE = output('npm config get cache');
const AUTHORITIES = '/etc/ssl/certs';

/** What node:26-bookworm-slim adds to Debian: a library, this checkout's Node, and the machine's npm. */
function addNode(root: string): void {
  runInside(root, ['sh', '-c', 'apt-get update && apt-get install -y libatomic1']);
  cpSync(process.execPath, join(root, 'usr/local/bin/node'));
  const npm = output('realpath "$(command -v npm)"');
  cpSync(dirname(dirname(npm)), join(root, 'usr/local/lib/node_modules/npm'), { recursive: true });
  execFileSync('ln', ['-s', '../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm')]);
}

test('the image', { skip: missingForRoots() ?? false }, async (t) => {
  const image = buildImage(t, {
    file: join(ROOT, 'deploy', 'docker', 'Dockerfile'),
    context: ROOT,
    bases: { 'node:26-bookworm-slim': addNode, 'debian:bookworm-slim': () => {} },
    platform: { TARGETARCH: process.arch === 'x64' ? 'amd64' : process.arch },
    mounts: { '/root/.npm': NPM_CACHE, [AUTHORITIES]: AUTHORITIES },
    env: {
      npm_config_prefer_offline: 'true',
      NODE_EXTRA_CA_CERTS: join(AUTHORITIES, 'ca-certificates.crt'),
    },
  });
  t.diagnostic(`unpacked size in MB: ${output(`du -smx ${image.root}`)}`);

  // Docker gives a new volume the image's content and owner
  const volume = mkdtempSync(join(tmpdir(), 'volume-'));
  t.after(() => rmSync(volume, { recursive: true, force: true }));
  execFileSync('cp', ['-a', `${image.root}/var/lib/pgswitchyard/.`, volume]);
  const rules = mkdtempSync(join(tmpdir(), 'rules-'));
  t.after(() => rmSync(rules, { recursive: true, force: true }));
  chmodSync(rules, 0o755);
  writeFileSync(
    join(rules, 'rewrite_query.ts'),
    `export const rewrite_query = (_user: string, query: string) => query.replace('one', 'two');\n`,
  );

  const cluster = await Cluster.start(t);
  const [port, httpPort] = [await freePort(), await freePort()];
  const inside = {
    user: image.user,
    folder: image.folder,
    env: {
      ...image.env,
      PGB_DATABASES: cluster.connectionString('postgres').replace(/ dbname=\S+/, ''),
      PGB_USER1: 'ops = pool_mode=session',
      PGB_DATABASE1: `app = ${cluster.connectionString()} user=postgres`,
      PGB_ADMIN_USERS: 'ops',
      PGB_ADMIN_PASSWORDS: 'secret',
      PGB_LISTEN_PORT: String(port),
      PGSWITCHYARD_HTTP_LISTEN_PORT: String(httpPort),
    },
    mounts: { '/var/lib/pgswitchyard': volume, '/etc/pgswitchyard/user-functions': rules },
    isReadOnly: true,
  };
  const container = startInside(t, image.root, image.entrypoint, { ...inside, isContainer: true });
  const ended = once(container, 'exit');
  let log = '';
  for (const stream of [container.stdout!, container.stderr!])
    stream.on('data', (text: Buffer) => {
      log += text.toString();
    });
  const isHealthy = (): string => runInside(image.root, image.healthcheck, inside);
  await until('the proxy', () => /process up/.test(log) || assert.equal(container.exitCode, null, log));
  await until('the rule', () => /user functions loaded/.test(log));

  await t.test('serves queries, with rules in a sandbox', async () => {
    const client = new Client({ host: '127.0.0.1', port, user: 'ops', password: 'secret', database: 'app' });
    await client.connect();
    assert.deepEqual((await client.query("SELECT 'one' AS x")).rows, [{ x: 'two' }]);
    await client.end();
  });

  await t.test('keeps versions of rules in the volume', () => {
    assert.equal(statSync(join(volume, 'versions')).uid, Number(image.user.split(':')[0]));
    execFileSync('sh', ['-c', `test -n "$(ls ${join(volume, 'versions')})"`]);
  });

  await t.test('runs as process 1 tini, and as a user without rights', () => {
    const tini = processOf(container.pid!);
    assert.match(readFileSync(`/proc/${tini}/cmdline`, 'utf8'), /^\/usr\/bin\/tini-static/);
    assert.match(readFileSync(`/proc/${tini}/status`, 'utf8'), /^Uid:\s+10001\s+10001/m);
  });

  await t.test('the health check passes', () => {
    assert.match(isHealthy(), /answers 200/);
  });

  await t.test('SIGTERM to process 1 ends it in order', async () => {
    process.kill(processOf(container.pid!), 'SIGTERM');
    assert.deepEqual(await ended, [0, null], log);
    assert.match(log, /SIGTERM/);
  });

  await t.test('the health check fails when the proxy is gone', () => {
    assert.throws(isHealthy, /exits with 1:\n\/livez: .*ECONNREFUSED/);
  });
});

/** Process 1 inside: the child of unshare. */
function processOf(unshare: number): number {
  return Number(readFileSync(`/proc/${unshare}/task/${unshare}/children`, 'utf8').trim());
}
