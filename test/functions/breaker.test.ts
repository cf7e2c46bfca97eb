/** The circuit breaker of a tenant's functions. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Breaker } from '../../src/functions/decide/breaker.ts';
import type { HostCall } from '../../src/functions/sandbox/call.ts';

const call = (clientId: number, query: string): HostCall => ({
  username: 'u',
  query,
  inTransaction: false,
  context: { database: 'a' },
  clientId,
});

/** Faults of as many clients with as many kinds of queries. @returns whether one of them has opened it */
function faults(breaker: Breaker, count: number, clients: number, texts: number, now = 0): boolean {
  const opened = Array.from({ length: count }, (_, i) =>
    breaker.fault(call(i % clients, `SELECT ${'x'.repeat((i % texts) + 1)}`), now + i),
  );
  return opened.includes(true);
}

test('several clients with several kinds of queries open the breaker', () => {
  const breaker = new Breaker();
  assert.equal(faults(breaker, 4, 4, 4), false);
  assert.equal(breaker.fault(call(9, 'other'), 5), true);
  assert.equal(breaker.isOpen, true);
  assert.equal(breaker.isDue(500), false);
  assert.equal(breaker.isDue(1_005), true);
});

for (const [what, clients, texts] of [
  ['one client with many queries', 1, 1_000],
  ['two clients with many queries', 2, 1_000],
  ['many clients with one query', 1_000, 1],
  ['many clients with two queries', 1_000, 2],
] as const) {
  test(`${what} never open the breaker`, () => {
    const breaker = new Breaker();
    assert.equal(faults(breaker, 1_000, clients, texts), false);
  });
}

test('queries that differ in constants, comments and spaces are one kind', () => {
  const breaker = new Breaker();
  for (let i = 0; i < 100; i++)
    assert.equal(breaker.fault(call(i, `select  ${i} /* ${'x'.repeat(i)} */ , 'text ${i}'`), i), false);
});

test('long queries never open the breaker', () => {
  const breaker = new Breaker();
  for (let i = 0; i < 100; i++)
    assert.equal(breaker.fault(call(i, `SELECT ${'x'.repeat(5_000 + i)}`), i), false);
});

test('the breaker stays closed while any client is answered', () => {
  const breaker = new Breaker();
  for (let i = 0; i < 20; i++) {
    assert.equal(faults(breaker, 4, 4, 4, i * 10), false);
    breaker.answered();
  }
});

test('faults that are far apart are forgotten', () => {
  const breaker = new Breaker();
  for (let i = 0; i < 20; i++)
    assert.equal(breaker.fault(call(i, `SELECT ${'x'.repeat(i + 1)}`), i * 3_000), false);
});

test('an open breaker is tried after 1, 2, 4 … 60 seconds, and only an answer to a client shortens the pauses', () => {
  const breaker = new Breaker();
  let now = 0;
  const pause = (): number => {
    const since = now;
    while (!breaker.isDue(now)) now += 100;
    return (now - since) / 1_000;
  };
  faults(breaker, 5, 5, 5, -4);
  const pauses: number[] = [];
  for (let i = 0; i < 8; i++) {
    pauses.push(pause());
    breaker.tried(false, now);
  }
  assert.deepEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
  pause();
  breaker.tried(true, now);
  assert.equal(breaker.isOpen, false);
  assert.equal(faults(breaker, 5, 5, 5, now), true, 'its own query alone is no proof');
  assert.equal(pause(), 60.1);
  breaker.tried(true, now);
  breaker.answered();
  faults(breaker, 5, 5, 5, now - 4);
  assert.equal(pause(), 1);
});

test('the first answer to a client closes the breaker, and faults meanwhile do not lengthen the pause', () => {
  const breaker = new Breaker();
  faults(breaker, 5, 5, 5);
  assert.equal(faults(breaker, 50, 50, 50), false);
  assert.equal(breaker.isDue(1_100), true);
  breaker.answered();
  assert.equal(breaker.isOpen, false);
});

test('a trial that could not be made is repeated a second later', () => {
  const breaker = new Breaker();
  faults(breaker, 5, 5, 5);
  breaker.postpone(2_000);
  assert.equal(breaker.isDue(2_900), false);
  assert.equal(breaker.isDue(3_000), true);
});
