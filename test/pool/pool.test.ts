/** How a pool lends, opens and closes its servers, and the results for its waiters, without PostgreSQL. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pool } from '../../src/pool/pool.ts';
import type { Server, ServerUser } from '../../src/pool/server.ts';
import { clientErrors } from '../../src/wire/errors.ts';
import { message, readyForQuery } from '../../src/wire/messages.ts';
import { Backend, TxStatus } from '../../src/wire/protocol.ts';
import { FakePools, FakeWaiter, FakeWatch, settled } from './fakes.ts';

const TWO = '[databases]\ndb = host=10.0.0.1 pool_size=2\n';

/** Sections of a configuration file: a pool of two servers, and these options. */
function withOptions(options: Readonly<Record<string, string | number>> = {}): string {
  const lines = Object.entries(options).map(([name, value]) => `${name} = ${value}`);
  return [TWO, '[pgbouncer]', ...lines, ''].join('\n');
}

/** A pool in a given state. */
class World {
  readonly pools: FakePools;
  readonly pool: Pool;
  readonly watch = new FakeWatch();
  readonly waiting: FakeWaiter[] = [];
  lent: Server[] = [];

  constructor(ini: string) {
    this.pools = new FakePools(ini);
    this.pool = this.pools.pool();
  }

  /** Opens servers, and gives all but `lent` of them back. */
  async open(count: number, lent = 0): Promise<this> {
    const waiters = Array.from({ length: count }, () => new FakeWaiter());
    for (const waiter of waiters) {
      waiter.acquire(this.pool);
      if (waiter.server === null) await this.pools.attempt.succeed();
    }
    const servers = waiters.map(({ server }) => server!);
    this.lent = servers.slice(0, lent);
    for (const server of servers.slice(lent)) this.pool.give(server);
    this.pools.attempts.length = 0;
    return this;
  }

  /** A waiter has been waiting for `agoMs`. */
  wait(agoMs = 0): FakeWaiter {
    const waiter = new FakeWaiter(agoMs).acquire(this.pool);
    this.waiting.push(waiter);
    return waiter;
  }

  watched(): this {
    const database = this.pools.directory.find('db')!;
    database.watchBy(this.watch, { contextNodes: [] });
    return this;
  }
}

/** The idle server of a world that has one. */
const idleOf = ({ pool }: World): Server => pool.idle[0]!;

interface Asking {
  readonly situation: string;
  readonly options?: Readonly<Record<string, string | number>>;
  readonly open?: number;
  readonly lent?: number;
  readonly before?: (world: World) => void | Promise<void>;
  readonly outcome: string;
  /** Whether another connection is opened. */
  readonly opens: boolean;
}

const ASKING: Asking[] = [
  { situation: 'the pool is empty', outcome: 'waits', opens: true },
  { situation: 'a server is idle', open: 1, outcome: 'served', opens: false },
  {
    situation: 'all servers are lent and the pool may grow',
    open: 1,
    lent: 1,
    outcome: 'waits',
    opens: true,
  },
  { situation: 'the pool is full', open: 2, lent: 2, outcome: 'waits', opens: false },
  {
    situation: 'a connection is being made already',
    before: (world) => void world.wait(),
    outcome: 'waits',
    opens: false,
  },
  {
    situation: 'the idle server is to be closed',
    open: 1,
    before: (world) => idleOf(world).closeWhenFree('database configuration changed'),
    outcome: 'waits',
    opens: true,
  },
  {
    situation: 'a cancel request is on its way to the idle server',
    open: 1,
    before: (world) => idleOf(world).cancelBegins(),
    outcome: 'waits',
    opens: true,
  },
  {
    situation: 'the idle server is due for its check',
    options: { server_check_query: 'select 1', server_check_delay: 0 },
    open: 1,
    outcome: 'waits',
    opens: false,
  },
  {
    situation: 'the idle server is of an earlier epoch of its cluster',
    open: 1,
    before: (world) => void (world.watched().watch.epoch = 1),
    outcome: 'waits',
    opens: false,
  },
  {
    situation: 'the database is paused',
    open: 1,
    before: ({ pools }) => pools.pause.begin(pools.directory.find('db'), []),
    outcome: 'waits',
    opens: false,
  },
  {
    situation: 'the whole proxy is paused',
    open: 1,
    before: ({ pools }) => pools.pause.begin(null, []),
    outcome: 'waits',
    opens: false,
  },
  {
    situation: 'the proxy is stopping',
    before: ({ pools }) => pools.lifecycle.stop(),
    outcome: 'waits',
    opens: false,
  },
  {
    situation: 'the writer is not known',
    open: 1,
    before: (world) => void (world.watched().watch.held = true),
    outcome: 'waits',
    opens: false,
  },
  {
    situation: 'the writer has not been known for too long',
    open: 1,
    before: (world) => {
      const { watch } = world.watched();
      watch.held = true;
      watch.error = clientErrors.noWriter();
    },
    outcome: clientErrors.noWriter().message,
    opens: false,
  },
  {
    situation: 'the last login failed a moment ago and there is no server',
    before: async (world) => {
      world.wait();
      await world.pools.attempt.fail();
      world.pools.attempts.length = 0;
    },
    outcome: clientErrors.serverLoginFailing('connect failed').message,
    opens: false,
  },
  {
    situation: 'the pool is full, and the first waiter has waited for reserve_pool_timeout',
    options: { reserve_pool_size: 1, reserve_pool_timeout: 1 },
    open: 2,
    lent: 2,
    before: (world) => {
      world.waiting.push(new FakeWaiter(2000));
      world.pool.waiters.add(world.waiting[0]!);
    },
    outcome: 'waits',
    opens: true,
  },
  {
    situation: 'the pool is full, and nobody has waited for reserve_pool_timeout yet',
    options: { reserve_pool_size: 1, reserve_pool_timeout: 1 },
    open: 2,
    lent: 2,
    outcome: 'waits',
    opens: false,
  },
  {
    situation: 'the database has max_db_connections',
    options: { max_db_connections: 1 },
    open: 1,
    lent: 1,
    outcome: 'waits',
    opens: false,
  },
];

for (const { situation, options, open = 0, lent = 0, before, outcome, opens } of ASKING) {
  test(`a client that asks for a server when ${situation}: ${outcome}`, async () => {
    const world = await new World(withOptions(options)).open(open, lent);
    await before?.(world);
    const attempts = world.pools.attempts.length;
    const waiter = new FakeWaiter().acquire(world.pool);
    await settled();
    assert.equal(waiter.outcome, outcome);
    assert.equal(world.pools.attempts.length > attempts, opens);
  });
}

interface Return {
  readonly situation: string;
  readonly options?: Readonly<Record<string, string | number>>;
  readonly before?: (world: World, server: Server) => void;
  /** The state of the server afterwards. */
  readonly state: string;
  /** The last message that was written to it. */
  readonly sent?: string;
}

const RETURNS: Return[] = [
  { situation: 'nobody waits', state: 'idle' },
  { situation: 'somebody waits', before: (world) => void world.wait(), state: 'active' },
  { situation: 'it is to be closed', before: (_, server) => server.closeWhenFree('x'), state: 'closed' },
  {
    situation: 'a transaction is open',
    before: (_, server) => server.noteStatus(TxStatus.InTransaction),
    state: 'closed',
  },
  {
    situation: 'its database is paused',
    before: ({ pools }) => pools.pause.begin(pools.directory.find('db'), []),
    state: 'closed',
  },
  {
    situation: 'its database was removed',
    before: ({ pools }) => void pools.reconfigure('[databases]\n[pgbouncer]\n'),
    state: 'closed',
  },
  { situation: 'server_lifetime is over', options: { server_lifetime: 0 }, state: 'closed' },
  {
    situation: 'replies to its user may still come',
    before: (_, server) => server.markInDoubt(),
    state: 'tested',
    sent: 'Q:',
  },
  {
    situation: 'a session has used it',
    before: (_, server) => server.markForReset(),
    state: 'tested',
    sent: 'Q:DISCARD ALL',
  },
  {
    situation: 'a session has used it and there is no server_reset_query',
    options: { server_reset_query: '' },
    before: (_, server) => server.markForReset(),
    state: 'idle',
  },
  {
    situation: 'server_reset_query_always is set',
    options: { server_reset_query_always: 1 },
    state: 'tested',
    sent: 'Q:DISCARD ALL',
  },
  {
    situation: 'a cancel request is on its way to it',
    before: (_, server) => server.cancelBegins(),
    state: 'tested',
  },
  {
    situation: 'the writer is not known and somebody waits',
    before: (world) => {
      world.wait();
      world.watched().watch.held = true;
    },
    state: 'idle',
  },
];

for (const { situation, options, before, state, sent } of RETURNS) {
  test(`a server that comes back when ${situation} is ${state}`, async () => {
    const world = await new World(withOptions()).open(1, 1);
    const [server] = world.lent;
    world.pools.reconfigure(withOptions(options));
    before?.(world, server!);
    world.pool.give(server!);
    assert.equal(server!.state, state);
    if (sent !== undefined) assert.equal(world.pools.sentTo(server!), sent);
  });
}

test('a waiter gets the server whose reset is done, and no other one is opened for it', async () => {
  const world = await new World(withOptions()).open(1, 1);
  const [server] = world.lent;
  server!.markForReset();
  world.pool.give(server!);
  const waiter = world.wait();
  assert.equal(world.pools.attempts.length, 0);
  server!.receive(
    Buffer.concat([message(Backend.CommandComplete, 'DISCARD ALL'), readyForQuery(TxStatus.Idle)]),
  );
  await settled();
  assert.equal(waiter.server, server);
  assert.equal(server!.state, 'active');
});

test('waiters are served in the order in which they came', async () => {
  const world = await new World(withOptions()).open(2, 2);
  const waiters = [world.wait(), world.wait(), world.wait()];
  world.pool.cancelWait(waiters[1]!);
  for (const server of world.lent) world.pool.give(server);
  assert.deepEqual(
    waiters.map(({ outcome }) => outcome),
    ['served', 'waits', 'served'],
  );
});

test('the server that was given back last is lent first, with server_round_robin the first one', async () => {
  for (const [roundRobin, expected] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const world = await new World(withOptions({ server_round_robin: roundRobin })).open(2);
    const server = world.pool.idle[expected];
    assert.equal(new FakeWaiter().acquire(world.pool).server, server);
  }
});

test('failWaiters fails those that came after a moment, and leaves the others in the queue', async () => {
  const world = await new World(withOptions()).open(2, 2);
  const early = world.wait(1000);
  const late = world.wait();
  world.pool.failWaiters(clientErrors.noWriter(), performance.now() - 500);
  assert.deepEqual([early.outcome, late.outcome], ['waits', clientErrors.noWriter().message]);
  world.pool.give(world.lent[0]!);
  assert.equal(early.outcome, 'served');
});

test('a client that left is not served', async () => {
  const world = new World(withOptions());
  const waiter = world.wait();
  world.pool.cancelWait(waiter);
  await world.pools.attempt.succeed();
  assert.equal(waiter.outcome, 'waits');
  assert.equal(world.pool.idle.length, 1);
});

test('a login that the server refuses fails every waiter, a connection that fails only those that came later', async () => {
  const world = new World(withOptions());
  const waiter = world.wait();
  await world.pools.attempt.fail();
  assert.equal(waiter.outcome, 'waits');
  world.pool.opener.forgetFailures();
  world.pool.activate();
  await world.pools.attempt.refuse('28P01', 'password authentication failed');
  assert.equal(waiter.outcome, 'password authentication failed');
});

// dedicated servers

test('a replication connection takes the place of an idle server in a full pool, and its server is not lent', async () => {
  const world = await new World(withOptions()).open(2);
  const waiter = new FakeWaiter();
  world.pool.acquireDedicated(waiter);
  assert.equal(world.pool.servers.size, 1);
  assert.equal(world.pools.attempt.options.purpose, 'dedicated');
  assert.deepEqual(world.pools.attempt.options.parameters.at(-1), ['replication', 'true']);
  const server = await world.pools.attempt.succeed();
  assert.equal(waiter.server, server);
  assert.equal(server.state, 'active');
});

test('a replication connection waits in a full pool without an idle server', async () => {
  const world = await new World(withOptions()).open(2, 2);
  world.pool.acquireDedicated(new FakeWaiter());
  assert.equal(world.pools.attempts.length, 0);
  world.lent[0]!.close('gone');
  await settled();
  assert.equal(world.pools.attempts.length, 1);
});

// servers that go

test('retire closes idle servers now and lent ones when they come back', async () => {
  const world = await new World(withOptions()).open(2, 1);
  const [lent] = world.lent;
  const idle = idleOf(world);
  world.pool.retire('database configuration changed');
  assert.deepEqual([idle.state, lent!.state], ['closed', 'active']);
  world.pool.give(lent!);
  assert.equal(lent!.state, 'closed');
  assert.equal(world.pool.welcome, null);
});

test('closeUnused closes idle servers and gives up the connection under way', async () => {
  const world = await new World(withOptions()).open(2, 1);
  world.pool.idle[0]!.close('gone');
  world.wait();
  world.pool.closeUnused('pause mode');
  await settled();
  assert.equal(world.pools.attempts[0]!.options.signal.aborted, true);
  assert.equal(world.pool.servers.size, 1);
});

test('a lost server is reported to the watch first, then to its user', async () => {
  const world = (await new World(withOptions()).open(1, 1)).watched();
  const told: string[] = [];
  world.watch.onLost = (reason) => told.push(`watch: ${reason}`);
  const user: ServerUser = {
    onServerBytes() {},
    onServerClosed: (_server, reason) => void told.push(`user: ${reason}`),
    onServerDrain() {},
  };
  world.lent[0]!.attach(user);
  world.lent[0]!.lost('server conn crashed?');
  assert.deepEqual(told, ['watch: server conn crashed?', 'user: server conn crashed?']);
  assert.equal(world.pool.servers.size, 0);
});

test('clients that enter and leave count for the pool and its database', () => {
  const { pools, pool } = new World(withOptions());
  const database = pools.directory.find('db')!;
  pool.enter();
  pool.enter();
  pool.leave();
  assert.deepEqual([pool.clientCount, database.clientCount], [1, 1]);
});

test('a cancel request that reaches a parked server does not free it: its client may get it back', async () => {
  const world = await new World(withOptions({ default_pool_size: 2 })).open(2, 2);
  const [server] = world.lent;
  const waiter = world.wait();
  server!.cancelBegins();
  server!.detach();
  server!.moveTo('parked');
  server!.cancelEnds();
  assert.equal(waiter.outcome, 'waits');
  server!.moveTo('active');
  world.pool.give(server!);
  assert.equal(waiter.server, server);
});
