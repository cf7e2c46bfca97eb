/** -R: a new process takes over the listening sockets of the running one. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Client, type ClientConfig } from 'pg';
import { killIfThere } from '../../src/demo/embedded-postgres.ts';
import { reapProcess } from '../../src/platform/reaper.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { noFfi } from '../support/ffi.ts';
import { RawClient, startup } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });

/** A proxy with a pidfile, over an existing database. */
async function startOld(scope: Scope): Promise<Bouncer> {
  const old = await Bouncer.prepare(scope, { databases: { dev: cluster.connectionString() } });
  old.settings['pidfile'] = join(old.folder, 'pid');
  await old.writeFiles();
  await old.start();
  return old;
}

function pidIn(bouncer: Bouncer): number {
  return Number(readFileSync(join(bouncer.folder, 'pid'), 'latin1'));
}

/** A client that connects all the time, and is never refused. */
function knock(at: ClientConfig): { connected: number; end(): Promise<void> } {
  let isOver = false;
  const self = {
    connected: 0,
    end: async (): Promise<void> => {
      isOver = true;
      await knocking;
    },
  };
  const knocking = (async () => {
    while (!isOver) {
      const each = new Client(at);
      await each.connect();
      await each.end();
      self.connected++;
    }
  })();
  return self;
}

test(
  '-R takes over the sockets, and the old process ends with its last client',
  { skip: noFfi },
  async (t) => {
    const old = await startOld(t);
    const client = await old.connect();
    await client.query('BEGIN');
    const tcp = knock(old.connection());
    const unix = knock({ ...old.connection(), host: old.folder });
    const next = await old.successor(t, ['-R']);
    const [tcpBefore, unixBefore] = [tcp.connected, unix.connected];
    await until('more to connect', () => tcp.connected > tcpBefore + 5 && unix.connected > unixBefore + 5);
    assert.deepEqual(await next.sql('SELECT 1 AS one'), [{ one: 1 }]);
    assert.deepEqual(await next.sql('SELECT 2 AS two', { host: old.folder }), [{ two: 2 }]);

    // the old one's client has not noticed
    await client.query('COMMIT');
    assert.equal(old.isRunning, true);
    await client.end();
    assert.deepEqual(await old.exited(), { code: 0, signal: null });
    const after = unix.connected;
    await until('more to connect', () => unix.connected > after + 5);
    await Promise.all([tcp.end(), unix.end()]);
    assert.equal(pidIn(old), next.pid);

    // and again, even if there is no client to wait for
    const third = await next.successor(t, ['-R']);
    assert.deepEqual(await next.exited(), { code: 0, signal: null });
    assert.deepEqual(await third.sql('SELECT 3 AS three', { host: old.folder }), [{ three: 3 }]);
    assert.equal(pidIn(old), third.pid);
    assert.deepEqual(readdirSync(old.folder).toSorted(), [
      `.s.PGSQL.${old.port}`,
      'log',
      'pgbouncer.ini',
      'pid',
      'userlist.txt',
    ]);
    await third.stop('SIGTERM');
    assert.equal(existsSync(join(old.folder, `.s.PGSQL.${old.port}`)), false);
    assert.equal(existsSync(join(old.folder, 'pid')), false);
  },
);

test(
  'a client that is logging in to the old process during -R is served by it',
  { skip: noFfi },
  async (t) => {
    const old = await startOld(t);
    const early = await RawClient.connect({ port: old.port });
    await until('it to be accepted', async () => {
      const [row] = await old
        .admin<{ items: string }>(`SHOW LISTS`)
        .then((rows) => rows.filter((each) => (each as { list?: string }).list === 'used_clients'));
      return Number(row?.items) === 2;
    });
    await old.successor(t, ['-R']);
    early.send(startup({ user: 'postgres', database: 'dev' }));
    const hello = await early.readUntil('Z');
    assert.equal(
      hello.some(({ type }) => type === 'K'),
      true,
    );
    early.destroy();
    assert.deepEqual(await old.exited(), { code: 0, signal: null });
  },
);

test(
  'a process that was replaced says that its successor does not know of a command about functions',
  { skip: noFfi },
  async (t) => {
    const old = await startOld(t);
    await old.writeFile('user-functions/dev/rewrite_query.ts', 'export const rewrite_query = () => null;');
    await old.connect();
    const console = await old.connect({ user: 'pgbouncer', database: 'pgbouncer' });
    const notices: string[] = [];
    console.on('notice', ({ message }) => notices.push(message ?? ''));
    await console.query('RELOAD');
    await console.query('PAUSE FUNCTIONS dev');
    assert.deepEqual(notices, []);
    await old.successor(t, ['-R']);
    await console.query('RESUME FUNCTIONS dev');
    assert.match(
      notices.join(),
      /^this holds for the clients of this process alone, which has been replaced/,
    );
    await console.query('RELOAD FUNCTIONS dev');
    assert.equal(notices.length, 1);
  },
);

test('-R -d returns when the daemon has taken over', { skip: noFfi }, async (t) => {
  const old = await startOld(t);
  const client = await old.connect();
  const next = old.prepareSuccessor(t, ['-R', '-d']);
  next.spawn();
  assert.deepEqual(await next.exited(), { code: 0, signal: null }, next.output);
  const pid = pidIn(old);
  reapProcess(pid);
  t.after(() => killIfThere(pid, 'SIGKILL'));
  assert.notEqual(pid, old.pid);
  assert.deepEqual(await next.sql('SELECT 1 AS one'), [{ one: 1 }]);
  await client.end();
  assert.deepEqual(await old.exited(), { code: 0, signal: null });
  process.kill(pid, 'SIGTERM');
  await until('the daemon to end', () => !existsSync(join(old.folder, 'pid')));
});

test('a new process that cannot start leaves everything to the old one', { skip: noFfi }, async (t) => {
  const old = await startOld(t);
  // the certificate is read when the sockets have been handed over already
  old.settings['client_tls_sslmode'] = 'require';
  old.settings['client_tls_cert_file'] = old.settings['client_tls_key_file'] = old.configFile;
  await old.writeFiles();
  await assert.rejects(old.successor(t, ['-R']), /TLS|PEM|key/);
  assert.equal(pidIn(old), old.pid);
  assert.equal((await old.admin('SHOW VERSION')).length, 1);
  assert.deepEqual(await old.sql('SELECT 1 AS one', { host: old.folder }), [{ one: 1 }]);
  await old.stop('SIGTERM');
  assert.equal(existsSync(join(old.folder, `.s.PGSQL.${old.port}`)), false);
});

test('-R starts as usual if there is no process to replace', { skip: noFfi }, async (t) => {
  const bouncer = await Bouncer.start(t, { args: ['-R'] });
  assert.equal(bouncer.logContains(/old process not found, try to continue normally/), true);
  assert.equal((await bouncer.admin('SHOW VERSION')).length, 1);
});

test('TAKEOVER is refused unless a process of the same user sends it on the Unix socket', async (t) => {
  const bouncer = await Bouncer.start(t);
  await assert.rejects(bouncer.admin('TAKEOVER'), /only a process of the same user can take over/);
});
