/** Pools as the server sees them: how many connections exist, for which users, and which client gets the next one. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { FlakyRelay } from '../support/flaky.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start(
  { after },
  {
    sql: "CREATE ROLE other LOGIN; CREATE ROLE narrow LOGIN; CREATE ROLE capped LOGIN; ALTER ROLE other SET search_path = 'x'",
  },
);
const relay = await FlakyRelay.start({ after }, cluster);
const here = cluster.connectionString();
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      pair: `${here} pool_size=2`,
      reserve: `${here} pool_size=1 reserve_pool_size=1`,
      full: `${here} pool_size=2 max_db_connections=2`,
      mine: `${here} pool_size=1`,
      session: `${here} pool_size=1 pool_mode=session`,
      user1: here,
      user2: here,
      relayed: `host=127.0.0.1 port=${relay.port} dbname=postgres pool_size=1`,
      refusing: `${here} user=other`,
      connected: `${here} pool_size=1 connect_query='set statement_timeout = 12345; set timezone = ''Europe/Rome'''`,
      dawdling: `${here} connect_query='select pg_sleep(3600)'`,
    },
    users: { capped: 'max_user_connections=1', narrow: 'pool_size=1' },
    userlist: { other: '', narrow: '', capped: '' },
    settings: {
      pool_mode: 'transaction',
      reserve_pool_timeout: 0.3,
      server_login_retry: 0.3,
      server_connect_timeout: 1,
    },
  },
);

const errorOf = (frame: raw.Frame): string => (frame.type === 'E' ? errorFields(frame)['M']! : '');

async function servers(database: string): Promise<{ user: unknown }[]> {
  const rows = await bouncer.admin('SHOW SERVERS');
  return rows.filter((row) => row['database'] === database).map((row) => ({ user: row['user'] }));
}

async function waiting(database: string): Promise<number> {
  const rows = await bouncer.admin('SHOW POOLS');
  return rows
    .filter((row) => row['database'] === database)
    .reduce((sum, row) => sum + Number(row['cl_waiting']), 0);
}

test('a pool opens as many servers as its size, and other clients wait', async (t) => {
  const clients = await Promise.all([1, 2, 3, 4].map(() => bouncer.login(t, 'pair')));
  for (const client of clients.slice(0, 2)) await client.query('begin');
  for (const client of clients.slice(2)) client.send(raw.query("select 'served'"));
  await until('both to wait', async () => (await waiting('pair')) === 2);
  assert.equal((await servers('pair')).length, 2);
  await clients[0]!.query('commit');
  for (const client of clients.slice(2)) assert.equal(raw.firstValue(await client.readUntil('Z')), 'served');
});

test('waiting clients are served in the order in which they came', async (t) => {
  const holder = await bouncer.login(t, 'mine');
  await holder.query('begin');
  const clients = await Promise.all(Array.from({ length: 6 }, () => bouncer.login(t, 'mine')));
  await cluster.sql('CREATE TABLE IF NOT EXISTS turns (id serial, who int)');
  for (const [i, client] of clients.entries()) {
    client.send(raw.query(`insert into turns (who) values (${i})`));
    await until('one more to wait', async () => (await waiting('mine')) === i + 1);
  }
  await holder.query('commit');
  await Promise.all(clients.map((client) => client.readUntil('Z')));
  const rows = await cluster.sql<{ who: number }>('select who from turns order by id');
  assert.deepEqual(
    rows.map((row) => row.who),
    [0, 1, 2, 3, 4, 5],
  );
});

test('the server that was used last is used first', async (t) => {
  const [a, b] = [await bouncer.login(t, 'pair'), await bouncer.login(t, 'pair')];
  await a.query('begin');
  await b.query('begin');
  const [ofA, ofB] = [await a.pid(), await b.pid()];
  await a.query('commit');
  await b.query('commit');
  assert.equal(await a.pid(), ofB);
  await b.query('begin');
  assert.equal(await b.pid(), ofB);
  assert.equal(await a.pid(), ofA);
  await b.query('commit');
});

test('a client that has waited for reserve_pool_timeout gets a server of the reserve', async (t) => {
  const [first, second, third] = [
    await bouncer.login(t, 'reserve'),
    await bouncer.login(t, 'reserve'),
    await bouncer.login(t, 'reserve'),
  ];
  await first.query('begin');
  await second.query('begin');
  assert.match(bouncer.log(), /taking connection from reserve_pool/);
  third.send(raw.query('select 1'));
  await until('the third to wait', async () => (await waiting('reserve')) === 1);
  assert.equal((await servers('reserve')).length, 2);
  await first.query('commit');
  await third.readUntil('Z');
});

test('max_db_connections: an idle server of another user is evicted, one in use is not', async (t) => {
  const [a, b] = [await bouncer.login(t, 'full'), await bouncer.login(t, 'full')];
  await a.query('begin');
  await b.query('begin');
  await b.query('commit');
  bouncer.markLog();
  const other = await bouncer.login(t, 'full', { user: 'other' });
  await other.query('begin');
  assert.ok(bouncer.logContains(/closing because: evicted/));
  assert.deepEqual((await servers('full')).map((row) => row.user).toSorted(), ['other', 'postgres']);
  const waits = await bouncer.login(t, 'full');
  waits.send(raw.query('select 1'));
  await until('one to wait', async () => (await waiting('full')) === 1);
  assert.equal((await servers('full')).length, 2);
  await other.query('commit');
  await waits.readUntil('Z');
});

test('max_user_connections counts in all databases together, a user’s pool_size in each', async (t) => {
  const first = await bouncer.login(t, 'user1', { user: 'capped' });
  await first.query('begin');
  const second = await RawClient.connect(bouncer);
  t.after(() => second.destroy());
  second.send(raw.startup({ user: 'capped', database: 'user2' }));
  await until('the second to wait', async () => (await waiting('user2')) >= 0 && second.available === 0);
  assert.equal((await servers('user2')).length, 0);
  await first.query('commit');
  await second.readUntil('Z');
  assert.equal((await servers('user1')).length, 0);

  const [a, b] = [
    await bouncer.login(t, 'user1', { user: 'narrow' }),
    await bouncer.login(t, 'user1', { user: 'narrow' }),
  ];
  await a.query('begin');
  b.send(raw.query('select 1'));
  await until('one to wait', async () => (await waiting('user1')) === 1);
  await a.query('commit');
  await b.readUntil('Z');
});

test('a session’s server is reset before the next client gets it', async (t) => {
  const first = await bouncer.login(t, 'session');
  await first.query(
    "set search_path = 'left'; create temp table behind (); listen gossip; prepare p as select 1",
  );
  const its = await first.pid();
  cluster.markLog();
  first.send(raw.terminate());
  const second = await bouncer.login(t, 'session');
  assert.equal(await second.pid(), its);
  assert.notEqual(await second.value('show search_path'), 'left');
  assert.equal(await second.value("select count(*) from pg_class where relname = 'behind'"), '0');
  assert.equal(await second.value('select count(*) from pg_prepared_statements'), '0');
  assert.equal(cluster.logCount(/DISCARD ALL/), 1);
});

test('connect_query runs before the first client gets a server', async (t) => {
  const client = await bouncer.login(t, 'connected');
  assert.equal(await client.value('show statement_timeout'), '12345ms');
});

test('clients are welcomed with the settings of connect_query, unless they ask for others', async (t) => {
  const timezone = (client: RawClient): Promise<string | null> => client.value('show timezone');
  assert.equal(await timezone(await bouncer.login(t, 'connected')), 'Europe/Rome');
  const other = await RawClient.login(bouncer, { user: 'postgres', database: 'connected', TimeZone: 'UTC' });
  t.after(() => other.destroy());
  assert.equal(await timezone(other), 'UTC');
  assert.equal(await timezone(await bouncer.login(t, 'connected')), 'Europe/Rome');
});

test('a connection is given up when its connect_query takes too long', async (t) => {
  bouncer.markLog();
  const client = await RawClient.connect(bouncer);
  t.after(() => client.destroy());
  client.send(raw.startup({ user: 'postgres', database: 'dawdling' }));
  const pools = (): Promise<Record<string, unknown>[]> => bouncer.admin('SHOW POOLS');
  await until('the query', async () =>
    (await pools()).some((row) => row['database'] === 'dawdling' && row['sv_login'] === 1),
  );
  await bouncer.waitForLog(/S-0x\w+: dawdling\/\S+ closing because: connect timeout/);
});

test('while a server cannot be reached new clients get an error, and waiting ones are served when it is back', async (t) => {
  const early = await bouncer.login(t, 'relayed');
  await early.query('select 1');
  relay.refuse = true;
  relay.reset();
  bouncer.markLog();
  const waits = await bouncer.login(t, 'relayed');
  waits.send(raw.query("select 'at last'"));
  // two attempts, server_login_retry apart
  await until(
    'failures',
    () => bouncer.logCount(/S-0x\w+: relayed\S+ closing because: connect failed \(age/) >= 2,
  );
  await bouncer.admin('SET server_login_retry = 60');
  const late = await RawClient.login(bouncer, { user: 'postgres', database: 'relayed' });
  late.send(raw.query('select 1'));
  const error = (await late.readToEnd()).find((frame) => frame.type === 'E')!;
  assert.equal(
    errorFields(error)['M'],
    'server login has been failing, cached error: connect failed (server_login_retry)',
  );
  // after server_login_retry a new client causes one more attempt
  await bouncer.admin("SET server_login_retry = '0.3'");
  await until('another failure', async () => {
    const another = await RawClient.login(bouncer, { user: 'postgres', database: 'relayed' });
    bouncer.markLog();
    another.send(raw.query('select 1'));
    assert.match((await another.readToEnd()).map(errorOf).join(), /cached error: connect failed/);
    return bouncer.logContains(/S-0x\w+: relayed\S+ closing because: connect failed \(age/);
  });
  relay.refuse = false;
  await waits.readUntil('Z');
});

test('query_wait_timeout says why the last attempt to connect failed', async (t) => {
  const client = await bouncer.login(t, 'relayed');
  await client.query('select 1');
  relay.refuse = true;
  relay.reset();
  bouncer.markLog();
  client.send(raw.query('select 1'));
  await bouncer.waitForLog(/S-0x\w+: relayed\S+ closing because: connect failed/);
  await bouncer.admin("SET query_wait_timeout = '0.1'");
  const error = (await client.readToEnd()).findLast((frame) => frame.type === 'E')!;
  await bouncer.admin('SET query_wait_timeout = 120');
  relay.refuse = false;
  await until('the server is back', async () => {
    const next = await RawClient.login(bouncer, { user: 'postgres', database: 'relayed' });
    next.send(raw.query('select 1'));
    const answers = await next.readUntil('Z').catch(() => []);
    next.destroy();
    return answers.length > 0;
  });
  const { M: message, D: detail } = errorFields(error);
  assert.equal(message, 'query_wait_timeout');
  assert.match(detail!, /^The last attempt to connect to a server of database "relayed" failed: /);
});

test('when a server refuses the login, waiting clients and later ones get its error', async (t) => {
  const client = await bouncer.login(t, 'refusing');
  await client.query('select 1');
  await cluster.sql(
    "ALTER ROLE other NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'other'",
  );
  await until('the server to be gone', async () => (await servers('refusing')).length === 0);
  bouncer.markLog();
  await bouncer.admin('SET server_login_retry = 60');
  const message = async (asking: RawClient): Promise<string[]> => {
    asking.send(raw.query('select 1'));
    const error = (await asking.readToEnd()).find((frame) => frame.type === 'E')!;
    return [errorFields(error)['C']!, errorFields(error)['M']!];
  };
  const refusal = 'role "other" is not permitted to log in';
  assert.deepEqual(await message(client), ['28000', refusal]);
  assert.ok(
    bouncer.logContains(/S-0x\w+: refusing\/other@\S+ server login failed: FATAL role "other" is not/),
  );
  assert.equal(
    bouncer.logCount(/C-0x\w+: \S+ closing because: role "other" is not permitted to log in \(age/),
    1,
  );
  assert.equal(
    bouncer.logCount(/S-0x\w+: \S+ closing because: role "other" is not permitted to log in \(age/),
    1,
  );
  const late = await RawClient.login(bouncer, { user: 'postgres', database: 'refusing' });
  assert.deepEqual(await message(late), [
    '08P01',
    `server login has been failing, cached error: ${refusal} (server_login_retry)`,
  ]);
  await cluster.sql('ALTER ROLE other LOGIN');
  await bouncer.admin("SET server_login_retry = '0.3'");
});

test('after RECONNECT clients are welcomed with the settings of a new server, even in a full pool', async (t) => {
  const holder = await bouncer.login(t, 'mine');
  await holder.query('begin');
  await cluster.sql("ALTER ROLE postgres SET timezone = 'Europe/Rome'");
  await bouncer.admin('RECONNECT mine');
  const client = await RawClient.connect(bouncer);
  t.after(() => client.destroy());
  client.send(raw.startup({ user: 'postgres', database: 'mine' }));
  const settings = (await client.readUntil('Z')).filter((frame) => frame.type === 'S');
  assert.ok(settings.some((frame) => frame.payload.toString() === 'TimeZone\0Europe/Rome\0'));
  await cluster.sql('ALTER ROLE postgres RESET timezone');
  await holder.query('commit');
});

test('a server that accepts a connection and sends nothing is given up after server_connect_timeout', async (t) => {
  const [holder, waits] = [await bouncer.login(t, 'relayed'), await bouncer.login(t, 'relayed')];
  await holder.query('begin');
  relay.toClient.blackHole = true;
  relay.toUpstream.blackHole = true;
  bouncer.markLog();
  holder.destroy();
  waits.send(raw.query("select 'at last'"));
  await bouncer.waitForLog(/connect timeout/);
  relay.toClient.blackHole = false;
  relay.toUpstream.blackHole = false;
  await until('service', async () => {
    const client = await bouncer.login(t, 'relayed');
    return (await client.value("select 'at last'")) === 'at last';
  });
});
