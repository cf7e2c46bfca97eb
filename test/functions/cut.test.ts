/** Whether the call that was running when a batch was cut off is to blame. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cutBy, isToBlame, wasStarved } from '../../src/functions/sandbox/cut.ts';
import type { VersionCode } from '../../src/functions/sandbox/host.ts';

const version = (timeoutMs: number): VersionCode => ({
  id: 1,
  code: '',
  databases: [],
  memoryLimitMb: 8,
  maxResult: 1,
  timeoutMs,
});

for (const [message, isDisposed, outcome, shown] of [
  ['Script execution timed out.', false, 'deadline', /^took longer than user_function_timeout \(50 ms\)$/],
  [
    'Isolate was disposed during execution',
    true,
    'memory',
    /^needed more memory than user_function_memory_limit/,
  ],
  ['Array buffer allocation failed', false, 'memory', /^needed more memory/],
  ['x'.repeat(10_000), false, 'threw', /^x{500}$/],
] as const) {
  test(`isolated-vm says "${message.slice(0, 40)}": ${outcome}`, () => {
    const cut = cutBy(new Error(message), isDisposed, 3, version(50));
    assert.equal(cut.outcome, outcome);
    assert.match(cut.message, shown);
    assert.equal(cut.usedMs, 3);
  });
}

for (const [what, { outcome, usedMs, calls, ranMs, timeoutMs }, expected] of [
  [
    'a single call at its deadline',
    { outcome: 'deadline', usedMs: 50, calls: 1, ranMs: 50, timeoutMs: 50 },
    true,
  ],
  [
    'a call of several that ran all the time',
    { outcome: 'deadline', usedMs: 50, calls: 3, ranMs: 48, timeoutMs: 50 },
    true,
  ],
  [
    'a call of several that began late',
    { outcome: 'deadline', usedMs: 50, calls: 3, ranMs: 30, timeoutMs: 50 },
    false,
  ],
  [
    'a call without a processor',
    { outcome: 'deadline', usedMs: 20, calls: 1, ranMs: 50, timeoutMs: 50 },
    false,
  ],
  [
    'a call with more time than a crossing',
    { outcome: 'deadline', usedMs: 100, calls: 1, ranMs: 100, timeoutMs: 500 },
    false,
  ],
  [
    'memory, which earlier calls may have kept',
    { outcome: 'memory', usedMs: 50, calls: 1, ranMs: 50, timeoutMs: 50 },
    false,
  ],
] as const) {
  test(`${what} is ${expected ? 'to blame' : 'run again alone'}`, () => {
    const cut = { outcome, usedMs, message: '' };
    assert.equal(isToBlame(cut, calls, ranMs, version(timeoutMs)), expected);
  });
}

test('a call is starved when it had a processor for less than half of its time, and only at its deadline', () => {
  const cut = (outcome: 'deadline' | 'memory', usedMs: number): boolean =>
    wasStarved({ outcome, usedMs, message: '' }, 100);
  assert.deepEqual([cut('deadline', 49), cut('deadline', 50), cut('memory', 0)], [true, false, false]);
});
