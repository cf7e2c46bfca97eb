/** The live tail of decisions: sampled, masked, and nothing for those who may not see it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GO } from '../../src/functions/decide/policy.ts';
import { DecisionTap } from '../../src/functions/tenants/decision-tap.ts';
import type { DecisionSample } from '../../src/telemetry/snapshots/decisions.ts';

const ASKED = { username: 'ann', query: "select * from t where a = 'secret' and b = 7", entry: 'app' };

test('a watcher gets one sample in 50 ms at most, and the number of those left out', () => {
  let now = 0;
  const tap = new DecisionTap(() => now);
  const samples: DecisionSample[] = [];
  const end = tap.watch(
    () => true,
    (sample) => samples.push(sample),
  );
  for (now = 0; now <= 100; now++) tap.note('acme', ASKED, GO, null);
  assert.deepEqual(
    samples.map(({ leftOut }) => leftOut),
    [0, 49, 49],
  );
  assert.equal(tap.isWatched, true);
  end!();
  assert.equal(tap.isWatched, false);
});

test('constants are masked, and the time of a call is shown', () => {
  const tap = new DecisionTap(() => 12);
  const samples: DecisionSample[] = [];
  tap.watch(
    () => true,
    (sample) => samples.push(sample),
  );
  tap.note('acme', ASKED, { kind: 'go', query: "select 'secret'", dbkey: 'replica' }, 10);
  const [{ atMs, ...sample }] = samples as [DecisionSample];
  assert.ok(atMs > 0);
  assert.deepEqual(sample, {
    tenant: 'acme',
    database: 'app',
    user: 'ann',
    query: 'select * from t where a = ? and b = ?',
    decision: 'rewritten to 15 characters and routed to "replica"',
    from: 'call',
    tookMs: 2,
    leftOut: 0,
  });
});

test('a busy tenant that a watcher may not see takes nothing of its samples', () => {
  let now = 0;
  const tap = new DecisionTap(() => now);
  const seen: string[] = [];
  tap.watch(
    (tenant) => tenant === 'acme',
    ({ tenant, leftOut }) => seen.push(`${tenant} ${leftOut}`),
  );
  for (now = 0; now < 100; now++) {
    tap.note('other', ASKED, GO, null);
    if (now % 60 === 0) tap.note('acme', ASKED, GO, null);
  }
  assert.deepEqual(seen, ['acme 0', 'acme 0']);
});

test('watchers are bounded in number', () => {
  const tap = new DecisionTap();
  for (let i = 0; i < 8; i++)
    assert.ok(
      tap.watch(
        () => true,
        () => {},
      ),
    );
  assert.equal(
    tap.watch(
      () => true,
      () => {},
    ),
    null,
  );
});
