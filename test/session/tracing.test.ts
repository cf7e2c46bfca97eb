/** Traces of queries: which queries are chosen, and what a trace says about its query. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Clock } from '../../src/session/state/clock.ts';
import { traceParentIn } from '../../src/sql/trace-parent.ts';
import type { EndedTrace } from '../../src/telemetry/query-trace.ts';
import { QuerySampler } from '../../src/telemetry/sampler.ts';
import { DatabaseStats } from '../../src/telemetry/stats.ts';

/** A clock whose queries are all traced. */
function prepare(): { readonly clock: Clock; readonly traces: EndedTrace[]; readonly stats: DatabaseStats } {
  const traces: EndedTrace[] = [];
  const sampler = new QuerySampler();
  sampler.configure({ ratio: 1, mostPerSecond: 100, onEnded: (trace) => traces.push(trace) });
  return { clock: new Clock(0, sampler), traces, stats: new DatabaseStats() };
}

test('no query is chosen unless traces are wanted', () => {
  const sampler = new QuerySampler(() => 0);
  for (let i = 0; i < 1000; i++) assert.equal(sampler.chooses(), false);
  sampler.configure({ ratio: 0, mostPerSecond: 100, onEnded: () => {} });
  for (let i = 0; i < 1000; i++) assert.equal(sampler.chooses(), false);
});

test('each query is chosen with the same probability', () => {
  let seed = 1;
  const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
  const sampler = new QuerySampler(random);
  sampler.configure({ ratio: 0.1, mostPerSecond: 1e9, onEnded: () => {} });
  const gaps = new Map<number, number>();
  let gap = 0;
  let chosen = 0;
  for (let i = 0; i < 100_000; i++) {
    gap++;
    if (!sampler.chooses()) continue;
    chosen++;
    gaps.set(gap, (gaps.get(gap) ?? 0) + 1);
    gap = 0;
  }
  assert.ok(Math.abs(chosen - 10_000) < 500, String(chosen));
  // neighbours are chosen as often as they should be: a tenth of the time
  assert.ok(Math.abs(gaps.get(1)! - 1_000) < 200, String(gaps.get(1)));
});

test('no more queries are chosen in a second than the limit says, and the others are counted', (t) => {
  let now = 5_000;
  t.mock.method(performance, 'now', () => now);
  const sampler = new QuerySampler();
  sampler.configure({ ratio: 1, mostPerSecond: 3, onEnded: () => {} });
  const chosenOf = (count: number): number =>
    Array.from({ length: count }, () => sampler.chooses()).filter(Boolean).length;
  assert.equal(chosenOf(10), 3);
  now = 6_000;
  assert.equal(chosenOf(2), 2);
  assert.deepEqual(sampler.observe(), { chosen: 5, overLimit: 7, exported: 0, dropped: 0 });
});

test('a trace has the wait for a server and the time at the server', () => {
  const { clock, traces, stats } = prepare();
  clock.beginWait(10);
  clock.beginQuery(10, stats);
  clock.endWait(15);
  clock.endQuery(40, false, stats);
  const [trace] = traces;
  assert.deepEqual([trace!.startedAt, trace!.endedAt], [10, 40]);
  assert.deepEqual(trace!.wait, { from: 10, to: 15 });
  assert.deepEqual(trace!.server, { from: 15, to: 40 });
  assert.equal(trace!.call, null);
  assert.equal(clock.trace, null);
});

test('a call of user functions belongs to the query that it was about, and to none after it', () => {
  const { clock, traces, stats } = prepare();
  clock.noteCall(3, 5);
  clock.beginQuery(6, stats);
  clock.endQuery(8, false, stats);
  clock.beginQuery(10, stats);
  clock.endQuery(11, false, stats);
  assert.deepEqual(
    traces.map(({ call, startedAt }) => [call, startedAt]),
    [
      [{ from: 3, to: 5 }, 3],
      [null, 10],
    ],
  );
});

test('a query that user functions reject has a trace, and leaves nothing for the next one', () => {
  const { clock, traces, stats } = prepare();
  clock.noteCall(3, 5);
  const refused = clock.refuse(6)!;
  refused.failed('42501');
  clock.endRefused(refused, 6);
  clock.beginQuery(7, stats);
  clock.endQuery(8, false, stats);
  assert.deepEqual(
    traces.map(({ call, sqlstate, server }) => [call, sqlstate, server]),
    [
      [{ from: 3, to: 5 }, '42501', null],
      [null, null, null],
    ],
  );
});

test('each query of a pipeline has a trace of its own', () => {
  const { clock, traces, stats } = prepare();
  clock.beginQuery(1, stats);
  clock.trace!.hasServer(1);
  clock.endQuery(4, true, stats);
  assert.ok(clock.trace!.isPipelined);
  clock.endQuery(9, false, stats);
  assert.deepEqual(
    traces.map(({ server }) => server),
    [
      { from: 1, to: 4 },
      { from: 4, to: 9 },
    ],
  );
});

test('the first error of a query counts', () => {
  const { clock, traces, stats } = prepare();
  clock.beginQuery(1, stats);
  clock.trace!.failed('42P01');
  clock.trace!.failed('25P02');
  clock.endQuery(2, false, stats);
  assert.equal(traces[0]!.sqlstate, '42P01');
});

const ENDINGS = [
  {
    what: 'its server is lost',
    end: (clock: Clock): void => clock.loseServer(5),
    ending: 'server lost',
    sqlstate: null,
  },
  {
    what: 'its client leaves',
    end: (clock: Clock): void => clock.leave(5, null),
    ending: 'client left',
    sqlstate: null,
  },
  {
    what: 'its client is disconnected',
    end: (clock: Clock): void => clock.leave(5, '57014'),
    ending: 'client left',
    sqlstate: '57014',
  },
  {
    what: 'it gets no server in time',
    end: (clock: Clock): void => clock.dropQuery(5, '08P01'),
    ending: 'answered',
    sqlstate: '08P01',
  },
];
for (const { what, end, ending, sqlstate } of ENDINGS)
  test(`a trace ends when ${what}`, () => {
    const { clock, traces, stats } = prepare();
    clock.beginQuery(1, stats);
    end(clock);
    end(clock);
    assert.deepEqual(
      traces.map((trace) => [trace.ending, trace.sqlstate, trace.endedAt]),
      [[ending, sqlstate, 5]],
    );
  });

const ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const FOUND = { traceId: ID, spanId: SPAN, flags: 1 };

const PARENTS: readonly (readonly [string, unknown])[] = [
  [`select 1 /*traceparent='00-${ID}-${SPAN}-01'*/`, FOUND],
  [
    `select 1 /*db_driver='x',traceparent='00-${ID}-${SPAN}-00',tracestate='a=b'*/ ;\n`,
    { ...FOUND, flags: 0 },
  ],
  ['select 1', null],
  [`select '/*traceparent=''00-${ID}-${SPAN}-01''*/'`, null],
  [`/*traceparent='00-${ID}-${SPAN}-01'*/ select 1`, null],
  [`select 1 /*xtraceparent='00-${ID}-${SPAN}-01'*/`, null],
  [`select 1 /*traceparent='ff-${ID}-${SPAN}-01'*/`, null],
  [`select 1 /*traceparent='00-${'0'.repeat(32)}-${SPAN}-01'*/`, null],
  [`select 1 /*traceparent='00-${ID}-${'0'.repeat(16)}-01'*/`, null],
  [`select 1 /*traceparent='00-${ID.toUpperCase()}-${SPAN}-01'*/`, null],
];
for (const [query, parent] of PARENTS)
  test(`the trace that a query belongs to: ${query}`, () => {
    assert.deepEqual(traceParentIn(query), parent);
  });
