/** The outcome for a query, by the answer of its functions and the policy for failures. */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  checked,
  failedFunction,
  misnamed,
  refusalOf,
  type FailurePolicy,
} from '../../src/functions/decide/policy.ts';
import type { FailureOutcome, HostCall, Part } from '../../src/functions/sandbox/call.ts';
import { outcomeOf } from '../support/rules.ts';

const failed = (outcome: FailureOutcome): Part => ({ failure: { outcome, message: 'm', stack: '' } });
const rejected: Part = { rejection: { message: 'no', code: '25006', hint: null, detail: null } };

for (const [what, part, query, pass, error, disconnect] of [
  ['no answer', null, 'select', 'go', 'go', 'go'],
  ['a text', { text: 'b' }, 'select', 'go', 'go', 'go'],
  ['a rejection', rejected, 'select', 'reject 25006', 'reject 25006', 'reject 25006'],
  ['a rejection of a ROLLBACK', rejected, 'ROLLBACK', 'reject 25006', 'reject 25006', 'reject 25006'],
  ['an exception', failed('threw'), 'select', 'go', 'threw', 'threw'],
  ['an exception over a ROLLBACK', failed('threw'), 'rollback;', 'go', 'go', 'threw'],
  ['a deadline', failed('deadline'), 'select', 'go', 'deadline', 'deadline'],
  ['files that cannot be loaded', failed('no_version'), 'select', 'go', 'no_version', 'no_version'],
  ['an overload', failed('overloaded'), 'select', 'reject 53000', 'reject 53000', 'reject 53000'],
  ['an outage', failed('unavailable'), 'select', 'reject 53000', 'reject 53000', 'reject 53000'],
  ['starvation', failed('starved'), 'select', 'reject 53000', 'reject 53000', 'reject 53000'],
  ['a used-up budget', failed('over_budget'), 'select', 'go', 'over_budget', 'over_budget'],
  ['an overload over a ROLLBACK', failed('overloaded'), 'ROLLBACK', 'go', 'go', 'go'],
  ['a suspension', failed('suspended'), 'select', 'reject 53000', 'reject 53000', 'reject 53000'],
] as const) {
  test(`${what}: ${pass} under pass, ${error} under error, ${disconnect} under disconnect`, () => {
    const under = (policy: FailurePolicy): string => {
      const refusal = refusalOf(query, part, policy, 'error');
      return refusal === null ? 'go' : outcomeOf(refusal);
    };
    assert.deepEqual([under('pass'), under('error'), under('disconnect')], [pass, error, disconnect]);
  });
}

for (const [outcome, passes] of [
  ['unavailable', true],
  ['starved', true],
  ['overloaded', false],
  ['lost', false],
  ['suspended', false],
  ['over_budget', false],
  ['threw', false],
  ['deadline', false],
] as const) {
  test(`user_function_unavailable = pass ${passes ? 'lets a query pass' : 'changes nothing'} that is ${outcome}`, () => {
    for (const policy of ['error', 'disconnect'] as const)
      assert.equal(refusalOf('select', failed(outcome), policy, 'pass') === null, passes);
  });
}

test('only a failure of its own disconnects, and only under that policy', () => {
  const kinds = (['pass', 'error', 'disconnect'] as const).map(
    (policy) => refusalOf('select', failed('threw'), policy, 'error')?.kind,
  );
  assert.deepEqual(kinds, [undefined, 'reject', 'disconnect']);
  assert.equal(refusalOf('select', failed('lost'), 'disconnect', 'error')?.kind, 'reject');
});

const call: HostCall = { username: 'u', query: 'q', inTransaction: false, context: {} };
const check = (given: HostCall, rewrite: Part, route: Part): ReturnType<typeof checked> =>
  checked(
    given,
    { rewrite, route },
    (name) => name === 'b',
    () => ({ names: ['a', 'b'], isAll: true }),
  );

test('a database that may not be named is a failure of the routing function alone', () => {
  const { rewrite, route } = check(call, { text: 'new' }, { text: 'c' });
  assert.deepEqual(rewrite, { text: 'new' });
  const message = 'returned "c", which is not in [databases] (a, b)';
  assert.deepEqual(route, { failure: { outcome: 'unknown_dbkey', message, stack: '' } });
  assert.deepEqual(check(call, null, { text: 'b' }), { rewrite: null, route: { text: 'b' } });
});

test('a rewritten query has bytes only where the query has', () => {
  const inBytes = { ...call, isBytes: true };
  assert.deepEqual(check(inBytes, { text: '\u00ff' }, null).rewrite, { text: '\u00ff' });
  const { rewrite } = check(inBytes, { text: '\u0100' }, null);
  assert.ok(rewrite !== null && 'failure' in rewrite && rewrite.failure.outcome === 'bad_result');
  assert.deepEqual(check(call, { text: '\u0100' }, null).rewrite, { text: '\u0100' });
});

test('a complaint names ten databases, and never shows a text that may be the query', () => {
  const names = Array.from({ length: 12 }, (_, i) => `d${i}`);
  assert.equal(
    misnamed('x', { names, isAll: false }),
    'returned "x", which is not among the databases that it may name (d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, and 2 more)',
  );
  assert.equal(
    misnamed("SELECT 'secret'", { names: [], isAll: true }),
    'returned a text of 15 characters, which is not in [databases] ()',
  );
});

for (const [manifest, rewrite, route, expected] of [
  [{ rewrites: true, routes: true }, failed('threw'), null, 'rewrite_query'],
  [{ rewrites: true, routes: true }, null, failed('threw'), 'routing_rules'],
  [{ rewrites: true, routes: true }, failed('deadline'), failed('deadline'), ''],
  [{ rewrites: false, routes: true }, failed('deadline'), failed('deadline'), 'routing_rules'],
  [null, failed('threw'), null, ''],
] as const) {
  test(`of ${JSON.stringify(manifest)} the function "${expected}" has failed`, () => {
    assert.equal(failedFunction(manifest, rewrite, route), expected);
  });
}
