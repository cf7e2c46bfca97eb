/** Calls that wait: for their tenant's budget, for a version, or until they can be made; and calls that nobody waits for. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BATCH } from '../../src/functions/limits.ts';
import { cutOff, type FailureOutcome } from '../../src/functions/sandbox/call.ts';
import { NO_COST } from '../../src/functions/sandbox/host.ts';
import { bound, NOTHING, Setup } from '../support/batching.ts';
import { until } from '../support/wait.ts';

/** A tenant that has used up its budget, and owes as much again. */
function overBudget(waits: boolean): ReturnType<typeof bound> {
  const setup = bound(new Setup());
  setup.waits = waits;
  setup.budget.configure(100, 50);
  setup.budget.charge(350);
  return setup;
}

/** Time, as the batcher sees it: each step lets timers and immediates run. */
function steps(t: TestContext): (ms: number) => void {
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  t.mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  return (ms) => {
    for (let passed = 0; passed < ms; passed += 100) {
      now += 100;
      t.mock.timers.tick(100);
    }
  };
}

test('over budget, calls fail until the bucket has been refilled, and no host is asked', async () => {
  const { host, clock, budget, answered, ask } = overBudget(false);
  ask('a');
  ask('b');
  await nextTurn();
  assert.deepEqual(answered, ['a over_budget', 'b over_budget']);
  clock.advance(1_500);
  ask('still');
  await nextTurn();
  assert.deepEqual(answered.slice(2), ['still over_budget']);
  clock.advance(1_000);
  ask('again');
  await nextTurn();
  host.sent[0]!.done([NOTHING], '', NO_COST);
  assert.deepEqual(answered.slice(3), ['again ok']);
  const { refused, waited } = budget.observe();
  assert.deepEqual([refused, waited], [3, 0]);
});

test('over budget, calls whose failure would skip a guard wait in their order until one may run', async () => {
  const { host, clock, budget, batcher, answered, ask } = overBudget(true);
  for (const query of ['a', 'b', 'c']) ask(query);
  await nextTurn();
  ask('d');
  await nextTurn();
  assert.deepEqual([host.sent.length, batcher.heldByBudget, budget.observe().waited], [0, 4, 4]);
  clock.advance(999);
  await nextTurn();
  assert.equal(host.sent.length, 0);
  clock.advance(2);
  await nextTurn();
  assert.deepEqual(host.sent[0]?.queries, ['a', 'b', 'c', 'd']);
  assert.equal(batcher.heldByBudget, 0);
  host.sent[0]!.done([NOTHING, NOTHING], '', NO_COST);
  budget.charge(100);
  ask('e');
  await nextTurn();
  assert.equal(host.sent.length, 1);
  clock.advance(1_001);
  await nextTurn();
  assert.deepEqual(host.sent[1]?.queries, ['c', 'd', 'e']);
  assert.deepEqual(answered, ['a ok', 'b ok']);
  assert.equal(budget.observe().waited, 5);
});

test('costly calls, which run apart, wait for the budget too', async () => {
  const { host, apart, clock, budget, ask } = overBudget(true);
  budget.configure(0, 50);
  ask('slow');
  await nextTurn();
  host.sent[0]!.done([cutOff('deadline', '')], '', NO_COST);
  budget.configure(100, 50);
  budget.charge(350);
  ask('slow');
  await nextTurn();
  await nextTurn();
  assert.equal(apart.sent.length, 0);
  clock.advance(1_001);
  await until('the call apart', () => apart.sent.length === 1);
});

test('costly calls fail over budget where calls do not wait', async () => {
  const { host, apart, budget, answered, ask } = overBudget(false);
  budget.configure(0, 50);
  ask('slow');
  await nextTurn();
  host.sent[0]!.done([cutOff('deadline', '')], '', NO_COST);
  ask('slow');
  ask('slow');
  await until('the first call apart', () => apart.sent.length === 1);
  budget.configure(100, 50);
  budget.charge(350);
  apart.sent[0]!.done([NOTHING], '', NO_COST);
  await until('both answers', () => answered.length === 3);
  assert.deepEqual(answered, ['slow deadline', 'slow ok', 'slow over_budget']);
});

test('calls that wait for the budget are answered at once when their tenant is paused or loses its version', async () => {
  const setup = overBudget(true);
  setup.ask('a');
  await nextTurn();
  setup.version = null;
  setup.whyNone = 'paused';
  setup.batcher.wake();
  await nextTurn();
  assert.deepEqual(setup.answered, ['a paused']);
});

test('calls that wait for the budget run soon after it has been raised', async () => {
  const { host, clock, budget, ask } = overBudget(true);
  budget.charge(1e6);
  ask('a');
  await nextTurn();
  budget.configure(0, 50);
  clock.advance(1_000);
  await nextTurn();
  assert.deepEqual(host.sent[0]?.queries, ['a']);
});

test('calls that wait for the budget get an error at their limit, which no policy lets pass', (t) => {
  const pass = steps(t);
  const { budget, answered, ask } = overBudget(true);
  budget.charge(1e6);
  ask('short', 1, { patienceMs: 3_000 });
  ask('long', 2, { patienceMs: 9_000 });
  ask('endless', 3, { patienceMs: 0 });
  pass(2_500);
  assert.deepEqual(answered, []);
  pass(2_000);
  assert.deepEqual(answered, ['short overloaded']);
  pass(100_000);
  assert.deepEqual(answered, ['short overloaded', 'long overloaded']);
});

for (const outcome of ['overloaded', 'starved', 'unavailable'] as const satisfies FailureOutcome[]) {
  test(`a call that could not be made (${outcome}) is tried again until it is answered`, (t) => {
    const pass = steps(t);
    const { host, answered, ask } = bound(new Setup());
    ask('a', 1, { patienceMs: 100_000 });
    ask('b', 2, { patienceMs: 100_000 });
    pass(100);
    for (let i = 0; i < 8; i++) {
      const { queries, done } = host.sent.at(-1)!;
      done(
        queries.map((query) => (query === 'a' && i < 6 ? cutOff(outcome, 'm') : NOTHING)),
        '',
        NO_COST,
      );
      if (answered.length === 2) break;
      const sent = host.sent.length;
      for (let waited = 0; waited < BATCH.longestRetryMs && host.sent.length === sent; waited += 100)
        pass(100);
    }
    assert.deepEqual(answered, ['b ok', 'a ok']);
    assert.deepEqual(
      host.sent.slice(1).map(({ queries }) => queries),
      Array(6).fill(['a']),
    );
  });

  test(`a call that can't be made (${outcome}) gets that error when it has waited for as long as it may`, (t) => {
    const pass = steps(t);
    const { host, answered, ask } = bound(new Setup());
    ask('a', 1, { patienceMs: 5_000 });
    pass(100);
    let seen = 0;
    for (let waited = 0; waited < 8_000; waited += 100) {
      for (; seen < host.sent.length; seen++) host.sent[seen]!.done([cutOff(outcome, 'm')], '', NO_COST);
      pass(100);
    }
    assert.deepEqual(answered, [`a ${outcome}`]);
  });
}

test('a call whose process was ended from outside is tried again, apart from others', async () => {
  const { host, apart, answered, ask } = bound(new Setup());
  ask('a');
  await nextTurn();
  host.sent[0]!.done([cutOff('lost', 'm')], '', NO_COST);
  await until('the call apart', () => apart.sent.length === 1);
  apart.sent[0]!.done([cutOff('lost', 'm')], '', NO_COST);
  await until('the next attempt', () => apart.sent.length === 2);
  apart.sent[1]!.done([NOTHING], '', NO_COST);
  await until('the answer', () => answered.length > 0);
  assert.deepEqual([answered, host.sent.length], [['a ok'], 1]);
});

test('calls that wait for a version run when there is one, and fail when it is certain that there is none', async () => {
  const setup = new Setup();
  const { version, host, answered } = setup;
  setup.version = null;
  setup.whyNone = 'unavailable';
  setup.ask('a');
  await nextTurn();
  assert.deepEqual(answered, []);
  setup.version = version;
  setup.batcher.reset();
  await nextTurn();
  host.sent[0]!.done([NOTHING], '', NO_COST);
  assert.deepEqual(answered, ['a ok']);
  setup.version = null;
  setup.ask('b');
  await nextTurn();
  setup.whyNone = 'no_version';
  setup.batcher.open();
  await nextTurn();
  assert.deepEqual(answered.slice(1), ['b no_version']);
});

test('a call that nobody waits for any more is not made', async () => {
  const { host, apart, answered, ask } = bound(new Setup());
  const asker = { isWaiting: true };
  ask('slow', 1);
  await nextTurn();
  host.sent[0]!.done([cutOff('deadline', '')], '', NO_COST);
  ask('running', 2);
  await nextTurn();
  ask('gone', 3, { asker });
  ask('gone', 1, { asker });
  ask('stays', 4);
  asker.isWaiting = false;
  host.sent[1]!.done([NOTHING], '', NO_COST);
  await nextTurn();
  await nextTurn();
  assert.deepEqual(host.sent[2]?.queries, ['stays']);
  assert.equal(apart.sent.length, 0);
  host.sent[2]!.done([NOTHING], '', NO_COST);
  assert.deepEqual(answered, ['slow deadline', 'running ok', 'stays ok']);
});

test('more calls than may wait get an error at once, and there is room again after answers', async () => {
  const { host, answered, ask } = bound(new Setup());
  const half = 'x'.repeat(BATCH.maxWaitingLength / 2);
  ask(half);
  ask(half);
  ask('y');
  await nextTurn();
  assert.deepEqual(answered, ['y overloaded']);
  host.sent[0]!.done([NOTHING], '', NO_COST);
  ask('z');
  await nextTurn();
  host.sent[1]!.done([NOTHING], '', NO_COST);
  await nextTurn();
  host.sent[2]!.done([NOTHING], '', NO_COST);
  assert.equal(answered.at(-1), 'z ok');
});

test('a batcher that is closed answers calls that are to be tried again, and drains', async () => {
  const { host, batcher, answered, ask } = bound(new Setup());
  let drained = 0;
  ask('a');
  await nextTurn();
  host.sent[0]!.done([cutOff('starved', 'm')], '', NO_COST);
  batcher.close(() => drained++);
  assert.deepEqual([answered, drained], [['a starved'], 1]);
});
