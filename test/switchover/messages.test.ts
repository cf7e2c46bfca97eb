/** Single messages whose writer goes away: which are resent, and the errors that their clients get. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test, type TestContext } from 'node:test';
import { Client } from 'pg';
import type { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { RawClient, type Frame } from '../support/raw.ts';
import { until } from '../support/wait.ts';
import { FlakyRelay } from '../support/flaky.ts';
import { planned, setUp, TOPOLOGY, type Setup, type SetupOptions } from './pair.ts';

async function logIn({ bouncer }: Setup): Promise<RawClient> {
  const client = await RawClient.login(bouncer, { user: 'postgres', database: 'dev' });
  client.send(raw.query('SELECT 1'));
  await client.readUntil('Z');
  return client;
}

/** Waits until so many statements sleep on the server. */
async function sleeping(cluster: Cluster, count: number): Promise<void> {
  await until(`${count} statements to run`, async () => {
    const rows = await cluster.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    return rows.length === count;
  });
}

/** Frames without ParameterStatus: a server that was a standby at the connection reports that it no longer is one. */
const types = (frames: Frame[]): string =>
  frames
    .map((frame) => frame.type)
    .filter((type) => type !== 'S')
    .join('');

function codes(frames: Frame[]): (string | undefined)[] {
  return frames.filter((frame) => frame.type === 'E').map((frame) => raw.errorFields(frame)['C']);
}

function details(frames: Frame[]): string {
  return frames
    .filter((frame) => frame.type === 'E')
    .map((frame) => raw.errorFields(frame)['D'] ?? '')
    .join();
}

async function pairOf(t: TestContext, options: SetupOptions = {}): Promise<Setup & { standby: Cluster }> {
  const setup = await setUp(t, options);
  await setup.primary.sql(`CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO ledger VALUES (7, 7); COMMIT; PERFORM pg_sleep(60); END $$`);
  await setup.standby.caughtUpWith(setup.primary);
  return { ...setup, standby: setup.standby };
}

const SLEEP =
  '(SELECT 1 FROM (SELECT pg_sleep(CASE WHEN inet_server_port() = PORT THEN 60 ELSE 0 END)) AS s)';

test('a fast shutdown: a single statement is resent, and the errors of others claim no more than is certain', async (t) => {
  const setup = await pairOf(t);
  const { primary, standby } = setup;
  const sleep = SLEEP.replace('PORT', String(primary.port));
  const insert = (n: number): string => `INSERT INTO ledger (writer, n) VALUES (${sleep}, ${n})`;
  const clients = await Promise.all(Array.from({ length: 7 }, () => logIn(setup)));
  const [simple, extended, flushed, large, several, procedure, committed] = clients as [
    RawClient,
    RawClient,
    RawClient,
    RawClient,
    RawClient,
    RawClient,
    RawClient,
  ];
  simple.send(raw.query(insert(1)));
  extended.send(raw.parse('e', insert(2)), raw.bind('e'), raw.describe('P'), raw.execute(), raw.sync());
  flushed.send(raw.parse('', insert(3)), raw.bind(), raw.execute(), raw.flush());
  large.send(raw.query(`/* ${'x'.repeat(300_000)} */ ${insert(4)}`));
  several.send(raw.query(`INSERT INTO ledger VALUES (5, 5); SELECT ${sleep}`));
  procedure.send(raw.query('CALL work()'));
  // one has the answer to its COMMIT, and the reply after it is cut
  committed.send(raw.query('BEGIN'));
  await committed.readUntil('Z');
  committed.send(raw.query(`INSERT INTO ledger VALUES (6, 6); COMMIT; SELECT ${sleep}`));
  await sleeping(primary, 7);
  await primary.stop();
  await standby.promote();

  assert.equal(types(await simple.readUntil('Z')), 'CZ');
  assert.equal(types(await extended.readUntil('Z')), '12nCZ');
  assert.equal(types(await flushed.readUntil('C')), '12C');
  flushed.send(raw.sync());
  await flushed.readUntil('Z');
  assert.equal(types(await large.readUntil('Z')), 'CZ');
  const told = await several.readUntil('Z');
  assert.deepEqual(codes(told), ['57P01']);
  assert.match(details(told), /rolled back/);
  const called = await procedure.readUntil('Z');
  assert.deepEqual(codes(called), ['57P01']);
  assert.doesNotMatch(details(called), /rolled back/);
  assert.deepEqual(codes(await committed.readUntil('Z')), ['08007']);
  for (const client of clients) assert.equal(types(await client.query('SELECT 2')), 'TDCZ');
  const rows = await standby.sql('SELECT n FROM ledger ORDER BY n');
  assert.deepEqual(
    rows.map((row) => row['n']),
    [1, 2, 3, 4, 6, 7],
  );
});

test('a client that cancels while the verdict on its server is pending gets an error about its loss', async (t) => {
  const setup = await pairOf(t);
  const { primary, standby, bouncer } = setup;
  const client = await logIn(setup);
  client.send(raw.query('CALL work()'));
  await sleeping(primary, 1);
  const [row] = await primary.sql<{ pid: number }>(
    "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
  );
  const [postmaster] = (await readFile(`${primary.server.dataFolder}/postmaster.pid`, 'utf8')).split('\n');
  // nothing answers the probe any more, but the backend can still end
  process.kill(Number(postmaster), 'SIGSTOP');
  process.kill(row!.pid, 'SIGTERM');
  await bouncer.waitForLog(/holding new transactions/);
  const request = await RawClient.connect(bouncer);
  request.send(raw.cancelRequest(client.backendPid, client.backendSecret));
  await request.readToEnd();
  await bouncer.waitForLog(/probe failed|does not answer/);
  await standby.promote();
  assert.deepEqual(codes(await client.readUntil('Z')), ['57P01']);
  assert.equal(types(await client.query('SELECT 2')), 'TDCZ');
  process.kill(Number(postmaster), 'SIGCONT');
});

test('a crash in the middle of a long answer: the client gets an error and stays', async (t) => {
  const setup = await pairOf(t);
  const { primary, standby } = setup;
  const client = await logIn(setup);
  client.send(raw.query("SELECT repeat('x', 5000) FROM generate_series(1, 20000)"));
  await client.readUntil('D');
  client.socket.pause();
  await primary.kill();
  await standby.promote();
  client.socket.resume();
  assert.deepEqual(codes(await client.readUntil('Z')), ['08007']);
  assert.equal(types(await client.query('SELECT 2')), 'TDCZ');
});

test('the text of the client is sent again, if the rewritten text can be sent again', async (t) => {
  const setup = await pairOf(t, {
    files: {
      'user-functions/rewrite_query.ts': `
        export const rewrite_query = (_user: string, query: string): string | null =>
          query === 'SELECT work()' ? 'CALL work()' : query.replace(/, (\\d+)\\)$/, (_all, n) => ', ' + (Number(n) + 1) + ')');`,
    },
  });
  const { primary, standby } = setup;
  const sleep = SLEEP.replace('PORT', String(primary.port));
  const plain = await logIn(setup);
  const parsed = await logIn(setup);
  const called = await logIn(setup);
  plain.send(raw.query(`INSERT INTO ledger (writer, n) VALUES (${sleep}, 1)`));
  parsed.send(
    raw.parse('p', `INSERT INTO ledger (writer, n) VALUES (${sleep}, 11)`),
    raw.bind('p'),
    raw.execute(),
    raw.sync(),
  );
  called.send(raw.query('SELECT work()'));
  await sleeping(primary, 3);
  await primary.stop();
  await standby.promote();
  assert.equal(types(await plain.readUntil('Z')), 'CZ');
  assert.equal(types(await parsed.readUntil('Z')), '12CZ');
  const told = await called.readUntil('Z');
  assert.deepEqual(codes(told), ['57P01']);
  assert.doesNotMatch(details(told), /rolled back/);
  const rows = await standby.sql('SELECT n FROM ledger ORDER BY n');
  assert.deepEqual(
    rows.map((row) => row['n']),
    [2, 7, 12],
  );
});

for (const [end, go] of [
  ['is shut down', (primary: Cluster) => primary.stop()],
  ['crashes', (primary: Cluster) => primary.kill()],
] as const) {
  test(`a pipeline or message of which the writer has received half when it ${end} continues on the new writer`, async (t) => {
    const setup = await pairOf(t);
    const { primary, standby, bouncer } = setup;
    const [parsed, cut, executed] = [await logIn(setup), await logIn(setup), await logIn(setup)];
    const insert = (n: number): string => `INSERT INTO ledger (writer, n) VALUES (1, ${n})`;
    parsed.send(raw.parse('', insert(1)));
    executed.send(raw.parse('', insert(3)), raw.bind(), raw.execute());
    const query = raw.query(`${insert(2)} /* ${'x'.repeat(100_000)} */`);
    cut.send(query.subarray(0, 50_000));
    await until('all to have a server', async () => {
      const servers = await bouncer.admin('SHOW SERVERS');
      return servers.filter((each) => each['database'] === 'dev' && each['state'] === 'active').length === 3;
    });
    await until('one to be executed', async () => {
      const sql = "SELECT 1 FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND query ~ '^INSERT'";
      return (await primary.sql(sql)).length === 1;
    });
    await go(primary);
    await standby.promote();
    await bouncer.waitForLog(/the writer is .* \(was /);
    parsed.send(raw.bind(), raw.execute(), raw.sync());
    cut.send(query.subarray(50_000));
    executed.send(raw.sync());
    assert.equal(types(await parsed.readUntil('Z')), '12CZ');
    assert.equal(types(await cut.readUntil('Z')), 'CZ');
    assert.equal(types(await executed.readUntil('Z')), '12CZ');
    assert.deepEqual(await standby.sql('SELECT n FROM ledger ORDER BY n'), [{ n: 1 }, { n: 2 }, { n: 3 }]);
  });
}

test('a statement that could not be sent to a vanished server is sent to the next one', async (t) => {
  const relays: FlakyRelay[] = [];
  const setup = await setUp(t, {
    standbys: 0,
    database: (cluster) => `${cluster.connectionString()} ${TOPOLOGY}`,
  });
  const { primary, bouncer } = setup;
  relays.push(await FlakyRelay.start(t, { host: primary.host, port: primary.port }));
  bouncer.databases['dev'] = `host=127.0.0.1 port=${relays[0]!.port} dbname=postgres ${TOPOLOGY}`;
  await bouncer.reload();
  const client = await logIn(setup);
  client.send(raw.parse('', 'INSERT INTO ledger (writer, n) VALUES (1, 1)'));
  await until('it to have a server', async () => {
    const servers = await bouncer.admin('SHOW SERVERS');
    return servers.some((each) => each['database'] === 'dev' && each['state'] === 'active');
  });
  // when the proxy continues, it sees the client's message before the end of the server
  process.kill(bouncer.pid, 'SIGSTOP');
  client.send(raw.bind(), raw.execute(), raw.sync());
  relays[0]!.reset();
  process.kill(bouncer.pid, 'SIGCONT');
  assert.equal(types(await client.readUntil('Z')), '12CZ');
  assert.deepEqual(await primary.sql('SELECT n FROM ledger'), [{ n: 1 }]);
});

test('messages that the proxy has answered itself are not sent again, and the rest of the pipeline is', async (t) => {
  const setup = await pairOf(t, { settings: { default_pool_size: 1 } });
  const { primary, standby } = setup;
  const text = `SELECT $1::text FROM ${SLEEP.replace('PORT', String(primary.port))} AS s WHERE $1 = 'b'`;
  const [first, second] = [await logIn(setup), await logIn(setup)];
  first.send(raw.parse('a', text), raw.sync());
  assert.equal(types(await first.readUntil('Z')), '1Z');
  second.send(raw.close('S', 'none'), raw.parse('b', text), raw.bind('b', ['b']), raw.execute(), raw.sync());
  await sleeping(primary, 1);
  await planned(primary, standby);
  assert.equal(types(await second.readUntil('Z')), '312DCZ');
  second.send(raw.bind('b', ['a']), raw.execute(), raw.sync());
  assert.equal(types(await second.readUntil('Z')), '2CZ');
});

test('an unnamed statement of an earlier pipeline is sent again by its text', async (t) => {
  const setup = await pairOf(t);
  const { primary, standby } = setup;
  const sleep = SLEEP.replace('PORT', String(primary.port));
  const [plain, called] = [await logIn(setup), await logIn(setup)];
  for (const [client, text] of [
    [plain, `INSERT INTO ledger (writer, n) VALUES (${sleep}, 1)`],
    [called, 'CALL work()'],
  ] as const) {
    client.send(raw.parse('', text), raw.describe('S'), raw.sync());
    await client.readUntil('Z');
  }
  for (const client of [plain, called]) client.send(raw.bind(), raw.execute(), raw.sync());
  await sleeping(primary, 2);
  await primary.stop();
  await standby.promote();
  assert.equal(types(await plain.readUntil('Z')), '2CZ');
  const told = await called.readUntil('Z');
  assert.deepEqual(codes(told), ['57P01']);
  assert.doesNotMatch(details(told), /rolled back/);
  const rows = await standby.sql('SELECT n FROM ledger ORDER BY n');
  assert.deepEqual(rows, [{ n: 1 }, { n: 7 }]);
});

test('messages that only prepare a statement or end a pipeline are sent again', async (t) => {
  const setup = await pairOf(t);
  const { primary, standby } = setup;
  const client = await logIn(setup);
  const locker = new Client({
    host: primary.host,
    port: primary.port,
    user: 'postgres',
    database: 'postgres',
  });
  locker.on('error', () => {});
  await locker.connect();
  await locker.query('BEGIN; LOCK ledger');
  client.send(raw.parse('later', 'DELETE FROM ledger'), raw.describe('S', 'later'), raw.sync());
  await until('the lock to be waited for', async () => {
    const rows = await primary.sql('SELECT 1 FROM pg_locks WHERE NOT granted');
    return rows.length > 0;
  });
  await primary.stop();
  await standby.promote();
  assert.equal(types(await client.readUntil('Z')), '1tnZ');
});

/** The messages of drivers that begin a transaction together with its first statement. */
const beginWith = (sql: string, begin = 'BEGIN'): Buffer =>
  Buffer.concat([
    ...[raw.parse('', begin), raw.bind(), raw.execute()],
    ...[raw.parse('', sql), raw.bind(), raw.describe('P'), raw.execute(), raw.sync()],
  ]);

test('BEGIN with the first statement, Close, and messages after a Sync are sent again', async (t) => {
  const setup = await pairOf(t);
  const { primary, standby } = setup;
  const sleep = SLEEP.replace('PORT', String(primary.port));
  const insert = (n: number): string => `INSERT INTO ledger (writer, n) VALUES (${sleep}, ${n})`;
  const [begins, closes, pipelines] = [await logIn(setup), await logIn(setup), await logIn(setup)];
  begins.send(beginWith(insert(1)));
  closes.send(
    ...[raw.close('S'), raw.parse('', insert(2)), raw.bind(), raw.execute(), raw.close('P'), raw.sync()],
  );
  pipelines.send(
    ...[raw.parse('', insert(3)), raw.bind(), raw.execute(), raw.sync()],
    ...[raw.parse('', 'CALL work()'), raw.bind(), raw.sync(), raw.query('SELECT 4')],
  );
  await sleeping(primary, 3);
  await primary.stop();
  await standby.promote();
  const begun = await begins.readUntil('Z');
  assert.equal(types(begun), '12C12nCZ');
  assert.equal(begun.at(-1)!.payload.toString(), 'T');
  assert.equal(types(await begins.query('COMMIT')), 'CZ');
  assert.equal(types(await closes.readUntil('Z')), '312C3Z');
  assert.equal(types(await pipelines.readUntil('Z')), '12CZ');
  assert.equal(types(await pipelines.readUntil('Z')), '12Z');
  assert.equal(types(await pipelines.readUntil('Z')), 'TDCZ');
  const rows = await standby.sql('SELECT n FROM ledger ORDER BY n');
  assert.deepEqual(rows, [{ n: 1 }, { n: 2 }, { n: 3 }]);
});

test('the refused first write of a transaction is sent again with its BEGIN, or its client gets the error', async (t) => {
  const setup = await pairOf(t);
  const { primary, standby, bouncer } = setup;
  const insert = 'INSERT INTO ledger (writer, n) VALUES (1, 1)';
  const client = await logIn(setup);
  client.send(beginWith(insert, 'BEGIN READ ONLY'));
  const refused = await client.readUntil('Z');
  assert.equal(types(refused), '12C12nEZ');
  assert.deepEqual(codes(refused), ['25006']);
  assert.equal(refused.at(-1)!.payload.toString(), 'E');
  assert.equal(types(await client.query('ROLLBACK')), 'CZ');

  await primary.configure({ settings: { default_transaction_read_only: 'on' } });
  await bouncer.waitForLog(/does not take writes any more/);
  client.send(beginWith(insert));
  await standby.promote();
  assert.equal(types(await client.readUntil('Z')), '12C12nCZ');
  assert.equal(types(await client.query('COMMIT')), 'CZ');
  assert.equal((await standby.sql('SELECT 1 FROM ledger')).length, 1);
});

for (const mode of ['transaction', 'session']) {
  test(`an unnamed statement is executed on the new writer (${mode} pooling)`, async (t) => {
    const setup = await pairOf(t, { settings: { pool_mode: mode } });
    const client = await logIn(setup);
    client.send(raw.parse('', 'SELECT inet_server_port() + $1::int'), raw.sync());
    assert.equal(types(await client.readUntil('Z')), '1Z');
    await planned(setup.primary, setup.standby);
    client.send(raw.bind('', ['0']), raw.execute(), raw.sync());
    const frames = await client.readUntil('Z');
    assert.equal(types(frames), '2DCZ');
    assert.deepEqual(raw.rowValues(frames[1]!), [String(setup.standby.port)]);
  });
}

test('a statement with the warning "already committed locally" is never sent again', async (t) => {
  const setup = await pairOf(t);
  const { primary, standby } = setup;
  const client = await logIn(setup);
  await primary.configure({ settings: { synchronous_standby_names: 'nobody' } });
  client.send(raw.query('INSERT INTO ledger (writer, n) VALUES (1, 1)'));
  await until('the commit to wait for a standby', async () => {
    const rows = await primary.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    return rows.length > 0;
  });
  await primary.stop();
  await standby.promote();
  const told = await client.readUntil('Z');
  assert.equal(types(told), 'NEZ');
  assert.deepEqual(codes(told), ['08007']);
  assert.equal((await standby.sql('SELECT 1 FROM ledger')).length, 1);
});

test('COPY in each direction ends with an error, and its client stays connected', async (t) => {
  const setup = await pairOf(t);
  const { primary, standby } = setup;
  const [simple, extended, out] = [await logIn(setup), await logIn(setup), await logIn(setup)];
  const copy = 'COPY ledger (writer, n) FROM STDIN';
  simple.send(raw.query(copy));
  extended.send(raw.parse('', copy), raw.bind(), raw.execute(), raw.sync());
  out.send(raw.query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 200000)) TO STDOUT"));
  for (const client of [simple, extended]) {
    await client.readUntil('G');
    client.send(raw.copyData('1\t1\n'));
  }
  await out.readUntil('d');
  out.socket.pause();
  await primary.stop();
  await standby.promote();
  out.socket.resume();
  simple.send(raw.copyData('1\t2\n'), raw.copyDone());
  extended.send(raw.copyData('1\t2\n'), raw.copyDone(), raw.sync());
  for (const client of [simple, extended]) assert.deepEqual(codes(await client.readUntil('Z')), ['57P01']);
  // a server that could not send FATAL any more closed the connection without an error
  assert.match(codes(await out.readUntil('Z')).join(), /^(?:57P01|08007)$/);
  for (const client of [simple, extended, out]) assert.equal(types(await client.query('SELECT 2')), 'TDCZ');
  assert.deepEqual(await standby.sql('SELECT * FROM ledger'), []);
});

test('auth_query runs on the new writer for a client that logs in while the old one goes away', async (t) => {
  const setup = await setUp(t, { sql: 'CREATE ROLE app LOGIN' });
  const { primary, standby, bouncer } = setup;
  await standby.caughtUpWith(primary);
  const sleep = SLEEP.replace('PORT', String(primary.port));
  bouncer.settings['auth_query'] =
    `SELECT rolname, rolpassword FROM pg_authid, ${sleep} AS slept WHERE rolname = $1`;
  await bouncer.reload();
  const login = bouncer.connect({ user: 'app' });
  await sleeping(primary, 1);
  await planned(primary, standby);
  const client = await login;
  const { rows } = await client.query<{ port: number }>('SELECT inet_server_port() AS port');
  assert.equal(rows[0]?.port, standby.port);
});
