/** Replication connections. */
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { after, test } from 'node:test';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { removeFolder, temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster, noPostgres15 } from '../support/cluster.ts';
import { RawClient, copyData, copyDone, errorFields, query, rowValues, startup } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const run = promisify(execFile);
const noTools: string | false =
  noPostgres15 ||
  (spawnSync('pg_receivewal', ['--version']).status === 0
    ? false
    : 'pg_basebackup and its relatives are not on PATH (Debian: apt-get install postgresql-client-15)');

let cluster: Cluster;
let bouncer: Bouncer;
if (!noTools) {
  cluster = await Cluster.start(
    { after },
    { version: 15, settings: { wal_level: 'logical', max_wal_senders: '10', wal_sender_timeout: '5s' } },
  );
  bouncer = await Bouncer.start(
    { after },
    {
      databases: {
        postgres: cluster.connectionString(),
        // the name that tools for physical replication give the database
        replication: cluster.connectionString(),
        limited: `${cluster.connectionString()} max_db_connections=3`,
        single: `${cluster.connectionString()} max_db_connections=1`,
        small: `${cluster.connectionString()} pool_size=1`,
        fresh: `${cluster.connectionString()} pool_size=2`,
      },
      settings: { pool_mode: 'transaction' },
      userlist: { plain: '' },
    },
  );
}

const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  PGHOST: bouncer.host,
  PGPORT: String(bouncer.port),
  PGUSER: 'postgres',
  LC_ALL: 'C',
});

const senders = async (): Promise<number> =>
  Number(
    (
      await cluster.sql<{ n: string }>(
        "select count(*) n from pg_stat_activity where backend_type = 'walsender'",
      )
    )[0]!.n,
  );
const noSenders = (): Promise<unknown> =>
  until('the WAL senders to end', async () => (await senders()) === 0);

test('pg_basebackup copies the cluster', { skip: noTools }, async (t) => {
  const folder = await temporaryFolder('backup');
  t.after(() => removeFolder(folder));
  const target = join(folder, 'data');
  await run('pg_basebackup', ['-D', target, '-X', 'stream', '-c', 'fast'], {
    env: environment(),
  });
  assert.equal(readFileSync(join(target, 'PG_VERSION'), 'utf8').trim(), '15');
  await noSenders();
});

test('pg_receivewal streams, and its server ends with it', { skip: noTools }, async (t) => {
  const folder = await temporaryFolder('wal');
  t.after(() => removeFolder(folder));
  const child = spawn('pg_receivewal', ['-D', folder, '--no-loop'], {
    env: environment(),
    stdio: 'ignore',
  });
  t.after(() => child.kill('SIGKILL'));
  const received = (name: RegExp): boolean => readdirSync(folder).some((file) => name.test(file));
  await until('WAL to arrive', async () => {
    await cluster.sql("select pg_logical_emit_message(false, 'test', 'something')");
    return received(/\.partial$/);
  });
  await cluster.sql('create table written (n int); select pg_switch_wal()');
  await until('a whole segment', () => received(/^[0-9A-F]{24}$/));
  const shown = await bouncer.admin<Record<string, unknown>>('SHOW SERVERS');
  assert.deepEqual(
    shown.map((row) => [row['replication'], row['state']]),
    [['physical', 'active']],
  );
  child.kill('SIGINT');
  await noSenders();
  assert.equal((await bouncer.admin('SHOW SERVERS')).length, 0);
});

test('pg_recvlogical streams changes', { skip: noTools }, async (t) => {
  const folder = await temporaryFolder('logical');
  t.after(() => removeFolder(folder));
  const file = join(folder, 'out');
  const args = ['-d', 'dbname=postgres', '--slot=s1'];
  await run('pg_recvlogical', [...args, '--create-slot', '-P', 'test_decoding'], { env: environment() });
  const child = spawn('pg_recvlogical', [...args, '--start', '-f', file, '-F', '1', '--no-loop'], {
    env: environment(),
    stdio: 'ignore',
  });
  t.after(() => child.kill('SIGKILL'));
  await cluster.sql('create table moved (n int); insert into moved select generate_series(1, 2000)');
  await until(
    'the changes',
    () => existsSync(file) && readFileSync(file, 'utf8').includes('n[integer]:2000'),
  );
  child.kill('SIGINT');
  await noSenders();
  await run('pg_recvlogical', [...args, '--drop-slot'], { env: environment() });
});

test(
  'start-up parameters and options reach the server; ordinary queries work',
  { skip: noTools },
  async () => {
    const raw = await RawClient.connect(bouncer);
    raw.send(
      startup({
        user: 'postgres',
        database: 'postgres',
        replication: 'database',
        application_name: 'sub-1',
        options: '-c extra_float_digits=2 -c datestyle=German',
      }),
    );
    const hello = await raw.readUntil('Z');
    assert.ok(
      hello.some(
        (frame) => frame.type === 'S' && frame.payload.toString().startsWith('application_name\0sub-1'),
      ),
    );
    const rows = await raw.query(
      "select current_setting('extra_float_digits'), current_setting('datestyle')",
    );
    assert.deepEqual(rows.filter((frame) => frame.type === 'D').map(rowValues), [['2', 'German, DMY']]);
    raw.destroy();
    await noSenders();
  },
);

test('a client can end CopyBoth and keep using the connection', { skip: noTools }, async () => {
  const raw = await RawClient.login(bouncer, { user: 'postgres', database: 'postgres', replication: 'true' });
  const system = await raw.query('IDENTIFY_SYSTEM');
  const position = rowValues(system.find((frame) => frame.type === 'D')!)[2]!;
  raw.send(query(`START_REPLICATION PHYSICAL ${position}`));
  await raw.readUntil('W');
  // standby status update
  raw.send(copyData(Buffer.concat([Buffer.from('r'), Buffer.alloc(33)])), copyDone());
  await raw.readUntil('Z');
  assert.equal((await raw.query('IDENTIFY_SYSTEM')).at(-1)?.type, 'Z');
  raw.destroy();
  await noSenders();
});

test('RECONNECT ends a replication connection in the middle of its stream', { skip: noTools }, async () => {
  const raw = await RawClient.login(bouncer, { user: 'postgres', database: 'postgres', replication: 'true' });
  const system = await raw.query('IDENTIFY_SYSTEM');
  raw.send(query(`START_REPLICATION PHYSICAL ${rowValues(system.find((frame) => frame.type === 'D')!)[2]!}`));
  await raw.readUntil('W');
  await bouncer.admin('RECONNECT postgres');
  await bouncer.admin('WAIT_CLOSE postgres');
  const error = (await raw.readToEnd()).findLast((frame) => frame.type === 'E');
  assert.equal(error && errorFields(error)['M'], 'database configuration changed');
  await noSenders();
});

test(
  'it counts in pool_size: it takes an idle place, and waits for one that is in use',
  { skip: noTools },
  async () => {
    await bouncer.sql('select 1', { database: 'small' });
    const first = await RawClient.login(bouncer, {
      user: 'postgres',
      database: 'small',
      replication: 'database',
    });
    bouncer.markLog();
    const second = await RawClient.connect(bouncer);
    second.send(startup({ user: 'postgres', database: 'small', replication: 'database' }));
    await bouncer.waitForLog(/login attempt: db=small user=postgres .*replication=database/);
    assert.equal(
      (await bouncer.admin('SHOW SERVERS')).filter((row) => row['database'] === 'small').length,
      1,
    );
    first.destroy();
    await second.readUntil('Z');
    second.destroy();
    await noSenders();
  },
);

test('pool_size holds in a pool that never had an ordinary client', { skip: noTools }, async (t) => {
  const connect = async (more: Record<string, string>): Promise<RawClient> => {
    const client = await RawClient.connect(bouncer);
    t.after(() => client.destroy());
    client.send(startup({ user: 'postgres', database: 'fresh', ...more }));
    return client;
  };
  for (const replication of ['database', 'true']) {
    const two = [await connect({ replication }), await connect({ replication })];
    for (const client of two) await client.readUntil('Z');
    const waiting = [await connect({ replication }), await connect({ replication })];
    await until('two to wait', async () => {
      const [row] = (await bouncer.admin('SHOW POOLS')).filter((each) => each['database'] === 'fresh');
      return Number(row?.['cl_waiting']) === 2;
    });
    // the console's commands make the pool look again
    await bouncer.admin('RESUME').catch(() => {});
    assert.equal(await senders(), 2, replication);
    two[0]!.destroy();
    await Promise.race(waiting.map((client) => client.readUntil('Z')));
    assert.equal(await senders(), 2, replication);
    for (const client of [...two, ...waiting]) client.destroy();
    await noSenders();
    await until('the pool to be empty', async () => {
      const rows = await bouncer.admin('SHOW SERVERS');
      return rows.every((each) => each['database'] !== 'fresh');
    });
  }
  // an ordinary client joins them: it needs the settings that a server reports
  const full = [await connect({ replication: 'true' }), await connect({ replication: 'true' })];
  for (const client of full) await client.readUntil('Z');
  const ordinary = await connect({});
  await ordinary.readUntil('Z');
  assert.equal(await senders(), 2);
});

test(
  "a server's refusal of a replication connection affects that client only",
  { skip: noTools },
  async () => {
    await cluster.sql('create role plain login');
    const ordinary = await bouncer.connect({ user: 'plain' });
    const raw = await RawClient.connect(bouncer);
    raw.send(startup({ user: 'plain', database: 'postgres', replication: 'true' }));
    const refusal = (await raw.readToEnd()).find((frame) => frame.type === 'E')!;
    const { C: code, M: text, D: detail } = errorFields(refusal);
    assert.deepEqual([code, text], ['08P01', 'login failed']);
    assert.match(detail!, /^(permission denied to start WAL sender|must be superuser or replication role)/);
    assert.ok(
      bouncer.logContains(new RegExp(`S-0x\\w+: \\S+ closing because: ${detail!.split('\n')[0]} \\(age`)),
    );
    assert.ok(bouncer.logContains(/C-0x\w+: \S+ closing because: login failed \(age/));
    assert.equal((await ordinary.query('select 7 as n')).rows[0].n, 7);
    const again = await bouncer.sql<{ n: number }>('select 8 as n', { user: 'plain' });
    assert.equal(again[0]!.n, 8);
  },
);

test('a replication parameter that is not a boolean is refused', { skip: noTools }, async () => {
  const raw = await RawClient.connect(bouncer);
  raw.send(startup({ user: 'postgres', database: 'postgres', replication: 'maybe' }));
  const [error] = await raw.readToEnd();
  assert.equal(errorFields(error!)['M'], 'invalid value for parameter "replication": "maybe"');
});

test('CREATE SUBSCRIPTION through the proxy', { skip: noTools }, async (t) => {
  const subscriber = await Cluster.start(t, { sql: 'create table shared (n int)' });
  await cluster.sql('create table shared (n int); create publication p for table shared');
  await cluster.sql('insert into shared values (1)');
  const target = `host=${bouncer.host} port=${bouncer.port} user=postgres dbname=limited`;
  await subscriber.sql(`create subscription s connection '${target}' publication p`);
  await cluster.sql('insert into shared values (2)');
  await until('both rows', async () => {
    const rows = await subscriber.sql<{ n: number }>('select n from shared order by n');
    return rows.map(({ n }) => n).join() === '1,2';
  });
  await subscriber.sql('drop subscription s');
  await noSenders();
});

test('max_db_connections: an idle server of the same pool makes room', { skip: noTools }, async () => {
  await bouncer.sql('select 1', { database: 'single' });
  const raw = await RawClient.login(bouncer, {
    user: 'postgres',
    database: 'single',
    replication: 'database',
  });
  raw.destroy();
  await noSenders();
});
