/** Clusters on the console, and as names that routing functions and clients may use. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/wait.ts';
import { planned, setUp, TOPOLOGY, Writer } from './pair.ts';

interface TopologyRow extends Record<string, unknown> {
  node: string;
  role: string;
  state: string;
  timeline: string;
  lag_bytes: string | null;
}

test('SHOW TOPOLOGY, SHOW SWITCHOVERS and NOTIFY TOPOLOGY', async (t) => {
  const { primary, standby, standbys, bouncer } = await setUp(t, {
    standbys: 2,
    settings: { topology_refresh: 60 },
  });
  const rows = await bouncer.admin<TopologyRow>('SHOW TOPOLOGY');
  const byNode = new Map(rows.map((row) => [row.node, row]));
  const writer = byNode.get(`127.0.0.1:${primary.port}`);
  assert.equal(writer?.role, 'writer');
  assert.equal(writer.state, 'serving');
  for (const { port } of standbys) {
    const reader = byNode.get(`127.0.0.1:${port}`);
    assert.equal(reader?.role, 'reader');
    assert.equal(reader.state, 'ready');
    assert.match(reader.lag_bytes ?? '', /^\d+$/);
  }
  assert.deepEqual(await bouncer.admin('SHOW SWITCHOVERS'), []);

  await planned(primary, standby);
  const client = await bouncer.connect();
  await client.query('SELECT 1');
  const [entry] = await bouncer.admin('SHOW SWITCHOVERS');
  assert.equal(entry?.['from'], `127.0.0.1:${primary.port}`);
  assert.equal(entry['to'], `127.0.0.1:${standby.port}`);
  assert.ok(Number(entry['writer_found_ms']) > 0);

  // a removed node is drained, and one probe is enough to see it
  await standby.sql('DELETE FROM nodes WHERE port = $1', [standbys[1]!.port]);
  await bouncer.admin('NOTIFY TOPOLOGY dev');
  await bouncer.waitForLog(new RegExp(`node .*:${standbys[1]!.port} has left the topology`));
});

test('dev@writer, dev@readers and a node are databases', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t, {
    standbys: 2,
    database: (cluster) =>
      `${cluster.connectionString()} reader_database=reports topology_query='select endpoint, port from nodes'`,
  });
  const portOf = async (database: string): Promise<number | undefined> =>
    (await bouncer.sql<{ port: number }>('SELECT inet_server_port() AS port', { database }))[0]?.port;
  assert.equal(await portOf('dev@writer'), primary.port);
  assert.equal(await portOf(`dev@127.0.0.1:${standbys[1]!.port}`), standbys[1]!.port);
  for (const name of ['dev@readers', 'reports']) {
    const seen = new Set([await portOf(name), await portOf(name)]);
    assert.deepEqual(seen, new Set(standbys.map((each) => each.port)));
  }
  await assert.rejects(portOf('dev@nobody'));

  // connections are made in advance
  await until('a connection to each node', async () => {
    const pools = await bouncer.admin('SHOW POOLS');
    return [primary, ...standbys].every(({ port }) =>
      pools.some((row) => row['database'] === `dev@127.0.0.1:${port}` && Number(row['sv_idle']) >= 1),
    );
  });
});

test('SWITCHOVER waits for transactions and promotes, and clients notice nothing', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const writers = await Promise.all([1, 2, 3].map((id) => Writer.start(bouncer, id, 'extended')));
  const open = await bouncer.connect();
  await open.query('BEGIN');
  await open.query('INSERT INTO ledger (writer, n) VALUES (50, 1)');
  const done = bouncer.admin(`SWITCHOVER dev TO 127.0.0.1:${standby.port}`);
  await bouncer.waitForLog(/SWITCHOVER TO .*; holding new transactions/);
  await open.query('COMMIT');
  await done;
  await Promise.all(writers.map((each) => each.progress(10)));
  await Promise.all(writers.map((each) => each.stop()));
  for (const writer of writers) {
    assert.deepEqual(writer.errors, []);
    assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  }
  assert.deepEqual(await standby.sql('SELECT n FROM ledger WHERE writer = 50'), [{ n: 1 }]);
  // the old one does not know, and is kept away from clients
  assert.deepEqual(await primary.sql('SELECT pg_is_in_recovery() AS recovering'), [{ recovering: false }]);
  await bouncer.waitForLog(/TWO WRITERS/);
  await assert.rejects(bouncer.admin('SWITCHOVER dev TO nowhere'), /switchover failed: no such node/);
  await assert.rejects(
    bouncer.admin('SWITCHOVER other TO nowhere'),
    /no such database with a topology_query: other/,
  );
});

test('SWITCHOVER gives up where a transaction does not end, and everything is as before', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, { settings: { switchover_timeout: 0.5 } });
  const [open, other] = [await bouncer.connect(), await bouncer.connect()];
  await open.query('BEGIN');
  const command = bouncer.admin(`SWITCHOVER dev TO 127.0.0.1:${standby.port}`);
  command.catch(() => {});
  await bouncer.waitForLog(/holding new transactions/);
  const waiting = other.query('SELECT 1');
  waiting.catch(() => {});
  await assert.rejects(command, /transactions are still open/);
  await waiting;
  assert.deepEqual(await bouncer.sql('SELECT inet_server_port() AS port'), [{ port: primary.port }]);
  await open.query('COMMIT');
});

test('a SWITCHOVER that can not be done leaves everything as it was', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    settings: { switchover_timeout: 0.5, auth_user: 'watcher' },
    database: (cluster) => `${cluster.connectionString()} ${TOPOLOGY}`,
    sql: 'CREATE ROLE watcher LOGIN; GRANT SELECT ON nodes TO watcher',
  });
  const writer = await Writer.start(bouncer, 1, 'extended');
  await writer.progress(5);
  const target = `127.0.0.1:${standby.port}`;
  await assert.rejects(bouncer.admin(`SWITCHOVER dev TO 127.0.0.1:${primary.port}`), /is the writer already/);
  await assert.rejects(
    bouncer.admin(`SWITCHOVER dev TO ${target}`),
    /permission denied for function pg_promote/,
  );
  await writer.progress(5);
  await standby.sql('SELECT pg_wal_replay_pause()');
  await writer.progress(5);
  await assert.rejects(bouncer.admin(`SWITCHOVER dev TO ${target}`), /lags behind/);
  await writer.progress(5);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  assert.deepEqual(await writer.audit(primary), { missing: [], doubled: [] });
  assert.deepEqual(await standby.sql('SELECT pg_is_in_recovery() AS recovering'), [{ recovering: true }]);
  assert.deepEqual(await bouncer.admin('SHOW SWITCHOVERS'), []);
});
