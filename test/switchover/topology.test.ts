/** Topology queries of docs/switchover.md that plain PostgreSQL can answer, and the use of their answers. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Bouncer } from '../support/bouncer.ts';
import { until } from '../support/wait.ts';
import { Cluster } from '../support/cluster.ts';
import { noPsql } from '../support/psql.ts';
import { planned, setUp, TOPOLOGY } from './pair.ts';
import { parseTopology } from '../../src/switchover/topology.ts';

test('standbys from pg_stat_replication: new ones are connected, vanished ones are drained', async (t) => {
  const primary = await Cluster.start(t);
  // standbys connect from the address that they listen on; here they have ports of their own, which their names contain
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
  const { primary, standby, bouncer } = await setUp(t);
  bouncer.databases['late'] = `${standby.connectionString()} ${TOPOLOGY}`;
  // no writer there: the configured host serves, as without a topology
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
  const { primary, standby, bouncer } = await setUp(t);
  bouncer.databases['*'] = `host=${primary.host} port=${primary.port} ${TOPOLOGY}`;
  bouncer.settings['autodb_idle_timeout'] = 1;
  await bouncer.writeFiles();
  await bouncer.admin('RELOAD');
  const client = await bouncer.connect({ database: 'postgres' });
  const nodes = async (): Promise<unknown[]> =>
    (await bouncer.admin('SHOW TOPOLOGY')).filter((row) => row['database'] === 'postgres');
  await until('both nodes', async () => (await nodes()).length === 2);
  await planned(primary, standby);
  const { rows } = await client.query('SELECT inet_server_port() AS port');
  assert.deepEqual(rows, [{ port: standby.port }]);
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

test('the first of several columns named `endpoint` counts', async (t) => {
  const primary = await Cluster.start(t);
  const bouncer = await Bouncer.start(t, {
    databases: {
      dev: `${primary.connectionString()} topology_query='SELECT ''localhost'' AS endpoint, ''::1'' AS endpoint'`,
    },
    settings: { auth_user: 'postgres' },
  });
  await bouncer.waitForLog(/node localhost:\d+ found by the topology query/);
});

function answer(columns: string[], ...rows: (string | null)[][]): Parameters<typeof parseTopology>[0] {
  return { columns, rows };
}

test('the column `endpoint`, or the only one, is a host; a port, a role and a status may be beside it', () => {
  const said = answer(['endpoint', 'port', 'role', 'status'], ['a', '7', 'blue', null]);
  assert.deepEqual(parseTopology(said).rows, [{ host: 'a', port: 7, role: 'BLUE', status: null }]);
  const { rows, hostless } = parseTopology(answer(['server'], ['10.0.0.1/32'], ['fe80::1/128'], [null]));
  assert.deepEqual(
    rows.map((row) => row.host),
    ['10.0.0.1', 'fe80::1'],
  );
  assert.equal(hostless, 1);
  assert.throws(() => parseTopology(answer(['a'])), /no rows/);
  assert.throws(() => parseTopology(answer(['a', 'b'], ['1', '2'])), /no column "endpoint" \(a, b\)/);
  assert.throws(() => parseTopology(answer(['endpoint', 'port'], ['a', 'x'])), /port "x"/);
});

test('columns without names count by position: a host, then a port', () => {
  const none = { role: null, status: null };
  assert.deepEqual(parseTopology(answer(['?column?', '?column?'], ['a', '7'], ['b', null])).rows, [
    { host: 'a', port: 7, ...none },
    { host: 'b', port: null, ...none },
  ]);
  assert.deepEqual(parseTopology(answer(['client_addr', '?column?'], ['10.0.0.1/32', '7'])).rows, [
    { host: '10.0.0.1', port: 7, ...none },
  ]);
  assert.deepEqual(parseTopology(answer(['?column?', 'role', 'port'], ['a', 'blue', '7'])).rows, [
    { host: 'a', port: 7, role: 'BLUE', status: null },
  ]);
  assert.throws(() => parseTopology(answer(['?column?', '?column?'], ['a', 'b'])), /port "b"/);
});

test('a topology query without column names finds its nodes', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    database: (cluster) =>
      `${cluster.connectionString()} topology_query='select endpoint || '''', port + 0 from nodes'`,
  });
  const rows = await bouncer.admin('SHOW TOPOLOGY');
  assert.deepEqual(new Set(rows.map((row) => row['port'])), new Set([primary.port, standby.port]));
});

test('a topology query without the right to see addresses names it, and finds the nodes once it is granted', async (t) => {
  const primary = await Cluster.start(t, { sql: 'CREATE ROLE watcher LOGIN' });
  const standby = await primary.createStandby();
  const seen =
    "select client_addr as endpoint, nullif(substr(application_name, 9), '''')::int as port from pg_stat_replication";
  const entry = (more: string): string =>
    `${primary.connectionString()} topology_query='${seen.replaceAll(/(?<!')'(?!')/g, "''")}${more}'`;
  const bouncer = await Bouncer.start(t, {
    databases: {
      dev: entry(' union select inet_server_addr(), inet_server_port()'),
      // without any address it counts as no answer
      alone: entry(''),
    },
    settings: { pool_mode: 'transaction', auth_user: 'watcher', topology_refresh: 0.2 },
  });
  await bouncer.waitForLog(
    /switchover dev: the topology query returned 1 row without a host: "watcher" may not see .*GRANT pg_monitor TO "watcher"/,
  );
  await bouncer.waitForLog(/switchover alone: topology query failed: .*GRANT pg_monitor TO "watcher"/);
  const ports = async (): Promise<unknown[]> =>
    (await bouncer.admin('SHOW TOPOLOGY'))
      .filter((row) => row['database'] === 'dev')
      .map((row) => row['port']);
  assert.deepEqual(await ports(), [primary.port]);
  await primary.sql('GRANT pg_monitor TO watcher');
  await until('the standby to be found', async () => (await ports()).includes(standby.port));
  // known nodes stay when the right is taken away again
  bouncer.markLog();
  await primary.sql('REVOKE pg_monitor FROM watcher');
  await bouncer.waitForLog(/switchover dev: .*without a host/);
  assert.ok((await ports()).includes(standby.port));
});

test("Patroni's callback, as the manual prints it, is taken", { skip: noPsql }, async (t) => {
  const manual = readFileSync(join(import.meta.dirname, '../../docs/switchover.md'), 'utf8');
  const command = /on_role_change: (psql .*)/.exec(manual)?.[1];
  // beside the callback, not in the page's whole ini
  const admins = [...manual.matchAll(/^admin_users = (.*)$/gm)].at(-1)?.[1];
  assert.ok(command !== undefined && admins !== undefined);
  const primary = await Cluster.start(t, { sql: 'CREATE TABLE nodes (endpoint text, port int)' });
  const bouncer = await Bouncer.start(t, {
    databases: { dev: `${primary.connectionString()} ${TOPOLOGY}` },
    settings: { admin_users: admins, auth_type: 'scram-sha-256', auth_user: 'postgres' },
    userlist: { [admins]: 'a secret' },
  });
  const here = command.replace('-h proxy', '-h 127.0.0.1').replace('-p 6432', `-p ${bouncer.port}`);
  // Patroni splits it as a shell does, and appends the event, the role and the cluster's name
  const { stdout } = await promisify(execFile)('sh', ['-c', `${here} on_role_change primary batman`], {
    env: { ...process.env, PGPASSWORD: 'a secret', PSQLRC: '/nonexistent' },
  });
  assert.match(stdout, /NOTIFY/);
});
