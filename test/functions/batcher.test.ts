/** Calls on their way to a host and back, with a host that answers on the test's command. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { DEFAULT_OPTIONS } from '../../sandbox/crossing.ts';
import { cutOff } from '../../src/functions/sandbox/call.ts';
import { NO_COST } from '../../src/functions/sandbox/host.ts';
import { bound, NOTHING, REWRITES, Setup } from '../support/batching.ts';
import { until } from '../support/wait.ts';

test('one batch runs at a time, and calls that were not run come first in the next one', async () => {
  const { host, batcher, answered, ask } = bound(new Setup());
  for (const query of ['a', 'b', 'c']) ask(query);
  await nextTurn();
  ask('d');
  await nextTurn();
  assert.deepEqual(
    host.sent.map(({ queries }) => queries),
    [['a', 'b', 'c']],
  );
  host.sent[0]!.done([NOTHING], '', NO_COST);
  await nextTurn();
  assert.deepEqual(host.sent[1]!.queries, ['b', 'c', 'd']);
  host.sent[1]!.done([NOTHING, NOTHING, NOTHING], '', NO_COST);
  assert.deepEqual(answered, ['a ok', 'b ok', 'c ok', 'd ok']);
  assert.equal(batcher.isSuspended, false);
});

test('a batch of which nothing was run is sent again call by call, until one of them fails', async () => {
  const { host, answered, ask } = bound(new Setup());
  for (const [i, query] of ['a', 'b', 'c'].entries()) ask(query, i);
  await nextTurn();
  host.sent[0]!.done([], '', NO_COST);
  const answers = [NOTHING, cutOff('killed', ''), NOTHING];
  for (const [i, answer] of answers.entries()) {
    await nextTurn();
    assert.equal(host.sent[i + 1]!.queries.length, 1);
    host.sent[i + 1]!.done([answer], '', NO_COST);
  }
  assert.deepEqual(answered, ['a ok', 'b killed', 'c ok']);
});

test('after a costly call, calls of its connection run apart one by one, and no others do', async () => {
  const { host, apart, answered, ask } = bound(new Setup());
  ask('slow', 1);
  await nextTurn();
  host.sent[0]!.done([cutOff('deadline', '')], '', NO_COST);
  ask('x', 1);
  ask('y', 1);
  ask('slow', 2);
  ask('z', 3);
  await nextTurn();
  await nextTurn();
  assert.deepEqual(host.sent[1]!.queries, ['z']);
  assert.deepEqual(apart.loaded, [1]);
  for (const [i, query] of ['x', 'y', 'slow'].entries()) {
    assert.deepEqual(apart.sent[i]?.queries, [query]);
    apart.sent[i]!.done([NOTHING], '', NO_COST);
    await nextTurn();
  }
  assert.deepEqual(answered, ['slow deadline', 'x ok', 'y ok', 'slow ok']);
});

test('a costly failure counts in either function', async () => {
  const { host, apart, ask } = bound(new Setup());
  ask('a');
  await nextTurn();
  const { rewrite } = cutOff('threw', '');
  host.sent[0]!.done([{ rewrite, route: cutOff('deadline', '').route }], '', NO_COST);
  ask('b');
  await nextTurn();
  await nextTurn();
  assert.deepEqual([host.sent.length, apart.sent.length], [1, 1]);
});

test('calls wait for the first version, and get an error after 30 seconds', (t: TestContext) => {
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  t.mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 1_000) {
      now += 1_000;
      t.mock.timers.tick(1_000);
    }
  };
  const setup = new Setup(false);
  setup.ask('new');
  pass(29_000);
  assert.deepEqual([setup.answered, setup.host.sent], [[], []]);
  pass(3_000);
  assert.deepEqual(setup.answered, ['new unavailable']);
  // The same applies to a call that was sent and is never answered, and to one that waits after it.
  setup.batcher.open();
  setup.ask('sent');
  pass(1_000);
  setup.ask('waiting');
  pass(33_000);
  assert.deepEqual(
    setup.host.sent.map(({ queries }) => queries),
    [['sent']],
  );
  assert.deepEqual(setup.answered.slice(1).toSorted(), ['sent overloaded', 'waiting overloaded']);
  // A late answer is dropped.
  setup.host.sent[0]!.done([NOTHING], '', NO_COST);
  assert.equal(setup.answered.length, 3);
});

test('calls without a version fail as configured, and a closed batcher answers the calls that it has', async () => {
  const setup = new Setup();
  let drained = 0;
  setup.ask('a');
  setup.ask('b');
  await nextTurn();
  setup.ask('c');
  setup.batcher.close(() => drained++);
  assert.equal(drained, 0);
  setup.host.sent[0]!.done([NOTHING], '', NO_COST);
  setup.host.sent[1]!.done([NOTHING, NOTHING], '', NO_COST);
  assert.deepEqual([setup.answered, drained], [['a ok', 'b ok', 'c ok'], 1]);
  const none = new Setup();
  none.version = null;
  none.ask('x');
  await nextTurn();
  assert.deepEqual(none.answered, ['x no_version']);
});

test('an answer belongs to the version that gave it, even if another one serves when it comes', async () => {
  const setup = new Setup();
  const { host, apart, answered, manifests } = setup;
  const { code } = setup.version!;
  setup.ask('costly');
  await nextTurn();
  host.sent[0]!.done([cutOff('deadline', '')], '', NO_COST);
  setup.ask('apart', 1);
  setup.ask('a', 2);
  await until('both to be sent', () => host.sent.length === 2 && apart.sent.length === 1);
  setup.version = {
    id: 2,
    code,
    host,
    manifest: { routes: true, rewrites: false, options: DEFAULT_OPTIONS },
  };
  host.sent[1]!.done([NOTHING], '', NO_COST);
  apart.sent[0]!.done([NOTHING], '', NO_COST);
  await until('both answers', () => answered.length === 3);
  assert.deepEqual(manifests, [REWRITES, REWRITES, REWRITES]);
});
