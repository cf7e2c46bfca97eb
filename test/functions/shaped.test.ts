/** Rules that see the shape of a query, in the production sandbox: what they see, and what becomes of what they return. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Decision, FunctionCall } from '../../src/functions/functions.ts';
import { lexingOf } from '../../src/sql/lexing.ts';
import { outcomeOf, Rules } from '../support/rules.ts';
import type { Scope } from '../support/scope.ts';

const OPTIONS = "export const options = { sees: 'shape' };";
const ON = lexingOf('on', 'UTF8');

/** A rule with this body, whose routing function is asked afterwards and shows in its rejection what it sees. */
function start(scope: Scope, body: string, isolation: 'process' | 'inline' = 'process'): Promise<Rules> {
  return Rules.start(scope, {
    files: {
      'rewrite_query.ts': `${OPTIONS}
        import { reject } from 'pgswitchyard';
        export const rewrite_query = (username: string, query: string) => { ${body} };
        export const routing_rules = (username: string, query: string) =>
          username === 'route' ? reject(query) : null;`,
    },
    settings: { user_function_isolation: isolation, user_function_max_result: 10_000 },
  });
}

const textOf = (decision: Decision): string | null =>
  decision.kind === 'go' ? decision.query : `${decision.kind}: ${decision.error.message}`;

for (const isolation of ['process', 'inline'] as const) {
  test(`both functions see the shape, and constants come back afterwards (${isolation})`, async (t) => {
    const rules = await start(
      t,
      "return query.startsWith('SELECT') ? query.replace('FROM t', 'FROM u') : null;",
      isolation,
    );
    const ask = async (query: string, as: Partial<FunctionCall> = {}): Promise<string | null> =>
      textOf(await rules.ask(query, 'a', { lexing: ON, ...as }));
    const query = "SELECT 'x',  5 FROM t WHERE a = $1 -- secret";
    assert.equal(await ask(query), "SELECT 'x', 5 FROM u WHERE a = $1");
    assert.equal(await ask(query, { username: 'route' }), 'reject: SELECT $2, $3 FROM u WHERE a = $1');
    // without rewriting, as for a database with the same rewriting function
    assert.equal(
      await ask(query, { username: 'route', routeOnly: true }),
      'reject: SELECT $2, $3 FROM t WHERE a = $1',
    );
    // the shape itself, or nothing, leaves the query as it is
    assert.equal(await ask("SELECT  'x' FROM v"), null);
    assert.equal(await ask("DELETE  FROM v WHERE a = 'x'"), null);
    assert.equal(await ask("SELECT 'x'; SELECT 5 FROM t"), "SELECT 'x'; SELECT 5 FROM u");
    // bytes of another encoding
    const sjis = { lexing: lexingOf('on', 'SJIS'), isBytes: true };
    assert.equal(await ask("SELECT E'\x95\\', 'b' FROM t", sjis), "SELECT E'\x95\\', 'b' FROM u");
    // with other lexical rules it sees the text
    const off = { lexing: lexingOf('off', 'UTF8'), username: 'route' };
    assert.equal(await ask("SELECT  'x\\'' FROM t", off), "reject: SELECT  'x\\'' FROM u");
    assert.equal(await ask("SELECT 'x\\' FROM t", { ...off, lexing: ON }), 'reject: SELECT $1 FROM u');
  });
}

test('a result that the constants do not fit into is a failure, which shows no data', async (t) => {
  const rules = await start(
    t,
    `return query.includes('unknown') ? 'SELECT $9 FROM secret_of_the_rule'
       : query.includes('often') ? 'SELECT ' + '$1,'.repeat(1000) + '1'
       : query.includes('throw') ? null!.x
       : 'SELECT $1, $1';`,
  );
  const ask = async (query: string): Promise<string> =>
    outcomeOf(await rules.ask(query, 'a', { lexing: ON }));
  assert.equal(await ask("unknown 'data-1'"), 'bad_result');
  assert.equal(await ask(`often '${'data-2'.repeat(10)}'`), 'too_large');
  assert.equal(await ask("throw 'data-3'"), 'threw');
  assert.equal(await ask("no end 'data-4"), 'bad_result');
  assert.equal(await ask("fine 'data-5'"), 'rewritten');
  const lines = rules.lines.filter((line) => line.includes('user function'));
  assert.match(
    lines.join('\n'),
    /bad_result: rewrite_query \(rewrite_query\.ts\) returned a query with \$9, but the shape ends with \$1/,
  );
  assert.doesNotMatch(lines.join('\n'), /data-|secret_of/);
});

test('the example of the manual does what is said about it', async (t) => {
  const manual = readFileSync(join(import.meta.dirname, '../../docs/user-functions.md'), 'utf8');
  const [, example = ''] = /```ts\n((?:(?!```)[^])*sees: 'shape'(?:(?!```)[^])*)```/.exec(manual) ?? [];
  const rules = await Rules.start(t, { files: { 'rewrite_query.ts': example } });
  const query = "SELECT sum(total) FROM sales WHERE day = '2026-01-15'";
  assert.equal(
    textOf(await rules.ask(query, 'a', { lexing: ON })),
    `${query} AND month = date_trunc('month', '2026-01-15'::date)`,
  );
});

test('one remembered decision serves all queries of a shape, each with its own constants', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'rewrite_query.ts': `export const options = { sees: 'shape', pure: true };
        import { reject } from 'pgswitchyard';
        export const rewrite_query = (username: string, query: string) =>
          query.startsWith('DELETE') ? reject(query) : query.includes('last') ? 'SELECT $2' : query.replace('FROM t', 'FROM u');`,
    },
  });
  const tenant = rules.functions.tenantOf('a')!;
  const recall = (query: string, lexing = ON): string | null => {
    const call: FunctionCall = { username: 'u', query, inTransaction: false, context: {}, lexing };
    const decision = tenant.recall({
      username: 'u',
      query,
      lexing,
      inTransaction: false,
      isBytes: false,
      routeOnly: false,
      entry: '',
      clientId: 1,
      part: () => undefined,
      call: () => call,
    });
    return decision === null ? 'ask' : (textOf(decision) ?? 'unchanged');
  };
  const ask = (query: string): Promise<Decision> => rules.ask(query, 'a', { lexing: ON });

  assert.equal(recall("SELECT 'x' FROM t"), 'ask');
  await ask("SELECT 'x' FROM t");
  assert.equal(recall("SELECT 'y'\n FROM t"), "SELECT 'y' FROM u");
  assert.equal(recall('SELECT 5 FROM t'), 'SELECT 5 FROM u');
  assert.equal(recall('SELECT 5, 6 FROM t'), 'ask');
  await ask('SELECT 1 FROM v');
  assert.equal(recall('SELECT 2   FROM v'), 'unchanged');
  await ask("DELETE FROM t WHERE a = 'x'");
  assert.equal(recall("DELETE FROM t WHERE a = 'y'"), 'reject: DELETE FROM t WHERE a = $1');
  // where it sees the text, a text that looks like a shape is the same question
  assert.equal(recall("SELECT 'y' FROM t", lexingOf('off', 'UTF8')), 'ask');
  assert.equal(recall('SELECT $1 FROM t', lexingOf('off', 'UTF8')), 'SELECT $1 FROM u');
  // $2 is a constant of the one, and unknown in the other
  await ask('last 1, 2');
  assert.equal(recall('last 1, 3'), 'SELECT 3');
  assert.equal(outcomeOf(await ask('last 1')), 'bad_result');
  assert.equal(recall('last 1'), 'ask');
});
