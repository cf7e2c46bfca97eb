/** A limited number of places for work. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slots } from '../../src/pool/slots.ts';

const never = new AbortController().signal;

test('those that find no free place wait, first come, first served', async () => {
  const slots = new Slots();
  await slots.take(1, never);
  const order: number[] = [];
  const waiting = [1, 2].map((n) => slots.take(1, never).then(() => order.push(n)));
  assert.equal(slots.waiting, 2);
  slots.free();
  await waiting[0];
  assert.deepEqual([order, slots.taken, slots.waiting], [[1], 1, 1]);
  slots.free();
  await waiting[1];
  assert.deepEqual(order, [1, 2]);
});

test('a waiter that gives up gets no place, and takes none from others', async () => {
  const slots = new Slots();
  await slots.take(1, never);
  const patience = new AbortController();
  const late = slots.take(1, patience.signal);
  patience.abort(new Error('too late'));
  await assert.rejects(late, /too late/);
  assert.equal(slots.waiting, 0);
  slots.free();
  await slots.take(1, never);
  assert.equal(slots.taken, 1);
});
