/** A store that stops answering, names and ids that are taken, and a proxy that is replaced while it runs. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Cluster } from '../support/cluster.ts';
import { noFfi } from '../support/ffi.ts';
import { FlakyRelay } from '../support/flaky.ts';
import { until } from '../support/wait.ts';
import { cancelThrough, fleetOf, initFleet, prepareMember, statesIn } from './support.ts';

const scope = { after };
const store = await Cluster.start(scope);
const watcher = await prepareMember(scope, store, { name: 'watcher', store });
await initFleet(watcher);
await watcher.start();

async function storeOf(proxy: typeof watcher): Promise<string> {
  return (await fleetOf(proxy)).find(({ name }) => name !== 'watcher')!.store;
}

test('a store behind a network that drops everything is noticed, and used again afterwards', async (t) => {
  const relay = await FlakyRelay.start(t, { port: store.port });
  const proxy = await prepareMember(t, store, { name: 'cut', store: relay });
  await proxy.start();
  await until('the store', async () => (await storeOf(proxy)) === 'up');
  relay.toUpstream.blackHole = true;
  relay.toClient.blackHole = true;
  await until('the loss to be noticed', async () =>
    /^away for \d+ s: no answer for 1 s;/.test(await storeOf(proxy)),
  );
  assert.deepEqual(await proxy.sql('SELECT 1 AS one'), [{ one: 1 }]);
  await until(
    'its absence to be seen',
    async () => (await statesIn(watcher)) === 'cut away, watcher serving',
  );
  relay.toUpstream.blackHole = false;
  relay.toClient.blackHole = false;
  await until('it to be back', async () => (await statesIn(watcher)) === 'cut serving, watcher serving');
  await proxy.stop('SIGTERM');
});

test('a proxy that starts while the store is away serves, and its clients can be cancelled', async (t) => {
  const relay = await FlakyRelay.start(t, { port: store.port });
  relay.refuse = true;
  const proxy = await prepareMember(t, store, { name: 'early', store: relay });
  await proxy.start();
  const client = await proxy.connect();
  assert.match(await storeOf(proxy), /^away: 127\.0\.0\.1:\d+: connect ECONNREFUSED/);
  relay.refuse = false;
  await until('the store', async () => (await storeOf(proxy)) === 'up');
  const sleeping = assert.rejects(client.query('SELECT pg_sleep(60) /* early */'), /canceling statement/);
  await until('the query to run', async () => {
    const rows = await store.sql(
      `SELECT FROM pg_stat_activity WHERE query LIKE '%/* ea' || 'rly */' AND state = 'active'`,
    );
    return rows.length === 1;
  });
  await cancelThrough(proxy, client);
  await sleeping;
  await client.end();
});

test('a flood of notifications leads to few reads, and senseless ones to none', async () => {
  const reads = (): number => store.log().match(/FROM pgswitchyard.proxies WHERE name <> /g)?.length ?? 0;
  const before = reads();
  await store.sql(
    `SELECT pg_notify('pgswitchyard', 'proxies ' || n), pg_notify('pgswitchyard', repeat(chr(1 + n % 126), 7000))
     FROM generate_series(1, 3000) AS n`,
  );
  await watcher.admin('RECONNECT data');
  await until(
    'an audit line that came later',
    async () => (await watcher.admin('SHOW FLEET_AUDIT')).length > 0,
  );
  assert.ok(reads() - before < 100);
  assert.equal((await fleetOf(watcher)).find(({ name }) => name === 'watcher')!.store, 'up');
});

test('of two running proxies with one name the later one has it, and the other one says so', async (t) => {
  const settings = { fleet_heartbeat: 1 };
  const first = await prepareMember(t, store, { name: 'twin', store, settings });
  const second = await prepareMember(t, store, { name: 'twin', store, settings });
  await first.start();
  await second.start();
  await first.waitForLog(/another process has the name "twin" in the fleet: set fleet_name/);
  await until('its own view', async () =>
    (await storeOf(first)).startsWith('up: another process has the name'),
  );
  await until('the later one to be shown', async () => {
    const row = (await fleetOf(watcher)).find(({ name }) => name === 'twin');
    return Number(row?.['port']) === second.port;
  });
  await second.stop('SIGTERM');
  await until('the first one to have its name', async () => (await storeOf(first)) === 'up');
});

test('a peer_id of the configuration is used, and one that is taken is complained about', async (t) => {
  const first = await prepareMember(t, store, { name: 'seven', store, settings: { peer_id: 7 } });
  const second = await prepareMember(t, store, { name: 'seventh', store, settings: { peer_id: 7 } });
  await first.start();
  await second.start();
  await second.waitForLog(/peer_id 7 is also the one of proxy "seven"/);
  await first.stop('SIGTERM');
  await until('the freed id', async () =>
    (await fleetOf(watcher)).some(({ name, peer_id: id }) => name === 'seventh' && id === 7),
  );
  await first.start();
  await first.waitForLog(/peer_id 7 is also the one of proxy "seventh"/);
  await second.reload({ peer_id: 8 });
  await until('the new id', async () => {
    const rows = await fleetOf(watcher);
    const idOf = (proxy: string) => rows.find(({ name }) => name === proxy)?.peer_id;
    return idOf('seven') === 7 && idOf('seventh') === 8;
  });
  const peers = await watcher.admin('SHOW PEERS');
  assert.ok(peers.some((peer) => peer['peer_id'] === 8 && peer['port'] === second.port));
});

test('the successor of an online restart has its name and its peer id', { skip: noFfi }, async (t) => {
  const old = await prepareMember(t, store, { name: 'lasting', store });
  await old.start();
  const client = await old.connect();
  const idOf = async (): Promise<unknown> =>
    (await fleetOf(watcher)).find(({ name }) => name === 'lasting')?.peer_id;
  const id = await until('it to be seen', idOf);
  const next = await old.successor(t, ['-R']);
  assert.equal((await fleetOf(next)).find(({ name }) => name === 'lasting')!.peer_id, id);
  assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
  await client.end();
  await old.exited();
  await until('the successor to be seen', async () => {
    const row = (await fleetOf(watcher)).find(({ name }) => name === 'lasting');
    return row?.state === 'serving' && row.peer_id === id;
  });
  await next.stop('SIGTERM');
});
