/** Standbys that no longer follow the writer: nothing is read from them, and the log, the console and rules show it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client } from 'pg';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster, type Row } from '../support/cluster.ts';
import { removeFolder, temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { until } from '../support/wait.ts';
import { planned, rejoin, setUp } from './pair.ts';

async function nodeAt(bouncer: Bouncer, { port }: Cluster): Promise<Row> {
  return (await bouncer.admin('SHOW TOPOLOGY')).find((row) => row['port'] === port)!;
}

async function untilState(bouncer: Bouncer, cluster: Cluster, state: string): Promise<Row> {
  return await until(`:${cluster.port} to be ${state}`, async () => {
    const row = await nodeAt(bouncer, cluster);
    return row['state'] === state ? row : null;
  });
}

/** A receiver that has lost its sender tries again soon. */
const QUICK = { wal_retrieve_retry_interval: '100ms' };

const RULE = `export const routing_rules = (user, query, inTransaction, ctx) => {
  if (!query.startsWith('SELECT 1 AS seen')) return null;
  const node = ctx.nodes.find((each) => each.state === 'orphaned');
  return node !== undefined && node.lag_seconds === null && node.lag_bytes === null && node.role === 'reader'
    ? node.name : null;
};`;

test('a standby that keeps following the old writer is orphaned until it is pointed to the new one', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t, {
    standbys: 2,
    postgres: QUICK,
    settings: { routing_rules_file: 'rules/routing_rules.ts' },
    files: { 'rules/routing_rules.ts': RULE },
  });
  const [next, left] = standbys as [Cluster, Cluster];
  const reader = await bouncer.connect({ database: 'dev@readers' });
  const portOf = async (client: Client): Promise<unknown> =>
    (await client.query<{ port: number }>('SELECT inet_server_port() AS port')).rows[0]?.port;
  // in session pooling, too, and in the middle of a session
  const sessions = await Bouncer.start(t, {
    databases: bouncer.databases,
    settings: { pool_mode: 'session', auth_user: 'postgres', polling_frequency: 0.1 },
  });
  await untilState(sessions, left, 'ready');
  const session = await until('a session with the one that is left', async () => {
    const client = await sessions.connect({ database: 'dev@readers' });
    return (await portOf(client)) === left.port ? client : null;
  });
  await bouncer.admin(`SWITCHOVER dev TO 127.0.0.1:${next.port}`);
  await untilState(sessions, left, 'orphaned');
  assert.equal(await portOf(session), next.port);
  const row = await untilState(bouncer, left, 'orphaned');
  assert.deepEqual([row['role'], row['lag_bytes'], row['lag_seconds']], ['reader', null, null]);
  assert.match(
    String(row['error']),
    /is on timeline 1, streams from 127.0.0.1:\d+, the writer .* is on timeline 2/,
  );
  await bouncer.waitForLog(
    new RegExp(
      `ORPHANED: 127.0.0.1:${left.port} .*primary_conninfo = 'host=127.0.0.1 port=${next.port}.*pg_rewind`,
    ),
  );
  // no other reader is left: the writer
  assert.equal(await portOf(reader), next.port);
  // rules see it
  assert.deepEqual(
    (await (await bouncer.connect()).query('SELECT 1 AS seen, inet_server_port() AS port')).rows,
    [{ seen: 1, port: left.port }],
  );

  const [fenced] = [await nodeAt(bouncer, primary)];
  assert.deepEqual([fenced['role'], fenced['state']], ['unknown', 'fenced']);

  await left.follow(next);
  const back = await untilState(bouncer, left, 'ready');
  assert.equal(back['timeline'], '2');
  await until('reads to go there again', async () => (await portOf(reader)) === left.port);
});

test('after a crash a standby without a sender is orphaned; a cascading one follows its own', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t, { standbys: 2, postgres: QUICK });
  const [next, left] = standbys as [Cluster, Cluster];
  await left.follow(next);
  const streams = async (): Promise<unknown> =>
    (await left.sql('SELECT sender_port AS port FROM pg_stat_wal_receiver'))[0]?.['port'] === next.port;
  await until('the cascade', streams);
  await primary.kill();
  await next.promote();
  await bouncer.waitForLog(new RegExp(`the writer is 127.0.0.1:${next.port}`));
  await next.sql('CREATE TABLE later AS SELECT 1 AS n');
  await until('the cascading standby to follow', async () => {
    const row = await nodeAt(bouncer, left);
    return row['timeline'] === '2' && row['state'] === 'ready' && row['lag_bytes'] === '0';
  });
  assert.ok(!bouncer.logContains(/ORPHANED/));

  // it has no sender
  left.server.settings['primary_conninfo'] = '';
  await left.configure({});
  const row = await untilState(bouncer, left, 'orphaned');
  assert.match(String(row['error']), /has no WAL receiver/);
  const { rows } = await (
    await bouncer.connect({ database: 'dev@readers' })
  ).query('SELECT inet_server_port() AS port');
  assert.deepEqual(rows, [{ port: next.port }]);
});

test("lag is measured against the writer's position, also where replay is paused", async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  await standby.sql('SELECT pg_wal_replay_pause()');
  await primary.sql('CREATE TABLE later AS SELECT generate_series(1, 1000) AS n');
  await until('the lag to be seen', async () => {
    const row = await nodeAt(bouncer, standby);
    return row['state'] === 'paused' && Number(row['lag_bytes']) > 1000 && Number(row['lag_seconds']) > 0.2;
  });
  await standby.sql('SELECT pg_wal_replay_resume()');
  await until('it to be gone', async () => {
    const row = await nodeAt(bouncer, standby);
    return row['state'] === 'ready' && row['lag_bytes'] === '0' && Number(row['lag_seconds']) === 0;
  });
});

test('a role without pg_monitor sees lag and readers, too', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    settings: { auth_user: 'watcher', polling_frequency: 0.05 },
    sql: 'CREATE ROLE watcher LOGIN; GRANT SELECT ON nodes TO watcher',
  });
  const row = await untilState(bouncer, standby, 'ready');
  assert.equal(row['timeline'], '1');
  await planned(primary, standby);
  await bouncer.waitForLog(new RegExp(`the writer is 127.0.0.1:${standby.port} \\(was`));
  await rejoin(primary, standby);
  await primary.caughtUpWith(standby);
  const back = await until('the old writer to be read from', async () => {
    const found = await nodeAt(bouncer, primary);
    return found['state'] === 'ready' ? found : null;
  });
  assert.equal(back['role'], 'reader');
  assert.ok(!bouncer.logContains(/ORPHANED/));
});

test('a standby that restores WAL from an archive is read from, and its lag is that of the archive', async (t) => {
  const archive = await temporaryFolder('archive');
  t.after(() => removeFolder(archive));
  const { primary, standby, bouncer } = await setUp(t, {
    postgres: { archive_mode: 'on', archive_command: `cp %p ${archive}/%f`, ...QUICK },
  });
  standby.server.settings['primary_conninfo'] = '';
  standby.server.settings['restore_command'] = `cp ${archive}/%f %p 2>/dev/null`;
  await standby.configure({});
  await until('the receiver to end', async () => {
    const rows = await standby.sql('SELECT 1 FROM pg_stat_wal_receiver');
    return rows.length === 0;
  });
  await primary.sql('CREATE TABLE later AS SELECT generate_series(1, 1000) AS n');
  await until(
    'the lag to be seen',
    async () => Number((await nodeAt(bouncer, standby))['lag_seconds']) > 0.3,
  );
  assert.equal((await nodeAt(bouncer, standby))['state'], 'ready');
  await primary.sql('SELECT pg_switch_wal()');
  await until('the segment to be replayed', async () => {
    const rows = await standby.sql("SELECT 1 FROM pg_class WHERE relname = 'later'");
    return rows.length > 0;
  });
  assert.equal((await nodeAt(bouncer, standby))['state'], 'ready');
  // the missing WAL of the archive is not known yet
  await assert.rejects(
    bouncer.admin(`SWITCHOVER dev TO 127.0.0.1:${standby.port}`),
    /has no WAL receiver: it does not follow/,
  );
});
