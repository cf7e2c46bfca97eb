/** Database names that clients make up and the entry `*` takes: each may have a folder of rules, and most have none. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import promises, { mkdir, rename, rm } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { REMOVED_AT_ONCE, Rules } from '../support/rules.ts';
import { until } from '../support/wait.ts';

const rule = (dbkey: string): string => `export const routing_rules = () => '${dbkey}';`;

/** Counts the file system look-ups on the proxy's thread. */
function countLooks(t: TestContext): () => number {
  const looks = t.mock.method(fs, 'lstatSync').mock;
  syncBuiltinESMExports();
  t.after(() => {
    looks.restore();
    syncBuiltinESMExports();
  });
  return () => looks.callCount();
}

async function routesTo(rules: Rules, database: string, dbkey: string | null): Promise<void> {
  await until(`${database} routed to ${dbkey}`, async () => {
    const decision = await rules.ask('q', database);
    return decision.kind === 'go' && decision.dbkey === dbkey;
  });
}

test('ten thousand names cost no look at the file system, neither when they come nor when a rule changes', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'routing_rules.ts': rule('a'), 'own/routing_rules.ts': rule('b') },
    fallback: true,
  });
  const looks = countLooks(t);
  const general = rules.functions.tenantOf('*');
  assert.ok(general !== null);
  for (let i = 0; i < 10_000; i++) assert.equal(rules.functions.tenantOf(`made-up-${i}`), general);
  for (const name of ['../own', 'own/', '', '.', 'x'.repeat(300)])
    assert.equal(rules.functions.tenantOf(name), general);
  assert.equal(looks(), 0);
  assert.notEqual(rules.functions.tenantOf('own'), general);
  await rules.write('own/routing_rules.ts', rule('a'));
  await routesTo(rules, 'own', 'a');
  assert.ok(looks() < 200, `${looks()} looks`);
  const shown = rules.tenants.map(({ databases }) => databases.join());
  assert.deepEqual(shown.toSorted(), ['a,b,*', 'own']);
});

test('a folder that appears for such a name applies to that name alone, until it is removed', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'routing_rules.ts': rule('a') },
    fallback: true,
    settings: REMOVED_AT_ONCE,
  });
  await routesTo(rules, 'late', 'a');
  await mkdir(join(rules.folder, 'late'));
  await rules.write('late/routing_rules.ts', rule('b'));
  await routesTo(rules, 'late', 'b');
  await routesTo(rules, 'other', 'a');
  await rename(join(rules.folder, 'late'), join(rules.folder, 'other'));
  await routesTo(rules, 'other', 'b');
  await routesTo(rules, 'late', 'a');
  await rm(join(rules.folder, 'other'), { recursive: true });
  await routesTo(rules, 'other', 'a');
});

test('a guard of such a name stays active when its folder vanishes, and fails closed afterwards', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'guarded/routing_rules.ts': rule('b') },
    fallback: true,
    settings: { user_function_removal_grace: 300 },
  });
  await routesTo(rules, 'guarded', 'b');
  await rm(join(rules.folder, 'guarded'), { recursive: true });
  await until('the end of the grace period', async () => {
    const decision = await rules.ask('q', 'guarded');
    assert.ok(decision.kind !== 'go' || decision.dbkey === 'b', JSON.stringify(decision));
    return decision.kind === 'reject';
  });
  assert.equal(rules.functions.tenantOf('other'), null);
  rules.functions.confirmRemovals();
  await rules.functions.reconfigure(rules.settings, [], {
    name: '*',
    routing_rules_file: null,
    rewrite_query_file: null,
  });
  assert.equal(rules.functions.tenantOf('guarded'), null);
});

test('a guard of such a name applies even if user_functions_dir may not be listed', async (t) => {
  const readdir = t.mock.method(promises, 'readdir', () =>
    Promise.reject(Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' })),
  );
  syncBuiltinESMExports();
  t.after(() => {
    readdir.mock.restore();
    syncBuiltinESMExports();
  });
  const rules = await Rules.start(t, {
    files: { 'guarded/routing_rules.ts': rule('b'), 'routing_rules.ts': rule('a') },
    fallback: true,
  });
  assert.ok(readdir.mock.callCount() > 0);
  await routesTo(rules, 'other', 'a');
  await routesTo(rules, 'guarded', 'b');
});

test('a user_functions_dir that appears later applies to such names', async (t) => {
  const rules = await Rules.start(t, { files: {}, fallback: true, settings: REMOVED_AT_ONCE });
  assert.equal(rules.functions.tenantOf('late'), null);
  await rename(rules.folder, `${rules.folder}.away`);
  t.after(() => rm(`${rules.folder}.away`, { recursive: true, force: true }));
  await until('nothing', () => rules.functions.tenantOf('late') === null);
  await mkdir(join(`${rules.folder}.next`, 'late'), { recursive: true });
  fs.writeFileSync(join(`${rules.folder}.next`, 'late/routing_rules.ts'), rule('b'));
  await rename(`${rules.folder}.next`, rules.folder);
  await routesTo(rules, 'late', 'b');
});
