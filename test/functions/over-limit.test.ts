/** Failures that a client can bring about by its query: they get nothing past a guard whose policy is `pass`. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { HostCall, Part } from '../../src/functions/sandbox/call.ts';
import { Counters } from '../../src/functions/tenants/counters.ts';
import { Journal } from '../../src/functions/tenants/journal.ts';
import { Judge } from '../../src/functions/tenants/judge.ts';
import type { TenantSettings } from '../../src/functions/tenants/settings.ts';
import type { Version } from '../../src/functions/tenants/version.ts';
import { outcomeOf } from '../support/rules.ts';
import { TENANT_SETTINGS } from '../support/tenant.ts';

const CALL: HostCall = { username: 'u', query: 'q', inTransaction: false, context: {} };
const PASS: TenantSettings = { ...TENANT_SETTINGS, onRewriteFailure: 'pass', onRoutingFailure: 'pass' };

interface Kind {
  readonly rewrites: boolean;
  readonly canReject: boolean;
}
const ROUTES: Kind = { rewrites: false, canReject: false };
const REWRITES: Kind = { rewrites: true, canReject: false };
const REJECTS: Kind = { rewrites: false, canReject: true };

/** @param isLoaded false: no version was ever loaded */
function judgeOf(
  { rewrites, canReject }: Kind,
  settings: TenantSettings,
  isLoaded = true,
  lines: string[] = [],
): Judge {
  const write = (_: object, line: string): void => void lines.push(line);
  const log = { info: write, warn: write, error: write };
  const manifest = { routes: true, rewrites, options: { pure: false, sees: 'text' } } as const;
  const version = { manifest, canReject, placeOf: () => null } as unknown as Version;
  const files = { routing: '/r.ts', rewrite: rewrites ? '/w.ts' : null };
  const judge = new Judge({
    files: () => files,
    rights: () => files,
    journal: new Journal(log),
    counters: new Counters(),
    targets: { mayName: () => true },
    settings: () => settings,
    pausedAs: () => null,
    version: () => (isLoaded ? version : null),
    onDecided() {},
  });
  if (isLoaded) judge.learn(manifest, version);
  return judge;
}

const failure = (outcome: string, message = 'm'): Part =>
  ({ failure: { outcome, message, stack: '' } }) as Part;

for (const [what, part, call, isLimit] of [
  ['a deadline', failure('deadline'), CALL, true],
  ['too little memory', failure('memory'), CALL, true],
  ['a result that is too long', failure('too_large'), CALL, true],
  ['a process that it ended', failure('killed'), CALL, true],
  ['a recursion too deep', failure('threw', 'RangeError: Maximum call stack size exceeded'), CALL, true],
  ['a text too long', failure('threw', 'RangeError: Invalid string length'), CALL, true],
  ['another exception', failure('threw', 'threw Error: no'), CALL, false],
  ['a result of another type', failure('bad_result'), CALL, false],
  ['a result that the client’s encoding lacks', failure('bad_result'), { ...CALL, isBytes: true }, true],
  ['a database that does not exist', failure('unknown_dbkey'), CALL, false],
] as const)
  test(`${what} ${isLimit ? 'gets no' : 'lets a'} query past a guard under pass`, () => {
    for (const [kind, isGuard] of [
      [ROUTES, false],
      [REWRITES, true],
      [REJECTS, true],
    ] as const) {
      const given = (settings: TenantSettings): string => {
        const decision = judgeOf(kind, settings).decide(call, { rewrite: part, route: part }, false, null);
        return decision.kind === 'go' ? 'go' : outcomeOf(decision);
      };
      const name = JSON.stringify(kind);
      assert.equal(given(PASS) === 'go', !(isGuard && isLimit), name);
      assert.equal(given({ ...PASS, onOverLimit: 'pass' }), 'go', name);
      assert.notEqual(given({ ...TENANT_SETTINGS, onOverLimit: 'pass' }), 'go', name);
    }
  });

test('the log says that a query got an error although the policy is pass, and why', () => {
  const said = (kind: Kind, settings: TenantSettings): boolean => {
    const lines: string[] = [];
    judgeOf(kind, settings, true, lines).tooLarge(70_000);
    assert.match(lines.join('\n'), /query of 70000 bytes is over user_function_max_query/);
    return lines.join('\n').includes('although the policy is pass (user_function_over_limit = error)');
  };
  assert.equal(said(REWRITES, PASS), true);
  assert.equal(said(REJECTS, PASS), true);
  assert.equal(said(ROUTES, PASS), false, 'it passes');
  assert.equal(said(REWRITES, { ...PASS, onOverLimit: 'pass' }), false, 'it passes');
  assert.equal(said(REWRITES, { ...PASS, onRewriteFailure: 'error', onRoutingFailure: 'error' }), false);
});

test('a failed routing function skips no rewriting that was made', () => {
  const answer = { rewrite: { text: 'other' }, route: failure('deadline') };
  const rewriting = judgeOf(REWRITES, PASS).decide(CALL, answer, false, null);
  assert.deepEqual(rewriting, { kind: 'go', query: 'other', dbkey: null });
  const rejecting = judgeOf({ rewrites: true, canReject: true }, PASS).decide(CALL, answer, false, null);
  assert.equal(rejecting.kind, 'reject');
});

test('a query that functions are not shown passes only those that are known to guard nothing', () => {
  assert.equal(judgeOf(ROUTES, PASS).tooLarge(100_000).kind, 'go');
  assert.equal(judgeOf(REWRITES, PASS).tooLarge(100_000).kind, 'reject');
  assert.equal(judgeOf(REJECTS, PASS).tooLarge(100_000).kind, 'reject');
  assert.equal(judgeOf(ROUTES, PASS, false).tooLarge(100_000).kind, 'reject', 'not loaded yet');
  assert.equal(judgeOf(REJECTS, { ...PASS, onOverLimit: 'pass' }).tooLarge(100_000).kind, 'go');
});

test('a failure that passes nothing leaves ROLLBACK to a client', () => {
  const answer = { rewrite: failure('deadline'), route: failure('deadline') };
  const decision = judgeOf(REWRITES, PASS).decide({ ...CALL, query: 'ROLLBACK' }, answer, false, null);
  assert.equal(decision.kind, 'go');
});
