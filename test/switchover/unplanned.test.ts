/** The writer crashes, freezes, is cut off, or is no longer the writer: which client gets which error, and that all stay. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DatabaseError } from 'pg';
import { FlakyRelay } from '../support/flaky.ts';
import { until, within } from '../support/wait.ts';
import { setUp, Writer } from './pair.ts';

const PROTOCOLS = ['simple', 'extended', 'prepared'] as const;

function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error: unknown) => (error as DatabaseError).code,
  );
}

test('a crash: running statements get 08007, nothing acknowledged is lost, no client is dropped', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  await primary.configure({ settings: { synchronous_standby_names: '*' } });
  const idle = await bouncer.connect();
  const inTransaction = await bouncer.connect();
  await idle.query('SELECT 1');
  const writers = await Promise.all(
    Array.from({ length: 6 }, (_, i) => Writer.start(bouncer, i, PROTOCOLS[i % 3]!)),
  );
  await Promise.all(writers.map((each) => each.progress(20)));
  await inTransaction.query('BEGIN; INSERT INTO ledger (writer, n) VALUES (100, 1)');

  await primary.kill();
  await standby.promote();
  await Promise.all(writers.map((each) => each.progress(20)));
  await Promise.all(writers.map((each) => each.stop()));
  for (const writer of writers) {
    assert.ok(writer.errors.length <= 1, JSON.stringify(writer.errors));
    for (const { code } of writer.errors) assert.equal(code, '08007');
    assert.equal(writer.isLost, false);
    assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  }

  // reported once, at the next statement, and then the client may begin again
  const commit = await inTransaction.query('COMMIT').catch((error: unknown) => error as DatabaseError);
  assert.ok(commit instanceof Error);
  assert.equal(commit.code, '57P01');
  assert.match(commit.detail ?? '', /rolled back/);
  assert.match(commit.hint ?? '', /Retry/);
  await inTransaction.query('BEGIN; INSERT INTO ledger (writer, n) VALUES (100, 2)');
  await inTransaction.query('COMMIT');
  assert.deepEqual(await standby.sql('SELECT n FROM ledger WHERE writer = 100'), [{ n: 2 }]);
  await idle.query('SELECT 1');
});

test('the probe finds a frozen writer that closes no connection', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const writer = await Writer.start(bouncer, 1, 'simple');
  await writer.progress(10);
  primary.freeze();
  await bouncer.waitForLog(/probe failed/);
  await standby.promote();
  await writer.progress(10);
  await writer.stop();
  assert.deepEqual(
    writer.errors.map((error) => error.code),
    ['08007'],
  );
  assert.equal(writer.isLost, false);

  // It comes back, and still claims to be the writer.
  primary.thaw();
  await bouncer.waitForLog(/TWO WRITERS: .* is fenced off/);
  const client = await bouncer.connect();
  assert.deepEqual((await client.query('SELECT inet_server_port() AS port')).rows, [{ port: standby.port }]);
});

test('pg_terminate_backend ends its own client only', async (t) => {
  const { primary, bouncer } = await setUp(t);
  const victim = await bouncer.connect();
  const other = await bouncer.connect();
  await victim.query('BEGIN');
  const [row] = (await victim.query('SELECT pg_backend_pid() AS pid')).rows as [{ pid: number }];
  const running = codeOf(victim.query('SELECT pg_sleep(60)'));
  await until('the query to run', async () => {
    const [found] = await primary.sql(
      "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND query ~ 'pg_sleep'",
      [row.pid],
    );
    return found;
  });
  const lost = new Promise((resolve) => victim.once('end', resolve));
  await primary.sql('SELECT pg_terminate_backend($1)', [row.pid]);
  assert.equal(await running, '57P01');
  await lost;
  await other.query('SELECT 1');
  await bouncer.waitForLog(/false alarm/);
});

test("a probe's connection that is ended by hand says nothing about the writer", async (t) => {
  const { primary, standbys, bouncer } = await setUp(t);
  const writer = await Writer.start(bouncer, 1, 'extended');
  const probes = "backend_type = 'client backend' AND application_name = 'pgswitchyard probe'";
  for (const node of [primary, ...standbys]) {
    const count = async (): Promise<unknown> =>
      (await node.sql(`SELECT pid FROM pg_stat_activity WHERE ${probes}`))[0]?.['pid'];
    const before = await count();
    await node.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${probes}`);
    await until('another probe', async () => {
      const now = await count();
      return now !== undefined && now !== before;
    });
  }
  await writer.progress(10);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  assert.ok(!bouncer.logContains(/does not answer|switchover dev: the writer is .* \(was/));
  assert.deepEqual(await bouncer.admin('SHOW SWITCHOVERS'), []);
});

test('a cancelled query of a probe says nothing about the writer, and later ones are as informative as before', async (t) => {
  const { primary, bouncer } = await setUp(t);
  const locker = await bouncer.connect();
  await locker.query('BEGIN; LOCK pg_stat_wal_receiver');
  await primary.sql('SELECT 1');
  await until('the probe to be cancelled', async () => {
    const rows = await primary.sql(`SELECT pg_cancel_backend(pid) AS done FROM pg_stat_activity
      WHERE application_name = 'pgswitchyard probe' AND wait_event_type = 'Lock'`);
    return rows[0]?.['done'];
  });
  await locker.query('ROLLBACK');
  const before = (await bouncer.admin('SHOW TOPOLOGY'))[0]!;
  await until('the next probe', async () => {
    const [row] = await bouncer.admin('SHOW TOPOLOGY');
    return Number(row!['last_probe_ms']) < Number(before['last_probe_ms']);
  });
  const [row] = await bouncer.admin('SHOW TOPOLOGY');
  assert.deepEqual([row!['port'], row!['role'], row!['timeline']], [primary.port, 'writer', '1']);
  assert.ok(!bouncer.logContains(/does not answer|holding new transactions/));
});

test('a smart shutdown of the old writer does not wait for unused connections', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const writer = await Writer.start(bouncer, 1, 'prepared');
  await writer.progress(10);
  primary.markLog();
  const stopping = primary.stop('smart');
  await primary.waitForLog(/received smart shutdown request/);
  await standby.promote();
  await within('the old writer to end', stopping);
  await writer.progress(10);
  await writer.stop();
});

test('demoted while connections stay: a write is refused, and goes to the new writer', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, { standbys: 1 });
  const client = await bouncer.connect();
  // the behaviour of a demoted Aurora writer: connections stay, writes are refused
  await standby.promote();
  await primary.configure({ settings: { default_transaction_read_only: 'on' } });
  await client.query('INSERT INTO ledger (writer, n) VALUES (1, 1)');
  const [{ port }] = (await client.query('SELECT inet_server_port() AS port')).rows as [{ port: number }];
  assert.equal(port, standby.port);
  assert.deepEqual(await standby.sql('SELECT n FROM ledger WHERE writer = 1'), [{ n: 1 }]);
});

test('a writer that refuses writes before another is promoted: they wait, and reads continue', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, { settings: { default_pool_size: 2 } });
  const writers = await Promise.all(PROTOCOLS.map((protocol, i) => Writer.start(bouncer, i, protocol)));
  await Promise.all(writers.map((each) => each.progress(10)));
  const reader = await bouncer.connect();
  await primary.configure({ settings: { default_transaction_read_only: 'on' } });
  await bouncer.waitForLog(/does not take writes any more/);
  // more clients wait than there are servers
  await until('all writers to wait', async () => {
    const clients = await bouncer.admin('SHOW CLIENTS');
    return clients.filter((each) => each['state'] === 'waiting').length === writers.length;
  });
  for (let i = 0; i < 20; i++) await reader.query('SELECT count(*) FROM ledger');
  await standby.promote();
  await Promise.all(writers.map((each) => each.progress(10)));
  for (const writer of writers) {
    await writer.stop();
    assert.deepEqual(writer.errors, []);
    assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  }
});

for (const mode of ['transaction', 'session']) {
  test(`reads on a writer that refuses writes get their answers when another is promoted (${mode} pooling)`, async (t) => {
    const { primary, standby, bouncer } = await setUp(t, { settings: { pool_mode: mode } });
    const [reader, open] = [await bouncer.connect(), await bouncer.connect()];
    await reader.query('SELECT 1');
    await primary.configure({ settings: { default_transaction_read_only: 'on' } });
    await bouncer.waitForLog(/does not take writes any more/);
    await primary.sql('SELECT pg_advisory_lock(1)');
    await open.query('BEGIN');
    const where = 'SELECT inet_server_port() AS port';
    const reading = reader.query(`${where}, pg_advisory_xact_lock(1)`);
    await until('the reader to wait', async () => {
      const rows = await primary.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
      return rows.length > 0;
    });
    await standby.promote();
    await bouncer.waitForLog(/the writer is \S+ \(was/);
    assert.equal(await codeOf(open.query('SELECT 1')), '57P01');
    await primary.sql('SELECT pg_advisory_unlock(1)');
    assert.equal((await reading).rows[0].port, primary.port);
    for (const client of [reader, open])
      assert.deepEqual((await client.query(where)).rows, [{ port: standby.port }]);
  });
}

test('a writer that refuses writes, and no other: errors come after switchover_timeout, then at once', async (t) => {
  const { primary, bouncer } = await setUp(t, { settings: { switchover_timeout: 0.5 } });
  const client = await bouncer.connect();
  const write = 'INSERT INTO ledger (writer, n) VALUES (1, 1)';
  await client.query(write);
  await primary.configure({ settings: { default_transaction_read_only: 'on' } });
  for (let i = 0; i < 3; i++) assert.equal(await codeOf(client.query(write)), '25006');
  const prepared = { name: 'w', text: write };
  assert.equal(await codeOf(client.query(prepared)), '25006');
  await client.query('SET default_transaction_read_only = off');
  await client.query(prepared);
});

test("an application's own read-only transaction gets its 25006", async (t) => {
  const { primary, bouncer } = await setUp(t);
  const client = await bouncer.connect();
  const write = 'INSERT INTO ledger (writer, n) VALUES (1, 1)';
  assert.equal(await codeOf(client.query(`BEGIN READ ONLY; ${write}`)), '25006');
  await client.query('ROLLBACK');
  await primary.sql('ALTER ROLE postgres SET default_transaction_read_only = on');
  await bouncer.admin('RECONNECT');
  for (let i = 0; i < 3; i++) assert.equal(await codeOf(client.query(write)), '25006');
});

test('the network to the writer is cut: nothing closes, and nothing comes', async (t) => {
  let relay: FlakyRelay | undefined;
  const { primary, standby, bouncer } = await setUp(t, {
    database: (cluster) => `${cluster.connectionString()} topology_query='select endpoint, port from nodes'`,
  });
  relay = await FlakyRelay.start(t, { host: primary.host, port: primary.port });
  await primary.sql('UPDATE nodes SET port = $1 WHERE port = $2', [relay.port, primary.port]);
  // the configured address is that of the relay from now on
  bouncer.databases['dev'] =
    `host=${primary.host} port=${relay.port} dbname=postgres topology_query='select endpoint, port from nodes'`;
  bouncer.markLog();
  await bouncer.reload();
  await bouncer.waitForLog(new RegExp(`the writer is .*:${relay.port}`));
  await bouncer.waitForLog(new RegExp(`:${standby.port} is a reader`));
  const writer = await Writer.start(bouncer, 1, 'extended');
  await writer.progress(10);
  relay.toUpstream.blackHole = true;
  relay.toClient.blackHole = true;
  await bouncer.waitForLog(/probe failed/);
  await standby.promote();
  await writer.progress(10);
  await writer.stop();
  assert.equal(writer.isLost, false);
  assert.deepEqual(
    writer.errors.map((error) => error.code),
    ['08007'],
  );
});
