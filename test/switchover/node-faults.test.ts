/** Nodes that refuse a part of a question, or all of it, answer nonsense, or nothing any more. */
import assert from 'node:assert/strict';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { after, test } from 'node:test';
import type { DatabaseError } from 'pg';
import { LastWords } from '../support/last-words.ts';
import { until, within } from '../support/wait.ts';
import { setUp, TOPOLOGY } from './pair.ts';

const { primary, standby, bouncer } = await setUp(
  { after },
  {
    sql: `CREATE ROLE watcher LOGIN; CREATE ROLE sleeper NOLOGIN;
      GRANT SELECT ON nodes TO watcher;
      REVOKE EXECUTE ON FUNCTION pg_control_checkpoint(), pg_control_system() FROM PUBLIC;`,
  },
);
const servers = [primary, standby];

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return await promise.then(
    () => undefined,
    (error: unknown) => (error as DatabaseError).code,
  );
}

test('a role without rights on pg_control_* functions: the log names the loss once for each node', async () => {
  bouncer.databases['revoked'] = `${primary.connectionString()} ${TOPOLOGY} auth_user=watcher`;
  bouncer.markLog();
  await bouncer.reload();
  for (const { port } of servers)
    await bouncer.waitForLog(
      new RegExp(
        `switchover revoked: \\S+:${port} does not answer all that its probe asks \\(permission denied for function pg_control_\\w+\\): .*EXECUTE on pg_control_checkpoint`,
      ),
    );
  const row = await until('the writer', async () =>
    (await bouncer.admin('SHOW TOPOLOGY')).find(
      (each) => each['database'] === 'revoked' && each['role'] === 'writer',
    ),
  );
  assert.deepEqual([row['port'], row['timeline'], row['error']], [primary.port, '1', '']);
  assert.deepEqual(await bouncer.sql('SELECT 1 AS n', { database: 'revoked' }), [{ n: 1 }]);
  const probes = primary.logCount(/recovering/);
  await until('more probes', () => primary.logCount(/recovering/) > probes + 3);
  assert.equal(bouncer.logCount(/does not answer all/), servers.length);
});

test('an auth_user that may not log in: the log says so once, and clients are served by the configured host', async () => {
  bouncer.databases['nologin'] = `${primary.connectionString()} ${TOPOLOGY} auth_user=sleeper`;
  bouncer.markLog();
  await bouncer.reload();
  const refused =
    /switchover nologin: \S+ refuses its probe: FATAL: role "sleeper" is not permitted to log in; whether it is the writer/;
  await bouncer.waitForLog(refused);
  const rows = await within('an answer', bouncer.sql('SELECT 1 AS n', { database: 'nologin' }));
  assert.deepEqual(rows, [{ n: 1 }]);
  const logins = primary.logCount(/role "sleeper" is not permitted/);
  await until('more probes', () => primary.logCount(/role "sleeper" is not permitted/) > logins + 3);
  assert.equal(bouncer.logCount(refused), 1);
});

test('a node that is not PostgreSQL: the log names it once, and a client gets its error', async (t) => {
  const sockets = new Set<Socket>();
  const web = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  });
  web.listen(0, '127.0.0.1');
  await once(web, 'listening');
  t.after(() => {
    web.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = web.address() as AddressInfo;
  bouncer.databases['web'] = `host=127.0.0.1 port=${port} ${TOPOLOGY} auth_user=postgres`;
  bouncer.markLog();
  await bouncer.reload();
  await bouncer.waitForLog(new RegExp(`switchover web: 127.0.0.1:${port} does not answer: `));
  await bouncer.reload({ switchover_timeout: 1 });
  assert.equal(await within('an error', codeOf(bouncer.sql('SELECT 1', { database: 'web' }))), '57P03');
  assert.equal(bouncer.logCount(/switchover web: \S+ does not answer/), 1);
  delete bouncer.databases['web'];
  await bouncer.reload({ switchover_timeout: undefined });
});

test('a node that answers its probe with nonsense: the log names it once, and clients are served', async (t) => {
  const relay = await LastWords.start(t, primary);
  const answers = [
    'HTTP/1.1 400 Bad Request\r\n\r\n',
    'T\0\0\0\x06\0\0C\0\0\0\rSELECT 0\0Z\0\0\0\x05I',
    'Z\xff\xff\xff\xff',
  ];
  for (let i = 0; i < 1000; i++)
    relay.faults.push({ query: /recovering/, answer: Buffer.from(answers[i % 3]!, 'latin1') });
  bouncer.databases['odd'] =
    `host=${relay.host} port=${relay.port} dbname=postgres ${TOPOLOGY} auth_user=postgres`;
  bouncer.markLog();
  await bouncer.reload();
  await bouncer.waitForLog(/switchover odd: \S+ does not answer: bad pkt header/);
  const rows = await within('an answer', bouncer.sql('SELECT 1 AS n', { database: 'odd' }));
  assert.deepEqual(rows, [{ n: 1 }]);
  const left = relay.faults.length;
  await until('more probes', () => relay.faults.length < left - 6);
  assert.equal(bouncer.logCount(/switchover odd: \S+ does not answer/), 1);
  delete bouncer.databases['odd'];
  await bouncer.reload();
});

test('a statement on a reader that freezes ends with query_timeout, or when the reader is silent for switchover_timeout', async () => {
  await bouncer.reload({ switchover_timeout: 2 });
  const readers = { database: 'dev@readers' };
  const [running, open, named] = [
    await bouncer.connect(readers),
    await bouncer.connect(readers),
    await bouncer.connect({ database: `dev@${standby.host}:${standby.port}` }),
  ];
  const where = 'SELECT inet_server_port() AS port';
  for (const client of [running, open, named])
    assert.deepEqual((await client.query(where)).rows, [{ port: standby.port }]);
  await open.query('BEGIN');
  const slow = running.query('SELECT pg_sleep(60)');
  const slowToo = named.query('SELECT pg_sleep(60)');
  await until('the statements to run', async () => {
    const rows = await standby.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    return rows.length === 2;
  });
  standby.freeze();
  try {
    assert.equal(await within('an error', codeOf(slow)), '08007');
    assert.equal(await within('an error', codeOf(slowToo)), '08007');
    assert.equal(await within('an error', codeOf(open.query('SELECT 1'))), '57P01');
    // clients that asked for the readers have the writer now
    for (const client of [running, open])
      assert.deepEqual((await client.query(where)).rows, [{ port: primary.port }]);
  } finally {
    standby.thaw();
  }
  await bouncer.reload({ switchover_timeout: undefined, query_timeout: 1 });
  const limited = await until('the reader to be read from again', async () => {
    const client = await bouncer.connect(readers);
    if ((await client.query<{ port: number }>(where)).rows[0]?.port === standby.port) return client;
    await client.end();
    return undefined;
  });
  standby.freeze();
  try {
    const error = await within(
      'an error',
      limited.query(where).catch((each: unknown) => each as Error),
    );
    assert.match((error as Error).message, /query timeout/);
  } finally {
    standby.thaw();
  }
  await bouncer.reload({ query_timeout: undefined });
});

test('none of the tests above caused an internal error', () => {
  assert.ok(!/internal error/.test(bouncer.log()));
});

test('a smart shutdown of the old writer ends although clients are held and sessions are open', async (t) => {
  const setup = await setUp(t);
  const proxy = setup.bouncer;
  const old = setup.primary;
  proxy.databases['kept'] = `${old.connectionString()} ${TOPOLOGY} pool_mode=session`;
  await proxy.reload();
  await proxy.waitForLog(/switchover kept: the writer is/);
  const [session, waits, open] = [
    await proxy.connect({ database: 'kept' }),
    await proxy.connect({ database: 'kept' }),
    await proxy.connect(),
  ];
  for (const client of [session, waits, open]) await client.query('SELECT 1');
  await open.query('BEGIN');
  old.markLog();
  const stopped = old.stop('smart');
  await old.waitForLog(/received smart shutdown request/);
  // a client that needs a new connection finds it out
  const fresh = proxy.connect({ database: 'kept' });
  await proxy.waitForLog(/switchover kept: .*holding new transactions/);
  const where = 'SELECT inet_server_port() AS port';
  const held = waits.query(where);
  await open.query('COMMIT');
  await within('the old writer to end', stopped);
  await setup.standby.promote();
  const { port } = setup.standby;
  assert.deepEqual((await held).rows, [{ port }]);
  for (const client of [session, open, await fresh])
    assert.deepEqual((await client.query(where)).rows, [{ port }]);
});
