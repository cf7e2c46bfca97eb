/** A pool's servers when the nodes of its cluster change: which are closed at once, which later, and which stay. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pool } from '../../src/pool/pool.ts';
import {
  cutOff,
  leaveNode,
  moveReaders,
  moveServers,
  nodeGone,
  NOT_THE_WRITER,
  retireElsewhere,
  takeOver,
} from '../../src/pool/relocation.ts';
import type { Server, ServerUser } from '../../src/pool/server.ts';
import { TxStatus } from '../../src/wire/protocol.ts';
import { FakePools, FakeWaiter, settled } from './fakes.ts';

const OLD = { host: '10.0.0.1', port: 5432 };
const NEW = { host: '10.0.0.2', port: 5432 };
const INI = '[databases]\ndb = host=10.0.0.1\nspare = host=10.0.0.2\n[pgbouncer]\n';

/** The activity of a server's client. */
type Doing = Pick<ServerUser, 'inTransaction' | 'mayMove' | 'queryStart'>;

function userThat(doing: Doing): ServerUser {
  return { ...doing, onServerBytes() {}, onServerClosed() {}, onServerDrain() {} };
}

/** A pool with one server at the old writer: idle, or lent to a client that does something. */
async function poolWith(doing: Doing | null): Promise<{ pool: Pool; server: Server }> {
  const pools = new FakePools(INI);
  const pool = pools.pool();
  new FakeWaiter().acquire(pool);
  const server = await pools.attempt.succeed();
  if (doing === null) pool.give(server);
  else server.attach(userThat(doing));
  return { pool, server };
}

const BETWEEN: Doing = { inTransaction: false };
const WITHIN: Doing = { inTransaction: true };

interface Row {
  readonly event: string;
  readonly act: (pool: Pool) => void;
  readonly doing: Doing | null;
  /** the state afterwards; with a reason if it is closed as soon as it is free */
  readonly outcome: string;
}

const stays = 'active';
const later = `active, later: ${NOT_THE_WRITER}`;
const toNew = (pool: Pool): void => moveServers(pool, NEW);
const ROWS: Row[] = [
  { event: 'the writer has moved', act: toNew, doing: null, outcome: 'closed' },
  { event: 'the writer has moved', act: toNew, doing: WITHIN, outcome: 'closed' },
  { event: 'the writer has come back', act: (pool) => moveServers(pool, OLD), doing: WITHIN, outcome: stays },
  {
    event: 'the writer has moved, and a statement began after the old one was read-only',
    act: (pool) => moveServers(pool, NEW, 1000),
    doing: { inTransaction: true, queryStart: 2000 },
    outcome: later,
  },
  {
    event: 'the writer has moved, and a statement began before the old one was read-only',
    act: (pool) => moveServers(pool, NEW, 1000),
    doing: { inTransaction: true, queryStart: 500 },
    outcome: 'closed',
  },
  {
    event: 'the writer is found elsewhere',
    act: (pool) => retireElsewhere(pool, NEW),
    doing: null,
    outcome: 'closed',
  },
  {
    event: 'the writer is found elsewhere',
    act: (pool) => retireElsewhere(pool, NEW),
    doing: BETWEEN,
    outcome: 'closed',
  },
  {
    event: 'the writer is found elsewhere',
    act: (pool) => retireElsewhere(pool, NEW),
    doing: WITHIN,
    outcome: later,
  },
  {
    event: 'the writer is found here',
    act: (pool) => retireElsewhere(pool, OLD),
    doing: WITHIN,
    outcome: stays,
  },
  { event: 'the node shuts down', act: (pool) => leaveNode(pool, OLD), doing: BETWEEN, outcome: 'closed' },
  { event: 'the node shuts down', act: (pool) => leaveNode(pool, OLD), doing: WITHIN, outcome: later },
  { event: 'another node shuts down', act: (pool) => leaveNode(pool, NEW), doing: BETWEEN, outcome: stays },
  {
    event: 'the node is silent',
    act: (pool) => cutOff(pool, OLD, 'silent'),
    doing: WITHIN,
    outcome: 'closed',
  },
  {
    event: 'another node is silent',
    act: (pool) => cutOff(pool, NEW, 'silent'),
    doing: WITHIN,
    outcome: stays,
  },
  {
    event: 'nothing is read from the node',
    act: (pool) => moveReaders(pool, 'x'),
    doing: { ...BETWEEN, mayMove: true },
    outcome: 'closed',
  },
  {
    event: 'nothing is read from the node',
    act: (pool) => moveReaders(pool, 'x'),
    doing: BETWEEN,
    outcome: stays,
  },
  { event: 'the node does not answer', act: (pool) => nodeGone(pool, 'x'), doing: null, outcome: 'closed' },
  { event: 'the node does not answer', act: (pool) => nodeGone(pool, 'x'), doing: WITHIN, outcome: stays },
];

for (const { event, act, doing, outcome } of ROWS) {
  const state =
    doing === null ? 'idle' : doing.inTransaction === true ? 'in a transaction' : 'between transactions';
  test(`${event}: a server that is ${state}${doing?.mayMove === true ? ' and may move' : ''} is ${outcome}`, async () => {
    const { pool, server } = await poolWith(doing);
    act(pool);
    const reason = server.state === 'closed' ? null : server.closeReason;
    assert.equal(reason === null ? server.state : `${server.state}, later: ${reason}`, outcome);
  });
}

test('a statement within an open transaction block is not left to read from the old writer', async () => {
  const { pool, server } = await poolWith({ inTransaction: true, queryStart: 2000 });
  server.noteStatus(TxStatus.InTransaction);
  moveServers(pool, NEW, 1000);
  assert.equal(server.state, 'closed');
});

test('a connection that is being made elsewhere is given up, and another one is made for those that wait', async () => {
  const pools = new FakePools(INI);
  const pool = pools.pool();
  new FakeWaiter().acquire(pool);
  moveServers(pool, NEW);
  await settled();
  assert.deepEqual([pools.attempts.length, pools.attempts[0]!.options.signal.aborted], [2, true]);
});

test('waiters get the idle servers of the spare pool', async () => {
  const pools = new FakePools(INI);
  const spare = pools.pool('spare');
  const [one, two] = [new FakeWaiter(), new FakeWaiter()];
  for (const waiter of [one, two]) {
    waiter.acquire(spare);
    await pools.attempt.succeed();
  }
  spare.give(one.server!);
  spare.give(two.server!);
  const pool = pools.pool();
  const waiter = new FakeWaiter().acquire(pool);
  takeOver(pool, spare);
  pool.activate();
  assert.equal(waiter.server, two.server);
  assert.equal(waiter.server!.pool, pool);
  assert.deepEqual([spare.servers.size, pool.servers.size], [1, 1]);
  assert.equal(pool.welcome?.get('server_version'), '17.0');
});
