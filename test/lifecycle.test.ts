/** The moves of the proxy's lifecycle: every command in every situation, and the resulting state. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  IllegalMove,
  Lifecycle,
  PHASE_MOVES,
  SOCKET_MOVES,
  TRAFFIC_MOVES,
  type LifecycleState,
} from '../src/lifecycle.ts';

const VERBS = {
  serve: (lifecycle: Lifecycle) => lifecycle.serve(),
  PAUSE: (lifecycle: Lifecycle) => lifecycle.pause(),
  SUSPEND: (lifecycle: Lifecycle) => lifecycle.suspend(),
  RESUME: (lifecycle: Lifecycle) => lifecycle.resume(),
  TAKEOVER: (lifecycle: Lifecycle) => lifecycle.handOver(),
  'take back': (lifecycle: Lifecycle) => lifecycle.takeBack(),
  'drain clients': (lifecycle: Lifecycle) => lifecycle.drain('clients'),
  'drain servers': (lifecycle: Lifecycle) => lifecycle.drain('servers'),
  stop: (lifecycle: Lifecycle) => lifecycle.stop(),
};
type Verb = keyof typeof VERBS;

/** A proxy that serves, after the commands of a situation. */
function after(situation: readonly Verb[]): Lifecycle {
  const lifecycle = new Lifecycle();
  lifecycle.serve();
  for (const verb of situation) VERBS[verb](lifecycle);
  return lifecycle;
}

/** The state after each command; '-': the command is illegal there, and changes nothing. */
type Row = Partial<Record<Verb, LifecycleState | '-'>>;

const SITUATIONS: readonly [situation: Verb[], state: LifecycleState, next: Row][] = [
  [
    [],
    'serving',
    {
      PAUSE: 'paused',
      SUSPEND: 'suspended',
      RESUME: 'serving',
      TAKEOVER: 'handed over',
      'take back': 'serving',
      'drain clients': 'draining',
      'drain servers': 'draining',
      stop: 'stopped',
    },
  ],
  [['PAUSE'], 'paused', { PAUSE: 'paused', SUSPEND: '-', RESUME: 'serving', TAKEOVER: 'handed over' }],
  [['SUSPEND'], 'suspended', { PAUSE: '-', SUSPEND: 'suspended', RESUME: 'serving' }],
  [['TAKEOVER'], 'handed over', { 'take back': 'serving', TAKEOVER: 'handed over', RESUME: 'handed over' }],
  [['TAKEOVER', 'PAUSE'], 'handed over', { RESUME: 'handed over', 'take back': 'paused' }],
  [['PAUSE', 'drain clients'], 'draining', { RESUME: 'draining', SUSPEND: '-', 'drain servers': 'draining' }],
  [['SUSPEND', 'drain clients'], 'draining', { RESUME: 'draining', PAUSE: '-', stop: 'stopped' }],
  [['PAUSE', 'drain servers'], 'draining', { RESUME: '-', PAUSE: 'draining', 'drain clients': 'draining' }],
  [['SUSPEND', 'drain servers'], 'draining', { RESUME: 'draining' }],
  [['drain clients'], 'draining', { serve: '-', 'take back': '-', TAKEOVER: 'draining' }],
  [
    ['stop'],
    'stopped',
    { serve: '-', 'drain clients': '-', 'drain servers': '-', 'take back': '-', stop: 'stopped' },
  ],
];

for (const [situation, state, next] of SITUATIONS) {
  const name = situation.join(', ') || 'no command';
  test(`after ${name} the proxy is ${state}, and each command leads where it may`, () => {
    assert.equal(after(situation).state, state);
    for (const [verb, expected] of Object.entries(next) as [Verb, LifecycleState | '-'][]) {
      const lifecycle = after(situation);
      if (expected === '-') assert.throws(() => VERBS[verb](lifecycle), IllegalMove, verb);
      else VERBS[verb](lifecycle);
      assert.equal(lifecycle.state, expected === '-' ? state : expected, verb);
    }
  });
}

test('a proxy that starts can serve, and can be paused or stopped before it does', () => {
  const lifecycle = new Lifecycle();
  assert.equal(lifecycle.state, 'starting');
  lifecycle.pause();
  assert.equal(lifecycle.state, 'paused');
  lifecycle.drain('clients');
  assert.throws(() => lifecycle.serve(), IllegalMove);
});

test('a stop refuses new clients, unless another process has taken over', () => {
  assert.equal(after(['drain clients']).refusesNewcomers, true);
  assert.equal(after(['TAKEOVER', 'drain clients']).refusesNewcomers, false);
  assert.equal(after(['drain clients', 'TAKEOVER', 'drain clients']).refusesNewcomers, true);
});

test('only a stop that waits for servers ends waiting, and it is not taken back by one that waits for clients', () => {
  assert.equal(after(['drain clients']).endsWaiting, false);
  assert.equal(after(['drain servers']).endsWaiting, true);
  assert.equal(after(['drain servers', 'drain clients']).endsWaiting, true);
  assert.equal(after(['drain servers', 'stop']).endsWaiting, true);
});

test('the phases lead from start to end and never back', () => {
  const reached = new Set(['starting']);
  for (const phase of Object.keys(PHASE_MOVES) as (keyof typeof PHASE_MOVES)[]) {
    assert.ok(reached.has(phase), phase);
    for (const next of PHASE_MOVES[phase]) assert.ok(!PHASE_MOVES[next].includes(phase), `${phase}, ${next}`);
    for (const next of PHASE_MOVES[phase]) reached.add(next);
  }
});

test('traffic and sockets go there and back', () => {
  for (const moves of [TRAFFIC_MOVES, SOCKET_MOVES] as Record<string, readonly string[]>[])
    for (const [from, targets] of Object.entries(moves))
      for (const to of targets) assert.ok(moves[to]!.includes(from), `${from}, ${to}`);
});
