/** The rules that the repository ships, in the sandbox that production uses. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../../src/cli/embedded-postgres.ts';
import { Rules, type RulesOptions } from '../support/rules.ts';
import type { Scope } from '../support/scope.ts';

const USER_FUNCTIONS = fileURLToPath(new URL('../../user-functions/', import.meta.url));
const GALLERY = join(USER_FUNCTIONS, 'gallery');
const DATABASES = ['dev', 'dev@writer', 'dev.1', 'dev.2', 'writer', 'reader'];

const STORES =
  'SELECT storename, SUM(total) FROM sales JOIN store USING (storeid) GROUP BY storename ORDER BY storename';
const PRODUCTS =
  'SELECT prodname, SUM(total) FROM sales JOIN product USING (productid) GROUP BY prodname ORDER BY prodname';

/** What becomes of a query, in one word: `-> dbkey`, the new query, `reject CODE`, or `=` for nothing. */
type Ask = (
  query: string,
  as?: { username?: string; inTransaction?: boolean; database?: string; nodes?: string },
) => Promise<string>;

async function serve(t: Scope, folder: string, more: RulesOptions['settings'] = {}): Promise<Ask> {
  const files = await temporaryFolder('gallery');
  await cp(folder, files, { recursive: true });
  t.after(() => rm(files, { recursive: true }));
  const rules = await Rules.start(t, {
    files: {},
    databases: DATABASES,
    settings: { user_functions_dir: files, ...more },
  });
  return async (query, as = {}) => {
    const set = rules.functions.setFor('dev');
    assert.ok(set, 'the rules are found');
    const decision = await new Promise<Awaited<ReturnType<Rules['ask']>>>((resolve) => {
      set.evaluate({ username: 'app', query, inTransaction: false, database: 'dev', ...as }, resolve);
    });
    assert.deepEqual(set.record.counters.failures, {}, set.record.lastError);
    if (decision.kind !== 'go') return `${decision.kind} ${decision.code}`;
    return decision.query ?? (decision.dbkey === null ? '=' : `-> ${decision.dbkey}`);
  };
}

test('the rules of npm start route by table and rewrite the two reports', async (t) => {
  const ask = await serve(t, USER_FUNCTIONS);
  assert.equal(await ask('SELECT * FROM tablea'), '-> dev.1');
  assert.equal(await ask('SELECT * FROM tableb'), '-> dev.2');
  assert.equal(await ask('SELECT * FROM store_sales'), '-> dev.1');
  assert.equal(await ask('SELECT * FROM tableabc'), '=');
  assert.equal(await ask(STORES), 'SELECT storename, total FROM store_sales ORDER BY storename');
  assert.equal(await ask(PRODUCTS), 'SELECT prodname, total FROM product_sales ORDER BY prodname');
});

const tests: Record<string, (ask: Ask) => Promise<void>> = {
  'routing-by-table': async (ask) => {
    assert.equal(await ask('select 1 from tablea'), '-> dev.1');
    assert.equal(await ask('insert into tableb values (1)'), '-> dev.2');
    assert.equal(await ask('select 1'), '=');
  },
  'routing-by-regex-table': async (ask) => {
    assert.equal(await ask('select 1 from tablea'), '-> dev.1');
    assert.equal(await ask('SELECT 1 FROM TABLEB'), '-> dev.2');
    assert.equal(await ask('select 1', { username: 'report_daily' }), '-> dev.2');
    assert.equal(await ask('select 1'), '=');
  },
  'rewrite-to-aggregates': async (ask) => {
    assert.equal(await ask(STORES), 'SELECT storename, total FROM store_sales ORDER BY storename');
    assert.equal(
      await ask(`${PRODUCTS.toLowerCase().replaceAll(' ', '\n  ')};`),
      'SELECT prodname, total FROM product_sales ORDER BY prodname',
    );
    assert.equal(await ask(`${STORES} LIMIT 1`), '=');
    assert.equal(await ask('x'.repeat(100_000)), '=');
  },
  'read-only-filter': async (ask) => {
    for (const harmless of [
      'SELECT \'delete from t\', "update" FROM t -- drop table t',
      'WITH x AS (SELECT 1) SELECT * FROM x',
      '/* insert */ SELECT $1; SHOW ALL;',
      'BEGIN',
      '',
      "SELECT 'it''s'",
      'SELECT 1 WHERE a IN ($1,$2)',
      'SELECT 1 -- delete\r\n, 2 /* drop */ /* alter */',
      'SELECT "a""b;delete"',
    ])
      assert.equal(await ask(harmless), '=', harmless);
    for (const writing of [
      'DELETE FROM t',
      'SELECT 1; DROP TABLE t',
      'WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x',
      'EXPLAIN ANALYZE UPDATE t SET a = 1',
      'SELECT * INTO u FROM t',
      'SET default_transaction_read_only = off',
      'BEGIN READ WRITE',
      'SELECT 1 --\r; DELETE FROM t',
      'SELECT 1 /**/; DELETE FROM t /**/',
      "SELECT '--'; DELETE FROM t",
      'SELECT "/*"; DELETE FROM t --*/',
    ])
      assert.equal(await ask(writing), 'reject 25006', writing);
    // what PostgreSQL reads as a write, and the pattern would take for a constant or a comment
    for (const unclear of [
      "SELECT $$ ' $$; DELETE FROM t WHERE a = 'b'",
      "SELECT 1 /* /* */ ' */ ; DELETE FROM t; --'",
      "SELECT E'\\''; DELETE FROM t; --'",
      "SELECT $a1$ ' $a1$; DELETE FROM t WHERE a = 'b'",
      "SELECT 1 /*/*/ ' */ ; DELETE FROM t; --'",
      "SELECT 1 /* */ /* /* ' */ ; DELETE FROM t; --'",
    ])
      assert.equal(await ask(unclear), 'reject 42501', unclear);
  },
  'reads-from-fresh-readers': async (ask) => {
    const at = (lagOfB: number | null): { nodes: string } => ({
      nodes: JSON.stringify([
        { name: 'dev', role: 'writer', lag_bytes: null, lag_seconds: null },
        { name: 'dev.1', role: 'reader', lag_bytes: 1e6, lag_seconds: 60 },
        { name: 'dev.2', role: 'reader', lag_bytes: 0, lag_seconds: lagOfB },
      ]),
    });
    assert.equal(await ask('select 1', at(0)), '-> dev.2');
    assert.equal(await ask(' SELECT 1', at(0)), '-> dev.2');
    assert.equal(await ask('select 1', at(7)), '-> dev@writer');
    assert.equal(await ask('select 1', at(null)), '-> dev@writer');
    assert.equal(await ask('select 1 for update', at(0)), '-> dev@writer');
    assert.equal(await ask('update t set a = 1', at(0)), '-> dev@writer');
    assert.equal(await ask('select 1', { ...at(0), inTransaction: true }), '=');
  },
  'read-write-split': async (ask) => {
    assert.equal(await ask('select 1', { username: 'report_ro' }), '-> reader');
    assert.equal(await ask('select 1'), '-> writer');
    assert.equal(await ask('select 1', { database: 'writer' }), '=');
    assert.equal(await ask('select 1', { username: 'report_ro', inTransaction: true }), '=');
  },
};

for (const [name, check] of Object.entries(tests)) {
  test(`gallery: ${name}`, async (t) => check(await serve(t, join(GALLERY, name))));
}

test('every rule of the gallery is tested', () => {
  assert.deepEqual(readdirSync(GALLERY).toSorted(), Object.keys(tests).toSorted());
});

/** Texts of which a query of 1 MB is made: whatever a rule looks at each of their characters a few times at most. */
const CLASSES = [
  'a',
  'sales ',
  'SELECT ',
  'sales',
  'for ',
  'select /*',
  '7',
  ' ',
  '\n',
  '\r',
  "'",
  '"',
  `'"`,
  '$',
  '$a',
  '$a ',
  '/',
  '*',
  '/*',
  '/**/',
  '*/',
  '-',
  '--\n',
  '(',
  ';',
  ' ; ',
  '\\',
  'é',
  '\u6f22',
  '\u0001',
];
/** Where a rule knows what is quoted. */
const QUOTED = ['select 1 /*', "select '", 'select "', 'select 1 --'].flatMap((head) =>
  ['a', ' ', "'", '"', '/*', '*/', '--\n'].map((text) => [head, text] as const),
);
const MEGABYTE = 1_000_000;

// Compiled, such a rule takes some ms for a query of 1 MB; one that is quadratic takes many minutes, and is cut off.
for (const folder of ['..', ...readdirSync(GALLERY)]) {
  test(`${folder === '..' ? 'the rules of npm start' : `gallery: ${folder}`}: linear in the length of a query`, async (t) => {
    const ask = await serve(t, join(GALLERY, folder), {
      user_function_isolation: 'inline',
      user_function_timeout: 5_000,
    });
    const plain = CLASSES.map((text) => ['', text] as const);
    for (const [head, text] of [...plain, ...(folder === 'read-only-filter' ? QUOTED : [])]) {
      const query = (head + text.repeat(Math.ceil(MEGABYTE / text.length))).slice(0, MEGABYTE);
      assert.match(await ask(query), /^(?:=|->.*|reject .*)$/, JSON.stringify(query.slice(0, 30)));
    }
  });
}
