/** Databases on the same servers: the parts that they share, and that none ends another's connections. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, test } from 'node:test';
import type { Cluster } from '../support/cluster.ts';
import { cancelRequest } from '../support/raw.ts';
import { until, within } from '../support/wait.ts';
import { setUp, TOPOLOGY } from './pair.ts';

const { primary, standby, bouncer } = await setUp(
  { after },
  {
    settings: { polling_frequency: 0.02, server_check_delay: 1000 },
  },
);
await primary.sql('CREATE DATABASE other');
await primary.sql('CREATE DATABASE closed ALLOW_CONNECTIONS false');
await standby.caughtUpWith(primary);
const servers = [primary, standby];
const entry = (dbname: string): string => `${primary.connectionString(dbname)} ${TOPOLOGY}`;

/** Connections at a server, except the test's own: their names and process ids. */
async function connections(cluster: Cluster): Promise<{ name: string; pid: number }[]> {
  return await cluster.sql<{ name: string; pid: number }>(
    `SELECT application_name AS name, pid FROM pg_stat_activity
      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`,
  );
}

async function probes(): Promise<number[]> {
  const pids: number[] = [];
  for (const server of servers)
    for (const { name, pid } of await connections(server)) if (name === 'pgswitchyard probe') pids.push(pid);
  return pids;
}

async function cancel(pid: number, secret: number): Promise<void> {
  const key = Buffer.alloc(4);
  key.writeInt32BE(secret);
  const socket = connect(bouncer.port, bouncer.host);
  socket.end(cancelRequest(pid, key));
  socket.resume();
  await once(socket, 'close');
}

async function known(count: number): Promise<void> {
  await until('the nodes of all databases to be known', async () => {
    const rows = await bouncer.admin('SHOW TOPOLOGY');
    return (
      rows.length === count * servers.length && rows.every(({ state }) => /serving|ready/.test(String(state)))
    );
  });
}

test('thirty databases on the same nodes cost as many connections as one', async () => {
  const perServer = async (): Promise<number[]> => {
    const counts: number[] = [];
    for (const server of servers) counts.push((await connections(server)).length);
    return counts;
  };
  // for each node one that asks, and one that is made in advance
  await until('the connections of one database', async () => (await perServer()).join() === '2,2');
  // two databases, one of them without a table of the nodes
  const ports = `unnest(array[${primary.port}, ${standby.port}])`;
  const query = `topology_query='select ''${primary.host}'' as endpoint, ${ports} as port'`;
  for (let i = 0; i < 29; i++)
    bouncer.databases[`db${i}`] =
      i < 15 ? entry('postgres') : `${primary.connectionString('other')} ${query}`;
  await bouncer.reload();
  await known(30);
  await until('nothing but that', async () => (await perServer()).join() === '2,2');
  assert.equal((await probes()).length, 2);
  const questions = async (): Promise<number> => {
    primary.markLog();
    const before = Date.now();
    await until('some polling periods to pass', () => Date.now() - before > 400);
    return primary.logCount(/statement: SELECT pg_is_in_recovery\(\) AS recovering/);
  };
  // twenty periods, whatever the number of databases is
  const count = await questions();
  assert.ok(count > 0 && count <= 22, `${count} questions`);
});

test('a database that is used has a connection to each node in advance, and gives it up again', async () => {
  const client = await bouncer.connect({ database: 'db7' });
  await client.query('SELECT 1');
  const inAdvance = async (): Promise<number> =>
    (await bouncer.admin('SHOW SERVERS')).filter(
      ({ database, port }) =>
        database === `db7@${standby.host}:${standby.port}` && Number(port) === standby.port,
    ).length;
  await until('a connection to the standby', async () => (await inAdvance()) === 1);
  await client.end();
  await bouncer.reload({ server_idle_timeout: 1 });
  await until('it to be given up', async () => (await inAdvance()) === 0);
  await bouncer.reload({ server_idle_timeout: undefined });
});

test('RELOAD and removal of one database leave the others their probes', async () => {
  const before = await probes();
  delete bouncer.databases['dev'];
  bouncer.databases['db0'] = `${entry('postgres')} pool_size=3`;
  bouncer.databases['db1'] = `${entry('postgres')} connect_query='select 1'`;
  await bouncer.reload();
  await known(29);
  assert.deepEqual(await probes(), before);
  assert.deepEqual(await bouncer.sql('SELECT 1 AS n', { database: 'db2' }), [{ n: 1 }]);
  bouncer.databases['dev'] = entry('postgres');
  for (let i = 0; i < 29; i++) delete bouncer.databases[`db${i}`];
  await bouncer.reload();
  await known(1);
});

test('a probe that is not let in to one database logs in to another', async () => {
  delete bouncer.databases['dev'];
  bouncer.databases['closed'] = entry('closed');
  bouncer.databases['missing'] = entry('missing');
  bouncer.databases['db0'] = entry('postgres');
  await bouncer.reload();
  await until('the writer to be known to each', async () => {
    const rows = await bouncer.admin('SHOW TOPOLOGY');
    const writers = rows.filter(({ role }) => role === 'writer').map(({ database }) => database);
    return writers.toSorted().join() === 'closed,db0,missing';
  });
  delete bouncer.databases['db0'];
  delete bouncer.databases['missing'];
  bouncer.databases['dev'] = entry('postgres');
  await bouncer.reload();
  assert.deepEqual(await bouncer.sql('SELECT 1 AS n', { database: 'dev' }), [{ n: 1 }]);
  delete bouncer.databases['closed'];
  await bouncer.reload();
  await known(1);
});

test('an administrator who leaves or cancels ends a SWITCHOVER that waits for a transaction', async () => {
  const open = await bouncer.connect({ database: 'dev' });
  const waiting = await bouncer.connect({ database: 'dev' });
  for (const how of ['leaves', 'cancels'] as const) {
    await open.query('BEGIN');
    bouncer.markLog();
    const admin = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });
    const answer = admin
      .query(`SWITCHOVER dev TO ${standby.host}:${standby.port}`)
      .catch((error: unknown) => error as Error);
    await bouncer.waitForLog(/holding new transactions/);
    const next = waiting.query('SELECT 1 AS n');
    if (how === 'leaves') {
      (admin as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
      await bouncer.waitForLog(/SWITCHOVER 'dev' TO .* failed: the administrator has left/);
    } else {
      const { processID, secretKey } = admin as unknown as { processID: number; secretKey: number };
      await cancel(processID, secretKey);
      assert.match(((await answer) as Error).message, /canceling statement/);
    }
    assert.deepEqual((await within('the client to go on', next)).rows, [{ n: 1 }]);
    await open.query('COMMIT');
  }
  const [row] = await bouncer.sql<{ port: number }>('SELECT inet_server_port() AS port', { database: 'dev' });
  assert.equal(row?.port, primary.port);
});

test('RELOAD with a changed entry while its host is down keeps the nodes that are known', async () => {
  await primary.stop('fast');
  await standby.promote();
  assert.deepEqual(await bouncer.sql('SELECT 1 AS n', { database: 'dev' }), [{ n: 1 }]);
  bouncer.databases['dev'] = `${entry('postgres')} connect_query='select 2'`;
  await bouncer.reload();
  const [row] = await within(
    'a login',
    bouncer.sql<{ port: number }>('SELECT inet_server_port() AS port', { database: 'dev' }),
  );
  assert.equal(row?.port, standby.port);
});
