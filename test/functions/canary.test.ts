/**
 * A canary's comparison with the test's own clock: who is in it, what counts, when it goes back, and when it has proved
 * itself.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { CANARY } from '../../src/functions/limits.ts';
import { Arm, className, sqlstateClass, Tally } from '../../src/functions/rollout/arm.ts';
import { Canary } from '../../src/functions/rollout/canary.ts';
import { ALL, ClientKeys, placeOf, saltOf } from '../../src/functions/rollout/share.ts';
import { worseBy } from '../../src/functions/rollout/tolerance.ts';
import { ClientError } from '../../src/wire/errors.ts';
import { HEADER_BYTES } from '../../src/wire/protocol.ts';
import { TestClock } from '../support/tenant.ts';

const MINUTES = 60_000;
const SALT = saltOf('acme');

test('a share of the clients has the candidate, always the same ones, and a larger share only adds some', () => {
  const clients = Array.from({ length: 20_000 }, (_, i) => i + 1);
  for (const percent of [0.5, 5, 50]) {
    const chosen = clients.filter((id) => placeOf(id, SALT) < (percent / 100) * ALL);
    const share = chosen.length / clients.length;
    assert.ok(Math.abs(share - percent / 100) < 0.01, `${percent} %: ${share}`);
  }
  const differ = clients.filter((id) => placeOf(id, SALT) !== placeOf(id, saltOf('beta')));
  assert.ok(differ.length > clients.length * 0.99);
});

/** @param calls and what came of them */
function tally(calls: number, given: Partial<Tally> & { errors42?: number } = {}): Tally {
  const { errors42, ...sums } = given;
  const made = Object.assign(new Tally(), { calls, answers: calls, ...sums });
  if (errors42 !== undefined) made.errors.set(CLASS_42, errors42);
  return made;
}

/** @param spread the times are so many µs above and below the mean, in turn */
function timed(count: number, meanUs: number, spread = 0): Tally {
  const sumSquares = (count * ((meanUs - spread) ** 2 + (meanUs + spread) ** 2)) / 2;
  return tally(count, { timed: count, sumUs: count * meanUs, sumSquares });
}

const CLASS_42 = 0x34 * 256 + 0x32;

const COMPARISONS: Record<string, readonly [serving: Tally, candidate: Tally, worse: RegExp | null]> = {
  'nothing happened': [tally(0), tally(0), null],
  'too few calls to tell': [tally(1000), tally(CANARY.minCalls - 1, { failures: 40 }), null],
  'every call failed': [
    tally(0),
    tally(CANARY.minCalls, { failures: CANARY.minCalls }),
    /100.0 % of its calls failed/,
  ],
  'one failure in fifty calls may be chance': [tally(1000), tally(50, { failures: 1 }), null],
  'a small share of many calls is not': [
    tally(100_000),
    tally(10_000, { failures: 200 }),
    /2.0 % of its calls failed/,
  ],
  'failures within the tolerance': [tally(100_000), tally(10_000, { failures: 100 }), null],
  'more rejections': [
    tally(10_000, { rejections: 100 }),
    tally(1_000, { rejections: 100 }),
    /10.0 % of its calls were rejected, against 1.0 %/,
  ],
  'fewer rejections': [tally(10_000, { rejections: 5_000 }), tally(1_000), null],
  'rejections, and too few calls of the serving version': [
    tally(10),
    tally(1_000, { rejections: 500 }),
    null,
  ],
  'more errors of a class': [tally(10_000), tally(1_000, { errors42: 100 }), /class 42/],
  'as many errors of a class': [tally(10_000, { errors42: 1_000 }), tally(1_000, { errors42: 100 }), null],
  'more errors than answers': [tally(10_000), tally(100, { errors42: 500 }), /100.0 % of its queries/],
  'much slower': [timed(1_000, 200), timed(100, 5_000), /calls take 5000 µs, against 200 µs/],
  'twice as slow, by less than a millisecond': [timed(1_000, 500), timed(100, 1_000), null],
  'slower within the tolerance': [timed(1_000, 500_000), timed(100, 504_000), null],
  'slower by chance, as times vary that much': [timed(1_000, 2_000, 1_000), timed(50, 5_000, 20_000), null],
};

test('a candidate is worse if a difference exceeds the tolerance and chance', () => {
  for (const [name, [serving, candidate, worse]] of Object.entries(COMPARISONS)) {
    const said = worseBy(serving, candidate, 1);
    if (worse === null) assert.equal(said, null, name);
    else assert.match(said ?? '', worse, name);
  }
});

test('one client can only make up a part of the comparison, and an hour of silence empties the recent counts', () => {
  const arm = new Arm();
  const call = { hasFailed: true, isRejected: false, tookUs: null };
  for (let i = 0; i < 1_000; i++) arm.noteCall({ ...call, clientId: 1 }, 0);
  for (let id = 2; id < 12; id++) arm.noteCall({ ...call, hasFailed: false, clientId: id }, 0);
  assert.deepEqual(
    [arm.total.calls, arm.total.failures],
    [CANARY.callsPerClient + 10, CANARY.callsPerClient],
  );
  arm.noteCall({ ...call, clientId: 1 }, CANARY.windowMs);
  assert.equal(arm.recent(CANARY.windowMs).calls, CANARY.callsPerClient + 11);
  assert.equal(arm.recent(60 * MINUTES).calls, 0);
  assert.equal(arm.total.calls, CANARY.callsPerClient + 11);
});

test("the class of a server's error is read without looking at more than has arrived", () => {
  const message = new ClientError('ERROR', '42P01', 'no such table').encode();
  assert.equal(className(sqlstateClass(message, HEADER_BYTES, message.length)), '42');
  for (let end = HEADER_BYTES; end <= message.length; end++) {
    const found = sqlstateClass(message, HEADER_BYTES, end);
    assert.ok(found === 0 || className(found) === '42', String(end));
  }
  for (const odd of [Buffer.alloc(0), Buffer.from([0]), Buffer.from('Sno end'), Buffer.from('C\0')])
    assert.equal(sqlstateClass(odd, 0, odd.length), 0);
});

/** A canary over a quarter of the clients. */
class World {
  readonly clock = new TestClock();
  readonly said: string[] = [];
  readonly canary = new Canary({
    clock: this.clock,
    percent: 25,
    keyOf: (id) => id,
    salt: SALT,
    isPromoted: true,
    limits: () => ({ tolerance: 1, durationMs: 10 * MINUTES }),
    onWorse: (reason) => this.#end(reason),
    onProven: () => this.#end('proven'),
  });

  #end(reason: string): void {
    this.said.push(reason);
    this.canary.end();
  }

  /** Some calls of each of a hundred clients, and then some seconds. @param fails those of the candidate fail */
  run(minutes: number, fails = false): void {
    for (let i = 0; i < minutes * 60 && this.said.length === 0; i++) {
      for (let clientId = 1; clientId <= 100; clientId++) {
        const hasFailed = fails && this.canary.has(clientId);
        this.canary.noteCall({ clientId, hasFailed, isRejected: false, tookUs: 100 });
      }
      this.clock.advance(1_000);
    }
  }
}

test('a canary that is no worse proves itself after its duration, once', () => {
  const world = new World();
  world.run(9);
  assert.deepEqual(world.said, []);
  world.run(2);
  assert.deepEqual(world.said, ['proven']);
  world.clock.advance(60 * MINUTES);
  assert.deepEqual(world.said, ['proven']);
});

test('a canary without calls proves nothing', () => {
  const world = new World();
  for (let i = 0; i < 1_000; i++) world.clock.advance(MINUTES);
  assert.deepEqual(world.said, []);
  const { serving, candidate } = world.canary.observe();
  assert.deepEqual([serving.calls, candidate.calls, candidate.meanUs], [0, 0, null]);
});

test('a canary that begins to fail after a long time goes back within a minute or two', () => {
  const world = new World();
  world.run(9);
  world.run(1, true);
  assert.match(world.said.join(), /% of its calls failed/);
});

test('new code begins the comparison again', () => {
  const world = new World();
  world.run(9);
  world.canary.restart();
  world.run(9);
  assert.deepEqual(world.said, []);
  world.run(2);
  assert.deepEqual(world.said, ['proven']);
});

test('connections of one client have one place, on every proxy', () => {
  const [one, two] = [new ClientKeys(), new ClientKeys()];
  one.note(1, ['app', '10.0.0.1', 'web']);
  one.note(2, ['app', '10.0.0.1', 'web']);
  one.note(3, ['app', '10.0.0.2', 'web']);
  two.note(7, ['app', '10.0.0.1', 'web']);
  assert.equal(one.of(1), one.of(2));
  assert.equal(one.of(1), two.of(7));
  assert.notEqual(one.of(1), one.of(3));
  one.forget(1);
  assert.equal(one.of(1), 1, 'without a fleet, each connection is a client');
});
