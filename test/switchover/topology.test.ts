/** Topology queries of docs/switchover.md that plain PostgreSQL can answer, and what is done with their answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { until } from '../support/wait.ts';
import { Cluster } from '../support/cluster.ts';
import { planned, setUp, TOPOLOGY } from './pair.ts';
import { parseTopology } from '../../src/switchover/topology.ts';

test('pg_stat_replication tells the standbys; a new one is connected, one that has gone is drained', async (t) => {
  const primary = await Cluster.start(t);
  // standbys connect from the address they listen on; here they have ports of their own, which their names tell
  const topology =
    `SELECT client_addr AS endpoint, substr(application_name, 9)::int AS port FROM pg_stat_replication
    UNION SELECT inet_server_addr(), inet_server_port()`.replaceAll(/\s+/g, ' ');
  const bouncer = await Bouncer.start(t, {
    databases: { dev: `${primary.connectionString()} topology_query='${topology}'` },
    settings: { pool_mode: 'transaction', auth_user: 'postgres', topology_refresh: 0.2 },
  });
  const nodes = async (): Promise<unknown[]> =>
    (await bouncer.admin('SHOW TOPOLOGY')).map((row) => row['port']).toSorted();
  await bouncer.waitForLog(new RegExp(`the writer is .*:${primary.port}`));
  assert.deepEqual(await nodes(), [primary.port]);
  const standby = await primary.createStandby();
  await bouncer.waitForLog(new RegExp(`:${standby.port} is a reader`));
  assert.deepEqual(await nodes(), [primary.port, standby.port].toSorted());
  await standby.remove();
  await bouncer.waitForLog(new RegExp(`node .*:${standby.port} has left the topology`));
  assert.deepEqual(await nodes(), [primary.port]);
});

test('the first query goes to the writer, although the configured host is a standby', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t);
  const standby = standbys[0]!;
  bouncer.databases['late'] = `${standby.connectionString()} ${TOPOLOGY}`;
  // nobody there is a writer: the configured host it is, as without a topology
  bouncer.databases['alone'] = `${standby.connectionString()} topology_query='SELECT inet_server_addr()'`;
  await bouncer.writeFiles();
  await bouncer.admin('RELOAD');
  const portOf = (database: string): Promise<unknown> =>
    bouncer.sql('SELECT inet_server_port() AS port', { database });
  assert.deepEqual(await Promise.all([portOf('late'), portOf('alone')]), [
    [{ port: primary.port }],
    [{ port: standby.port }],
  ]);
});

test('databases that come from the * entry have clusters of their own', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t);
  bouncer.databases['*'] = `host=${primary.host} port=${primary.port} ${TOPOLOGY}`;
  bouncer.settings['autodb_idle_timeout'] = 1;
  await bouncer.writeFiles();
  await bouncer.admin('RELOAD');
  const client = await bouncer.connect({ database: 'postgres' });
  const nodes = async (): Promise<unknown[]> =>
    (await bouncer.admin('SHOW TOPOLOGY')).filter((row) => row['database'] === 'postgres');
  await until('both nodes', async () => (await nodes()).length === 2);
  await planned(primary, standbys[0]!);
  const { rows } = await client.query('SELECT inet_server_port() AS port');
  assert.deepEqual(rows, [{ port: standbys[0]!.port }]);
  await client.end();
  await bouncer.admin('RECONNECT postgres');
  await bouncer.waitForLog(/dropping database 'postgres'/);
  assert.deepEqual(await nodes(), []);
});

test('a topology query that fails is an error in the log, and the configured host serves on', async (t) => {
  const primary = await Cluster.start(t);
  const bouncer = await Bouncer.start(t, {
    databases: {
      dev: `${primary.connectionString()} topology_query='SELECT endpoint FROM nowhere' connect_query='SET work_mem = ''7MB'''`,
    },
    settings: { pool_mode: 'transaction', auth_user: 'postgres' },
  });
  await bouncer.waitForLog(/topology query failed: .*relation "nowhere" does not exist.*; again in \d+ ms/);
  assert.deepEqual(await bouncer.sql('SHOW work_mem'), [{ work_mem: '7MB' }]);
  await primary.sql("CREATE TABLE nowhere AS SELECT '127.0.0.1' AS endpoint");
  await bouncer.admin('NOTIFY TOPOLOGY dev');
  await until('the topology to be read', async () => {
    const rows = await bouncer.admin('SHOW TOPOLOGY');
    return rows.length === 1 && rows[0]!['state'] === 'serving';
  });
});

test('of several columns named `endpoint` the first counts', async (t) => {
  const primary = await Cluster.start(t);
  const bouncer = await Bouncer.start(t, {
    databases: {
      dev: `${primary.connectionString()} topology_query='SELECT ''localhost'' AS endpoint, ''::1'' AS endpoint'`,
    },
    settings: { auth_user: 'postgres' },
  });
  await bouncer.waitForLog(/node localhost:\d+ found by the topology query/);
});

test('the column `endpoint`, or the only one, is a host; a port, a role and a status may be beside it', () => {
  assert.deepEqual(parseTopology([{ endpoint: 'a', port: '7', role: 'blue', status: null }]), [
    { host: 'a', port: 7, role: 'BLUE', status: null },
  ]);
  assert.deepEqual(
    parseTopology([{ server: '10.0.0.1/32' }, { server: 'fe80::1/128' }, { server: null }]).map(
      (row) => row.host,
    ),
    ['10.0.0.1', 'fe80::1'],
  );
  assert.throws(() => parseTopology([]), /no rows/);
  assert.throws(() => parseTopology([{ a: '1', b: '2' }]), /no column "endpoint" \(a, b\)/);
  assert.throws(() => parseTopology([{ endpoint: 'a', port: 'x' }]), /port "x"/);
});
