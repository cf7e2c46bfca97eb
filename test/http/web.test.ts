/** The web console's sessions, throttle and history, without a proxy. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attempts } from '../../src/http/web/attempts.ts';
import { percentile } from '../../src/http/web/history.ts';
import { WebSessions } from '../../src/http/web/sessions.ts';

const MINUTE = 60_000;

test('a session lasts while it is used, eight hours at most', () => {
  let now = 0;
  const sessions = new WebSessions(() => now);
  const key = sessions.begin('ops', '127.0.0.1');
  for (now = 0; now <= 8 * 60 * MINUTE; now += 29 * MINUTE) assert.equal(sessions.find(key)?.user, 'ops');
  now = 8 * 60 * MINUTE + 1;
  assert.equal(sessions.find(key), null);
});

test('a session that is idle for more than half an hour ends', () => {
  let now = 0;
  const sessions = new WebSessions(() => now);
  const key = sessions.begin('ops', '127.0.0.1');
  now = 30 * MINUTE + 1;
  assert.equal(sessions.find(key), null);
  now = 0;
  assert.equal(sessions.find(key), null);
});

test('a session that has ended, or never was, is not found', () => {
  const sessions = new WebSessions();
  const key = sessions.begin('ops', '127.0.0.1');
  assert.equal(sessions.find('x'), null);
  assert.equal(sessions.find(undefined), null);
  sessions.end(key);
  assert.equal(sessions.find(key), null);
});

test('of too many sessions the one that was not used for longest ends', () => {
  const sessions = new WebSessions();
  const first = sessions.begin('a', '');
  const second = sessions.begin('b', '');
  sessions.find(first);
  for (let i = 0; i < 999; i++) sessions.begin(`c${i}`, '');
  assert.equal(sessions.find(second), null);
  assert.equal(sessions.find(first)?.user, 'a');
});

test('a user with very many sessions pushes out none of another user', () => {
  const sessions = new WebSessions();
  const other = sessions.begin('a', '');
  const first = sessions.begin('b', '');
  for (let i = 0; i < 2_000; i++) sessions.begin('b', '');
  assert.equal(sessions.find(first), null);
  assert.equal(sessions.find(other)?.user, 'a');
});

test('after five failures each attempt of the user waits, twice as long each time', () => {
  let now = 0;
  const attempts = new Attempts(() => now);
  const waits: number[] = [];
  for (let i = 0; i < 13; i++) {
    attempts.failed('ops', `address ${i}`);
    waits.push(attempts.waitMs('ops', 'another'));
  }
  const seconds = [1, 2, 4, 8, 16, 32, 60, 60, 60];
  assert.deepEqual(waits, [0, 0, 0, 0, ...seconds.map((each) => each * 1000)]);
  now = 60_000;
  assert.equal(attempts.waitMs('ops', 'another'), 0);
});

test('an address that tries many users waits too, even after a success', () => {
  const attempts = new Attempts(() => 0);
  for (let i = 0; i < 6; i++) attempts.failed(`user ${i}`, 'there');
  attempts.succeeded('user 1', 'there');
  assert.equal(attempts.waitMs('new', 'there'), 1000);
  assert.equal(attempts.waitMs('new', 'elsewhere'), 0);
});

test('failures are forgotten after a quarter of an hour', () => {
  let now = 0;
  const attempts = new Attempts(() => now);
  for (let i = 0; i < 4; i++) attempts.failed('ops', 'there');
  now = 15 * MINUTE + 1;
  attempts.failed('ops', 'there');
  assert.equal(attempts.waitMs('ops', 'there'), 0);
});

test('a percentile is the upper bound of its class', () => {
  const counts = new Array<number>(17).fill(0);
  assert.equal(percentile(counts, 0.5), null);
  counts[0] = 98;
  counts[3] = 2;
  assert.deepEqual([percentile(counts, 0.5), percentile(counts, 0.99)], [0.1, 1]);
  counts[16] = 100;
  assert.equal(percentile(counts, 0.99), 10_000);
});
