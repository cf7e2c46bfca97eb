/** Session pooling, where clients keep their servers between transactions, and databases that share a cluster. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Discovery } from '../../src/switchover/discovery.ts';
import * as raw from '../support/raw.ts';
import { RawClient } from '../support/raw.ts';
import { until } from '../support/wait.ts';
import { setUp, TOPOLOGY, Writer } from './pair.ts';

const WHERE = 'SELECT inet_server_port() AS port, pg_backend_pid() AS pid';

test('SWITCHOVER in session pooling: idle sessions are not open transactions, and new ones wait', async (t) => {
  const { standby, bouncer } = await setUp(t, { settings: { pool_mode: 'session' } });
  const idle = await bouncer.connect();
  await idle.query(WHERE);
  const writers = await Promise.all(
    (['simple', 'extended', 'prepared'] as const).map((each, i) => Writer.start(bouncer, i, each)),
  );
  await Promise.all(writers.map((each) => each.progress(10)));
  await bouncer.admin(`SWITCHOVER dev TO "dev@127.0.0.1:${standby.port}"`);
  await Promise.all(writers.map((each) => each.progress(10)));
  await Promise.all(writers.map((each) => each.stop()));
  for (const writer of writers) {
    assert.deepEqual(writer.errors, []);
    assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  }
  const [row] = (await idle.query<{ port: number }>(WHERE)).rows;
  assert.equal(row?.port, standby.port);
  await assert.rejects(bouncer.admin('SWITCHOVER dev TO 127.0.0.1'), /more than one node/);
});

test('SWITCHOVER does not wait for replication connections, which end with the old writer', async (t) => {
  const { standby, bouncer } = await setUp(t);
  const receiver = await RawClient.connect(bouncer);
  receiver.send(raw.startup({ user: 'postgres', database: 'dev', replication: 'true' }));
  await receiver.readUntil('Z');
  const system = await receiver.query('IDENTIFY_SYSTEM');
  const [, , position] = raw.rowValues(system.find((frame) => frame.type === 'D')!);
  receiver.send(raw.query(`START_REPLICATION PHYSICAL ${position}`));
  await receiver.readUntil('W');
  await bouncer.admin(`SWITCHOVER dev TO 127.0.0.1:${standby.port}`);
  await receiver.readToEnd();
});

test('a session waits with its server and keeps it if nothing has changed; limits and cancel apply', async (t) => {
  const { primary, bouncer } = await setUp(t, {
    settings: { pool_mode: 'session', switchover_hold_limit: 1 },
    database: (cluster) => `${cluster.connectionString()} topology_query='select * from nodes'`,
  });
  await primary.sql('DELETE FROM nodes WHERE port <> $1', [primary.port]);
  await primary.sql(`ALTER TABLE nodes ADD role text DEFAULT 'BLUE_GREEN_DEPLOYMENT_SOURCE',
    ADD status text DEFAULT 'AVAILABLE'`);
  await bouncer.admin('NOTIFY TOPOLOGY dev');
  const [first, second] = [await bouncer.connect(), await bouncer.connect()];
  const before = (await second.query(WHERE)).rows;
  await second.query('CREATE TEMP TABLE mine (n int)');
  await first.query(WHERE);
  await primary.sql("UPDATE nodes SET status = 'SWITCHOVER_IN_PROGRESS'");
  await bouncer.admin('NOTIFY TOPOLOGY dev');
  await bouncer.waitForLog(/in progress; holding new transactions/);
  const oldest = first.query(WHERE).catch((error: unknown) => (error as { code: string }).code);
  await until('the first to wait', async () => (await waiting(bouncer)) === 1);
  const held = second.query(`${WHERE}, (SELECT count(*)::int FROM mine) AS n`);
  assert.equal(await oldest, '57S01');
  await primary.sql("UPDATE nodes SET status = 'AVAILABLE'");
  const [after] = (await held).rows;
  assert.deepEqual(after, { ...before[0], n: 0 });
  await first.query(WHERE);
});

test('SWITCHOVER holds every database of the cluster, and loses no commit that is not on disk yet', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  await primary.configure({ settings: { wal_writer_delay: '10s' } });
  bouncer.databases['app'] = `${primary.connectionString()} ${TOPOLOGY}`;
  bouncer.databases['alone'] =
    `${primary.connectionString()} topology_query='select endpoint from nodes where port = ${primary.port}'`;
  await bouncer.reload();
  await bouncer.waitForLog(/switchover app: the writer is/);
  await bouncer.waitForLog(/switchover alone: the writer is/);
  await bouncer.waitForLog(new RegExp(`switchover app: .*:${standby.port} is a reader`));
  const writer = await Writer.start(bouncer, 1, 'simple');
  const open = await bouncer.connect({ database: 'app' });
  await open.query('BEGIN; SET LOCAL synchronous_commit = off; INSERT INTO ledger VALUES (2, 1)');
  const done = bouncer.admin(`SWITCHOVER dev TO 127.0.0.1:${standby.port}`);
  await bouncer.waitForLog(/switchover app: SWITCHOVER TO .*; holding new transactions/);
  await open.query('COMMIT');
  await done;
  await open.query('INSERT INTO ledger VALUES (2, 2)');
  assert.deepEqual(await bouncer.sql('SELECT 1 AS one', { database: 'alone' }), [{ one: 1 }]);
  await writer.progress(5);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  const rows = await standby.sql('SELECT n FROM ledger WHERE writer = 2 ORDER BY n');
  assert.deepEqual(rows, [{ n: 1 }, { n: 2 }]);
});

test('a server from before the last change is checked before it is lent again', async (t) => {
  const { primary, bouncer } = await setUp(t, { settings: { default_pool_size: 1 } });
  await primary.configure({ settings: { log_statement: 'all' } });
  const [first, second] = [await bouncer.connect(), await bouncer.connect()];
  await primary.sql('CREATE ROLE other LOGIN');
  bouncer.userlist['other'] = '';
  await bouncer.reload();
  const other = await bouncer.connect({ user: 'other' });
  const [{ pid }] = (await other.query(WHERE)).rows as [{ pid: number }];
  await first.query('BEGIN');
  const next = second.query('SELECT 2');
  await until('the second to wait', async () => (await waiting(bouncer)) === 1);
  // a false alarm
  await primary.sql('SELECT pg_terminate_backend($1)', [pid]);
  await bouncer.waitForLog(/false alarm|is the writer again/);
  await first.query('COMMIT');
  await next;
  await primary.waitForLog(/CASE WHEN pg_is_in_recovery\(\) THEN 0 ELSE 1 END/);
});

test('the topology is requested again later if no node could be asked', async (t) => {
  let rounds = 0;
  const discovery = new Discovery({
    sql: '',
    refreshMs: () => 1,
    pools: () => {
      rounds++;
      return [];
    },
    onTopology: () => {},
    onFailure: () => {},
  });
  t.after(() => discovery.stop());
  discovery.refresh();
  await until('a second round', () => rounds > 1);
});

async function waiting(bouncer: {
  admin(text: string): Promise<Record<string, unknown>[]>;
}): Promise<number> {
  const rows = await bouncer.admin('SHOW POOLS');
  return rows
    .filter((row) => row['database'] === 'dev')
    .reduce((sum, row) => sum + Number(row['cl_waiting']), 0);
}

test('a refused write of a session is sent to a new writer, or its client gets the error if there is none', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, { settings: { pool_mode: 'session' } });
  const write = (n: number): string => `INSERT INTO ledger (writer, n) VALUES (1, ${n})`;
  const client = await RawClient.login(bouncer, { user: 'postgres', database: 'dev' });
  await client.query('CREATE TEMP TABLE mine (n int)');
  await client.query('SET default_transaction_read_only = on');
  // the second error arrives while the verdict on the first is pending
  client.send(raw.query(write(1)));
  client.send(raw.query('SELECT count(*) FROM mine'));
  const refused = await client.readUntil('Z');
  assert.deepEqual(refused.map((frame) => frame.type).join(''), 'EZ');
  assert.equal(raw.errorFields(refused[0]!)['C'], '25006');
  assert.equal((await client.readUntil('Z')).map((frame) => frame.type).join(''), 'TDCZ');
  client.send(raw.parse('', write(2)), raw.bind(), raw.execute(), raw.sync());
  assert.ok((await client.readUntil('Z')).some((frame) => frame.type === 'E'));
  await client.query('SET default_transaction_read_only = off');

  await standby.promote();
  await primary.configure({ settings: { default_transaction_read_only: 'on' } });
  const other = await bouncer.connect();
  await other.query(write(3));
  assert.equal((await other.query<{ port: number }>(WHERE)).rows[0]?.port, standby.port);
  assert.deepEqual(await standby.sql('SELECT n FROM ledger'), [{ n: 3 }]);
});
