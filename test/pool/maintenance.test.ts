/** Idle servers: when they are checked and closed, and which of them the next client gets. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer, type Settings } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { query, RawClient } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });

async function start(t: Scope, settings: Settings): Promise<Bouncer> {
  return await Bouncer.start(t, {
    databases: { db: `${cluster.connectionString()} pool_size=5` },
    settings: { pool_mode: 'transaction', ...settings },
  });
}

/** Pids of as many servers as clients, in the order in which they come free. */
async function use(clients: RawClient[]): Promise<(string | null)[]> {
  for (const client of clients) await client.query('begin');
  const pids = [];
  for (const client of clients) pids.push(await client.pid());
  for (const client of clients) await client.query('commit');
  return pids;
}

async function servers(bouncer: Bouncer): Promise<number> {
  return (await bouncer.admin('SHOW SERVERS')).length;
}

test('server_round_robin lends the server that has been idle longest', async (t) => {
  const bouncer = await start(t, { server_round_robin: 1 });
  const client = await bouncer.login(t, 'db');
  const free = await use([client, await bouncer.login(t, 'db'), await bouncer.login(t, 'db')]);
  for (const expected of [...free, ...free]) assert.equal(await client.pid(), expected);
});

test('server_check_query runs on a server that was idle for server_check_delay, and no other server is opened meanwhile', async (t) => {
  const bouncer = await start(t, { server_check_query: "select 'checked'", server_check_delay: 0 });
  const client = await bouncer.login(t, 'db');
  cluster.markLog();
  const first = await client.pid();
  for (let i = 0; i < 5; i++) assert.equal(await client.pid(), first);
  assert.ok(cluster.logCount(/statement: select 'checked'/) >= 5);
  assert.equal(await servers(bouncer), 1);

  await use([client, await bouncer.login(t, 'db'), await bouncer.login(t, 'db')]);
  cluster.markLog();
  await client.pid();
  assert.equal(cluster.logCount(/statement: select 'checked'/), 1, 'one server for one client');

  await bouncer.admin('SET server_check_delay = 3600');
  cluster.markLog();
  await use([client]);
  assert.ok(!cluster.logContains(/checked/));
});

test('a server that fails its check is replaced', async (t) => {
  const bouncer = await start(t, { server_check_query: 'select 1', server_check_delay: 0 });
  const client = await bouncer.login(t, 'db');
  const first = await client.pid();
  await bouncer.admin("SET server_check_query = 'select 1/0'");
  const second = await client.pid();
  assert.notEqual(second, first);
  assert.ok(bouncer.logContains(/server check query failed: division by zero/));
});

test('server_check_query = <empty> sends an empty query and waits for its answer', async (t) => {
  const bouncer = await start(t, { server_check_delay: 0 });
  const client = await bouncer.login(t, 'db');
  const first = await client.pid();
  // the server does not answer, so the client waits for the check
  cluster.freeze();
  t.after(() => cluster.thaw());
  client.send(query("select 'passed'"));
  await until('the check', async () =>
    (await bouncer.admin('SHOW POOLS')).some((row) => row['database'] === 'db' && row['sv_tested'] === 1),
  );
  cluster.thaw();
  await client.readUntil('Z');
  assert.equal(await client.pid(), first);
});

test('server_idle_timeout closes idle servers, down to min_pool_size', async (t) => {
  const bouncer = await start(t, { server_idle_timeout: 0.2, min_pool_size: 1 });
  await use([await bouncer.login(t, 'db'), await bouncer.login(t, 'db'), await bouncer.login(t, 'db')]);
  await until('one server', async () => (await servers(bouncer)) === 1);
  assert.equal(
    bouncer.logCount(/S-0x\w+: db\/postgres@127.0.0.1:\d+ closing because: server idle timeout/),
    2,
  );
  await bouncer.admin('SET min_pool_size = 0');
  await until('no server', async () => (await servers(bouncer)) === 0);
});

test('with server_lifetime = 0 a server is used once', async (t) => {
  const bouncer = await start(t, { server_lifetime: 0 });
  const client = await bouncer.login(t, 'db');
  const pids = [await client.pid(), await client.pid(), await client.pid()];
  assert.equal(new Set(pids).size, 3);
  assert.ok(bouncer.logContains(/closing because: server lifetime over/));
});

test('a pool whose size is lowered closes its surplus of servers', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { db: cluster.connectionString() },
    settings: { pool_mode: 'transaction', default_pool_size: 3 },
  });
  await use([await bouncer.login(t, 'db'), await bouncer.login(t, 'db'), await bouncer.login(t, 'db')]);
  assert.equal(await servers(bouncer), 3);
  await bouncer.admin('SET default_pool_size = 1');
  await until('one server', async () => (await servers(bouncer)) === 1);
  assert.equal(bouncer.logCount(/closing because: too many servers in the pool/), 2);
});
