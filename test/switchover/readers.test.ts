/** Readers: rules that see the nodes, names for the readers, and nodes that come and go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client } from 'pg';
import { until } from '../support/wait.ts';
import { planned, rejoin, setUp } from './pair.ts';

async function portOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ port: number }>('SELECT inet_server_port() AS port');
  return rows[0]!.port;
}

test('a rule sees roles and lag, and splits reads from writes', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    files: {
      'user-functions/routing_rules.ts': `export function routing_rules(_user, query, inTransaction, ctx) {
        if (inTransaction || !query.includes('port')) return null;
        const fresh = ctx.nodes.find((node) => node.role === 'reader' && node.lag_seconds <= 5);
        return query.includes('for update') ? 'dev@writer' : fresh?.name ?? null;
      }`,
    },
  });
  const client = await bouncer.connect();
  assert.equal(await portOf(client), standby.port);
  const { rows } = await client.query('SELECT inet_server_port() AS port /* for update */');
  assert.deepEqual(rows, [{ port: primary.port }]);
  // on a node that was named, the rule still sees the cluster
  assert.equal(await portOf(client), standby.port);
  assert.equal(await portOf(client), standby.port);
});

test('clients of the readers follow them: a reader dies, the last is promoted, the old writer comes back', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t, { standbys: 2 });
  const client = await bouncer.connect({ database: 'dev@readers' });
  const first = await portOf(client);
  const own = standbys.find((each) => each.port === first)!;
  const other = standbys.find((each) => each !== own)!;
  await own.stop();
  await bouncer.waitForLog(new RegExp(`:${own.port} does not answer`));
  assert.equal(await portOf(client), other.port);

  await planned(primary, other);
  const writer = await bouncer.connect();
  assert.equal(await portOf(writer), other.port);
  // no other node is there
  assert.equal(await portOf(client), other.port);

  await rejoin(primary, other);
  await bouncer.waitForLog(new RegExp(`:${primary.port} is a reader`));
  await until('the old writer to be read from', async () => (await portOf(client)) === primary.port);
  assert.equal(await portOf(writer), other.port);
  await until('it to follow the new timeline', async () => {
    const rows = await bouncer.admin('SHOW TOPOLOGY');
    return rows.find((row) => row['port'] === primary.port)?.['timeline'] === '2';
  });
});

test('recreate_disconnected_pools = 0: a failed node is not read from before RELOAD or NOTIFY TOPOLOGY', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    settings: { recreate_disconnected_pools: 0, server_failed_delay: 0 },
  });
  const client = await bouncer.connect({ database: 'dev@readers' });
  assert.equal(await portOf(client), standby.port);
  await standby.stop();
  await bouncer.waitForLog(/does not answer/);
  bouncer.markLog();
  await standby.start();
  await bouncer.waitForLog(new RegExp(`:${standby.port} is a reader`));
  assert.equal(await portOf(client), primary.port);
  await bouncer.admin('NOTIFY TOPOLOGY dev');
  assert.equal(await portOf(client), standby.port);
});

test('two standbys are promoted one after the other: the first stays, the second is fenced off', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t, { standbys: 2 });
  const [first, second] = standbys as [(typeof standbys)[0], (typeof standbys)[0]];
  const client = await bouncer.connect();
  assert.equal(await portOf(client), primary.port);
  // The old writer still runs: the higher timeline wins.
  await first.promote();
  await bouncer.waitForLog(
    new RegExp(`TWO WRITERS: .*:${first.port} .* is used, .*:${primary.port} .* is fenced off`),
  );
  assert.equal(await portOf(client), first.port);
  // Both are on timeline 2 now: the first one stays.
  await second.promote();
  await bouncer.waitForLog(
    new RegExp(`TWO WRITERS: .*:${first.port} .* is used, .*:${second.port} .* is fenced off`),
  );
  assert.equal(await portOf(client), first.port);
  const states = await bouncer.admin('SHOW TOPOLOGY');
  assert.deepEqual(
    new Map(states.map((row) => [row['port'], row['state']])),
    new Map([
      [primary.port, 'fenced'],
      [first.port, 'serving'],
      [second.port, 'fenced'],
    ]),
  );
});

test('statements move from a vanished reader to another; a terminated backend ends in its error', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t, { standbys: 2 });
  const reader = await bouncer.connect({ database: 'dev@readers' });
  const first = await portOf(reader);
  const own = standbys.find((each) => each.port === first)!;
  const other = standbys.find((each) => each !== own)!;
  const victim = await bouncer.connect({ database: `dev@127.0.0.1:${first}` });
  victim.on('error', () => {});
  const sleep = `SELECT inet_server_port() AS port, pg_sleep(CASE WHEN inet_server_port() = ${first} THEN 60 ELSE 0 END)`;
  const running = async (count: number): Promise<number[]> => {
    let pids: number[] = [];
    await until('the queries to run', async () => {
      const rows = await own.sql<{ pid: number }>(
        "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' ORDER BY query_start",
      );
      pids = rows.map((row) => row.pid);
      return pids.length === count;
    });
    return pids;
  };
  const ended = victim.query(sleep).catch((error: unknown) => (error as { code: string }).code);
  const [pid] = await running(1);
  await own.sql('SELECT pg_terminate_backend($1)', [pid]);
  assert.equal(await ended, '57P01');

  const moved = reader.query<{ port: number }>(sleep);
  await running(1);
  await own.stop();
  assert.equal((await moved).rows[0]?.port, other.port);
  const lost = reader
    .query('SELECT pg_sleep(60)')
    .catch((error: unknown) => (error as { code: string }).code);
  await until('the query to run', async () => {
    const rows = await other.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    return rows.length > 0;
  });
  await other.kill();
  assert.equal(await lost, '08007');
  assert.equal(await portOf(reader), primary.port);
});

test('clients that wait for a vanished reader continue on another', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    settings: { default_pool_size: 1, min_pool_size: 0 },
  });
  const busy = await bouncer.connect({ database: 'dev@readers' });
  const waiting = await bouncer.connect({ database: 'dev@readers' });
  await busy.query('BEGIN');
  assert.equal(await portOf(busy), standby.port);
  const answer = portOf(waiting);
  await until('the client to wait', async () =>
    (await bouncer.admin('SHOW POOLS')).some(
      (row) => row['database'] === `dev@127.0.0.1:${standby.port}` && row['cl_waiting'] === 1,
    ),
  );
  await standby.kill();
  assert.equal(await answer, primary.port);
});
