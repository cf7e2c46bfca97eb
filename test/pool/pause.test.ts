/** PAUSE and RESUME of one database and of the whole proxy, and the commands that wait for them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Server } from '../../src/pool/server.ts';
import { FakePools, FakeWaiter, settled } from './fakes.ts';

const INI = '[databases]\na = host=10.0.0.1\nb = host=10.0.0.1\n[pgbouncer]\n';

/** Two databases, each with an idle server and a lent one. */
async function twoDatabases(): Promise<{
  pools: FakePools;
  idle: Record<string, Server>;
  lent: Record<string, Server>;
}> {
  const pools = new FakePools(INI);
  const idle: Record<string, Server> = {};
  const lent: Record<string, Server> = {};
  for (const name of ['a', 'b']) {
    const waiters = [new FakeWaiter(), new FakeWaiter()];
    for (const waiter of waiters) {
      waiter.acquire(pools.pool(name));
      await pools.attempt.succeed();
    }
    lent[name] = waiters[0]!.server!;
    idle[name] = waiters[1]!.server!;
    pools.pool(name).give(idle[name]);
  }
  return { pools, idle, lent };
}

function states(servers: Record<string, Server>): string {
  return Object.entries(servers)
    .map(([name, { state }]) => `${name} ${state}`)
    .join(', ');
}

test('PAUSE of a database closes its idle servers now and lent ones when they come back', async () => {
  const { pools, idle, lent } = await twoDatabases();
  const { directory, lifecycle, pause } = pools;
  const a = directory.find('a');
  pause.begin(a, directory.poolsOf(a));
  assert.equal(states(idle), 'a closed, b idle');
  for (const [name, server] of Object.entries(lent)) pools.pool(name).give(server);
  assert.equal(states(lent), 'a closed, b idle');
  assert.deepEqual(
    [pools.pool('a').paused, pools.pool('b').paused, lifecycle.isPaused],
    [true, false, false],
  );
});

test('PAUSE without a database closes idle servers everywhere', async () => {
  const { pools, idle, lent } = await twoDatabases();
  pools.pause.begin(null, pools.directory.poolsOf(null));
  assert.equal(states(idle), 'a closed, b closed');
  assert.equal(states(lent), 'a active, b active');
  assert.equal(pools.directory.hasServers(null), true);
});

test('PAUSE waits until no server is left, and gives up the connection under way', async () => {
  const { pools, lent } = await twoDatabases();
  const { directory, pause, turnover } = pools;
  const a = directory.find('a');
  pause.begin(a, directory.poolsOf(a));
  let isDone = false;
  const done = turnover.until(() => !directory.hasServers(a)).then(() => (isDone = true));
  await settled();
  assert.equal(isDone, false);
  pools.pool('a').give(lent['a']!);
  await done;
});

test('RESUME serves those that waited, and ends a PAUSE that waits for servers', async () => {
  const { pools } = await twoDatabases();
  const { directory, lifecycle, pause, turnover } = pools;
  pause.begin(null, directory.poolsOf(null));
  const waiter = new FakeWaiter().acquire(pools.pool('a'));
  const attempts = pools.attempts.length;
  const ended = turnover.until(() => !lifecycle.isPaused);
  pause.end(null);
  await ended;
  assert.equal(pools.attempts.length, attempts + 1);
  await pools.attempt.succeed();
  assert.equal(waiter.outcome, 'served');
});

test('RESUME of everything leaves a database paused that was paused by itself', async () => {
  const { pools } = await twoDatabases();
  const { directory, pause } = pools;
  const a = directory.find('a');
  pause.begin(a, directory.poolsOf(a));
  pause.begin(null, directory.poolsOf(null));
  pause.end(null);
  assert.deepEqual([pools.pool('a').paused, pools.pool('b').paused], [true, false]);
  pause.end(a);
  assert.equal(pools.pool('a').paused, false);
});
