/** Three proxies that share a store: what they see of each other, and what becomes of it while the store is away. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { until } from '../support/wait.ts';
import { cancelThrough, fleetOf, initFleet, prepareMember, statesIn } from './support.ts';

const scope = { after };
const [store, server] = await Promise.all([Cluster.start(scope), Cluster.start(scope)]);
const [a, b, c] = (await Promise.all(
  ['a', 'b', 'c'].map((name) => prepareMember(scope, server, { name, store })),
)) as [Bouncer, Bouncer, Bouncer];
assert.deepEqual((await initFleet(a)).stderr, '');
await Promise.all([a, b, c].map((each) => each.start()));

test('each proxy shows all of them, with different peer ids, and the sums', async () => {
  const clients = await Promise.all([a, a, b].map((each) => each.connect()));
  for (const proxy of [a, b, c])
    await until('all to be seen', async () => (await statesIn(proxy)) === 'a serving, b serving, c serving');
  const rows = await fleetOf(a);
  assert.deepEqual(
    rows.map(({ name }) => name),
    ['a', 'b', 'c'],
  );
  assert.equal(new Set(rows.map(({ peer_id: id }) => id)).size, 3);
  assert.ok(rows.every(({ peer_id: id }) => id !== null));
  assert.equal(rows[0]!.store, 'up');
  await until('the sum of clients', async () => {
    const all = (await c.admin('SHOW FLEET')).find(({ name }) => name === '(all)');
    return Number(all?.['clients']) === 3 && all?.['state'] === '3 of 3';
  });
  await Promise.all(clients.map((client) => client.end()));
});

test('a cancel request finds the proxy that issued its key', async () => {
  const client = await a.connect();
  const sleeping = assert.rejects(client.query('SELECT pg_sleep(60)'), /canceling statement/);
  await until('the query to run', async () => {
    const [row] = await server.sql(
      `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND state = 'active' AND pid <> pg_backend_pid()`,
    );
    return row?.['count'] === '1';
  });
  await cancelThrough(c, client);
  await sleeping;
  await client.end();
});

test('commands are in the audit log of all, with the user and the proxy', async () => {
  await b.admin('PAUSE data');
  await b.admin('RESUME data');
  const lines = await until('the lines', async () => {
    const rows = await c.admin('SHOW FLEET_AUDIT');
    return rows.length >= 2 ? rows : null;
  });
  assert.deepEqual(
    lines.map(({ proxy, user, action }) => [proxy, user, action]),
    [
      ['b', 'pgbouncer', 'PAUSE data'],
      ['b', 'pgbouncer', 'RESUME data'],
    ],
  );
  assert.match(String(lines[0]!['source']), /^console from 127\.0\.0\.1/);
});

test('while the store is away, queries go on, the proxies say so once, and then catch up', async () => {
  for (const proxy of [a, b, c]) proxy.markLog();
  await store.stop();
  await until('the loss to be seen', async () => /^away for \d+ s: /.test((await fleetOf(a))[0]!.store));
  assert.deepEqual(
    (await fleetOf(a)).map(({ name }) => name),
    ['a'],
  );
  assert.deepEqual(await a.sql('SELECT 1 AS one'), [{ one: 1 }]);
  await a.admin('RECONNECT data');
  await assert.rejects(a.admin('SHOW FLEET_AUDIT'), /the audit log of the fleet can't be read: /);
  await store.start();
  for (const proxy of [a, b, c])
    await until(
      'the others to be seen',
      async () => (await statesIn(proxy)) === 'a serving, b serving, c serving',
    );
  await until('the line that waited', async () =>
    (await b.admin('SHOW FLEET_AUDIT')).some(
      ({ proxy, action }) => proxy === 'a' && action === 'RECONNECT data',
    ),
  );
  assert.ok(a.logCount(/the store is away/) >= 1);
  assert.ok(a.logContains(/the store is connected/));
});

test('a proxy that ends is shown as ended, and its successor has its peer id', async () => {
  const before = (await fleetOf(a)).find(({ name }) => name === 'c')!.peer_id;
  await c.stop('SIGTERM');
  await until('its end to be seen', async () => (await statesIn(a)) === 'a serving, b serving, c ended');
  await c.start();
  await until('it to be back', async () => (await statesIn(a)) === 'a serving, b serving, c serving');
  assert.equal((await fleetOf(a)).find(({ name }) => name === 'c')!.peer_id, before);
});

test('a proxy that was killed is away, and another one with its name takes its place', async () => {
  await c.stop('SIGKILL');
  await until('its absence to be seen', async () => (await statesIn(a)) === 'a serving, b serving, c away');
  await c.start();
  await until('it to be back', async () => (await statesIn(a)) === 'a serving, b serving, c serving');
});

test('a rolling restart keeps the peer ids, and the audit log has no gap', async () => {
  const idsIn = async (): Promise<unknown> => (await fleetOf(a)).map(({ peer_id: id }) => id);
  const before = await idsIn();
  for (const proxy of [b, c, a]) {
    await proxy.admin('RECONNECT data');
    await proxy.stop('SIGTERM');
    await proxy.start();
    for (const each of [a, b, c])
      await until('all to be seen', async () => (await statesIn(each)) === 'a serving, b serving, c serving');
  }
  assert.deepEqual(await idsIn(), before);
  const lines = (await a.admin('SHOW FLEET_AUDIT')).slice(-3);
  assert.deepEqual(
    lines.map(({ proxy, action }) => `${String(proxy)} ${String(action)}`),
    ['b RECONNECT data', 'c RECONNECT data', 'a RECONNECT data'],
  );
});

test('damaged rows cost nobody, and each is logged once', async () => {
  a.markLog();
  await store.sql(`ALTER TABLE pgswitchyard.proxies DROP CONSTRAINT proxies_snapshot_check;
    ALTER TABLE pgswitchyard.proxies DROP CONSTRAINT proxies_address_check;
    INSERT INTO pgswitchyard.proxies (name, instance, peer_id, address, port, version, state, started_at, heartbeat_ms, snapshot)
    VALUES ('huge', gen_random_uuid(), 900, 'x', 1, '1', 'serving', now(), 1000, jsonb_build_object('a', repeat('x', 1000000))),
           ('list', gen_random_uuid(), 901, 'x', 1, '1', 'serving', now(), 1000, '[]'),
           ('text', gen_random_uuid(), 902, 'x', 1, '1', 'serving', now(), 1000, '{"clients": "many"}'),
           ('long', gen_random_uuid(), 903, repeat('x', 1000), 1, '1', 'serving', now(), 1000, '{}')`);
  await a.waitForLog(/row of the store is ignored: proxy "long"/);
  await until('all complaints', () => a.logCount(/row of the store is ignored/) === 4);
  assert.equal(await statesIn(a), 'a serving, b serving, c serving');
  await store.sql(`DELETE FROM pgswitchyard.proxies WHERE peer_id >= 900`);
  const [row] = await a.admin('SHOW FLEET');
  assert.equal(row?.['store'], 'up');
});

test('without fleet_store a proxy shows itself only', async () => {
  await c.reload({ fleet_store: undefined });
  const [row, ...more] = await fleetOf(c);
  assert.equal(row?.store, 'off: this proxy is alone');
  assert.deepEqual(more, []);
  await c.reload({ fleet_store: 'postgres:database=control' });
  await until('the others to be seen', async () => (await statesIn(c)) === 'a serving, b serving, c serving');
});
