/** How turns are shared when many tenants want work and few can be served at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Blame } from '../../src/functions/tenants/blame.ts';
import { Turns } from '../../src/functions/build/turns.ts';

test('a tenant that asks a hundred times delays another one by one turn', async () => {
  const turns = new Turns(1);
  const order: string[] = [];
  const work = (tenant: string) => () => Promise.resolve(order.push(tenant));
  await Promise.all([
    ...Array.from({ length: 100 }, () => turns.run('greedy', work('greedy'))),
    turns.run('modest', work('modest')),
    turns.run('shy', work('shy')),
  ]);
  assert.deepEqual(order.slice(0, 4), ['greedy', 'modest', 'shy', 'greedy']);
  assert.equal(order.length, 102);
});

test('a tenant has one turn at a time, even if several are free', async () => {
  const turns = new Turns(3);
  let running = 0;
  let most = 0;
  const hang = async (): Promise<void> => {
    most = Math.max(most, ++running);
    await Promise.resolve();
    running--;
  };
  await Promise.all(Array.from({ length: 20 }, () => turns.run('one', hang)));
  assert.equal(most, 1);
  await Promise.all(Array.from({ length: 20 }, (_, i) => turns.run(`t${i}`, hang)));
  assert.equal(most, 3);
});

test('work that takes long continues, and another tenant gets its turn', async () => {
  const turns = new Turns(1);
  const { promise, resolve } = Promise.withResolvers<void>();
  const slow = turns.run('slow', () => promise, 1);
  const again = turns.run('slow', () => Promise.resolve('again'));
  assert.equal(await turns.run('other', () => Promise.resolve('other')), 'other');
  resolve();
  await slow;
  assert.equal(await again, 'again');
});

test('a turn passes on when its work fails', async () => {
  const turns = new Turns(1);
  await assert.rejects(turns.run('a', () => Promise.reject(new Error('no'))));
  assert.equal(await turns.run('b', () => Promise.resolve(5)), 5);
});

test('a tenant waits twice as long after each further fault, and starts afresh after minutes without one', () => {
  let now = 0;
  const blame = new Blame(() => now);
  assert.equal(blame.isSuspect('a'), false);
  const waits = Array.from({ length: 8 }, () => {
    blame.add('a');
    return blame.waitMs('a') / 1000;
  });
  assert.deepEqual(waits, [0, 2, 4, 8, 16, 32, 64, 120]);
  assert.equal(blame.waitMs('b'), 0);
  now = 119_000;
  assert.equal(blame.waitMs('a'), 1000);
  now = 121_000;
  assert.equal(blame.waitMs('a'), 0);
  assert.equal(blame.isSuspect('a'), true);
  now = 300_000;
  assert.equal(blame.isSuspect('a'), false);
});
