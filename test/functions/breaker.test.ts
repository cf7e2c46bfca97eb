import assert from 'node:assert/strict';
import test from 'node:test';
import { Breaker } from '../../src/functions/breaker.ts';

test('five deadlines within ten seconds open it, exceptions never do', () => {
  const breaker = new Breaker();
  for (let i = 0; i < 100; i++) assert.equal(breaker.fault('threw', i), false);
  for (let i = 0; i < 4; i++) assert.equal(breaker.fault('deadline', i * 1_000), false);
  assert.equal(breaker.fault('memory', 4_000), true);
  assert.equal(breaker.isOpen, true);
  assert.equal(breaker.allows(4_500), false);
});

test('faults that are far apart are forgotten', () => {
  const breaker = new Breaker();
  for (let i = 0; i < 20; i++) assert.equal(breaker.fault('deadline', i * 3_000), false);
});

test('one kill opens it; trials come after 1, 2, 4 … 60 seconds, and an answer closes it', () => {
  const breaker = new Breaker();
  let now = 0;
  const pauses: number[] = [];
  assert.equal(breaker.fault('killed', now), true);
  for (let i = 0; i < 8; i++) {
    const since = now;
    while (!breaker.allows(now)) now += 100;
    pauses.push((now - since) / 1_000);
    assert.equal(breaker.fault('deadline', now), true);
  }
  assert.deepEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
  assert.equal(breaker.allows(now + 60_000), true);
  breaker.answered();
  assert.equal(breaker.isOpen, false);
  assert.equal(breaker.fault('killed', now + 61_000), true);
  assert.equal(breaker.allows(now + 62_000), true, 'the pauses begin again at one second');
});

test('one trial at a time, and one that says nothing is made again', () => {
  const breaker = new Breaker();
  breaker.fault('killed', 0);
  assert.equal(breaker.allows(1_000), true);
  assert.equal(breaker.allows(1_000), false);
  // the sandbox had no process: the set is neither good nor bad
  assert.equal(breaker.fault('overloaded', 1_001), false);
  assert.equal(breaker.isOpen, true);
  assert.equal(breaker.allows(1_002), true);
});

test('answers to calls from before it opened do not close it', () => {
  const breaker = new Breaker();
  breaker.fault('killed', 0);
  breaker.answered();
  assert.equal(breaker.isOpen, true);
});

test('the calls of one batch that is killed are one opening', () => {
  const breaker = new Breaker();
  breaker.fault('killed', 0);
  breaker.fault('killed', 1);
  breaker.fault('killed', 2);
  assert.equal(breaker.allows(1_000), true);
});
