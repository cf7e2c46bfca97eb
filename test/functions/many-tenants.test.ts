/** Tenants whose functions are loaded with their first query, from real files, in real processes. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { outcomeOf, Rules } from '../support/rules.ts';
import { TestClock } from '../support/tenant.ts';
import { until } from '../support/wait.ts';

const rule = (answer: string): string => `export const routing_rules = () => '${answer}';`;
const filesOf = (names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.map((name) => [`${name}/routing_rules.js`, rule(name)]));
const ON_USE = { user_function_preload: '0' } as const;

/** Pids of the processes that evaluate. */
function sandboxes(): string[] {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'latin1').trim();
  return children.split(' ').filter((pid) => {
    try {
      return pid !== '' && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('--jitless');
    } catch {
      return false; // it has just ended
    }
  });
}

const states = (rules: Rules): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const { state } of rules.tenants) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
};

test('a thousand tenants are loaded as they are used, and RELOAD builds none of the others', async (t) => {
  const names = Array.from({ length: 1_000 }, (_, i) => `t${i}`);
  const rules = await Rules.start(t, { files: filesOf(names), databases: names });
  assert.deepEqual(states(rules), { 'not loaded': 1_000 });
  assert.ok(sandboxes().length <= 1, 'one process is started ahead');
  assert.equal(outcomeOf(await rules.ask('q', 't7')), 'go t7');
  assert.equal(outcomeOf(await rules.ask('q', 't999')), 'go t999');
  const databases = names.map((name) => ({
    name,
    routing_rules_file: null,
    rewrite_query_file: null,
    routing_targets: ['*'],
  }));
  await rules.functions.reconfigure(rules.settings, databases);
  assert.deepEqual(states(rules), { 'not loaded': 998, serving: 2 });
  const builds = names.reduce((sum, name) => sum + rules.functions.tenantOf(name)!.builds, 0);
  assert.ok(builds <= 4, `${builds} builds`);
  assert.equal(outcomeOf(await rules.ask('q', 't7')), 'go t7');
});

test('files that are saved while their functions are not loaded are tried at once', async (t) => {
  const rules = await Rules.start(t, { files: filesOf(['a', 'b']), settings: ON_USE });
  await rules.write('a/routing_rules.js', rule('b'));
  await until('the new file to be checked', () => rules.lines.some((line) => line.includes('checked: ')));
  await rules.write('b/routing_rules.js', 'export const routing_rules = (');
  await until('the mistake', () => rules.lines.some((line) => line.startsWith('ERROR')));
  assert.deepEqual(states(rules), { 'not loaded': 1, 'no version': 1 });
  const refusals = (): number => rules.lines.filter((line) => line.startsWith('ERROR')).length;
  assert.equal(refusals(), 1);
  await rules.functions.administration.reload('b', true);
  assert.equal(refusals(), 2);
  assert.equal(outcomeOf(await rules.ask('q', 'a')), 'go b');
  assert.equal(outcomeOf(await rules.ask('q', 'b')), 'no_version');
});

test('functions that nobody uses are unloaded, judge again when they are used, and outlive their file for a while', async (t) => {
  const clock = new TestClock();
  const rules = await Rules.start(t, {
    files: filesOf(['a', 'b']),
    clock,
    settings: { ...ON_USE, user_function_idle_timeout: 900_000, user_function_removal_grace: 600_000 },
  });
  const pass = (minutes: number): void => {
    for (let i = 0; i < minutes; i++) clock.advance(60_000);
  };
  assert.equal(outcomeOf(await rules.ask('q', 'a')), 'go a');
  pass(17);
  assert.deepEqual(states(rules), { 'not loaded': 2 });
  assert.ok(rules.lines.some((line) => /unloaded after 900 s without calls: .*\/a$/.test(line)));
  await rm(join(rules.folder, 'a'), { recursive: true });
  await until('the loss to be noticed', () => rules.lines.some((line) => line.includes('is gone')));
  assert.equal(outcomeOf(await rules.ask('q', 'a')), 'go a');
});

test('a guard that was not loaded when its file vanished fails queries', async (t) => {
  const settings = { ...ON_USE, user_function_removal_grace: 0 };
  const rules = await Rules.start(t, { files: filesOf(['a']), settings });
  await rm(join(rules.folder, 'a', 'routing_rules.js'));
  await until('the loss to be noticed', () => rules.tenants[0]?.state === 'missing');
  assert.equal(outcomeOf(await rules.ask('q', 'a')), 'no_version');
});

test('made-up names with a folder are loaded with their first query', async (t) => {
  const rules = await Rules.start(t, { files: filesOf(['made']), fallback: true, settings: ON_USE });
  assert.equal(rules.functions.tenantOf('up'), null);
  assert.equal(rules.functions.tenantOf('made')?.state, 'not loaded');
  assert.equal(outcomeOf(await rules.ask('q', 'made')), 'go made');
});

test('after a restart functions are loaded from what was bundled before', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'pgswitchyard-state-'));
  t.after(() => rmSync(state, { recursive: true, force: true }));
  const settings = { ...ON_USE, user_functions_state_dir: state };
  const rules = await Rules.start(t, { files: filesOf(['a']), settings });
  assert.equal(outcomeOf(await rules.ask('q', 'a')), 'go a');
  await rules.functions.tenantOf('a')!.idle();
  const restarted = await rules.restart(t);
  assert.equal(outcomeOf(await restarted.ask('q', 'a')), 'go a');
  assert.equal(restarted.functions.tenantOf('a')?.builds, 0);
  await rules.write('a/routing_rules.js', rule('b'));
  await until('the new file', async () => outcomeOf(await restarted.ask('q', 'a')) === 'go b');
});

test('a trial in the proxy is charged to its tenant, although its functions are not loaded', async (t) => {
  const rules = await Rules.start(t, {
    files: filesOf(['a', 'b']),
    settings: { ...ON_USE, user_function_isolation: 'inline' },
  });
  const spin = 'for (let i = 0; i < 3e7; i++);';
  await rules.write('a/routing_rules.js', `${spin} ${rule('b')}`);
  await until('the new file to be checked', () => rules.lines.some((line) => line.includes('checked: ')));
  assert.deepEqual(
    rules.tenants.map(({ cpu }) => cpu.totalMs > 0),
    [true, false],
  );
});
