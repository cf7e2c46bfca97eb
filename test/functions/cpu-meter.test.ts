/** The bounds on the processor time that a child reports. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CpuMeter } from '../../src/functions/sandbox/cpu-meter.ts';

test('an honest report counts as it is', () => {
  const meter = new CpuMeter();
  meter.begin(100);
  assert.equal(meter.count(3, 104), 3);
  assert.equal(meter.count(0, 105), 0);
  assert.equal(meter.count(2, 107), 2);
});

test('reports that are read together count in full, because their jobs ran one after the other', () => {
  const meter = new CpuMeter();
  meter.begin(0);
  assert.deepEqual([meter.count(40, 100), meter.count(60, 100), meter.count(1, 100)], [40, 60, 0]);
});

for (const lie of [-5, 1e15, Infinity]) {
  test(`a report of ${lie} ms counts for no more than has passed, and for no less than nothing`, () => {
    const meter = new CpuMeter();
    meter.begin(0);
    const ms = meter.count(lie, 10);
    assert.ok(ms === 0 || ms === 10);
  });
}

test('idle time is no credit', () => {
  const meter = new CpuMeter();
  meter.begin(0);
  meter.count(1, 1_000);
  meter.begin(5_000);
  assert.equal(meter.count(1e9, 5_004), 4);
});

test('whatever is reported, no more counts than has passed since the child got work', () => {
  const step = fc.record({ reportedMs: fc.double({ noNaN: true }), passesMs: fc.nat(1_000) });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const meter = new CpuMeter();
      meter.begin(0);
      let now = 0;
      let sum = 0;
      for (const { reportedMs, passesMs } of steps) {
        now += passesMs;
        const ms = meter.count(reportedMs, now);
        assert.ok(ms >= 0);
        sum += ms;
        assert.ok(sum <= now + 1e-6);
      }
    }),
  );
});
