/** A client over a limit gets an error and is disconnected; its server is closed with it unless it is free. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { FlakyRelay } from '../support/flaky.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const TIMEOUTS = [
  'query_timeout',
  'idle_transaction_timeout',
  'transaction_timeout',
  'client_idle_timeout',
  'query_wait_timeout',
];
const cluster = await Cluster.start(
  { after },
  {
    sql:
      TIMEOUTS.map((name) => `CREATE ROLE ${name} LOGIN`).join(';') +
      '; CREATE ROLE copying LOGIN; CREATE TABLE copied (n int); GRANT ALL ON copied TO copying',
  },
);
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      dev: cluster.connectionString(),
      short: `${cluster.connectionString()} server_lifetime=1`,
      forced: `${cluster.connectionString()} user=postgres`,
      checked: `${cluster.connectionString()} min_pool_size=2`,
    },
    users: {
      query_timeout: 'query_timeout=1',
      copying: 'query_timeout=1',
      idle_transaction_timeout: 'idle_transaction_timeout=1',
      transaction_timeout: 'transaction_timeout=1',
      client_idle_timeout: 'client_idle_timeout=1',
      query_wait_timeout: 'query_wait_timeout=2 pool_size=1',
    },
    userlist: Object.fromEntries([...TIMEOUTS, 'copying'].map((name) => [name, ''])),
    settings: { pool_mode: 'transaction', query_wait_notify: 1 },
  },
);

const login = (user: string, database = 'dev'): Promise<RawClient> =>
  RawClient.login(bouncer, { user, database });

/** The error that the client got, and the time after `start` at which it was disconnected. */
async function farewell(client: RawClient): Promise<string> {
  const start = performance.now();
  const error = (await client.readToEnd()).findLast((frame) => frame.type === 'E');
  assert.ok(error, 'no error');
  const took = performance.now() - start;
  assert.ok(took > 500, `only ${took} ms`);
  const { S: severity, C: code, M: text } = errorFields(error);
  return `${severity} ${code} ${text}`;
}

async function serverIsGone(user: string): Promise<void> {
  await until('the server to be closed', async () => {
    const rows = await cluster.sql('select from pg_stat_activity where usename = $1', [user]);
    return rows.length === 0;
  });
}

describe('timeouts', { concurrency: true }, () => {
  test('query_timeout ends the client and the server of a query that takes longer', async () => {
    const client = await login('query_timeout');
    await client.query('select 1');
    client.send(raw.query('select pg_sleep(3)'));
    assert.equal(await farewell(client), 'FATAL 08P01 query timeout');
    await serverIsGone('query_timeout');
    assert.match(bouncer.log(), /S-0x\w+: dev\/query_timeout@\S+ closing because: query timeout \(age=/);
  });

  test('query_timeout counts from the last bytes of the client: a COPY with steady data is not ended', async () => {
    const client = await login('copying');
    client.send(raw.query('copy copied from stdin'));
    await client.readUntil('G');
    const start = performance.now();
    await until('more than query_timeout', () => {
      client.send(raw.copyData('1\n'));
      return performance.now() - start > 2000;
    });
    client.send(raw.copyDone());
    assert.match(String((await client.readUntil('Z'))[0]!.payload), /^COPY \d+/);
    // the timeout ends a client that sends nothing more
    client.send(raw.query('copy copied from stdin'));
    assert.equal(await farewell(client), 'FATAL 08P01 query timeout');
  });

  test('idle_transaction_timeout ends a client that does nothing in a transaction', async () => {
    const client = await login('idle_transaction_timeout');
    await client.query('begin');
    assert.equal(await farewell(client), 'FATAL 08P01 idle transaction timeout');
    await serverIsGone('idle_transaction_timeout');
    assert.match(
      bouncer.log(),
      /S-0x\w+: dev\/idle_transaction_timeout@\S+ closing because: idle transaction timeout \(age=/,
    );
  });

  test('idle_transaction_timeout counts from the end of the last query of the transaction', async () => {
    const client = await login('idle_transaction_timeout');
    await client.query('begin');
    await client.query('select pg_sleep(1.2)');
    // not at once: its idle time has only just begun
    assert.equal(await farewell(client), 'FATAL 08P01 idle transaction timeout');
  });

  test('transaction_timeout ends a transaction that takes longer', async () => {
    const client = await login('transaction_timeout');
    await client.query('begin');
    assert.equal(await farewell(client), 'FATAL 08P01 transaction timeout');
    await serverIsGone('transaction_timeout');
    assert.match(
      bouncer.log(),
      /S-0x\w+: dev\/transaction_timeout@\S+ closing because: transaction timeout \(age=/,
    );
  });

  test('client_idle_timeout ends a client that does nothing, and leaves its server to others', async () => {
    const client = await login('client_idle_timeout');
    await client.query('select 1');
    const [before] = await cluster.sql(
      "select pid from pg_stat_activity where usename = 'client_idle_timeout'",
    );
    assert.equal(await farewell(client), 'FATAL 08P01 client_idle_timeout');
    const next = await login('client_idle_timeout');
    await next.query('select 1');
    const [now] = await cluster.sql("select pid from pg_stat_activity where usename = 'client_idle_timeout'");
    assert.deepEqual(now, before);
    next.destroy();
  });

  test('client_idle_timeout is that of the login user, also with a forced user', async () => {
    const client = await login('client_idle_timeout', 'forced');
    await client.query('select 1');
    assert.equal(await farewell(client), 'FATAL 08P01 client_idle_timeout');
  });

  test('query_wait_timeout ends a client that waits for a server, after a notice about the wait', async () => {
    const [first, second] = [await login('query_wait_timeout'), await login('query_wait_timeout')];
    await first.query('begin');
    second.send(raw.query('select 1'));
    const notice = await second.readFrame();
    assert.equal(notice.type, 'N');
    assert.equal(
      errorFields(notice)['M'],
      'No server connection available in postgres backend, client being queued',
    );
    assert.equal(await farewell(second), 'FATAL 08P01 query_wait_timeout');
    await first.query('commit');
    first.destroy();
  });

  test('server_lifetime replaces free servers, and leaves one that is in use', async () => {
    const client = await login('postgres', 'short');
    const pid = async (): Promise<string> =>
      String((await client.query('select pg_backend_pid()'))[1]!.payload);
    await client.query('begin');
    const before = await pid();
    bouncer.markLog();
    await client.query('select pg_sleep(1.2)');
    assert.equal(await pid(), before);
    await client.query('commit');
    await bouncer.waitForLog(/short\/postgres.*closing because: server lifetime over/);
    assert.notEqual(await pid(), before);
    client.destroy();
  });

  test('min_pool_size keeps servers ready after the first client', async () => {
    const client = await login('postgres', 'checked');
    await until('two servers', async () => {
      const rows = await bouncer.admin('SHOW SERVERS');
      return rows.filter((row) => row['database'] === 'checked').length === 2;
    });
    client.destroy();
  });
});

test('query_timeout applies to a wait for a server, client_login_timeout to a wait for the welcome', async (t) => {
  const relay = await FlakyRelay.start(t, cluster);
  const slow = await Bouncer.start(t, {
    databases: {
      one: `${cluster.connectionString()} pool_size=1`,
      down: `host=127.0.0.1 port=${relay.port} dbname=postgres`,
    },
    settings: { pool_mode: 'transaction', query_timeout: 1 },
  });
  const first = await RawClient.login(slow, { user: 'postgres', database: 'one' });
  await first.query('begin');
  const second = await RawClient.login(slow, { user: 'postgres', database: 'one' });
  second.send(raw.query('select 1'));
  assert.equal(await farewell(second), 'FATAL 08P01 query_timeout');

  relay.toUpstream.stall = true;
  await slow.admin('SET query_timeout = 0');
  await slow.admin('SET client_login_timeout = 1');
  const third = await RawClient.connect(slow);
  third.send(raw.startup({ user: 'postgres', database: 'down' }));
  assert.equal(await farewell(third), 'FATAL 08P01 client_login_timeout (server down)');
  assert.match(
    slow.log(),
    /C-0x\w+: down\/postgres@\S+ closing because: client_login_timeout \(server down\)/,
  );
  first.destroy();
});

test('query_timeout applies while a server is brought to the settings of its client', async (t) => {
  const relay = await FlakyRelay.start(t, cluster);
  const stalled = await Bouncer.start(t, {
    databases: { relayed: `host=127.0.0.1 port=${relay.port} dbname=postgres` },
    settings: { pool_mode: 'transaction', query_timeout: 1 },
  });
  const first = await RawClient.login(stalled, { user: 'postgres', database: 'relayed' });
  await first.query('select 1');
  const second = await RawClient.login(stalled, {
    user: 'postgres',
    database: 'relayed',
    application_name: 'other',
  });
  relay.toUpstream.stall = true;
  second.send(raw.query('select 1'));
  assert.equal(await farewell(second), 'FATAL 08P01 query timeout');
  assert.ok(stalled.logContains(/S-0x\w+: relayed\/postgres@\S+ closing because: query timeout/));
  first.destroy();
});

test('SHUTDOWN WAIT_FOR_SERVERS disconnects clients that wait for a server, with an error', async (t) => {
  const ending = await Bouncer.start(t, {
    databases: { one: `${cluster.connectionString()} pool_size=1` },
    settings: { pool_mode: 'transaction' },
  });
  const first = await RawClient.login(ending, { user: 'postgres', database: 'one' });
  await first.query('begin');
  const second = await RawClient.login(ending, { user: 'postgres', database: 'one' });
  second.send(raw.query('select 1'));
  await ending.admin('SHUTDOWN WAIT_FOR_SERVERS');
  const error = (await second.readToEnd()).findLast((frame) => frame.type === 'E');
  assert.equal(error && errorFields(error)['M'], 'server shutting down');
  await first.query('commit');
  await ending.exited();
});
