/** How versions come to serve: how tenants affect each other's loading, and which loads are tried again. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { BundleError, Bundlers } from '../../src/functions/build/bundlers.ts';
import type { Decision } from '../../src/functions/functions.ts';
import { InlineHost } from '../../src/functions/sandbox/inline-host.ts';
import type { Builder } from '../../src/functions/tenants/context.ts';
import { Tenant } from '../../src/functions/tenants/tenant.ts';
import { preludeScript } from '../../src/functions/sandbox/programs.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Rules } from '../support/rules.ts';
import { TENANT_SETTINGS, tenantContext } from '../support/tenant.ts';
import { until } from '../support/wait.ts';

const rule = (dbkey: string, more = ''): string => `export const routing_rules = () => '${dbkey}'; ${more}`;
const to = (dbkey: string): string => JSON.stringify({ kind: 'go', query: null, dbkey });

async function answers(rules: Rules, dbkey: string, database: string): Promise<void> {
  await until(
    `${database} to answer ${dbkey}`,
    async () => JSON.stringify(await rules.ask('q', database)) === to(dbkey),
  );
}

/** RELOAD with unchanged options. */
const reload = (rules: Rules, databases: readonly string[]): Promise<void> =>
  rules.functions.reconfigure(
    rules.settings,
    databases.map((name) => ({ name, routing_rules_file: null, rewrite_query_file: null })),
  );

test("an endless top level that is saved over and over delays no other tenant's change", async (t) => {
  const rules = await Rules.start(t, {
    files: { 'a/routing_rules.ts': rule('a'), 'b/routing_rules.ts': rule('a') },
  });
  const hostile = rules.functions.tenantOf('a')!;
  let isDone = false;
  let saved = 0;
  const saving = (async (): Promise<void> => {
    for (; !isDone; saved++) {
      await rules.write('a/routing_rules.ts', `for (;;); // ${saved}`);
      await delay(20);
    }
  })();
  await until('a first trial of it', () => hostile.builds > 1);
  for (const dbkey of ['b', 'a', 'b', 'a']) {
    await rules.write('b/routing_rules.ts', rule(dbkey));
    await answers(rules, dbkey, 'b');
  }
  await reload(rules, ['a', 'b']);
  await until('many saves', () => saved > 100);
  isDone = true;
  await saving;
  assert.equal(JSON.stringify(await rules.ask('q', 'a')), to('a'));
  const refused = rules.lines.filter((line) => line.includes('not loaded; version')).length;
  assert.ok(refused <= 4, `${refused} trials of ${saved} versions`);
});

test('a rule that is saved over and over during its build is loaded all the same', async (t) => {
  const databases = Array.from({ length: 10_000 }, (_, i) => `d${i}`);
  const rules = await Rules.start(t, {
    files: { 'routing_rules.ts': rule('d0') },
    databases: ['a', ...databases],
  });
  let isDone = false;
  let saved = 0;
  const saving = (async (): Promise<void> => {
    // in its place at once: half a file is not a version
    for (; !isDone && saved < databases.length - 1;) {
      await rules.write('next', rule(`d${++saved}`));
      await rename(join(rules.folder, 'next'), join(rules.folder, 'routing_rules.ts'));
      // leaves processors to the builds
      await delay(10);
    }
  })();
  const served = new Set<string>();
  const fiveVersions = async (): Promise<boolean> => {
    const decision = await rules.ask('q');
    if (decision.kind === 'go') served.add(decision.dbkey ?? '');
    return served.size >= 5;
  };
  // each takes two builds, and a busy machine takes seconds for one
  await until('five versions', fiveVersions, 120_000);
  isDone = true;
  await saving;
  await answers(rules, `d${saved}`, 'a');
  const { builds } = rules.functions.tenantOf('a')!;
  assert.ok(builds < saved, `${builds} builds of ${saved} versions`);
});

test('a rule that kills its process is blamed on its tenant, however often it is renamed', async (t) => {
  const killing = (i: number): string =>
    `export const routing_rules = (u, q) => (q === 'kill' ? BigInt('9'.repeat(15000000)) : '${i}');`;
  const rules = await Rules.start(t, {
    files: { 'a/routing_rules.js': killing(0), 'b/routing_rules.ts': rule('b') },
    settings: { routing_rules_on_failure: 'pass', user_function_removal_grace: 0, user_function_timeout: 20 },
  });
  const kills = (): number => rules.lines.filter((line) => line.includes('killed because of')).length;
  await rules.ask('kill');
  assert.equal(kills(), 1);
  const names = ['routing_rules.ts', 'routing_rules.mts', 'routing_rules.js', 'routing_rules.mjs'];
  let last = 'routing_rules.js';
  const isHeldBack = (): boolean => rules.lines.some((line) => /not loaded yet.* or by RELOAD/.test(line));
  for (let i = 1, more = 6; more > 0; i++) {
    if (isHeldBack()) more--;
    const next = names[i % names.length]!;
    await rules.write(`a/${next}`, killing(i));
    if (next !== last) await rm(join(rules.folder, 'a', last));
    last = next;
    await until(
      'its version, or the delay',
      () =>
        isHeldBack() ||
        rules.tenants.some((each) => each.routingFile.endsWith(`/a/${next}`) && each.version !== ''),
    );
    await rules.ask('kill');
    assert.equal(JSON.stringify(await rules.ask('q', 'b')), to('b'));
  }
  assert.ok(kills() <= 4, `${kills()} kills`);
});

const bundlers = new Bundlers();

/** A tenant by itself, whose bundles the test makes. */
function tenantWith(rules: Rules, bundle: Builder['bundle'], longestWaitMs?: number): Tenant {
  return new Tenant({
    identity: { id: 'a', owner: 'a' },
    files: { routing: join(rules.folder, 'else/where/routing_rules.ts'), rewrite: null },
    settings: { ...TENANT_SETTINGS, onRoutingFailure: 'pass', onRewriteFailure: 'pass' },
    host: () => new InlineHost(preludeScript(), () => {}),
    context: tenantContext(rules.lines, {
      builder: { bundle, asyncPlaces: () => Promise.resolve([]) },
    }),
    ...(longestWaitMs === undefined ? {} : { longestWaitMs }),
  });
}

function askOf(tenant: Tenant): Promise<Decision> {
  const call = { username: 'u', query: 'SELECT 1', inTransaction: false, context: { database: 'a' } };
  return new Promise((resolve) => {
    tenant.decide(call, resolve);
  });
}

test('a query that waits too long for the first version is refused, even if failures pass', async (t) => {
  const rules = await Rules.start(t, { files: { 'else/where/routing_rules.ts': rule('b') } });
  const release = Promise.withResolvers<void>();
  const tenant = tenantWith(rules, (...job) => release.promise.then(() => bundlers.bundle(...job)), 10);
  t.after(() => tenant.dispose());
  tenant.load();
  const loaded = tenant.idle();
  assert.equal(tenant.state, 'loading');
  for (const decision of await Promise.all([askOf(tenant), askOf(tenant)])) {
    assert.equal(decision.kind === 'reject' && decision.error.code, '53000');
  }
  release.resolve();
  await loaded;
  assert.equal(JSON.stringify(await askOf(tenant)), to('b'));
});

test('a tenant that is removed before its first version refuses the queries that wait', async (t) => {
  const rules = await Rules.start(t, { files: { 'else/where/routing_rules.ts': rule('b') } });
  const tenant = tenantWith(rules, () => new Promise(() => {}));
  void tenant.reload();
  const asked = askOf(tenant);
  tenant.dispose();
  assert.equal((await asked).kind, 'reject');
});

test('a build that fails for lack of descriptors is tried again, and queries wait for it', async (t) => {
  const rules = await Rules.start(t, { files: { 'else/where/routing_rules.ts': rule('b') } });
  let attempts = 0;
  const tenant = tenantWith(rules, (...job) =>
    ++attempts <= 2
      ? Promise.reject(new BundleError('EMFILE: too many open files', 'passing'))
      : bundlers.bundle(...job),
  );
  t.after(() => tenant.dispose());
  await tenant.reload();
  assert.equal(JSON.stringify(await askOf(tenant)), to('b'));
  assert.equal(attempts, 3);
  const told = rules.lines.filter((line) => line.includes('not loaded'));
  assert.equal(told.length, 1);
  assert.match(told[0]!, /^WARNING .*not loaded yet.*too many open files; tried again in 1 s/);
});

test('a rule that is saved while no descriptors are left is loaded once there are some', async (t) => {
  if (!existsSync('/usr/bin/prlimit')) return t.skip('there is no prlimit');
  const bouncer = await Bouncer.start(t, {
    databases: { a: 'host=127.0.0.1 port=1' },
    files: { 'user-functions/a/routing_rules.ts': rule('a') },
  });
  await bouncer.waitForLog(/user functions loaded/);
  const { uid, gid } = statSync(`/proc/${bouncer.pid}`);
  const limit = (soft: number): Buffer =>
    execFileSync('prlimit', ['--pid', String(bouncer.pid), `--nofile=${soft}:`], { uid, gid });
  // an existing one needs no descriptors
  for (const bundler of children(bouncer.pid, 'bundler-process')) process.kill(-bundler, 'SIGKILL');
  await until('their end', () => children(bouncer.pid, 'bundler-process').length === 0);
  limit(readdirSync(`/proc/${bouncer.pid}/fd`).length - 1);
  bouncer.markLog();
  await bouncer.writeFile('user-functions/a/routing_rules.ts', rule('b'));
  await bouncer.waitForLog(/not loaded yet; version [0-9a-f]+ stays active: .*; tried again in 1 s/);
  limit(1024);
  await bouncer.waitForLog(/user functions loaded/);
  assert.equal(bouncer.logCount(/not loaded/), 1);
});

/** Children of a process whose command line contains a word. */
function children(parent: number, word: string): number[] {
  return readdirSync(`/proc/${parent}/task`)
    .flatMap((task) => readFileSync(`/proc/${parent}/task/${task}/children`, 'latin1').split(' '))
    .filter((pid) => pid !== '' && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(word))
    .map(Number);
}

test('the proxy listens before any rule is loaded, and its children have short command lines', async (t) => {
  if (process.platform !== 'linux') return t.skip('reads /proc');
  const names = Array.from({ length: 12 }, (_, i) => `d${i}`);
  const bouncer = await Bouncer.start(t, {
    databases: Object.fromEntries(names.map((name) => [name, 'host=127.0.0.1 port=1'])),
    files: Object.fromEntries(
      names.map((name, i) => [
        `user-functions/${name}/routing_rules.ts`,
        i % 2 === 0 ? 'for (;;);' : rule(name),
      ]),
    ),
  });
  await until('all sets', async () => (await bouncer.admin('SHOW FUNCTIONS')).length === names.length);
  await until('the good ones', () => bouncer.logCount(/user functions loaded/) === names.length / 2);
  const log = bouncer.log();
  assert.ok(log.indexOf('listening on') < log.indexOf('user functions loaded'));
  assert.ok(log.indexOf('process up') < log.indexOf('user functions loaded'));
  const lines = children(bouncer.pid, 'permission').map((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'latin1'),
  );
  assert.ok(lines.length > 0);
  for (const line of lines) assert.ok(line.length < 1_500, `${line.length} characters`);
});

test('world-writable rule files and folders are named in the log once', async (t) => {
  const rules = await Rules.start(t, { files: { 'a/routing_rules.ts': rule('a'), 'a/lib.ts': '' } });
  const warnings = (): string[] => rules.lines.filter((line) => line.includes('world-writable'));
  assert.deepEqual(warnings(), []);
  await chmod(join(rules.folder, 'a/routing_rules.ts'), 0o666);
  await until('the warning', () => warnings().length === 1);
  assert.match(warnings()[0]!, /^WARNING .*\/a\/routing_rules\.ts$/);
  await chmod(join(rules.folder, 'a'), 0o777);
  await until('the next one', () => warnings().length === 2);
  assert.match(warnings()[1]!, /\/a$/);
  await rules.write('a/routing_rules.ts', rule('b'));
  await answers(rules, 'b', 'a');
  assert.equal(warnings().length, 2);
});

test('a bundle that fails is built again only when one of its files changes', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'routing_rules.ts': "import './lib.ts'; import './none.ts';", 'lib.ts': '' },
  });
  const tenant = rules.functions.tenantOf('a')!;
  const { builds } = tenant;
  for (let i = 0; i < 30; i++) await rules.write('proxy.log', 'x'.repeat(i));
  await rules.write('b/routing_rules.ts', rule('a'));
  await answers(rules, 'a', 'b');
  assert.equal(tenant.builds, builds);
  await rules.write('lib.ts', '// changed');
  await until('another build', () => tenant.builds > builds);
  await tenant.idle();
  assert.equal(rules.lines.filter((line) => line.includes('not loaded')).length, 1);
});

test('a rule that has become a link to itself is reported, and the last good version stays active', async (t) => {
  const rules = await Rules.start(t, { files: { 'routing_rules.ts': rule('b') } });
  const file = join(rules.folder, 'routing_rules.ts');
  await symlink('routing_rules.ts', join(rules.folder, 'next'));
  await rename(join(rules.folder, 'next'), file);
  await until('the complaint', () =>
    rules.lines.some((line) => /stays active: .*routing_rules\.ts/.test(line)),
  );
  assert.equal(JSON.stringify(await rules.ask('q')), to('b'));
  await rm(file);
  await rules.write('routing_rules.ts', rule('a'));
  await answers(rules, 'a', 'a');
});

test('user_functions_dir may be replaced by two renames, or by swapping a link above it', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'v1/rules/routing_rules.ts': rule('a'), 'v2/rules/routing_rules.ts': rule('b') },
  });
  await symlink('v1', join(rules.folder, 'current'));
  const settings = { ...rules.settings, user_functions_dir: join(rules.folder, 'current/rules') };
  const databases = [{ name: 'a', routing_rules_file: null, rewrite_query_file: null }];
  await rules.functions.reconfigure(settings, databases);
  await answers(rules, 'a', 'a');
  await symlink('v2', join(rules.folder, 'next'));
  await rename(join(rules.folder, 'next'), join(rules.folder, 'current'));
  await answers(rules, 'b', 'a');
  await rules.write('v2/rules.next/routing_rules.ts', rule('a'));
  await rename(join(rules.folder, 'v2/rules'), join(rules.folder, 'v2/rules.old'));
  await rename(join(rules.folder, 'v2/rules.next'), join(rules.folder, 'v2/rules'));
  await answers(rules, 'a', 'a');
  await rules.write('v2/rules/routing_rules.ts', rule('b'));
  await answers(rules, 'b', 'a');
});
