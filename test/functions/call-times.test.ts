/** Percentiles of the time that calls take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallTimes } from '../../src/functions/decide/call-times.ts';

test('half of the calls and all but a hundredth are told, to within a tenth', () => {
  const times = new CallTimes();
  for (let us = 1; us <= 1000; us++) times.note(us / 1000, 0);
  const { p50Us, p99Us } = times.observe(1);
  assert.ok(Math.abs(p50Us! - 500) < 50, String(p50Us));
  assert.ok(Math.abs(p99Us! - 990) < 99, String(p99Us));
});

test('calls are forgotten after one to two minutes', () => {
  const times = new CallTimes();
  assert.deepEqual(times.observe(0), { p50Us: null, p99Us: null });
  times.note(1, 59_000);
  assert.notEqual(times.observe(100_000).p50Us, null);
  assert.deepEqual(times.observe(180_000), { p50Us: null, p99Us: null });
  times.note(1, 180_001);
  assert.deepEqual(times.observe(1_000_000), { p50Us: null, p99Us: null });
});

test('times of any size are counted', () => {
  const times = new CallTimes();
  for (const ms of [0, -1, 1e12]) times.note(ms, 0);
  assert.equal(times.observe(0).p50Us, 1);
});
