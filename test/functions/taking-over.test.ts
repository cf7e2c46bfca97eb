/** Which functions serve when other files come to apply to a database. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { REMOVED_AT_ONCE, Rules } from '../support/rules.ts';
import { until } from '../support/wait.ts';

const rule = (dbkey: string): string => `export const routing_rules = () => '${dbkey}';`;

test('the first query of a database that was not named before waits until its rules are loaded', async (t) => {
  const files = {
    'from-star/rewrite_query.ts': "export const rewrite_query = () => 'rewritten';",
  };
  const rules = await Rules.start(t, { files });
  const asked = [1, 2, 3].map(() => rules.ask('SELECT 1', 'from-star'));
  const rewritten = { kind: 'go', query: 'rewritten', dbkey: null };
  for (const decision of await Promise.all(asked)) assert.deepEqual(decision, rewritten);
});

test('a broken first version delays no query', async (t) => {
  const rules = await Rules.start(t, { files: { 'from-star/routing_rules.ts': 'export const' } });
  for (let i = 0; i < 2; i++) assert.equal((await rules.ask('SELECT 1', 'from-star')).kind, 'reject');
});

test('whatever files are added, no query goes without the rules that were there before', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'routing_rules.ts': rule('b') },
    settings: REMOVED_AT_ONCE,
  });
  let isDone = false;
  const asking = (async (): Promise<void> => {
    while (!isDone) {
      const decision = await rules.ask('SELECT 1');
      assert.ok(decision.kind === 'go' && decision.dbkey === 'b', JSON.stringify(decision));
    }
  })();
  const steps = [
    ['rewrite_query.ts', 'export const rewrite_query = (', /rewrite_query\.ts:1/],
    ['rewrite_query.ts', 'export const rewrite_query = () => null;', /loaded: .*rewrite_query\.ts/],
    ['a/routing_rules.ts', 'throw new Error("at the top");', /at the top/],
    ['a/routing_rules.ts', rule('b'), /loaded: .*a\/routing_rules\.ts/],
  ] as const;
  for (const [file, text, line] of steps) {
    await rules.write(file, text);
    await Promise.race([asking, until(`${line}`, () => rules.lines.some((each) => line.test(each)))]);
  }
  await rm(join(rules.folder, 'a'), { recursive: true });
  await until('the rules of all', () => rules.lines.some((line) => /\/a removed/.test(line)));
  isDone = true;
  await asking;
});
