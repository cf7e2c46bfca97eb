/** Which version takes too much of a shared sandbox process. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Shares } from '../../src/functions/sandbox/shares.ts';

const MB = 1024 * 1024;

test('the largest version must leave when all together hold too much, whichever grew', () => {
  const shares = new Shares();
  assert.equal(shares.note(1, 1, 60 * MB, 3, 0), null);
  assert.equal(shares.note(2, 1, 70 * MB, 3, 0), null);
  assert.deepEqual(shares.note(3, 1, 40 * MB, 3, 0), { versionId: 2, excess: 'memory' });
  assert.equal(shares.note(3, 1, 40 * MB, 3, 0), null, 'it is told once');
  shares.forget(2);
  assert.equal(shares.note(3, 1, 41 * MB, 2, 0), null);
  assert.deepEqual(shares.note(3, 1, 120 * MB, 2, 0), { versionId: 3, excess: 'memory' });
});

test('memory that a version has freed does not count', () => {
  const shares = new Shares();
  for (let i = 0; i < 100; i++) assert.equal(shares.note(1, 1, (i % 2) * 100 * MB, 2, i), null);
});

test('a version that has taken more than 300 ms of a second must leave', () => {
  const shares = new Shares();
  for (let i = 0; i < 3; i++) assert.equal(shares.note(1, 100, MB, 2, i * 100), null);
  assert.deepEqual(shares.note(1, 10, MB, 2, 400), { versionId: 1, excess: 'time' });
  assert.equal(shares.note(2, 100, MB, 2, 450), null);
});

test('a little work in each second is not too much', () => {
  const shares = new Shares();
  for (let second = 0; second < 10; second++)
    for (let i = 0; i < 2; i++) assert.equal(shares.note(1, 100, MB, 2, second * 1_100 + i), null);
});

test('a version that is alone in its process never has to leave', () => {
  const shares = new Shares();
  for (let i = 0; i < 20; i++) assert.equal(shares.note(1, 1_000, 500 * MB, 1, i), null);
});

test('in a busy process, versions with long turns leave although each has a small part', () => {
  const shares = new Shares();
  const slow = new Set(Array.from({ length: 40 }, (_, id) => id));
  const take = (id: number, ms: number, now: number): void => {
    const excess = shares.note(id, ms, MB, 43, now);
    if (excess === null) return;
    assert.equal(excess.excess, 'time');
    assert.ok(slow.delete(excess.versionId), `${excess.versionId} left`);
    shares.forget(excess.versionId);
  };
  for (let now = 0; slow.size >= 7;) {
    assert.ok(now < 30_000, `${slow.size} are left`);
    for (const id of [...slow]) {
      now += 100;
      if (slow.has(id)) take(id, 100, now);
      for (const short of [40, 41, 42]) take(short, 1, now);
    }
  }
});

test('time without a processor does not count', () => {
  for (const part of [0.1, 1]) {
    const shares = new Shares();
    const excesses: unknown[] = [];
    for (let i = 0; i < 5; i++)
      excesses.push(shares.note(1, 100, MB, 2, i * 100, () => 7_000 + i * 100 * part));
    assert.equal(excesses.filter((excess) => excess !== null).length, part === 1 ? 1 : 0);
  }
});

test('many short turns that fill a process make no version leave', () => {
  const shares = new Shares();
  for (let turn = 0; turn < 2_000; turn++)
    assert.equal(shares.note(turn % 60, 1, MB, 60, Math.floor(turn / 60) * 61), null);
});
