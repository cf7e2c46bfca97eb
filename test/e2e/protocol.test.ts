/** The protocol in transaction mode, with clients that share servers: no client's actions may reach another. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Client } from 'pg';
import { Bouncer, type Settings } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { noPsql, psql } from '../support/psql.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, type Frame } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after }, { sql: 'CREATE TABLE numbers (n int)' });

function start(scope: Scope, settings: Settings = {}): Promise<Bouncer> {
  return Bouncer.start(scope, {
    databases: { db: cluster.connectionString(), postgres: cluster.connectionString() },
    settings: { pool_mode: 'transaction', default_pool_size: 1, ...settings },
  });
}

test('two clients with one server: named statements of the same name are different ones', async (t) => {
  const bouncer = await start(t);
  const [a, b] = await Promise.all([bouncer.connect(), bouncer.connect()]);
  for (let i = 0; i < 3; i++) {
    assert.equal(
      (await a.query({ name: 's', text: 'SELECT $1::int + 1 AS n', values: [i] })).rows[0].n,
      i + 1,
    );
    assert.equal(
      (await b.query({ name: 's', text: 'SELECT $1::int * 10 AS n', values: [i] })).rows[0].n,
      i * 10,
    );
  }
});

test('statements beyond max_prepared_statements are closed on the server and prepared again when needed', async (t) => {
  const bouncer = await start(t, { max_prepared_statements: 2 });
  const client = await bouncer.connect();
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 5; i++) {
      assert.equal((await client.query({ name: `s${i}`, text: `SELECT ${i} AS n` })).rows[0].n, i);
    }
  }
  const { rows } = await client.query(
    "SELECT count(*)::int AS n FROM pg_prepared_statements WHERE name LIKE 'PGBOUNCER%'",
  );
  assert.equal(rows[0].n, 2);
});

test('DISCARD ALL and DEALLOCATE ALL forget the statements of their client', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.login(t, 'db');
  for (const command of ['DISCARD ALL', 'DEALLOCATE ALL']) {
    client.send(raw.parse('s', 'SELECT 1'), raw.sync());
    assert.equal(raw.types(await client.readUntil('Z')), '1Z');
    client.send(raw.query(command));
    await client.readUntil('Z');
  }
  client.send(raw.parse('s', 'SELECT 2'), raw.bind('s'), raw.execute(), raw.sync());
  assert.equal(raw.types(await client.readUntil('Z')), '12DCZ');
});

test('a Parse that fails leaves its name free', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.login(t, 'db');
  client.send(raw.parse('s', 'SELEC 1'), raw.sync());
  assert.equal(raw.types(await client.readUntil('Z')), 'EZ');
  client.send(raw.parse('s', 'SELECT 1'), raw.bind('s'), raw.execute(), raw.sync());
  assert.equal(raw.types(await client.readUntil('Z')), '12DCZ');
});

test('an error in a pipeline skips its rest, and the next pipeline is answered', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.login(t, 'db');
  const one = (name: string, sql: string): Buffer[] => [raw.parse(name, sql), raw.bind(name), raw.execute()];
  client.send(
    ...one('a', 'SELECT 1'),
    ...one('b', 'SELECT 1/0'),
    ...one('c', 'SELECT 3'),
    raw.sync(),
    ...one('c', 'SELECT 4'),
    raw.sync(),
  );
  // the planner already divides during the Bind
  assert.equal(raw.types(await client.readUntil('Z')), '12DC1EZ');
  const second = await client.readUntil('Z');
  assert.equal(raw.types(second), '12DCZ');
  assert.deepEqual(raw.rowValues(second[2]!), ['4']);
});

test('a statement that does not exist, and one that exists already, are errors as in PostgreSQL', async (t) => {
  const bouncer = await start(t);
  const text = (frame: Frame): string => `${errorFields(frame)['C']} ${errorFields(frame)['M']}`;
  for (const target of [bouncer, cluster]) {
    const client = await RawClient.login(target, { user: 'postgres', database: 'postgres' });
    t.after(() => client.destroy());
    for (const message of [raw.bind('nö'), raw.describe('S', 'nö')]) {
      client.send(message, raw.parse('skipped', 'SELECT 1'), raw.sync());
      const frames = await client.readUntil('Z');
      assert.equal(raw.types(frames), 'EZ');
      assert.equal(text(frames[0]!), '26000 prepared statement "nö" does not exist');
    }
    client.send(raw.parse('s', 'SELECT 1'), raw.parse('s', 'SELECT 2'), raw.sync());
    const frames = await client.readUntil('Z');
    assert.equal(raw.types(frames), '1EZ');
    assert.equal(text(frames[1]!), '42P05 prepared statement "s" already exists');
    client.send(raw.bind('s'), raw.execute(), raw.sync());
    assert.deepEqual(raw.rowValues((await client.readUntil('Z'))[1]!), ['1']);
  }
});

test('a name error in a transaction block or a pipeline undoes the work before it, as in PostgreSQL', async (t) => {
  const bouncer = await start(t);
  await cluster.sql('CREATE TABLE named (n int)');
  for (const target of [bouncer, cluster]) {
    const client = await RawClient.login(target, { user: 'postgres', database: 'postgres' });
    t.after(() => client.destroy());
    client.send(raw.parse('', 'INSERT INTO named VALUES (1)'), raw.bind(), raw.execute(), raw.flush());
    await client.readUntil('C');
    client.send(raw.bind('nothing'), raw.execute(), raw.sync());
    assert.equal(raw.types(await client.readUntil('Z')), 'EZ');
    await client.query('BEGIN');
    client.send(raw.bind('nothing'), raw.sync());
    const frames = await client.readUntil('Z');
    assert.equal(frames.at(-1)!.payload.toString(), 'E');
    await client.query('ROLLBACK');
  }
  assert.deepEqual(await cluster.sql('SELECT * FROM named'), []);
});

test('the next use of a name makes up for its failed or skipped Parse', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.login(t, 'db');
  client.send(raw.parse('bad', 'SELECT no_such_column'), raw.parse('good', 'SELECT 5'), raw.sync());
  const failed = await client.readUntil('Z');
  assert.equal(raw.types(failed), 'EZ');
  client.send(raw.bind('good'), raw.execute(), raw.sync(), raw.bind('bad'), raw.execute(), raw.sync());
  assert.deepEqual(raw.rowValues((await client.readUntil('Z'))[1]!), ['5']);
  const again = await client.readUntil('Z');
  assert.equal(raw.types(again), 'EZ');
  assert.equal(errorFields(again[0]!)['M'], errorFields(failed[0]!)['M']);
  // the name is free, and so is the connection
  client.send(raw.parse('bad', 'SELECT 6'), raw.bind('bad'), raw.execute(), raw.sync());
  assert.deepEqual(raw.rowValues((await client.readUntil('Z'))[2]!), ['6']);
});

test('DEALLOCATE of a statement that was prepared by the protocol frees its name, in and outside of transactions', async (t) => {
  const bouncer = await start(t);
  for (const target of [bouncer, cluster]) {
    const client = await RawClient.login(target, { user: 'postgres', database: 'postgres' });
    t.after(() => client.destroy());
    for (const [name, written] of [
      ['a1', 'A1'],
      ['Q "x"', '"Q ""x"""'],
      ['_pg3_0', 'prepare _pg3_0 ;'],
    ] as const) {
      for (const status of ['I', 'T'] as const) {
        if (status === 'T') await client.query('BEGIN');
        client.send(raw.parse(name, 'SELECT 1'), raw.sync());
        await client.readUntil('Z');
        const frames = await client.query(`DEALLOCATE ${written}`);
        assert.equal(raw.types(frames), 'CZ');
        assert.equal(frames[0]!.payload.toString(), 'DEALLOCATE\0');
        assert.equal(frames[1]!.payload.toString(), status);
        client.send(raw.bind(name), raw.sync());
        assert.equal(errorFields((await client.readUntil('Z'))[0]!)['C'], '26000');
        if (status === 'T') await client.query('ROLLBACK');
      }
    }
    assert.equal(errorFields((await client.query('DEALLOCATE a1'))[0]!)['C'], '26000');
    await client.query('PREPARE of_sql AS SELECT 1; DEALLOCATE of_sql');
    client.send(raw.query('SELECT 3'), raw.parse('b', 'SELECT 1'), raw.sync(), raw.query('DEALLOCATE b'));
    for (const expected of ['TDCZ', '1Z', 'CZ'])
      assert.equal(raw.types(await client.readUntil('Z')), expected);
  }
  const other = await bouncer.login(t, 'db');
  assert.equal(raw.types(await other.query('SELECT 4')), 'TDCZ');
});

test('DEALLOCATE by the extended protocol frees its statement when it is executed, and only then', async (t) => {
  const bouncer = await start(t);
  const run = (sql: string): Buffer[] => [raw.parse('', sql), raw.bind(), raw.describe('P'), raw.execute()];
  const answers: string[][] = [];
  for (const target of [bouncer, cluster]) {
    const client = await RawClient.login(target, { user: 'postgres', database: 'postgres' });
    t.after(() => client.destroy());
    const seen: string[] = [];
    const ask = async (...messages: Buffer[]): Promise<void> => {
      client.send(...messages, raw.sync());
      seen.push(raw.shown(await client.readUntil('Z')));
    };
    // a statement of another name is not affected
    await ask(raw.parse('a', 'SELECT 1'), raw.parse('b', 'SELECT 1'), raw.parse('C"', 'SELECT 1'));
    await ask(...run('DEALLOCATE a'));
    await ask(raw.bind('a'), raw.execute());
    await ask(raw.bind('b'), raw.execute());
    await ask(
      ...run('DEALLOCATE PREPARE "C""" ;'),
      raw.parse('C"', 'SELECT 2'),
      raw.bind('C"'),
      raw.execute(),
    );
    // the second one finds nothing, and the pipeline fails
    await ask(...run('DEALLOCATE b'), raw.bind(), raw.execute());
    await ask(raw.bind('b'), raw.execute());
    await ask(raw.parse('b', 'SELECT 3'));
    // not executed, or skipped because of an error
    await ask(raw.parse('', 'DEALLOCATE b'), raw.bind());
    await ask(raw.parse('', 'SELECT 1/0'), raw.bind(), raw.execute(), ...run('DEALLOCATE b'));
    await ask(...run('BEGIN'), ...run('SELECT 1 x'), raw.parse('', 'wrong'), ...run('DEALLOCATE b'));
    await ask(...run('DEALLOCATE b'));
    await ask(...run('ROLLBACK'), raw.bind('b'), raw.execute());
    // prepared in one pipeline, executed in another one through a portal with a name, and again
    await ask(raw.parse('', 'DEALLOCATE b'));
    await ask(raw.bind('', [], 'p'), raw.bind('b'), raw.execute(), raw.execute('p'), raw.bind('b'));
    await ask(raw.parse('b', 'SELECT 4'));
    await ask(raw.bind(), raw.execute(), raw.parse('b', 'SELECT 5'), raw.bind('b'), raw.execute());
    await ask(...run('DEALLOCATE nothing'));
    client.send(...run('DEALLOCATE b'), raw.flush());
    seen.push(raw.shown(await client.readUntil('C')));
    await ask(raw.bind('b'));
    answers.push(seen);
  }
  assert.deepEqual(answers[0], answers[1]);
  const other = await bouncer.login(t, 'db');
  assert.equal(raw.types(await other.query('SELECT 4')), 'TDCZ');
});

test('DEALLOCATE is recognized in whatever pieces it comes', async (t) => {
  const bouncer = await start(t, { default_pool_size: 2 });
  const client = await bouncer.login(t, 'db');
  const other = await bouncer.login(t, 'db');
  const asQuery = raw.query('DEALLOCATE a');
  const extended = [raw.parse('', 'DEALLOCATE a'), raw.bind(), raw.execute(), raw.sync()];
  for (const bytes of [asQuery, Buffer.concat(extended)]) {
    for (const at of [3, 5, 6, 7, 8, 12, bytes.length - 12, bytes.length - 6, bytes.length - 1]) {
      client.send(raw.parse('a', 'SELECT 1'), raw.sync());
      await client.readUntil('Z');
      client.send(bytes.subarray(0, at));
      // the first piece has been read by then
      await other.query('SELECT 1');
      client.send(bytes.subarray(at));
      assert.match(raw.types(await client.readUntil('Z')), /^(?:12)?CZ$/, `at ${at}`);
    }
  }
});

test('a name is free again after DEALLOCATE ALL in the same pipeline', async (t) => {
  const bouncer = await start(t);
  for (const target of [bouncer, cluster]) {
    const client = await RawClient.login(target, { user: 'postgres', database: 'postgres' });
    t.after(() => client.destroy());
    client.send(
      raw.parse('a', 'SELECT 1'),
      ...[raw.parse('', '/* all */ DEALLOCATE ALL'), raw.bind(), raw.execute()],
      ...[raw.parse('a', 'SELECT 2'), raw.bind('a'), raw.execute(), raw.sync()],
    );
    const frames = await client.readUntil('Z');
    assert.equal(raw.types(frames), '112C12DCZ');
    assert.deepEqual(raw.rowValues(frames[6]!), ['2']);
  }
});

test('large messages in both directions go through, and named ones as well', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.connect();
  const text = 'x'.repeat(8_000_000);
  assert.equal((await client.query('SELECT $1::text AS x', [text])).rows[0].x, text);
  assert.equal(
    (await client.query({ name: 'big', text: 'SELECT length($1::text) AS n', values: [text] })).rows[0].n,
    8_000_000,
  );
});

test('a list of names follows its client as it is, and so does the server’s own', async (t) => {
  const lists = await Bouncer.start(t, {
    databases: { dev: `${cluster.connectionString()} pool_size=1` },
    settings: { pool_mode: 'transaction', track_extra_parameters: 'search_path' },
  });
  const [one, two, three] = [
    await lists.connect(),
    await lists.connect(),
    await lists.connect({ options: '-c search_path=c,"D\\ e"' }),
  ];
  const path = async (client: Client): Promise<unknown> =>
    (await client.query<{ search_path: string }>('show search_path')).rows[0]!.search_path;
  await one.query('set search_path to a, b');
  for (let i = 0; i < 2; i++) {
    assert.equal(await path(one), 'a, b');
    assert.equal(await path(two), '"$user", public');
    assert.equal(await path(three), 'c,"D e"');
  }
});

test('with -v the log reports parameters that are set, and their canonical form', async (t) => {
  const verbose = await Bouncer.start(t, {
    databases: { dev: cluster.connectionString() },
    settings: { pool_mode: 'transaction', verbose: 1 },
  });
  const client = await verbose.connect({ options: '-c TimeZone=europe/berlin' });
  for (let i = 0; i < 3; i++) await client.query('select 1');
  assert.equal(verbose.logCount(/varcache_apply: .*SET TimeZone='europe\/berlin'/), 1);
  assert.equal(
    verbose.logCount(
      /varcache_set_canonical: setting TimeZone to its canonical version europe\/berlin -> Europe\/Berlin/,
    ),
    1,
  );
});

test('parameters follow each client to the server that both use', async (t) => {
  const bouncer = await start(t);
  const a = await bouncer.connect({ application_name: 'a' });
  const b = await bouncer.connect({ application_name: 'b' });
  await a.query("SET TimeZone = 'Asia/Tokyo'");
  await b.query("SET DateStyle = 'German'");
  const show = async (client: Client): Promise<unknown> =>
    (
      await client.query(
        "SELECT current_setting('application_name') AS app, current_setting('TimeZone') AS zone, current_setting('DateStyle') AS style",
      )
    ).rows[0];
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(await show(a), { app: 'a', zone: 'Asia/Tokyo', style: 'ISO, MDY' });
    assert.deepEqual(await show(b), { app: 'b', zone: 'UTC', style: 'German, DMY' });
  }
});

test(
  'COPY in both directions, and one that fails while its data still arrives',
  { skip: noPsql },
  async (t) => {
    const bouncer = await start(t);
    const target = { host: bouncer.host, port: bouncer.port, user: 'postgres', database: 'db' };
    t.after(() => cluster.sql('TRUNCATE numbers'));
    const lines = Array.from({ length: 20_000 }, (_, i) => i).join('\n');
    assert.equal(
      (await psql(target, `COPY numbers FROM STDIN;\n${lines}\n\\.\nSELECT count(*) FROM numbers;`)).trim(),
      '20000',
    );
    assert.equal((await psql(target, 'COPY numbers TO STDOUT;')).trim().split('\n').length, 20_000);
    const client = await bouncer.login(t, 'db');
    client.send(raw.query('COPY numbers FROM STDIN'));
    await client.readUntil('G');
    client.send(raw.copyData('not a number\n'));
    const frames = await client.readUntil('Z');
    assert.equal(raw.types(frames), 'EZ');
    client.send(raw.copyData('1\n'), raw.copyData('2\n'), raw.copyDone(), raw.query('SELECT 1'));
    assert.equal(raw.types(await client.readUntil('Z')), 'TDCZ');
  },
);

test('COPY by the extended protocol, with the Sync that drivers send ahead', async (t) => {
  const bouncer = await start(t);
  t.after(() => cluster.sql('TRUNCATE numbers'));
  const client = await bouncer.login(t, 'db');
  client.send(raw.parse('', 'COPY numbers FROM STDIN'), raw.bind(), raw.execute(), raw.sync());
  await client.readUntil('G');
  client.send(raw.copyData('1\n2\n'), raw.copyDone(), raw.sync());
  assert.equal(raw.types(await client.readUntil('Z')), 'CZ');
  client.send(raw.query('SELECT count(*) FROM numbers'));
  assert.deepEqual(raw.rowValues((await client.readUntil('Z'))[1]!), ['2']);
});

test('a client that goes away at any moment leaves nothing to the next one', async (t) => {
  const bouncer = await start(t);
  const leaving: ((client: RawClient) => Promise<unknown> | void)[] = [
    (client) => client.send(raw.query('BEGIN; CREATE TEMP TABLE left_behind (n int)')),
    (client) => client.send(raw.query('SELECT pg_sleep(60)')),
    (client) => client.send(raw.parse('', 'SELECT 1'), raw.bind()),
    (client) => client.send(raw.query('SELECT repeat($$x$$, 1000) FROM generate_series(1, 100000)')),
    (client) => client.send(raw.query('SELECT 1').subarray(0, 7)),
    async (client) => {
      client.send(raw.query('COPY numbers FROM STDIN'));
      await client.readUntil('G');
      client.send(raw.copyData('1\n').subarray(0, 6));
    },
  ];
  for (const leave of leaving) {
    const client = await bouncer.login(t, 'db');
    await leave(client);
    client.destroy();
    const next = await bouncer.connect();
    assert.deepEqual((await next.query("SELECT 7 AS n, to_regclass('pg_temp.left_behind') AS t")).rows, [
      { n: 7, t: null },
    ]);
    await next.end();
  }
  assert.deepEqual(await cluster.sql('SELECT n FROM numbers'), []);
});

test('cancel reaches the query of its own client, and no other', async (t) => {
  const bouncer = await start(t, { default_pool_size: 2 });
  const [a, b] = await Promise.all([bouncer.login(t, 'db'), bouncer.login(t, 'db')]);
  a.send(raw.query('SELECT pg_sleep(71)'));
  b.send(raw.query('SELECT pg_sleep(72)'));
  const running = async (): Promise<string[]> =>
    (
      await cluster.sql<{ query: string }>(
        "SELECT query FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(7%' AND state = 'active' ORDER BY query",
      )
    ).map((row) => row.query);
  await until('both queries to run', async () => (await running()).length === 2);
  const cancel = await RawClient.connect({ port: bouncer.port });
  cancel.send(raw.cancelRequest(a.backendPid, a.backendSecret));
  const cancelled = (await a.readUntil('Z')).find((frame) => frame.type === 'E');
  assert.equal(errorFields(cancelled!)['C'], '57014');
  assert.deepEqual(await running(), ['SELECT pg_sleep(72)']);
  // a late one does nothing
  const late = await RawClient.connect({ port: bouncer.port });
  late.send(raw.cancelRequest(a.backendPid, a.backendSecret));
  await late.readToEnd();
  assert.equal(raw.types(await a.query('SELECT 1')), 'TDCZ');
});

test('cancel of a query that still waits for a server takes it back', async (t) => {
  const bouncer = await start(t);
  const holder = await bouncer.connect();
  await holder.query('BEGIN');
  const waiter = await bouncer.login(t, 'db');
  waiter.send(raw.query('SELECT 1'));
  await until('the client to wait', async () =>
    (await bouncer.admin<{ cl_waiting: number }>('SHOW POOLS')).some((row) => row.cl_waiting > 0),
  );
  const cancel = await RawClient.connect({ port: bouncer.port });
  cancel.send(raw.cancelRequest(waiter.backendPid, waiter.backendSecret));
  const frames = await waiter.readUntil('Z');
  assert.equal(errorFields(frames[0]!)['C'], '57014');
  await holder.query('COMMIT');
  assert.equal(raw.types(await waiter.query('SELECT 1')), 'TDCZ');
});

test('LISTEN and NOTIFY in session mode', async (t) => {
  const bouncer = await start(t, { pool_mode: 'session', default_pool_size: 2 });
  const listener = await bouncer.connect();
  const heard = new Promise<string | undefined>((resolve) => {
    listener.on('notification', (message) => resolve(message.payload));
  });
  await listener.query('LISTEN news');
  await bouncer.sql("NOTIFY news, 'hello'");
  assert.equal(await heard, 'hello');
});

test('statement mode has no transaction blocks', async (t) => {
  const bouncer = await start(t, { pool_mode: 'statement' });
  const client = await bouncer.connect();
  await assert.rejects(client.query('BEGIN'), /transaction blocks not allowed in statement pooling mode/);
});

test('session mode: the session ends with DISCARD ALL before the next client', async (t) => {
  const bouncer = await start(t, { pool_mode: 'session' });
  const first = await bouncer.connect();
  await first.query('CREATE TEMP TABLE mine (n int)');
  await first.query("SET search_path = 'pg_temp'");
  await first.end();
  const next = await bouncer.connect();
  assert.deepEqual(
    (await next.query("SELECT to_regclass('mine') AS t, current_setting('search_path') AS p")).rows,
    [{ t: null, p: '"$user", public' }],
  );
});
