/**
 * The life of the Debian package on a clean Debian without systemd: installed, upgraded while clients are connected, removed and
 * purged.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Client } from 'pg';
import { Cluster } from '../support/cluster.ts';
import { freePort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { Machine, missingForRoots } from './clean-root.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const INI = '/etc/pgswitchyard/pgbouncer.ini';
const LOG = '/var/log/pgswitchyard/pgswitchyard.log';
const PIDFILE = '/run/pgswitchyard/pgswitchyard.pid';
const USER = { user: 'pgswitchyard' };

/** Builds the package with a version, and puts it into the machine. @returns its path there */
function build(t: TestContext, machine: Machine, version: string): string {
  const out = mkdtempSync(join(tmpdir(), 'debs-'));
  t.after(() => rmSync(out, { recursive: true }));
  const script = join(ROOT, 'scripts', 'package-deb.ts');
  const args = [script, `--out=${out}`, `--version=${version}`];
  const file = execFileSync(process.execPath, args, { encoding: 'utf8' }).trim().split('\n').at(-1)!;
  const inside = `/tmp/pgswitchyard-${version}.deb`;
  copyFileSync(file, join(machine.root, inside));
  return inside;
}

const rule = (answer: string): string =>
  `export const rewrite_query = (_user: string, query: string) => query.replace('none', '${answer}');\n`;

test('the Debian package', { skip: missingForRoots() ?? false }, async (t) => {
  const machine = await Machine.start(t);
  const [first, second] = [build(t, machine, '0.1.0'), build(t, machine, '0.1.1')];
  const cluster = await Cluster.start(t);
  const port = await freePort();
  const connect = async (): Promise<Client> => {
    const client = new Client({ host: '127.0.0.1', port, user: 'postgres', password: 'pw', database: 'app' });
    await client.connect();
    return client;
  };
  const answerTo = async (client: Client): Promise<unknown> =>
    (await client.query<{ x: unknown }>("SELECT 'none' AS x")).rows[0]?.x;

  await t.test('installs with what it depends on, a user and protected secrets', () => {
    machine.run(['apt-get', 'update']);
    machine.run(['apt-get', 'install', '-y', '--no-install-recommends', first, 'logrotate']);
    assert.match(machine.run(['pgswitchyard', '--version'], USER), /^pgswitchyard 0\.1\.0$/m);
    assert.equal(
      machine.run(['stat', '-c', '%U:%G %a', '/etc/pgswitchyard/userlist.txt']),
      'root:pgswitchyard 640\n',
    );
    assert.ok(machine.has('/etc/systemd/system/multi-user.target.wants/pgswitchyard.service'));
  });

  await t.test('the configuration that comes with it is valid', () => {
    machine.run(['pgswitchyard', 'config', 'check', INI], USER);
  });

  const ini = machine
    .read(INI)
    .replace(/^; app = .*$/m, `app = ${cluster.connectionString()}`)
    .replace('listen_port = 6432', `listen_port = ${port}`);
  machine.write(INI, ini);
  machine.write('/etc/pgswitchyard/userlist.txt', '"postgres" "pw"\n');
  machine.write('/etc/pgswitchyard/user-functions/rewrite_query.ts', rule('old'));
  machine.run(['pgswitchyard', '-d', INI], USER);
  const firstPid = machine.read(PIDFILE);
  await until('the rule', () => machine.read(LOG).includes('user functions loaded'));
  const connected = await connect();
  t.after(() => connected.end());

  await t.test('serves, with rules', async () => {
    assert.equal(await answerTo(connected), 'old');
  });

  await t.test('logrotate gives it a new log file', async () => {
    machine.run(['logrotate', '-f', '/etc/logrotate.d/pgswitchyard']);
    assert.ok(machine.has(`${LOG}.1`));
    await until('the new log', () => machine.has(LOG));
    await (await connect()).end();
    await until('lines in it', () => machine.read(LOG) !== '');
  });

  await t.test('an upgrade keeps the configuration and does not touch the running process', async () => {
    machine.run(['dpkg', '-i', second]);
    assert.match(machine.run(['pgswitchyard', '--version'], USER), /^pgswitchyard 0\.1\.1$/m);
    assert.equal(machine.read(INI), ini);
    assert.equal(machine.read(PIDFILE), firstPid);
    assert.equal(await answerTo(connected), 'old');
  });

  await t.test('the old process still finds its own files', async () => {
    machine.write('/etc/pgswitchyard/user-functions/rewrite_query.ts', rule('changed'));
    await until('the changed rule', async () => (await answerTo(connected)) === 'changed');
    assert.ok(machine.has('/usr/lib/pgswitchyard/run/0.1.0-1/package.json'));
  });

  await t.test('-R lets the new version take over, and the connected client stays', async () => {
    machine.run(['pgswitchyard', '-R', '-d', INI], USER);
    assert.notEqual(machine.read(PIDFILE), firstPid);
    assert.match(machine.read(LOG), /process up: .*pgswitchyard 0\.1\.1/);
    const fresh = await connect();
    await until('the rule', async () => (await answerTo(fresh)) === 'changed');
    assert.equal(await answerTo(connected), 'changed');
    await fresh.end();
  });

  await t.test(
    'the old process ends with its last client, and its files go with the next installation',
    async () => {
      await connected.end();
      const exes = (): string => machine.run(['sh', '-c', 'readlink /proc/[0-9]*/exe || true']);
      await until('the old process to end', () => !exes().includes('/run/0.1.0-1/'));
      assert.match(exes(), /\/run\/0\.1\.1-1\/node/);
      machine.run(['dpkg', '-i', second]);
      assert.ok(!machine.has('/usr/lib/pgswitchyard/run/0.1.0-1'));
      assert.ok(machine.has('/usr/lib/pgswitchyard/run/0.1.1-1'), 'it is in use');
    },
  );

  await t.test('removed, it leaves the configuration; purged, nothing', async () => {
    machine.run(['sh', '-c', `kill -QUIT $(cat ${PIDFILE})`]);
    await until('the process to end', () => !machine.has(PIDFILE));
    machine.run(['dpkg', '--remove', 'pgswitchyard']);
    assert.ok(!machine.has('/usr/lib/pgswitchyard') && !machine.has('/usr/bin/pgswitchyard'));
    assert.equal(machine.read(INI), ini);
    machine.run(['dpkg', '--purge', 'pgswitchyard']);
    const left = machine.run([
      'find',
      '/etc',
      '/usr',
      '/var/lib',
      '/var/log',
      '/run',
      '-path',
      '*pgswitchyard*',
    ]);
    assert.deepEqual(left.trim().split('\n'), [
      '/etc/pgswitchyard',
      '/etc/pgswitchyard/user-functions',
      '/etc/pgswitchyard/user-functions/rewrite_query.ts',
    ]);
  });
});
