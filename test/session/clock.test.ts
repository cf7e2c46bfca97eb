/** The times at which a client waits, runs and idles, without a server and with invented times. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Clock } from '../../src/session/state/clock.ts';
import { Request } from '../../src/session/state/entry.ts';
import { Outstanding } from '../../src/session/state/outstanding.ts';
import { DatabaseStats } from '../../src/telemetry/stats.ts';

interface State {
  readonly queryStart: number;
  readonly xactStart: number;
  readonly requestedAt: number;
  readonly idleSince: number;
}

function stateOf({ queryStart, xactStart, requestedAt, idleSince }: Clock): State {
  return { queryStart, xactStart, requestedAt, idleSince };
}

type Step = (clock: Clock, stats: DatabaseStats) => void;

const begin =
  (at: number): Step =>
  (clock, stats) =>
    clock.beginQuery(at, stats);
const endQuery =
  (at: number, isNext = false): Step =>
  (clock, stats) =>
    clock.endQuery(at, isNext, stats);
const endTransaction =
  (at: number, isNext = false): Step =>
  (clock, stats) =>
    clock.endTransaction(at, isNext, stats);

const ROWS: readonly {
  readonly name: string;
  readonly steps: readonly Step[];
  readonly state: State;
  readonly counted: Partial<DatabaseStats>;
}[] = [
  {
    name: 'nothing runs in a new connection',
    steps: [],
    state: { queryStart: 0, xactStart: 0, requestedAt: 10, idleSince: 10 },
    counted: { queryCount: 0, xactCount: 0 },
  },
  {
    name: 'the first message begins a query and a transaction',
    steps: [begin(20)],
    state: { queryStart: 20, xactStart: 20, requestedAt: 20, idleSince: 10 },
    counted: { queryCount: 1, xactCount: 1 },
  },
  {
    name: 'a second message of the same query changes nothing',
    steps: [begin(20), begin(21)],
    state: { queryStart: 20, xactStart: 20, requestedAt: 20, idleSince: 10 },
    counted: { queryCount: 1, xactCount: 1 },
  },
  {
    name: 'a query and its transaction end',
    steps: [begin(20), endQuery(25), endTransaction(25)],
    state: { queryStart: 0, xactStart: 0, requestedAt: 20, idleSince: 25 },
    counted: { queryTime: 5000, xactTime: 5000 },
  },
  {
    name: 'a second query of an open transaction counts as a query only',
    steps: [begin(20), endQuery(25), begin(30)],
    state: { queryStart: 30, xactStart: 20, requestedAt: 30, idleSince: 25 },
    counted: { queryCount: 2, xactCount: 1, queryTime: 5000, xactTime: 0 },
  },
  {
    name: 'the next query of a pipeline begins when the one before it ends',
    steps: [begin(20), endQuery(25, true), endTransaction(25, true)],
    state: { queryStart: 25, xactStart: 25, requestedAt: 20, idleSince: 25 },
    counted: { queryCount: 1, xactCount: 2, queryTime: 5000, xactTime: 5000 },
  },
  {
    name: 'a query that the proxy answered itself takes no time',
    steps: [begin(20), (clock) => clock.dropQuery(25, null)],
    state: { queryStart: 0, xactStart: 0, requestedAt: 20, idleSince: 25 },
    counted: { queryTime: 0, xactTime: 0 },
  },
  {
    name: 'nothing is dropped where no query runs',
    steps: [(clock) => clock.dropQuery(25, null)],
    state: { queryStart: 0, xactStart: 0, requestedAt: 10, idleSince: 10 },
    counted: {},
  },
  {
    name: 'a lost server ends an open transaction between two of its queries, too',
    steps: [begin(20), endQuery(25), (clock) => clock.loseServer(30)],
    state: { queryStart: 0, xactStart: 0, requestedAt: 20, idleSince: 30 },
    counted: { xactTime: 0 },
  },
  {
    name: 'a statement for the console is not counted',
    steps: [(clock) => clock.noteConsoleRequest(20), (clock) => clock.beginIdle(22)],
    state: { queryStart: 0, xactStart: 0, requestedAt: 20, idleSince: 22 },
    counted: { queryCount: 0, xactCount: 0 },
  },
];

for (const { name, steps, state, counted } of ROWS) {
  test(`clock: ${name}`, () => {
    const clock = new Clock(10);
    const stats = new DatabaseStats();
    for (const step of steps) step(clock, stats);
    assert.deepEqual(stateOf(clock), state);
    assert.deepEqual({ ...stats, ...counted }, { ...stats });
  });
}

/** What `noteRequest` adds to the count of queries for each request of a pipeline. */
const COUNTS: readonly {
  readonly name: string;
  readonly requests: readonly Request[];
  readonly counts: readonly number[];
}[] = [
  { name: 'two Queries at once', requests: [Request.Query, Request.Query], counts: [1, 1] },
  {
    name: 'a Sync belongs to what it closes',
    requests: [Request.Parse, Request.Bind, Request.Execute, Request.Sync],
    counts: [1, 0, 0, 0],
  },
  {
    name: 'a second cycle before the first one is answered',
    requests: [Request.Parse, Request.Sync, Request.Bind, Request.Execute, Request.Sync],
    counts: [1, 0, 1, 0, 0],
  },
  { name: 'a second Sync alone is no query', requests: [Request.Sync, Request.Sync], counts: [1, 0] },
];

for (const { name, requests, counts } of COUNTS) {
  test(`clock: queries of a pipeline are counted: ${name}`, () => {
    const clock = new Clock(0);
    const stats = new DatabaseStats();
    const outstanding = new Outstanding();
    const seen = requests.map((request) => {
      const before = stats.queryCount;
      clock.noteRequest(request, outstanding, stats);
      outstanding.sent(request);
      return stats.queryCount - before;
    });
    assert.deepEqual(seen, counts);
  });
}

test('clock: query_timeout counts from the last bytes that came during the query', () => {
  const clock = new Clock(0);
  assert.equal(clock.lastHeard(5), 5, 'no query is running');
  clock.heard();
  clock.beginQuery(10, new DatabaseStats());
  assert.equal(clock.lastHeard(20), 10, 'the bytes that began the query do not count again');
  clock.heard();
  assert.equal(clock.lastHeard(30), 30);
  assert.equal(clock.lastHeard(40), 30, 'nothing has come since');
});

test('clock: an open pipeline is idle from the time at which everything was first seen to be answered', () => {
  const clock = new Clock(0);
  assert.equal(clock.idleInPipeline(10, true, 3), 10);
  assert.equal(clock.idleInPipeline(20, true, 3), 10);
  assert.equal(clock.idleInPipeline(30, true, 4), 30, 'something was sent and answered in between');
  assert.equal(clock.idleInPipeline(40, false, 4), 40, 'something is running');
  assert.equal(clock.idleInPipeline(50, true, 4), 50);
});

test('clock: the notice of a long wait is due once for each wait', () => {
  const clock = new Clock(0);
  clock.beginWait(10);
  assert.equal(clock.waitingSince, 10);
  assert.deepEqual([clock.noticeWait(), clock.noticeWait()], [true, false]);
  clock.endWait(20);
  assert.equal(clock.noticeWait(), true);
});
