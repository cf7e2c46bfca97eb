/** Which tenants share a sandbox process, and how a misbehaving one affects the others. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { Bundlers } from '../../src/functions/build/bundlers.ts';
import type { Decision, FunctionSettings } from '../../src/functions/functions.ts';
import { Tenant } from '../../src/functions/tenants/tenant.ts';
import { InlineHost } from '../../src/functions/sandbox/inline-host.ts';
import { preludeScript } from '../../src/functions/sandbox/programs.ts';
import { Rules } from '../support/rules.ts';
import { TENANT_SETTINGS, tenantContext } from '../support/tenant.ts';
import { until } from '../support/wait.ts';

const GOOD = "export const routing_rules = (u, q) => (q === 'to b' ? 'b' : null);";
const BAD = `export function routing_rules(u, q) {
  if (q === 'stuck') BigInt('9'.repeat(15000000));
  if (q.startsWith('loop')) for (;;);
  return q === 'to b' ? 'b' : null;
}`;
const TO_B = { kind: 'go', query: null, dbkey: 'b' };

function start(t: TestContext, settings: Partial<FunctionSettings> = {}): Promise<Rules> {
  return Rules.start(t, {
    files: { 'good/routing_rules.js': GOOD, 'bad/routing_rules.js': BAD },
    databases: ['good', 'bad', 'b'],
    settings: { user_function_timeout: 50, ...settings },
  });
}

/** Sandbox processes of this test process. Those of earlier tests in the file have ended. */
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

/** The process where a tenant's calls run. */
const processOf = (rules: Rules, name: string): number | undefined =>
  rules.functions.tenantOf(name)!.version!.host.pid;

const stateOf = (rules: Rules, name: string): string =>
  rules.tenants.find((each) => each.databases.includes(name))!.state;

test('a tenant whose process was killed gets a process of its own, and keeps serving', async (t) => {
  const rules = await start(t);
  const [stuck, own, other] = await Promise.all([
    rules.ask('stuck', 'bad'),
    rules.ask('to b', 'bad'),
    rules.ask('to b', 'good'),
  ]);
  assert.equal(stuck.kind, 'reject');
  assert.deepEqual([own, other], [TO_B, TO_B]);
  assert.equal(stateOf(rules, 'bad'), 'serving');
  assert.ok(
    rules.lines.some((line) => /sandbox process killed because of user functions in .*bad/.test(line)),
  );
  // The next time it runs apart from all other calls, those of its own tenant included.
  assert.equal((await rules.ask('stuck', 'bad')).kind, 'reject');
  assert.deepEqual(await rules.ask('to b', 'bad'), TO_B);
  // The shared one, its own, a new one for costly calls, and the warm one.
  await until('a process in place of the one that was killed', () => sandboxes().length >= 4);
});

test('a tenant keeps a process of its own when RELOAD changes settings of all processes', async (t) => {
  const rules = await start(t);
  assert.equal((await rules.ask('stuck', 'bad')).kind, 'reject');
  const databases = ['good', 'bad', 'b'].map((name) => ({
    name,
    routing_rules_file: null,
    rewrite_query_file: null,
    routing_targets: ['*'],
  }));
  await rules.functions.reconfigure({ ...rules.settings, user_function_memory_limit: 32 }, databases);
  const ownOf = async (name: string): Promise<number | undefined> => {
    assert.deepEqual(await rules.ask('to b', name), TO_B);
    return processOf(rules, name);
  };
  assert.notEqual(await ownOf('bad'), await ownOf('good'));
});

test('a new version ends a suspension at once', async (t) => {
  const rules = await start(t);
  for (const clientId of [1, 2, 3, 4, 5])
    await rules.ask(`loop ${'x'.repeat(clientId)}`, 'bad', { clientId });
  assert.equal(stateOf(rules, 'bad'), 'suspended');
  const before = rules.lines.length;
  await rules.write('bad/routing_rules.js', `${GOOD} // mended`);
  await until('the new version', () =>
    rules.lines.slice(before).some((line) => /user functions loaded: .*bad/.test(line)),
  );
  assert.equal(stateOf(rules, 'bad'), 'serving');
  assert.deepEqual(await rules.ask('to b', 'bad'), TO_B);
});

test('many calls and long ones that arrive together are all answered in order', async (t) => {
  const rules = await start(t, { user_function_timeout: 500 });
  const order: number[] = [];
  const ask = async (query: string, i: number): Promise<void> => {
    assert.equal((await rules.ask(query, 'good')).kind, 'go');
    order.push(i);
  };
  const queries = Array.from({ length: 500 }, (_, i) => (i % 20 === 0 ? 'x'.repeat(1_000_000) : 'short'));
  await Promise.all(queries.map(ask));
  assert.deepEqual(
    order,
    queries.map((_, i) => i),
  );
  assert.deepEqual(rules.functions.tenantOf('good')!.observe([]).failures, {});
});

test('a rule cannot forge lines of the log', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'a/routing_rules.js':
        "export const routing_rules = (u, q) => { if (q === 'SELECT 1') return null; console.log('\\x1b[2J one'); throw new Error('two\\nFATAL three\\x1b[2J'); };",
    },
    databases: ['a'],
  });
  await rules.ask('q', 'a');
  const printed = rules.lines.filter((line) => /one|two|three/.test(line));
  assert.equal(printed.length, 2);
  // oxlint-disable-next-line no-control-regex
  for (const line of printed) assert.doesNotMatch(line, /[\u0000-\u001f]/);
});

test('user_function_isolation may change under load, and leaves no process behind', async (t) => {
  const rules = await start(t, { user_function_timeout: 500 });
  await rules.ask('stuck', 'bad');
  const databases = ['good', 'bad', 'b'].map((name) => ({
    name,
    routing_rules_file: null,
    rewrite_query_file: null,
    routing_targets: ['*'],
  }));
  let answered = 0;
  let going = true;
  const traffic = (async () => {
    while (going) {
      assert.deepEqual(await rules.ask('to b', 'good'), TO_B);
      answered++;
    }
  })();
  for (const isolation of ['inline', 'process', 'inline'] as const) {
    const settings = { ...rules.settings, user_function_isolation: isolation };
    await rules.functions.reconfigure(settings, databases);
    const from = answered;
    await until('more answers', () => answered > from);
  }
  going = false;
  await traffic;
  await until('all sandbox processes to be gone', () => sandboxes().length === 0);
});

test('a version that is being loaded while its tenant moves to another host is not lost', async (t) => {
  const rules = await Rules.start(t, { files: {} });
  // where changes are not watched
  await rules.write('more/than/one/routing_rules.ts', "export const routing_rules = () => 'a';");
  const tenant = new Tenant({
    identity: { id: 'a', owner: 'a' },
    files: { routing: join(rules.folder, 'more/than/one/routing_rules.ts'), rewrite: null },
    settings: TENANT_SETTINGS,
    host: () => new InlineHost(preludeScript(), () => {}),
    context: tenantContext([], { builder: new Bundlers() }),
  });
  tenant.load();
  await tenant.idle();
  await rules.write('more/than/one/routing_rules.ts', "export const routing_rules = () => 'b';");
  const other = new InlineHost(preludeScript(), () => {});
  t.after(async () => {
    tenant.dispose();
    await other.stop();
  });
  await Promise.all([tenant.reload(), tenant.moveTo(other)]);
  const call = { username: 'u', query: 'SELECT 1', inTransaction: false, context: { database: 'a' } };
  const decision = await new Promise<Decision>((resolve) => {
    tenant.decide(call, resolve);
  });
  assert.deepEqual(decision, { kind: 'go', query: null, dbkey: 'b' });
});

test('hundreds of tenants have room, even if all their processes end at once', async (t) => {
  const names = Array.from({ length: 160 }, (_, i) => `t${i}`);
  const files = Object.fromEntries(
    names.map((name) => [`${name}/routing_rules.js`, `export const routing_rules = () => '${name}';`]),
  );
  const settings = { user_function_preload: '1' } as const;
  const rules = await Rules.start(t, { files, databases: names, settings });
  const all = async (): Promise<string[]> => {
    const decisions = await Promise.all(names.map((name) => rules.ask('q', name)));
    return decisions.map((decision) =>
      decision.kind === 'go' ? (decision.dbkey ?? '') : decision.error.message,
    );
  };
  assert.deepEqual(await all(), names);
  for (const pid of sandboxes()) process.kill(Number(pid), 'SIGKILL');
  assert.deepEqual(await all(), names);
  assert.deepEqual(
    rules.lines.filter((line) => line.startsWith('ERROR')),
    [],
  );
});

test('at the bounds of processes and tenants, all calls are answered, and no process is added', async (t) => {
  const names = Array.from({ length: 7 }, (_, i) => `t${i}`);
  const bad = "export const routing_rules = (u, q) => { if (q === 'loop') for (;;); return 'b'; };";
  const rules = await Rules.start(t, {
    files: Object.fromEntries(names.map((name) => [`${name}/routing_rules.js`, bad])),
    databases: [...names, 'b'],
    settings: { user_function_hosts: 2, user_function_tenants_per_host: 2, user_function_timeout: 50 },
  });
  for (let i = 0; i < 3; i++) {
    const decisions = await Promise.all(names.map((name) => rules.ask('q', name)));
    for (const decision of decisions) assert.deepEqual(decision, TO_B);
  }
  const processes = (): Set<unknown> => new Set(names.map((name) => processOf(rules, name)));
  // on a busy machine some may have left already
  assert.ok(processes().size <= 2);
  // three leave, and share the other process
  const three = names.slice(0, 3);
  const looping = await Promise.all(three.map((name) => rules.ask('loop', name)));
  for (const decision of looping) assert.equal(decision.kind, 'reject');
  assert.equal(new Set(three.map((name) => processOf(rules, name))).size, 1);
  assert.equal(processes().size, 2);
  for (const name of names) assert.deepEqual(await rules.ask('q', name), TO_B);
});
