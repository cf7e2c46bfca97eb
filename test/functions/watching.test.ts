/** Which changes of which files and folders are noticed. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { REMOVED_AT_ONCE, Rules } from '../support/rules.ts';
import { until } from '../support/wait.ts';

const rule = (dbkey: string): string => `export const routing_rules = () => '${dbkey}';`;
const importing = (file: string): string =>
  `import { to } from '${file}';\nexport const routing_rules = () => to;`;

async function answers(rules: Rules, expected: string | null, database = 'a'): Promise<void> {
  await until(`the rules of ${database} to answer ${expected}`, async () => {
    const decision = await rules.ask('SELECT 1', database);
    return decision.kind === 'go' && decision.dbkey === expected;
  });
}

for (const [what, file] of [
  ['a file', 'lib/to.ts'],
  ['a file without its ending', 'lib/deep/to'],
]) {
  test(`${what} is added later that an import has missed`, async (t) => {
    const rules = await Rules.start(t, { files: { 'routing_rules.ts': importing(`./${file}`) } });
    assert.match(rules.lines[0] ?? '', /not loaded.*routing_rules\.ts[^]*Could not resolve/);
    await rules.write(file!.endsWith('.ts') ? file! : `${file}.ts`, "export const to = 'b';");
    await answers(rules, 'b');
  });
}

for (const name of ['where', '@scope/where']) {
  test(`the package ${name} is installed later, and its package.json names another file then`, async (t) => {
    const rules = await Rules.start(t, { files: { 'routing_rules.ts': importing(name) } });
    const tenant = rules.functions.tenantOf('a')!;
    let folder = rules.folder;
    for (const part of ['node_modules', ...name.split('/')]) {
      folder = join(folder, part);
      const before = tenant.builds;
      await mkdir(folder);
      await until(`a look at ${folder}`, () => tenant.builds > before);
    }
    await rules.write(`node_modules/${name}/package.json`, '{"main": "lib/index.js"}');
    await rules.write(`node_modules/${name}/lib/index.js`, "exports.to = 'b';");
    await answers(rules, 'b');
    await rules.write(`node_modules/${name}/other.js`, "exports.to = 'a';");
    await rules.write(`node_modules/${name}/package.json`, '{"main": "other.js"}');
    await answers(rules, 'a');
  });
}

test('a broken file in a folder that is only imported from is noticed when it is mended', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'routing_rules.ts': importing('./lib/to.ts'), 'lib/to.ts': 'export const to = ;' },
  });
  assert.match(rules.lines[0] ?? '', /lib\/to\.ts:1:19/);
  await rules.write('lib/to.ts', "export const to = 'b';");
  await answers(rules, 'b');
});

test('a rule is taken out of the folder of its database and put back', async (t) => {
  const databases = ['a', 'dev.1', 'my-db', 'with space'];
  const rules = await Rules.start(t, { files: {}, databases, settings: REMOVED_AT_ONCE });
  for (const database of databases) {
    for (const dbkey of ['a', 'my-db']) {
      await rules.write(`${database}/routing_rules.ts`, rule(dbkey));
      await answers(rules, dbkey, database);
      await rm(join(rules.folder, database, 'routing_rules.ts'));
      await answers(rules, null, database);
    }
  }
});

test('a folder that a rule no longer imports from still gets rules of its own', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'routing_rules.ts': importing('./b/to.ts'), 'b/to.ts': "export const to = 'b';" },
  });
  await answers(rules, 'b', 'b');
  await rules.write('routing_rules.ts', rule('a'));
  await answers(rules, 'a', 'b');
  await rules.write('b/routing_rules.ts', rule('b'));
  await answers(rules, 'b', 'b');
});

test('user_functions_dir is created while the proxy runs, removed, and created again', async (t) => {
  const rules = await Rules.start(t, { files: {}, settings: REMOVED_AT_ONCE });
  const folder = join(rules.folder, 'etc', 'rules');
  const databases = [{ name: 'a', routing_rules_file: null, rewrite_query_file: null }];
  await rules.functions.reconfigure({ ...rules.settings, user_functions_dir: folder }, databases);
  for (const dbkey of ['a', 'b']) {
    await rules.write('etc/rules/routing_rules.ts', rule(dbkey));
    await answers(rules, dbkey);
    await rm(join(rules.folder, 'etc'), { recursive: true });
    await answers(rules, null);
  }
});

test('a rule that is a link follows its target, even after that was away for a while', async (t) => {
  const elsewhere = await mkdtemp(join(tmpdir(), 'pgswitchyard-linked-'));
  t.after(() => rm(elsewhere, { recursive: true }));
  const target = join(elsewhere, 'any-name.ts');
  await writeFile(target, rule('a'));
  const rules = await Rules.start(t, { files: {} });
  await symlink(target, join(rules.folder, 'routing_rules.ts'));
  await answers(rules, 'a');
  await rm(target);
  await until('the complaint', () =>
    rules.lines.some((line) => /stays active.*Could not resolve/.test(line)),
  );
  await answers(rules, 'a');
  await writeFile(target, rule('b'));
  await answers(rules, 'b');
});

test('a rule that is replaced by another file is not logged as a mistake', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'a/routing_rules.ts': rule('a'), 'routing_rules.js': rule('b') },
    settings: REMOVED_AT_ONCE,
  });
  await answers(rules, 'a');
  await rm(join(rules.folder, 'a/routing_rules.ts'));
  await rules.write('a/routing_rules.mjs', rule('b'));
  await until('the other one', () => rules.lines.some((line) => /loaded: .*\.mjs/.test(line)));
  const mark = rules.lines.length;
  await rm(join(rules.folder, 'a'), { recursive: true });
  await until('the removal', () => rules.lines.slice(mark).some((line) => line.includes('removed')));
  await answers(rules, 'b');
  assert.deepEqual(
    rules.lines.filter((line) => !line.startsWith('LOG')),
    [],
  );
});
