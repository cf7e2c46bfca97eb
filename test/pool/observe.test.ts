/** Snapshots of databases and pools: their contents, and that they hold no live objects. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PoolsObserver } from '../../src/pool/observe.ts';
import { Peers } from '../../src/pool/peers.ts';
import { Resolver } from '../../src/pool/resolver.ts';
import { FakePools, FakeWaiter } from './fakes.ts';

const INI = `[databases]
b = host=10.0.0.1 pool_size=3
a = host=10.0.0.1,10.0.0.2 pool_mode=session
[users]
joe = pool_size=7
[peers]
2 = host=10.0.0.9
[pgbouncer]
peer_id = 1
`;

function observed(): { pools: FakePools; observer: PoolsObserver } {
  const pools = new FakePools(INI);
  const { context, directory } = pools;
  const resolver = new Resolver({ ttls: () => context.settings, onChange: () => {} });
  const peers = new Peers(context, resolver);
  return { pools, observer: new PoolsObserver({ context, directory, resolver, peers }, () => null) };
}

/** Every snapshot that the observer gives. */
function everything(observer: PoolsObserver): unknown[] {
  return [
    observer.observe(),
    ...observer.databases(),
    ...observer.pools(),
    ...observer.servers(),
    ...observer.busyServers(),
    ...observer.users(),
    ...observer.peers(),
    ...observer.hosts(),
  ];
}

test('a pool counts its servers by phase, and the one that is being made', async () => {
  const { pools, observer } = observed();
  const lent = new FakeWaiter().acquire(pools.pool('a'));
  await pools.attempt.succeed();
  new FakeWaiter().acquire(pools.pool('a'));
  const [pool, ...more] = [...observer.pools()];
  assert.deepEqual(more, []);
  assert.deepEqual([pool!.database, pool!.mode, pool!.balancing], ['a', 'session', 'round-robin']);
  assert.deepEqual([pool!.servers.active, pool!.servers.idle, pool!.connecting], [1, 0, 1]);
  assert.equal(observer.observe().servers, 2);
  pools.pool('a').give(lent.server!);
  assert.equal(pool!.servers.active, 1, 'a snapshot does not change');
});

test('databases and users are in the order of their names, with the limits that apply', () => {
  const { observer } = observed();
  assert.deepEqual(
    [...observer.databases()].map(({ name, poolSize }) => [name, poolSize]),
    [
      ['a', 20],
      ['b', 3],
    ],
  );
  assert.deepEqual(
    [...observer.users()].map(({ name, poolSize }) => [name, poolSize]),
    [
      ['joe', 7],
      ['pgbouncer', null],
    ],
  );
});

test('snapshots are plain data: nothing is lost when they are written as JSON', async () => {
  const { pools, observer } = observed();
  new FakeWaiter().acquire(pools.pool('a'));
  await pools.attempt.succeed();
  for (const snapshot of everything(observer))
    assert.deepEqual(JSON.parse(JSON.stringify(snapshot)), snapshot);
});

test('a server is busy while it has not taken all bytes', async () => {
  const { pools, observer } = observed();
  new FakeWaiter().acquire(pools.pool('a'));
  const server = await pools.attempt.succeed();
  assert.deepEqual([...observer.busyServers()], []);
  Object.assign(server.socket, { writableLength: 5 });
  assert.deepEqual(
    [...observer.busyServers()].map(({ id, unsentBytes }) => [id, unsentBytes]),
    [[server.id, 5]],
  );
});

test('a snapshot is built when it is asked for', async () => {
  const { pools, observer } = observed();
  for (const name of ['a', 'b']) {
    new FakeWaiter().acquire(pools.pool(name));
    await pools.attempt.succeed();
  }
  const rows = observer.servers();
  assert.equal(rows.next().done, false);
  for (const server of pools.directory.allServers()) server.close('gone');
  assert.equal(rows.next().done, true, 'what has gone meanwhile is left out');
});
