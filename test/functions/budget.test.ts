/** A tenant's budget of processor time. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Budget, type Overrun } from '../../src/functions/decide/budget.ts';
import { CpuUse } from '../../src/functions/decide/cpu-use.ts';
import { BUDGET } from '../../src/functions/limits.ts';
import { TestClock } from '../support/tenant.ts';

class Setup {
  readonly clock = new TestClock();
  readonly begun: number[] = [];
  readonly ended: Overrun[] = [];
  readonly budget = new Budget(this.clock, {
    onBegun: (limit) => this.begun.push(limit),
    onEnded: (overrun) => this.ended.push(overrun),
  });

  constructor(limit: number, deadlineMs = 50) {
    this.budget.configure(limit, deadlineMs);
  }
}

test('without a limit, nothing stops a call, and its cost is counted', () => {
  const { budget } = new Setup(0);
  budget.charge(1e9);
  assert.deepEqual([budget.mayRun, budget.isOver, budget.waitMs, budget.leftMs], [true, false, 0, Infinity]);
  const { totalMs, lastMinuteMs, limitMs } = budget.observe();
  assert.deepEqual([totalMs, lastMinuteMs, limitMs], [1e9, 1e9, 0]);
});

for (const [limit, deadlineMs, full] of [
  [1_000, 50, 1_000],
  [100, 50, 250],
  [100, 2_000, 2_000],
  [1, 1, 250],
] as const) {
  test(`a full bucket for ${limit} ms in a second and a deadline of ${deadlineMs} ms holds ${full} ms`, () => {
    const { budget, clock } = new Setup(limit, deadlineMs);
    assert.equal(budget.leftMs, full);
    clock.advance(1e6);
    assert.equal(budget.leftMs, full);
    budget.charge(full - 1);
    assert.ok(budget.mayRun);
    budget.charge(1);
    assert.ok(!budget.mayRun);
  });
}

test('calls may run again once the debt is paid; calls that do not wait fail until the bucket is refilled', () => {
  const { budget, clock } = new Setup(100);
  budget.charge(300);
  assert.deepEqual([budget.mayRun, budget.isOver, budget.waitMs], [false, true, 500]);
  clock.advance(500);
  assert.deepEqual([budget.mayRun, budget.isOver], [false, true]);
  clock.advance(1);
  assert.deepEqual([budget.mayRun, budget.isOver, budget.waitMs], [true, true, 0]);
  clock.advance(990);
  assert.ok(budget.isOver);
  clock.advance(10);
  assert.ok(!budget.isOver);
});

test('work that waits for the budget is done once, when a call may run', () => {
  const { budget, clock } = new Setup(100);
  budget.charge(260);
  let done = 0;
  budget.after(1_000, () => done++);
  const cancel = budget.after(1_000, () => done++);
  cancel();
  clock.advance(99);
  assert.equal(done, 0);
  clock.advance(2);
  assert.equal(done, 1);
});

test('another limit keeps the debt, and the end of the limit ends it', () => {
  const { budget } = new Setup(100);
  budget.charge(1_000);
  budget.configure(200, 50);
  assert.equal(budget.leftMs, -750);
  budget.configure(0, 50);
  assert.ok(budget.mayRun && !budget.isOver);
  budget.configure(200, 50);
  assert.equal(budget.leftMs, 250);
});

test('a configuration that does not concern the budget leaves it alone', () => {
  const { budget, clock } = new Setup(100);
  budget.charge(100);
  clock.advance(500);
  budget.configure(100, 50);
  assert.equal(budget.leftMs, 200);
});

test('an overrun is reported when the first call fails or waits, and when there has been calm for a while', () => {
  const { budget, clock, begun, ended } = new Setup(100);
  budget.charge(1_000);
  assert.deepEqual(begun, []);
  budget.noteRefused(2);
  budget.noteWaiting(3);
  assert.deepEqual(begun, [100]);
  clock.advance(4_000);
  budget.noteRefused(1);
  clock.advance(9_999);
  assert.deepEqual(ended, []);
  clock.advance(1);
  assert.deepEqual(ended, [{ tookMs: 4_000, refused: 3, waited: 3 }]);
  const { refused, waited } = budget.observe();
  assert.deepEqual([refused, waited], [3, 3]);
  budget.noteRefused(1);
  assert.deepEqual(begun, [100, 100]);
});

test('an overrun lasts until the bucket has been refilled', () => {
  const { budget, clock, ended } = new Setup(100);
  budget.charge(4_000);
  budget.noteWaiting(1);
  for (let i = 0; i < 3; i++) clock.advance(BUDGET.calmMs);
  assert.equal(ended.length, 0);
  for (let i = 0; i < 3; i++) clock.advance(BUDGET.calmMs);
  assert.equal(ended.length, 1);
});

test('calls that run only when they may never use more than the limit, a full bucket and one call', () => {
  const step = fc.record({ passesMs: fc.nat(3_000), costMs: fc.nat(500) });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000 }), fc.array(step, { maxLength: 200 }), (limit, steps) => {
      const { budget, clock } = new Setup(limit);
      const full = budget.leftMs;
      let used = 0;
      let largest = 0;
      for (const { passesMs, costMs } of steps) {
        clock.advance(passesMs);
        if (!budget.mayRun) continue;
        budget.charge(costMs);
        used += costMs;
        largest = Math.max(largest, costMs);
        assert.ok(used <= (limit * clock.now()) / 1_000 + full + largest + 1e-6);
      }
    }),
  );
});

test('calls that wait for as long as they are told may run then', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000 }),
      fc.double({ min: 0, max: 1e5, noNaN: true }),
      (limit, ms) => {
        const { budget, clock } = new Setup(limit);
        budget.charge(ms);
        clock.advance(budget.waitMs);
        clock.advance(budget.waitMs);
        assert.ok(budget.mayRun);
      },
    ),
  );
});

test('the use of the last minute is what was used in it, to the accuracy of a slot', () => {
  const use = fc.record({ afterMs: fc.nat(40_000), ms: fc.nat(1_000) });
  fc.assert(
    fc.property(fc.nat(1e9), fc.array(use), (start, uses) => {
      const measured = new CpuUse();
      const all: { at: number; ms: number }[] = [];
      let now = start;
      for (const { afterMs, ms } of uses) {
        now += afterMs;
        measured.add(ms, now);
        all.push({ at: now, ms });
        const since = (age: number): number =>
          all.filter(({ at }) => now - at < age).reduce((sum, each) => sum + each.ms, 0);
        const last = measured.lastMinuteMs(now);
        assert.ok(since(55_000) <= last && last <= since(60_000));
      }
      assert.equal(
        measured.totalMs,
        all.reduce((sum, each) => sum + each.ms, 0),
      );
    }),
  );
});
