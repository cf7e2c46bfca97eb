/** The console's verbs, and their effects on clients and servers. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Client } from 'pg';
import { Bouncer, type Settings } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { FlakyRelay } from '../support/flaky.ts';
import * as raw from '../support/raw.ts';
import { RawClient, errorFields } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });

function start(scope: Scope, settings: Settings = {}): Promise<Bouncer> {
  return Bouncer.start(scope, {
    databases: { a: cluster.connectionString(), b: cluster.connectionString() },
    settings: { pool_mode: 'transaction', ...settings },
  });
}

function console(bouncer: Bouncer): Promise<Client> {
  return bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });
}

/** A promise, and whether it has settled. */
function watch<T>(promise: Promise<T>): { promise: Promise<T>; isDone: boolean } {
  const watched = { promise, isDone: false };
  const done = (): void => {
    watched.isDone = true;
  };
  promise.then(done, done);
  return watched;
}

async function pool(admin: Client, database: string): Promise<Record<string, unknown>> {
  const { rows } = await admin.query<Record<string, unknown>>('SHOW POOLS');
  return rows.find((row) => row['database'] === database) ?? {};
}

async function backend(client: Client): Promise<number> {
  return (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]!.pid;
}

test('PAUSE waits for an open transaction, and RESUME lets waiting clients continue', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const second = await console(bouncer);
  const client = await bouncer.connect();
  await client.query('BEGIN');
  const pause = watch(admin.query('PAUSE'));
  await until('the pause', async () => {
    const { rows } = await second.query<{ key: string; value: string }>('SHOW STATE');
    return rows.find((row) => row.key === 'paused')!.value === 'yes';
  });
  await assert.rejects(second.query('PAUSE'), /^error: already suspended\/paused$/);
  await assert.rejects(second.query('KILL a'), /already suspended\/paused/);
  // the transaction continues undisturbed
  await client.query('SELECT 1');
  assert.equal(pause.isDone, false);
  await client.query('COMMIT');
  assert.equal((await pause.promise).command, 'PAUSE');
  assert.deepEqual((await second.query('SHOW SERVERS')).rows, []);

  const answer = watch(client.query('SELECT 2 AS two'));
  await until('the client to wait', async () => (await pool(second, 'a'))['cl_waiting'] === 1);
  assert.equal(answer.isDone, false);
  assert.equal((await second.query('RESUME')).command, 'RESUME');
  assert.deepEqual((await answer.promise).rows, [{ two: 2 }]);
  await assert.rejects(second.query('RESUME'), /pooler is not paused\/suspended/);
});

test('PAUSE does not wait for a server whose login hangs', async (t) => {
  const relay = await FlakyRelay.start(t, cluster);
  relay.toUpstream.stall = true;
  const bouncer = await Bouncer.start(t, {
    databases: { hanging: `host=${relay.host} port=${relay.port} dbname=postgres` },
    settings: { server_connect_timeout: 3600 },
  });
  const admin = await console(bouncer);
  const client = bouncer.connect();
  await until('the login', async () => (await pool(admin, 'hanging'))['sv_login'] === 1);
  assert.equal((await admin.query('PAUSE')).command, 'PAUSE');
  assert.match(bouncer.log(), /S-0x\w+: hanging\/postgres@\S+ closing because: pause mode \(age=/);

  // the client has been waiting for it, and continues
  relay.toUpstream.stall = false;
  await admin.query('RESUME');
  assert.equal((await (await client).query('SELECT 1')).rowCount, 1);
});

test('PAUSE of one database leaves the other alone', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  await admin.query('PAUSE a');
  await admin.query('PAUSE a');
  const other = await bouncer.connect({ database: 'b' });
  await other.query('SELECT 1');
  const { rows } = await admin.query<{ name: string; paused: number }>('SHOW DATABASES');
  assert.deepEqual(
    rows.map((row) => [row.name, row.paused]),
    [
      ['a', 1],
      ['b', 0],
      ['pgbouncer', 0],
    ],
  );
  await assert.rejects(admin.query('SUSPEND'), /cannot suspend with paused databases/);
  const late = watch(bouncer.connect({ database: 'a' }));
  await until('the client to wait', async () => (await pool(admin, 'a'))['cl_waiting'] === 1);
  await admin.query('RESUME a');
  await (await late.promise).query('SELECT 1');
  await assert.rejects(admin.query('RESUME a'), /database a is not paused/);
});

test('commands that name a wrong database are refused in pgbouncer’s words', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const cases: [string, string][] = [
    ['PAUSE nope', 'no such database: nope'],
    ['RESUME nope', 'no such database: nope'],
    ['DISABLE nope', 'no such database: nope'],
    ['ENABLE nope', 'no such database: nope'],
    ['RECONNECT nope', 'no such database: nope'],
    ['KILL nope', 'no such database: nope'],
    ['WAIT_CLOSE nope', 'no such database: nope'],
    ['PAUSE pgbouncer', 'cannot pause admin db: pgbouncer'],
    ['DISABLE pgbouncer', 'cannot disable admin db: pgbouncer'],
    ['ENABLE pgbouncer', 'cannot enable admin db: pgbouncer'],
    ['RECONNECT pgbouncer', 'cannot reconnect admin db: pgbouncer'],
    ['KILL pgbouncer', 'cannot kill admin db: pgbouncer'],
    ['WAIT_CLOSE pgbouncer', 'cannot wait in admin db: pgbouncer'],
    ['DISABLE', 'a database is required'],
    ['ENABLE', 'a database is required'],
    ['KILL_CLIENT', 'invalid client pointer supplied'],
    ['KILL_CLIENT x', 'invalid client pointer supplied'],
    ['KILL_CLIENT 123456', 'client not found'],
  ];
  for (const [command, message] of cases) {
    await assert.rejects(admin.query(command), { message, code: '08P01', severity: 'ERROR' }, command);
  }
});

test('canceling PAUSE resumes', async (t) => {
  const bouncer = await start(t);
  const admin = await RawClient.connect({ port: bouncer.port, host: bouncer.host });
  admin.send(raw.startup({ user: 'pgbouncer', database: 'pgbouncer' }));
  const key = (await admin.readUntil('Z')).find((frame) => frame.type === 'K')!.payload;
  const client = await bouncer.connect();
  await client.query('BEGIN');
  const second = await console(bouncer);
  for (const command of ['PAUSE', 'PAUSE a']) {
    admin.send(raw.query(command));
    await until('the pause', async () => {
      const paused = await second.query<{ value: string }>('SHOW STATE');
      const databases = await second.query<{ paused: number }>('SHOW DATABASES');
      return paused.rows[1]!.value === 'yes' || databases.rows[0]!.paused === 1;
    });
    const canceler = await RawClient.connect({ port: bouncer.port, host: bouncer.host });
    canceler.send(raw.cancelRequest(key.readInt32BE(0), key.subarray(4)));
    const frames = await admin.readUntil('Z');
    assert.equal(errorFields(frames[0]!)['C'], '57014');
    await client.query('COMMIT');
    await client.query('BEGIN');
  }
  assert.deepEqual((await second.query('SHOW STATE')).rows[0], { key: 'active', value: 'yes' });
  admin.destroy();
});

test('an operator who leaves during PAUSE leaves it in force', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.connect();
  await client.query('BEGIN');
  const admin = await RawClient.login(
    { port: bouncer.port, host: bouncer.host },
    { user: 'pgbouncer', database: 'pgbouncer' },
  );
  admin.send(raw.query('PAUSE'));
  const second = await console(bouncer);
  await until('the pause', async () => (await second.query('SHOW STATE')).rows[1].value === 'yes');
  admin.reset();
  await until('the operator to be gone', async () => (await pool(second, 'pgbouncer'))['cl_active'] === 1);
  await client.query('COMMIT');
  await until('the servers to go', async () => (await second.query('SHOW SERVERS')).rows.length === 0);
  await second.query('RESUME');
  await client.query('SELECT 1');
});

test('RESUME from another console ends a waiting PAUSE with an error', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const second = await console(bouncer);
  const client = await bouncer.connect();
  await client.query('BEGIN');
  const pause = admin.query('PAUSE');
  pause.catch(() => {});
  await until('the pause', async () => (await second.query('SHOW STATE')).rows[1].value === 'yes');
  await second.query('RESUME');
  await assert.rejects(pause, /pause was ended by RESUME/);
});

test('KILL drops clients and servers and holds new clients until RESUME', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const client = await bouncer.connect();
  await client.query('BEGIN');
  const survivor = await bouncer.connect({ database: 'b' });
  await survivor.query('BEGIN');
  const lost = new Promise<Error>((resolve) => client.once('error', resolve));
  assert.equal((await admin.query('KILL a')).command, 'KILL');
  assert.match((await lost).message, /database removed/);
  assert.deepEqual(
    (await admin.query<{ database: string }>('SHOW SERVERS')).rows.map((row) => row.database),
    ['b'],
  );
  await survivor.query('COMMIT');
  const late = watch(bouncer.connect());
  await until('the new client to wait', async () => {
    const { rows } = await admin.query<Record<string, unknown>>('SHOW CLIENTS');
    return rows.some((row) => row['database'] === 'a') || late.isDone;
  });
  const answer = late.promise.then((each) => each.query('SELECT 1'));
  await admin.query('RESUME a');
  await answer;
});

test('KILL without a database kills every database in use', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const clients = [await bouncer.connect(), await bouncer.connect({ database: 'b' })];
  const lost = clients.map((client) => new Promise<Error>((resolve) => client.once('error', resolve)));
  await admin.query('KILL');
  for (const error of await Promise.all(lost)) assert.match(error.message, /database removed/);
  await admin.query('RESUME a');
  await admin.query('RESUME b');
  await (await bouncer.connect()).query('SELECT 1');
});

test('KILL_CLIENT disconnects one client with its server', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const client = await bouncer.connect({ application_name: 'victim' });
  await client.query('BEGIN');
  const { rows } = await admin.query<{ id: number; application_name: string }>('SHOW CLIENTS');
  const { id } = rows.find((row) => row.application_name === 'victim')!;
  const lost = new Promise<Error & { code?: string }>((resolve) => client.once('error', resolve));
  await admin.query(`KILL_CLIENT ${id}`);
  const error = await lost;
  assert.equal(error.message, 'admin forced disconnect');
  assert.equal(error.code, '08P01');
  assert.deepEqual((await admin.query('SHOW SERVERS')).rows, []);
  assert.ok(bouncer.logContains(/closing because: admin forced disconnect/));
});

test('RECONNECT replaces servers after their transaction, and WAIT_CLOSE waits for that', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const second = await console(bouncer);
  const client = await bouncer.connect();
  await client.query('BEGIN');
  const before = await backend(client);
  await admin.query('RECONNECT');
  const { rows } = await admin.query<{ close_needed: number }>('SHOW SERVERS');
  assert.deepEqual(
    rows.map((row) => row.close_needed),
    [1],
  );
  const wait = watch(admin.query('WAIT_CLOSE'));
  await second.query('WAIT_CLOSE b');
  assert.equal(wait.isDone, false);
  assert.equal(await backend(client), before);
  await client.query('COMMIT');
  await wait.promise;
  assert.notEqual(await backend(client), before);
});

test('DISABLE refuses new clients and keeps connected ones; ENABLE accepts clients again', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const client = await bouncer.connect();
  await admin.query('DISABLE a');
  await client.query('SELECT 1');
  await assert.rejects(bouncer.connect(), /database "a" is disabled/);
  await admin.query('ENABLE a');
  await (await bouncer.connect()).query('SELECT 1');
});

test('SET applies at once, and RELOAD undoes it', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const value = async (key: string): Promise<string> => {
    const { rows } = await admin.query<{ key: string; value: string }>('SHOW CONFIG');
    return rows.find((row) => row.key === key)!.value;
  };
  const result = await admin.query('SET pool_mode = session');
  assert.equal(result.command, 'SET');
  assert.equal(await value('pool_mode'), 'session');
  const client = await bouncer.connect();
  await client.query('SELECT 1');
  assert.equal((await pool(admin, 'a'))['sv_active'], 1);
  await client.end();
  await admin.query("SET query_wait_timeout TO '7.5'");
  assert.equal(await value('query_wait_timeout'), '7.5');
  await admin.query('SET listen_port = 1');
  assert.equal(await value('listen_port'), String(bouncer.port));
  await admin.query('RELOAD');
  assert.equal(await value('pool_mode'), 'transaction');
  assert.equal(await value('query_wait_timeout'), '120');
});

test('RELOAD reads new databases; a broken file is refused and changes nothing', async (t) => {
  const bouncer = await start(t);
  bouncer.databases['c'] = cluster.connectionString();
  await bouncer.reload();
  await bouncer.sql('SELECT 1', { database: 'c' });
  bouncer.settings['no_such_option'] = 1;
  await bouncer.writeFiles();
  await assert.rejects(bouncer.admin('RELOAD'), {
    message: 'RELOAD failed, see logs for additional details',
    code: 'F0000',
    detail: /^.+pgbouncer\.ini:\d+: .*no_such_option/,
  });
  await assert.rejects(bouncer.admin("SET pool_mode = 'sometimes'"), {
    message: 'SET failed',
    detail: /invalid value "sometimes"/,
  });
  assert.ok(bouncer.logContains(/no_such_option/));
  await bouncer.sql('SELECT 1', { database: 'c' });
});

test('RELOAD keeps servers when limits change, replaces them for a new dbname, and keeps a forced user', async (t) => {
  const bouncer = await start(t);
  const forced = `${cluster.connectionString()} user=postgres`;
  const set = async (entry: string): Promise<void> => {
    bouncer.databases['c'] = entry;
    await bouncer.reload();
  };
  await set(forced);
  const client = await bouncer.connect({ database: 'c' });
  const backend = async (): Promise<string> =>
    Object.values((await client.query('SELECT pg_backend_pid(), current_database()')).rows[0]!).join(' ');
  const first = await backend();
  await set(`${forced} pool_size=3 max_db_connections=9 reserve_pool_size=1`);
  assert.equal(await backend(), first);
  const [row] = await bouncer.admin<{ pool_size: number }>('SHOW DATABASES').then(ofC);
  assert.equal(row!.pool_size, 3);
  await set(`${cluster.connectionString()} dbname=template1`);
  assert.match(await backend(), / template1$/);
  assert.ok(bouncer.logContains(/closing because: database configuration changed/));
  assert.ok(bouncer.logContains(/WARNING losing forced user not supported, keeping old setting: c$/m));
  const [kept] = await bouncer.admin<{ force_user: string }>('SHOW DATABASES').then(ofC);
  assert.equal(kept!.force_user, 'postgres');
  await client.end();
});

/** The row of the database c. */
function ofC<T>(rows: T[]): T[] {
  return rows.filter((row) => (row as { name?: string }).name === 'c');
}

test('SUSPEND stops all clients but the console’s, until RESUME', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const client = await bouncer.connect();
  await client.query('SELECT 1');
  assert.equal((await admin.query('SUSPEND')).command, 'SUSPEND');
  assert.deepEqual((await admin.query('SHOW STATE')).rows[2], { key: 'suspended', value: 'yes' });
  const answer = watch(client.query('SELECT 1'));
  const late = watch(bouncer.connect());
  for (let i = 0; i < 20; i++) await admin.query('SHOW STATE');
  assert.equal(answer.isDone, false);
  assert.equal(late.isDone, false);
  await admin.query('RESUME');
  await answer.promise;
  await (await late.promise).query('SELECT 1');
});

test('SUSPEND ends when the last operator leaves', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.connect();
  const admin = await console(bouncer);
  await admin.query('SUSPEND');
  const answer = client.query('SELECT 1');
  await admin.end();
  await answer;
  assert.ok(bouncer.logContains(/admin disappeared when suspended, doing RESUME/));
});

test('SHUTDOWN ends the process without an answer', async (t) => {
  const bouncer = await start(t);
  const admin = await RawClient.login(bouncer, { user: 'pgbouncer', database: 'pgbouncer' });
  admin.send(raw.query('SHUTDOWN'));
  assert.deepEqual(await admin.readToEnd(), []);
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
});

test('SHUTDOWN WAIT_FOR_CLIENTS refuses new clients and lets connected ones finish', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const client = await bouncer.connect();
  assert.equal((await admin.query('SHUTDOWN WAIT_FOR_CLIENTS')).command, 'SHUTDOWN');
  await client.query('SELECT 1');
  await assert.rejects(bouncer.connect(), /ECONNREFUSED/);
  // operators can still connect by the Unix socket, others cannot
  const operator = await bouncer.connect({ host: bouncer.folder, user: 'pgbouncer', database: 'pgbouncer' });
  await operator.query('SHOW STATE');
  await assert.rejects(bouncer.connect({ host: bouncer.folder }), /shut/);
  await assert.rejects(admin.query('RESUME'), /pooler is shutting down/);
  assert.equal(bouncer.isRunning, true);
  await client.end();
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
});

test('SHUTDOWN WAIT_FOR_CLIENTS and WAIT_FOR_SERVERS are answered even with nothing to wait for', async (t) => {
  for (const command of ['SHUTDOWN WAIT_FOR_CLIENTS', 'SHUTDOWN WAIT_FOR_SERVERS']) {
    const bouncer = await start(t);
    const admin = await console(bouncer);
    assert.equal((await admin.query(command)).command, 'SHUTDOWN');
    assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
  }
});

test('SHUTDOWN WAIT_FOR_SERVERS ends the process when the last server is free', async (t) => {
  const bouncer = await start(t);
  const admin = await console(bouncer);
  const client = await bouncer.connect();
  await client.query('BEGIN');
  await admin.query('SHUTDOWN WAIT_FOR_SERVERS');
  await client.query('SELECT 1');
  assert.equal(bouncer.isRunning, true);
  await client.query('COMMIT').catch(() => {});
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
});
