/** Rules whose files have gone: deployment tools remove files and write them again, and file systems are unmounted. */
import assert from 'node:assert/strict';
import { mkdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { FunctionSettings } from '../../src/functions/functions.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Rules } from '../support/rules.ts';
import { until } from '../support/wait.ts';

const rule = (dbkey: string): string => `export const routing_rules = () => '${dbkey}';`;
const REWRITE = 'export const rewrite_query = (u: string, q: string) => `${q} --`;';
const STAY = { kind: 'go', query: null, dbkey: null };
const TO_B = { kind: 'go', query: null, dbkey: 'b' };
const GUARDED = { routing_rules_on_failure: 'error', rewrite_query_on_failure: 'error' } as const;
const PASSING = { routing_rules_on_failure: 'pass', rewrite_query_on_failure: 'pass' } as const;

const GONE = /is gone: version [0-9a-f]+ stays active for \d/;
const OVERDUE = /is gone: each query is a failure/;

interface Vanishing {
  readonly files: Record<string, string>;
  /** in the folder of the rules */
  readonly vanish: (folder: string) => Promise<void>;
  /** its answers while the file is gone, and before */
  readonly answer?: object;
}

const VANISHINGS: Record<string, Vanishing> = {
  'its file is unlinked': {
    files: { 'routing_rules.ts': rule('b') },
    vanish: (folder) => rm(join(folder, 'routing_rules.ts')),
  },
  'its file is renamed': {
    files: { 'routing_rules.ts': rule('b') },
    vanish: (folder) => rename(join(folder, 'routing_rules.ts'), join(folder, 'routing_rules.ts.old')),
  },
  'the folder of its database is removed, and there are general rules': {
    files: { 'a/routing_rules.ts': rule('b'), 'routing_rules.ts': rule('a') },
    vanish: (folder) => rm(join(folder, 'a'), { recursive: true }),
  },
  'the folder of its database is renamed': {
    files: { 'a/routing_rules.ts': rule('b'), 'routing_rules.ts': rule('a') },
    vanish: (folder) => rename(join(folder, 'a'), join(folder, 'a.old')),
  },
  'another file with another ending was there all the time': {
    files: { 'a/routing_rules.ts': rule('b'), 'a/routing_rules.js': rule('a') },
    vanish: (folder) => rm(join(folder, 'a/routing_rules.ts')),
  },
  'its routing file is gone and the one that rewrites is there': {
    files: { 'routing_rules.ts': rule('b'), 'rewrite_query.ts': REWRITE },
    vanish: (folder) => rm(join(folder, 'routing_rules.ts')),
    answer: { kind: 'go', query: 'q --', dbkey: 'b' },
  },
  'its rewriting file is gone and the one that routes is there': {
    files: { 'routing_rules.ts': rule('b'), 'rewrite_query.ts': REWRITE },
    vanish: (folder) => rm(join(folder, 'rewrite_query.ts')),
    answer: { kind: 'go', query: 'q --', dbkey: 'b' },
  },
  'user_functions_dir is emptied, as by unmounting it': {
    files: { 'routing_rules.ts': rule('b'), 'lib/x.ts': '' },
    vanish: async (folder) => {
      await rename(folder, `${folder}.away`);
      await mkdir(folder);
    },
  },
};

for (const [what, { files, vanish, answer = TO_B }] of Object.entries(VANISHINGS)) {
  test(`a guard stays active when ${what}; after that each query fails until it is back`, async (t) => {
    const rules = await Rules.start(t, { files, settings: GUARDED });
    t.after(() => rm(`${rules.folder}.away`, { recursive: true, force: true }));
    assert.deepEqual(await rules.ask('q'), answer);
    const nodes = rules.lines.length;
    await vanish(rules.folder);
    await until('the warning', () => rules.lines.some((line) => GONE.test(line)));
    assert.deepEqual(await rules.ask('q'), answer);
    assert.equal(rules.lines.slice(nodes).length, 1, rules.lines.join('\n'));
    for (const [path, text] of Object.entries(files)) await rules.write(path, text);
    await until('its return', () => rules.lines.some((line) => line.includes('is back')));
    assert.deepEqual(await rules.ask('q'), answer);

    await overdueFrom(rules, GUARDED);
    await rm(`${rules.folder}.away`, { recursive: true, force: true });
    await rm(join(rules.folder, 'a.old'), { recursive: true, force: true });
    await vanish(rules.folder);
    await until('the end of the grace period', () => rules.lines.some((line) => OVERDUE.test(line)));
    assert.equal((await rules.ask('q')).kind, 'reject');
    assert.equal(rules.tenants[0]!.state, 'missing');
    for (const [path, text] of Object.entries(files)) await rules.write(path, text);
    await until('its return', async () => JSON.stringify(await rules.ask('q')) === JSON.stringify(answer));
  });
}

/** From now on the grace period is over as soon as it begins. */
async function overdueFrom(rules: Rules, policies: Partial<FunctionSettings>): Promise<void> {
  const databases = ['a', 'b'].map((name) => ({
    name,
    routing_rules_file: null,
    rewrite_query_file: null,
    routing_targets: ['*'],
  }));
  await rules.functions.reconfigure(
    { ...rules.settings, ...policies, user_function_removal_grace: 0 },
    databases,
  );
}

const reload = async (rules: Rules): Promise<void> => {
  rules.functions.confirmRemovals();
  await rules.functions.reconfigure(
    rules.settings,
    ['a', 'b'].map((name) => ({ name, routing_rules_file: null, rewrite_query_file: null })),
  );
};

for (const grace of [0, 10_000]) {
  test(`RELOAD confirms a removal ${grace === 0 ? 'after' : 'during'} the grace period`, async (t) => {
    const rules = await Rules.start(t, {
      files: { 'routing_rules.ts': rule('b') },
      settings: { ...GUARDED, user_function_removal_grace: grace },
    });
    await rm(join(rules.folder, 'routing_rules.ts'));
    await until('the warning', () => rules.lines.some((line) => (grace === 0 ? OVERDUE : GONE).test(line)));
    await reload(rules);
    assert.equal(rules.functions.tenantOf('a'), null);
    assert.deepEqual(await rules.ask('q'), STAY);
  });
}

test('with the policy pass, a rule whose file has gone is removed after the grace period', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'a/routing_rules.ts': rule('b'), 'routing_rules.ts': rule('a') },
    settings: { ...PASSING, user_function_removal_grace: 300 },
  });
  await rm(join(rules.folder, 'a'), { recursive: true });
  await until('the warning', () => rules.lines.some((line) => GONE.test(line)));
  assert.deepEqual(await rules.ask('q'), TO_B);
  await until('the removal', () => rules.lines.some((line) => line.includes('/a removed')));
  assert.deepEqual(await rules.ask('q'), { kind: 'go', query: null, dbkey: 'a' });
});

test('a database that is named for the first time is guarded while the file is away', async (t) => {
  const rules = await Rules.start(t, { files: { 'routing_rules.ts': rule('b') }, settings: GUARDED });
  await rm(join(rules.folder, 'routing_rules.ts'));
  await until('the warning', () => rules.lines.some((line) => GONE.test(line)));
  // more names than are remembered
  for (let i = 0; i < 10_100; i++) assert.notEqual(rules.functions.tenantOf(`made-up-${i}`), null);
  assert.deepEqual(await rules.ask('q', 'made-up-1'), TO_B);
  assert.deepEqual(await rules.ask('q', 'a'), TO_B);
});

test('a new file with another extension takes the place of one that has gone', async (t) => {
  const rules = await Rules.start(t, { files: { 'routing_rules.ts': rule('a') }, settings: GUARDED });
  await rm(join(rules.folder, 'routing_rules.ts'));
  await until('the warning', () => rules.lines.some((line) => GONE.test(line)));
  await rules.write('routing_rules.mjs', rule('b'));
  await until('the other one', async () => JSON.stringify(await rules.ask('q')) === JSON.stringify(TO_B));
});

test('a missing import and a dangling link leave the last good version active', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'a/routing_rules.ts': "import { to } from './to.ts'; export const routing_rules = () => to;",
      'a/to.ts': "export const to = 'b';",
      'v1/routing_rules.ts': rule('b'),
    },
    settings: { ...GUARDED, user_function_removal_grace: 0 },
  });
  await symlink('v1', join(rules.folder, 'b'));
  await until('the rule', async () => JSON.stringify(await rules.ask('q', 'b')) === JSON.stringify(TO_B));
  await rm(join(rules.folder, 'a/to.ts'));
  await until('the complaint', () =>
    rules.lines.some((line) => /\/a\/routing_rules\.ts: .*Could not/.test(line)),
  );
  assert.deepEqual(await rules.ask('q', 'a'), TO_B);
  await rm(join(rules.folder, 'v1'), { recursive: true });
  await until('the failure', () => rules.lines.some((line) => OVERDUE.test(line)));
  assert.equal((await rules.ask('q', 'b')).kind, 'reject');
});

test('no query goes unjudged while a deployment tool removes folders and writes them again', async (t) => {
  const guard = (i: number): string =>
    `import { reject } from 'pgswitchyard'; import './lib/x.ts'; export const rewrite_query = () => reject('no ${i}');`;
  const files = (i: number): Record<string, string> => ({
    'a/lib/x.ts': `export const x = ${i};`,
    'a/rewrite_query.ts': guard(i),
  });
  const rules = await Rules.start(t, { files: files(0), settings: PASSING });
  let isDone = false;
  let asked = 0;
  const asking = (async (): Promise<void> => {
    for (; !isDone; asked++) assert.equal((await rules.ask('q')).kind, 'reject');
  })();
  const deploying = (async (): Promise<void> => {
    for (let i = 1; i <= 30; i++) {
      const before = asked;
      const folder = join(rules.folder, 'a');
      if (i % 2 === 0) await rm(folder, { recursive: true });
      else await rename(folder, join(rules.folder, `old-${i}`));
      await until('a query meanwhile', () => asked > before + 20 || isDone);
      for (const [path, text] of Object.entries(files(i))) await rules.write(path, text);
    }
  })();
  await Promise.race([asking, deploying]);
  await until('the last version', async () => {
    const decision = await rules.ask('q');
    return decision.kind === 'reject' && decision.error.message === 'no 30';
  });
  isDone = true;
  await Promise.all([asking, deploying]);
});

test("the proxy's RELOAD confirms a removal, and SET does not", async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { a: 'host=127.0.0.1 port=1' },
    files: { 'user-functions/a/routing_rules.ts': rule('a') },
    settings: { routing_rules_on_failure: 'error' },
  });
  await bouncer.waitForLog(/user functions loaded/);
  await bouncer.removeFile('user-functions/a/routing_rules.ts');
  await bouncer.waitForLog(GONE);
  await bouncer.admin('SET query_timeout = 5');
  assert.equal((await bouncer.admin('SHOW FUNCTIONS')).length, 1);
  await bouncer.admin('RELOAD');
  assert.deepEqual(await bouncer.admin('SHOW FUNCTIONS'), []);
  assert.ok(bouncer.logContains(/removal of .*\/a\/routing_rules\.ts confirmed by RELOAD/));
});

/** A guard in the folder of a database that only `*` covers and that no client has used. */
const UNUSED = { files: { 'c/routing_rules.ts': rule('b') }, fallback: true };

const ANY = { name: '*', routing_rules_file: null, rewrite_query_file: null, routing_targets: ['*'] };

/** Once this answers, the proxy has noticed all earlier changes of the files. */
async function afterChanges(rules: Rules): Promise<void> {
  await rules.write('a/routing_rules.ts', rule('a'));
  await until('another rule', async () => (await rules.ask('q')).kind === 'go' && rules.tenants.length > 0);
  await rules.functions.tenantOf('a')?.idle();
}

for (const [what, vanish] of [
  ['folder', (folder: string) => rename(join(folder, 'c'), join(folder, 'c.away'))],
  ['file', (folder: string) => rm(join(folder, 'c/routing_rules.ts'))],
] as const) {
  test(`a guard whose ${what} is gone before a client has used its database fails each query until RELOAD`, async (t) => {
    const settings = { ...GUARDED, user_function_removal_grace: 20 };
    const rules = await Rules.start(t, { ...UNUSED, settings });
    await vanish(rules.folder);
    await afterChanges(rules);
    // over and over: the grace period ends meanwhile
    for (let i = 0; i < 5; i++) {
      const decision = await rules.ask('q', 'c');
      assert.equal(decision.kind, 'reject', JSON.stringify(decision));
      await delay(10);
    }
    rules.functions.confirmRemovals();
    await rules.functions.reconfigure(rules.settings, [], ANY);
    assert.deepEqual(await rules.ask('q', 'c'), STAY);
  });

  test(`RELOAD confirms that the ${what} of a database that no client has used was removed`, async (t) => {
    const rules = await Rules.start(t, { ...UNUSED, settings: GUARDED });
    await vanish(rules.folder);
    await afterChanges(rules);
    rules.functions.confirmRemovals();
    assert.deepEqual(await rules.ask('q', 'c'), STAY);
  });
}
