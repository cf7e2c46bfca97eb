/** Shadowing with the test's own host and clock: the budget, what is dropped, what differs, and that no constant is shown. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { DEFAULT_OPTIONS } from '../../sandbox/crossing.ts';
import { GO, type Decision } from '../../src/functions/decide/policy.ts';
import { SHADOW } from '../../src/functions/limits.ts';
import { differencesOf, described, type Outcome } from '../../src/functions/rollout/outcome.ts';
import { ShadowReport } from '../../src/functions/rollout/shadow-report.ts';
import { Shadow } from '../../src/functions/rollout/shadow.ts';
import type { HostAnswer, HostCall } from '../../src/functions/sandbox/call.ts';
import type { OnAnswers } from '../../src/functions/sandbox/host.ts';
import { clientErrors } from '../../src/wire/errors.ts';
import { TestClock, TestHost } from '../support/tenant.ts';

const go = (query: string | null, dbkey: string | null): Decision => ({ kind: 'go', query, dbkey });
const outcome = (decision: Decision, failure: Outcome['failure'] = null): Outcome => ({
  decision,
  failure,
  costUs: 1,
});
const rejects = (message: string): Decision => ({
  kind: 'reject',
  error: clientErrors.rejected({ code: '42501', message, hint: null, detail: null }),
});

const PAIRS: Record<string, readonly [serving: Outcome, candidate: Outcome, kinds: string]> = {
  'both pass': [outcome(GO), outcome(GO), ''],
  'both say the same': [outcome(go('q', 'a')), outcome(go('q', 'a')), ''],
  'another route': [outcome(go(null, 'a')), outcome(go(null, 'b')), 'route differs'],
  'another rewrite': [outcome(go('q', 'a')), outcome(go(null, 'a')), 'rewrite differs'],
  'both at once': [outcome(go('q', 'a')), outcome(GO), 'route differs,rewrite differs'],
  'one rejects': [outcome(GO), outcome(rejects('no')), 'rejection differs'],
  'both reject, with the same words': [outcome(rejects('no')), outcome(rejects('no')), ''],
  'both reject, with other words': [outcome(rejects('no')), outcome(rejects('never')), 'rejection differs'],
  'the candidate failed, and the policy passes': [outcome(GO), outcome(GO, 'threw'), 'candidate failed'],
  'the serving version failed': [outcome(GO, 'deadline'), outcome(GO), 'serving failed'],
  'both failed alike': [outcome(GO, 'threw'), outcome(GO, 'threw'), ''],
  'both failed in other ways': [outcome(GO, 'threw'), outcome(GO, 'memory'), 'failure differs'],
};

test('two outcomes differ in kinds', () => {
  for (const [name, [serving, candidate, kinds]] of Object.entries(PAIRS))
    assert.equal(differencesOf(serving, candidate).join(), kinds, name);
});

test('decisions are shown in words, without the constants in them', () => {
  assert.equal(described(outcome(GO)), 'passes');
  assert.equal(described(outcome(GO, 'threw')), 'failed: threw');
  assert.equal(
    described(outcome(go("select * from t where name = 'secret' limit 17", 'a\nb'))),
    'routes to a\\nb, rewrites to select * from t where name = ? limit ?',
  );
  assert.equal(described(outcome(rejects("not for 'secret'"))), 'rejects: 42501 not for ?');
});

/** Answers when the test says so, after a cost in ms for each call. */
class SlowHost extends TestHost {
  costMs = 1;
  /** calls of a batch that get an answer; null: all */
  most: number | null = null;
  readonly asked: string[] = [];
  #due: (() => void)[] = [];

  override evaluate(_versionId: number, calls: readonly HostCall[], done: OnAnswers): void {
    this.asked.push(...calls.map(({ query }) => query));
    const answers = calls
      .slice(0, this.most ?? calls.length)
      .map(({ query }): HostAnswer => ({ rewrite: { text: `${query} + 'x'` }, route: null }));
    this.#due.push(() => done(answers, '', { cpuMs: this.costMs * answers.length, heapBytes: 0 }));
  }

  answer(): void {
    for (const due of this.#due.splice(0)) due();
  }
}

class World {
  readonly clock = new TestClock();
  readonly host = new SlowHost();
  isBusy = false;
  hasCandidate = true;
  limitMs = 100;
  readonly shadow = new Shadow({
    clock: this.clock,
    wallClock: this.clock,
    candidate: () =>
      this.hasCandidate
        ? {
            id: 1,
            code: { id: 1 } as never,
            host: this.host,
            manifest: { routes: true, rewrites: true, options: DEFAULT_OPTIONS },
          }
        : null,
    limitMs: () => this.limitMs,
    isServingBusy: () => this.isBusy,
    judge: (_call, answer) => ({
      decision: answer.rewrite !== null && 'text' in answer.rewrite ? go(answer.rewrite.text, null) : GO,
      failure: null,
    }),
    onPrinted: () => {},
  });

  offer(...queries: string[]): void {
    for (const query of queries)
      this.shadow.offer(
        { username: 'u', query, inTransaction: false, context: { database: 'a' } },
        outcome(GO),
      );
  }

  /** Lets time pass, with an answer to everything that is asked. */
  pass(ms: number): void {
    for (let i = 0; i < ms; i++) {
      this.clock.advance(1);
      this.host.answer();
    }
  }

  get counts(): string {
    const { compared, same, differences, uncompared } = this.shadow.report.observe();
    const others = [...differences, ...uncompared].filter(({ count }) => count > 0);
    return [
      `compared=${compared}`,
      `same=${same}`,
      ...others.map(({ kind, count }) => `${kind}=${count}`),
    ].join(' ');
  }
}

test('queries are compared after they were offered, with masked samples and both costs', () => {
  const world = new World();
  world.clock.advance(10_000);
  world.offer("select 'secret'");
  assert.deepEqual(world.host.asked, []);
  world.pass(10);
  assert.equal(world.counts, 'compared=1 same=0 rewrite differs=1');
  const [sample] = world.shadow.report.observe().samples;
  assert.deepEqual(sample, {
    kind: 'rewrite differs',
    atMs: 10_002,
    user: 'u',
    database: 'a',
    query: 'select ?',
    serving: 'passes',
    candidate: 'rewrites to select ? + ?',
    servingUs: 1,
    candidateUs: 1_000,
  });
});

test('calls of clients go first, but not for ever', () => {
  const world = new World();
  world.isBusy = true;
  world.offer('q');
  world.pass(SHADOW.longestYieldMs - 10);
  assert.deepEqual(world.host.asked, []);
  world.pass(20);
  assert.deepEqual(world.host.asked, ['q']);
});

test('over its budget the candidate rests, and queries are dropped and counted', () => {
  const world = new World();
  world.clock.advance(10_000);
  world.host.costMs = 400;
  world.offer('a', 'b', 'c');
  world.pass(10);
  // 1,200 ms at 100 ms a second, less one second that was saved
  world.offer('d');
  assert.equal(world.counts, 'compared=3 same=0 rewrite differs=3 over budget=1');
  world.pass(11_500);
  world.offer('e');
  world.pass(10);
  assert.deepEqual(world.host.asked, ['a', 'b', 'c', 'e']);
});

test('without a budget nothing is evaluated', () => {
  const world = new World();
  world.limitMs = 0;
  world.offer('a', 'b');
  world.pass(1_000);
  assert.deepEqual(world.host.asked, []);
  assert.equal(world.counts, 'compared=0 same=0 over budget=2');
});

test('the queue is bounded in calls and in length', () => {
  const world = new World();
  world.offer(...Array.from({ length: SHADOW.maxCalls + 3 }, () => 'q'));
  assert.equal(world.counts, 'compared=0 same=0 queue full=3');
  const long = new World();
  long.offer('x'.repeat(SHADOW.maxLength), 'y');
  assert.equal(long.counts, 'compared=0 same=0 queue full=1');
});

test('calls that a batch did not reach are asked about again, unless it reached none', () => {
  const world = new World();
  world.host.most = 1;
  world.offer('a', 'b');
  world.pass(50);
  assert.deepEqual(world.host.asked, ['a', 'b', 'b']);
  world.host.most = 0;
  world.offer('c', 'd');
  world.pass(50);
  assert.equal(world.counts, 'compared=2 same=0 rewrite differs=2 not evaluated=2');
});

test('samples are bounded, and a kind gets new ones now and then', () => {
  const world = new World();
  world.limitMs = 1_000_000;
  for (let i = 0; i < 50; i++) {
    world.offer('q');
    world.pass(500);
  }
  const { samples } = world.shadow.report.observe();
  assert.equal(samples.length, SHADOW.samples);
  assert.ok(samples.at(-1)!.atMs > 20_000);
});

test('a restart forgets what came before, and answers that are under way', () => {
  const world = new World();
  world.offer('a');
  world.clock.advance(SHADOW.yieldMs);
  world.shadow.restart();
  world.host.answer();
  world.offer('b');
  world.pass(10);
  assert.deepEqual(world.host.asked, ['a', 'b']);
  assert.equal(world.counts, 'compared=1 same=0 rewrite differs=1');
  world.shadow.close();
  world.offer('c');
  world.pass(10);
  assert.deepEqual(world.host.asked, ['a', 'b']);
});

test('a candidate that has gone meanwhile is not asked', () => {
  const world = new World();
  world.offer('a');
  world.hasCandidate = false;
  world.pass(10);
  assert.equal(world.counts, 'compared=0 same=0 not evaluated=1');
});

test('samples are taken after the clock was set back', () => {
  let wall = 1_000_000_000;
  let steady = 0;
  const report = new ShadowReport(
    () => wall,
    () => steady,
  );
  const [serving, candidate] = [outcome(GO), outcome(go(null, 'other'))];
  const samplesAt = (): number[] => report.observe().samples.map(({ atMs }) => atMs);
  const call: HostCall = { username: 'u', query: 'q', inTransaction: false, context: {} };
  for (let i = 0; i < SHADOW.samples; i++) report.note(call, serving, candidate);
  wall = 5;
  steady += SHADOW.quietMs;
  report.note(call, serving, candidate);
  assert.equal(samplesAt().at(-1), 5);
  assert.equal(samplesAt().length, SHADOW.samples);
});
