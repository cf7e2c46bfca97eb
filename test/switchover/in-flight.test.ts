/** Statements that run or are queued when the writer goes away: they are resent, or their clients get an exact error. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Bouncer } from '../support/bouncer.ts';
import type { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { RawClient, type Frame } from '../support/raw.ts';
import { until } from '../support/wait.ts';
import { planned, setUp } from './pair.ts';

/** Frames without ParameterStatus: a server that was a standby at the connection reports that it no longer is one. */
const types = (frames: Frame[]): string =>
  frames
    .map((frame) => frame.type)
    .filter((type) => type !== 'S')
    .join('');

/** `08007`, or `57P01 rolled back` if the error says so. */
function told(frames: Frame[]): string {
  return frames
    .filter((frame) => frame.type === 'E')
    .map((frame) => {
      const { C: code = '', D: detail = '' } = raw.errorFields(frame);
      return /rolled back/.test(detail) ? `${code} rolled back` : code;
    })
    .join();
}

async function logIn(bouncer: Bouncer): Promise<RawClient> {
  return await RawClient.login(bouncer, { user: 'postgres', database: 'dev' });
}

async function sleeping(cluster: Cluster, count: number): Promise<void> {
  await until(`${count} statements to run`, async () => {
    const rows = await cluster.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    return rows.length === count;
  });
}

const run = (sql: string): Buffer => Buffer.concat([raw.parse('', sql), raw.bind(), raw.execute()]);
const insert = (n: number): string => `INSERT INTO ledger (writer, n) VALUES (1, ${n})`;
/** A query that takes a minute on the first writer, and no time on the next. */
const slow = (primary: Cluster): string =>
  `(SELECT 1 FROM pg_sleep(CASE WHEN inet_server_port() = ${primary.port} THEN 60 ELSE 0 END))`;

test('a fast shutdown: errors claim a rollback only if it is certain, and statements that had not begun are resent', async (t) => {
  const setup = await setUp(t, {
    postgres: { max_prepared_transactions: '2', allow_in_place_tablespaces: 'on' },
    sql: `CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO ledger VALUES (7, 7); COMMIT; PERFORM pg_sleep(60); END $$;`,
  });
  const { primary, bouncer } = setup;
  const standby = setup.standby;
  await primary.sql(`BEGIN; ${insert(1)}; PREPARE TRANSACTION 'x'`);
  await primary.sql(`BEGIN; ${insert(2)}; PREPARE TRANSACTION 'y'`);
  const wait = 'SELECT pg_sleep(60)';
  const piped: [string, string][] = [
    // this waits for transactions that have begun before
    ['CREATE INDEX CONCURRENTLY made_index ON nodes (port)', '08007'],
    ["COMMIT PREPARED 'x'", '08007'],
    ["ROLLBACK PREPARED 'y'", '08007'],
    ["ALTER SYSTEM SET work_mem = '5MB'", '08007'],
    ['CREATE DATABASE made', '08007'],
    ["CREATE TABLESPACE made LOCATION ''", '08007'],
    ["SELECT pg_logical_emit_message(false, 'a', 'b')", '08007'],
    ['CREATE TABLE made (n int)', '57P01 rolled back'],
    [insert(3), '57P01 rolled back'],
  ];
  const clients: RawClient[] = [];
  for (const [sql] of piped) {
    const client = await logIn(bouncer);
    clients.push(client);
    client.send(run(sql), run(wait), raw.sync());
    await sleeping(primary, clients.length);
  }
  const [called, first, block, open] = [
    await logIn(bouncer),
    await logIn(bouncer),
    await logIn(bouncer),
    await logIn(bouncer),
  ];
  const sleep = slow(primary);
  const slowInsert = (n: number): string => `INSERT INTO ledger (writer, n) VALUES (${sleep}, ${n})`;
  called.send(raw.query('CALL work()'), raw.query(insert(4)), run(insert(5)), raw.sync());
  first.send(raw.query('SELECT 1'), raw.query(slowInsert(6)), raw.query(insert(8)));
  block.send(
    ...[raw.query('BEGIN'), raw.query(insert(9)), raw.query(`SELECT ${sleep}`), raw.query('COMMIT')],
  );
  // a COMMIT, and then a procedure that commits, in the pipeline that ends the transaction
  await open.query('BEGIN');
  open.send(run('ROLLBACK'), run('CALL work()'), raw.sync());
  await sleeping(primary, clients.length + 4);
  await primary.stop();
  await standby.promote();

  for (const [i, [sql, expected]] of piped.entries()) {
    const frames = await clients[i]!.readUntil('Z');
    assert.equal(told(frames), expected, sql);
    assert.equal(types(await clients[i]!.query('SELECT 2')), 'TDCZ', sql);
  }
  assert.equal(told(await called.readUntil('Z')), '57P01');
  assert.equal(types(await called.readUntil('Z')), 'CZ');
  assert.equal(types(await called.readUntil('Z')), '12CZ');
  assert.equal(types(await first.readUntil('Z')), 'TDCZ');
  assert.equal(types(await first.readUntil('Z')), 'CZ');
  assert.equal(types(await first.readUntil('Z')), 'CZ');
  assert.equal(types(await block.readUntil('Z')), 'CZ');
  assert.equal(types(await block.readUntil('Z')), 'CZ');
  assert.equal(told(await block.readUntil('Z')), '57P01 rolled back');
  assert.equal(told(await block.readUntil('Z')), '57P01 rolled back');
  assert.equal(told(await open.readUntil('Z')), '08007');
  for (const client of [called, first, block, open])
    assert.equal(types(await client.query('SELECT 2')), 'TDCZ');
  const rows = await standby.sql<{ n: number }>('SELECT n FROM ledger ORDER BY n');
  assert.deepEqual(
    rows.map((row) => row.n),
    [1, 4, 5, 6, 7, 7, 8],
  );
  assert.deepEqual(await standby.sql("SELECT 1 AS one FROM pg_database WHERE datname = 'made'"), [
    { one: 1 },
  ]);
});

test('a crash: statements without effect are resent, and the errors of others claim no more than is certain', async (t) => {
  const setup = await setUp(t, { settings: { tcp_socket_buffer: 32_768 } });
  const { primary, bouncer } = setup;
  const standby = setup.standby;
  const parse = Buffer.concat([raw.parse('', 'DELETE FROM ledger'), raw.describe('S')]);
  const large = raw.query(`${insert(1)} /* ${'x'.repeat(600_000)} */`);
  const cases: { what: string; send: Buffer[]; answers: string[]; before?: Buffer[]; until?: string }[] = [
    { what: 'BEGIN', send: [raw.query('BEGIN')], answers: ['CZ'] },
    { what: 'BEGIN by the extended protocol', send: [run('BEGIN'), raw.sync()], answers: ['12CZ'] },
    { what: 'SET', send: [raw.query("SET TimeZone = 'UTC'")], answers: ['CZ'] },
    { what: 'an empty query', send: [raw.query('')], answers: ['IZ'] },
    { what: 'Parse and Describe', send: [parse, raw.sync()], answers: ['1tnZ'] },
    { what: 'Sync', send: [raw.sync()], answers: ['Z'] },
    {
      what: 'Sync after answers',
      before: [parse, raw.flush()],
      until: 'n',
      send: [raw.sync()],
      answers: ['Z'],
    },
    {
      what: 'Describe after an answer',
      before: [raw.parse('', 'SELECT 1'), raw.flush()],
      until: '1',
      send: [raw.describe('S'), raw.sync()],
      answers: ['57P01 rolled back|tTZ'],
    },
    {
      what: 'BEGIN with the first statement',
      send: [run('BEGIN'), run(insert(2)), raw.sync()],
      answers: ['12C12CZ'],
    },
    {
      what: 'a transaction that is not ended',
      send: [raw.query('BEGIN'), raw.query(insert(3))],
      answers: ['CZ', 'CZ'],
    },
    {
      what: 'Parse in an open transaction',
      before: [raw.query('BEGIN')],
      until: 'Z',
      send: [parse, raw.sync()],
      answers: ['57P01 rolled back'],
    },
    { what: 'a statement', send: [raw.query(insert(4))], answers: ['08007'] },
    {
      what: 'a transaction that is ended',
      send: [raw.query('BEGIN'), raw.query(insert(5)), raw.query('COMMIT')],
      answers: ['08007', '08007', '08007'],
    },
    {
      what: 'Parse before a statement',
      send: [parse, raw.sync(), raw.query(insert(6))],
      answers: ['57P01 rolled back', '08007'],
    },
    {
      what: 'a statement whose end has not left the proxy',
      send: [raw.query(insert(7)), large],
      answers: ['08007', 'CZ'],
    },
  ];
  const clients = await Promise.all(cases.map(() => logIn(bouncer)));
  // as many servers as there are clients
  for (const sql of ['BEGIN', 'COMMIT']) await Promise.all(clients.map((client) => client.query(sql)));
  for (const [i, { before, until: end }] of cases.entries()) {
    if (before === undefined) continue;
    clients[i]!.send(...before);
    await clients[i]!.readUntil(end!);
  }
  // it receives bytes, and does nothing
  primary.freeze();
  for (const [i, { send }] of cases.entries()) clients[i]!.send(...send);
  await until('all of it to be on its way', async () => {
    const servers = await bouncer.admin('SHOW SERVERS');
    const active = servers.filter((each) => each['database'] === 'dev' && each['state'] === 'active');
    return active.length === cases.length;
  });
  await primary.kill();
  await standby.promote();
  for (const [i, { what, answers }] of cases.entries()) {
    for (const answer of answers) {
      const frames = await clients[i]!.readUntil('Z');
      assert.match(told(frames) || types(frames), new RegExp(`^(?:${answer})$`), what);
    }
    const [first] = await clients[i]!.query('ROLLBACK');
    assert.ok(first !== undefined, what);
    assert.equal(types(await clients[i]!.query('SELECT 2')), 'TDCZ', what);
  }
  assert.deepEqual(await standby.sql('SELECT n FROM ledger ORDER BY n'), [{ n: 1 }]);
});

/** The processes that a proxy has started, including the one with the functions. */
function childrenOf(bouncer: Bouncer): number[] {
  const isChild = (name: string): boolean => {
    try {
      const [, parent] = readFileSync(`/proc/${name}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ');
      return Number(parent) === bouncer.pid;
    } catch {
      // the process has ended in the meantime
      return false;
    }
  };
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && isChild(name))
    .map(Number);
}

for (const [end, how] of [
  ['is shut down', 'stop'],
  ['crashes', 'kill'],
] as const) {
  test(`a query that waits for user functions when the writer ${end} is decided again, in its turn`, async (t) => {
    const setup = await setUp(t, {
      settings: { user_function_timeout: 20 },
      files: {
        'user-functions/rewrite_query.ts': `
          export const rewrite_query = (_user: string, query: string): string | null => query.replace('+ 0', '+ 10');`,
      },
      sql: 'CREATE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN COMMIT; PERFORM pg_sleep(60); END $$;',
    });
    const { primary, bouncer } = setup;
    const standby = setup.standby;
    const sleep = slow(primary);
    const [again, lost] = [await logIn(bouncer), await logIn(bouncer)];
    again.send(raw.query(`INSERT INTO ledger (writer, n) VALUES (${sleep}, 1 + 0)`));
    lost.send(raw.query('CALL work()'));
    await sleeping(primary, 2);
    const hosts = childrenOf(bouncer);
    for (const host of hosts) process.kill(host, 'SIGSTOP');
    try {
      again.send(raw.query(insert(2)), raw.query('INSERT INTO ledger (writer, n) VALUES (1, 3 + 0)'));
      lost.send(raw.query('INSERT INTO ledger (writer, n) VALUES (1, 4 + 0)'));
      await until('the queries to be with the functions', async () => {
        const clients = await bouncer.admin('SHOW CLIENTS');
        return clients.length > 0;
      });
      await primary[how]();
      await bouncer.waitForLog(/holding new transactions/);
      await standby.promote();
    } finally {
      for (const host of hosts) process.kill(host, 'SIGCONT');
    }
    if (how === 'kill') assert.equal(told(await again.readUntil('Z')), '08007');
    else assert.equal(types(await again.readUntil('Z')), 'CZ');
    assert.equal(types(await again.readUntil('Z')), 'CZ');
    assert.equal(types(await again.readUntil('Z')), 'CZ');
    assert.equal(told(await lost.readUntil('Z')), how === 'kill' ? '08007' : '57P01');
    assert.equal(types(await lost.readUntil('Z')), 'CZ');
    const rows = await standby.sql<{ n: number }>('SELECT n FROM ledger ORDER BY n');
    assert.deepEqual(
      rows.map((row) => row.n),
      how === 'kill' ? [2, 13, 14] : [2, 11, 13, 14],
    );
  });
}

test('a statement that waited so long that its client got a notice is still sent again', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    settings: { default_pool_size: 1, query_wait_notify: 1 },
  });
  const [holder, client] = [await bouncer.login(t, 'dev'), await bouncer.login(t, 'dev')];
  await holder.query('BEGIN');
  client.send(raw.query(`SELECT 7 FROM ${slow(primary)} AS slow`));
  assert.equal((await client.readFrame()).type, 'N');
  await holder.query('COMMIT');
  await sleeping(primary, 1);
  await planned(primary, standby);
  assert.equal(types(await client.readUntil('Z')), 'TDCZ');
});
