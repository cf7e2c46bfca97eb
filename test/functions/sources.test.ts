/** Which files apply to a database, and how changes of them are noticed. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { sourceFiles } from '../../src/functions/build/sources.ts';
import { REMOVED_AT_ONCE, Rules } from '../support/rules.ts';
import { until } from '../support/wait.ts';

const rule = (dbkey: string): string => `export const routing_rules = () => '${dbkey}';`;

async function answers(rules: Rules, dbkey: string | null): Promise<void> {
  await until(`the answer ${dbkey}`, async () => {
    const decision = await rules.ask('q');
    return decision.kind === 'go' && decision.dbkey === dbkey;
  });
}

test('for each function the nearest file wins: database option, its folder, global option, folder', async (t) => {
  const folder = await temporaryFolder('sources');
  t.after(() => rm(folder, { recursive: true }));
  const files = ['routing_rules.ts', 'routing_rules.js', 'dev/routing_rules.mts', 'dev/rewrite_query.js'];
  for (const file of files) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), '');
  }
  const settings = { user_functions_dir: folder, routing_rules_file: null, rewrite_query_file: null };
  const global = { ...settings, routing_rules_file: '/global.ts' };
  const dev = { name: 'dev', routing_rules_file: '/own.ts', rewrite_query_file: null };
  const inDev = (file: string): string => join(folder, 'dev', file);

  assert.deepEqual(sourceFiles(global, 'dev', dev), {
    routing: '/own.ts',
    rewrite: inDev('rewrite_query.js'),
  });
  assert.deepEqual(sourceFiles(global, 'dev', undefined), {
    routing: inDev('routing_rules.mts'),
    rewrite: inDev('rewrite_query.js'),
  });
  assert.deepEqual(sourceFiles(global, 'other', undefined), { routing: '/global.ts', rewrite: null });
  assert.deepEqual(sourceFiles(settings, 'other', undefined), {
    routing: join(folder, 'routing_rules.ts'),
    rewrite: null,
  });
  assert.equal(sourceFiles({ ...settings, user_functions_dir: null }, 'dev', undefined), null);
  // a database's name comes from the client, if the fallback database `*` accepts any
  for (const name of ['../sources', '..', '.', 'dev/../dev', 'a/b', ''])
    assert.equal(sourceFiles(settings, name, undefined)?.routing, join(folder, 'routing_rules.ts'), name);
});

test('a file takes effect when it is added, replaced by renaming, and deleted', async (t) => {
  const rules = await Rules.start(t, { files: {}, settings: REMOVED_AT_ONCE });
  assert.equal(rules.functions.tenantOf('a'), null);
  await rules.write('routing_rules.ts', rule('a'));
  await answers(rules, 'a');
  for (const dbkey of ['b', 'a', 'b']) {
    // as most editors and deployment tools write
    await rules.write('routing_rules.ts.tmp', rule(dbkey));
    await rename(join(rules.folder, 'routing_rules.ts.tmp'), join(rules.folder, 'routing_rules.ts'));
    await answers(rules, dbkey);
  }
  await rules.write('a/routing_rules.ts', rule('a'));
  await answers(rules, 'a');
  await rm(join(rules.folder, 'a'), { recursive: true });
  await answers(rules, 'b');
  await rm(join(rules.folder, 'routing_rules.ts'));
  await answers(rules, null);
  assert.equal(rules.functions.tenantOf('a'), null);
});

test('JSON that a rule imports is part of it', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts':
        "import table from './data/table.json' with { type: 'json' };\nexport const routing_rules = () => table.to;",
      'data/table.json': '{ "to": "a" }',
    },
  });
  await answers(rules, 'a');
  await rules.write('data/table.json', '{ "to": "b" }');
  await answers(rules, 'b');
  await rules.write('data/table.json', '{ "to": ');
  await until('the complaint', () => rules.lines.some((line) => /table\.json:1:\d+/.test(line)));
  await answers(rules, 'b');
});
