/** The repository's rules, in the sandbox that production uses. */
import type { CallContext } from '../../sandbox/crossing.ts';
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { cp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { scan } from '../../user-functions/gallery/no-sql-prepare/rewrite_query.ts';
import { Rules, type RulesOptions } from '../support/rules.ts';
import type { Scope } from '../support/scope.ts';

const USER_FUNCTIONS = fileURLToPath(new URL('../../user-functions/', import.meta.url));
const GALLERY = join(USER_FUNCTIONS, 'gallery');
/** As `npm install` creates it beside a rule that imports packages. */
const PACKAGES = fileURLToPath(new URL('../../node_modules/', import.meta.url));
const DATABASES = ['dev', 'dev@writer', 'dev.1', 'dev.2', 'writer', 'reader'];

const STORES =
  'SELECT storename, SUM(total) FROM sales JOIN store USING (storeid) GROUP BY storename ORDER BY storename';
const PRODUCTS =
  'SELECT prodname, SUM(total) FROM sales JOIN product USING (productid) GROUP BY prodname ORDER BY prodname';

/** The outcome for a query, in one line: the new query, `-> dbkey`, `reject CODE`, or `=` for no change. */
type Ask = (
  query: string,
  as?: { username?: string; inTransaction?: boolean; context?: CallContext },
) => Promise<string>;

async function serve(t: Scope, folder: string, more: RulesOptions['settings'] = {}): Promise<Ask> {
  const files = await temporaryFolder('gallery');
  await cp(folder, files, { recursive: true });
  await symlink(PACKAGES, join(files, 'node_modules'));
  t.after(() => rm(files, { recursive: true }));
  const rules = await Rules.start(t, {
    files: {},
    databases: DATABASES,
    settings: { user_functions_dir: files, ...more },
  });
  return async (query, as = {}) => {
    const tenant = rules.functions.tenantOf('dev');
    assert.ok(tenant, 'the rules are found');
    const decision = await new Promise<Awaited<ReturnType<Rules['ask']>>>((resolve) => {
      const context = { database: 'dev', login_database: 'dev' };
      tenant.decide({ username: 'app', query, inTransaction: false, context, ...as }, resolve);
    });
    const { failures, lastError } = tenant.observe([]);
    assert.deepEqual(failures, {}, lastError);
    if (decision.kind !== 'go') return `${decision.kind} ${decision.error.code}`;
    const route = decision.dbkey === null ? null : `-> ${decision.dbkey}`;
    return [decision.query, route].filter((part) => part !== null).join(' ') || '=';
  };
}

test('the rules of npm start route by table and rewrite the two reports', async (t) => {
  const ask = await serve(t, USER_FUNCTIONS);
  assert.equal(await ask('SELECT * FROM tablea'), '-> dev.1');
  assert.equal(await ask('SELECT * FROM tableb'), '-> dev.2');
  assert.equal(await ask('SELECT * FROM store_sales'), '-> dev.1');
  assert.equal(await ask('SELECT * FROM tableabc'), '=');
  assert.equal(await ask(STORES), 'SELECT storename, total FROM store_sales ORDER BY storename -> dev.1');
  assert.equal(await ask(PRODUCTS), 'SELECT prodname, total FROM product_sales ORDER BY prodname -> dev.1');
});

const tests: Record<string, (ask: Ask) => Promise<void>> = {
  'routing-by-table': async (ask) => {
    assert.equal(await ask('select 1 from tablea'), '-> dev.1');
    assert.equal(await ask('insert into tableb values (1)'), '-> dev.2');
    assert.equal(await ask('select 1'), '=');
  },
  'known-queries': async (ask) => {
    assert.equal(await ask("SELECT * FROM orders\n WHERE id = 'x' -- y"), '=');
    assert.equal(await ask('select * from orders where id = $1 ;'), '=');
    assert.equal(await ask("select * from orders where id = '' or '' = ''"), 'reject 42501');
    assert.equal(await ask('DROP TABLE orders'), 'reject 42501');
    assert.equal(
      await ask("SELECT count(*) FROM orders WHERE day BETWEEN '2026-01-01' AND '2026-02-01'"),
      "select sum(orders) from orders_by_day where day between '2026-01-01' and '2026-02-01'",
    );
    assert.equal(
      await ask("SELECT * FROM orders WHERE customer = $1 AND day > '2026-01-15' LIMIT 10;"),
      "select * from orders where customer = $1 and day > '2026-01-15' and month >= date_trunc('month', '2026-01-15'::date) limit 10",
    );
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
    // texts that PostgreSQL reads as a write, and that the pattern would take for a constant or a comment
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
  'tenant-filter': async (ask) => {
    const acme = { username: 'acme_app' };
    const filtered = async (query: string): Promise<string> =>
      (await ask(query, acme)).replaceAll(/\s+/g, ' ').replaceAll('( ', '(').replaceAll(' )', ')');
    assert.match(
      await filtered('select * from orders where total > $1'),
      /FROM \(SELECT \* FROM public ?\.orders WHERE \(tenant_id = \(1\)\)\) AS orders/,
    );
    for (const hidden of [
      'select count(*) from orders o join public.customers c using (customer_id)',
      'select 1 from customers where exists (select from orders)',
      'select id from orders union all select id from customers',
      'select (select max(total) from orders)',
    ]) {
      const text = await filtered(hidden);
      assert.equal(
        text.match(/tenant_id = \(1\)/g)?.length ?? 0,
        hidden.match(/\b(?:from|join) (?:public\.)?(?:orders|customers)/g)!.length,
        text,
      );
    }
    assert.match(await ask('select * from orders', { username: 'globex_app' }), /tenant_id = \(2\)/);
    assert.equal(await ask('BEGIN', acme), '=');
    for (const refused of [
      'select * from invoices',
      'select * from other.orders',
      'select * from "Orders"',
      'select * from pg_catalog.pg_class',
      'select query_to_xml(total, true, true, name) from orders',
      "select 'orders'::regclass",
      'select * from generate_series(1, 3) g',
      'update orders set tenant_id = 2',
      'with x as (delete from orders returning *) select * from x',
      'with orders as (select 1) select * from orders',
      'select * into mine from orders',
      'select 1; select 2',
      'commit; select * from orders',
      'prepare p as select * from orders',
      'not sql at all',
      `select '${'x'.repeat(5_000)}'`,
    ])
      assert.match(await ask(refused, acme), /^reject/, refused);
    assert.match(await ask('select * from orders', { username: 'nobody' }), /^reject/);
  },
  'routing-by-parsed-tables': async (ask) => {
    assert.equal(await ask('select sum(total) from sales join stores using (id)'), '-> dev.2');
    assert.equal(await ask('select sum(total) from sales join customers using (id)'), '-> dev');
    assert.equal(await ask("select 'sales', sales from ledger stores"), '-> dev');
    assert.equal(await ask('delete from sales'), '-> dev');
    assert.equal(await ask('select from sales where'), '-> dev');
    assert.equal(await ask('select 1 from sales', { inTransaction: true }), '=');
  },
  'both-in-one-file': async (ask) => {
    const report = 'SELECT storename, SUM(total)\n FROM sales JOIN store USING (storeid) GROUP BY storename;';
    assert.equal(await ask(report), 'SELECT storename, total FROM store_sales -> dev.2');
    assert.equal(await ask('select total from store_sales'), '-> dev.2');
    assert.equal(await ask('select 1'), '-> dev');
    assert.equal(await ask('select 1', { inTransaction: true }), '=');
  },
  'no-sql-prepare': async (ask) => {
    for (const harmless of [
      'SELECT \'EXECUTE s\', "execute" FROM t -- execute s',
      'SELECT $$ execute s $$, $a$ execute $b$ s $a$, $1',
      '/* /* execute */ prepare p as */ SELECT 1;;',
      "PREPARE TRANSACTION 'x'",
      "COMMIT PREPARED 'x'",
      'GRANT EXECUTE ON FUNCTION f TO bob',
      'ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO bob',
      'CREATE OR REPLACE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()',
      "SELECT E'\\n', '\\'",
      'DEALLOCATE s',
      '',
    ])
      assert.equal(await ask(harmless), harmless.includes("\\'") ? 'reject 42501' : '=', harmless);
    for (const forbidden of [
      'EXECUTE s',
      'execute s(1)',
      'SELECT 1; Execute "s"',
      'PREPARE s AS DELETE FROM t',
      'EXPLAIN ANALYZE EXECUTE s',
      'CREATE TABLE trigger AS EXECUTE function',
      '/* x */ -- y\n prepare s as select 1',
      "SELECT ''''; EXECUTE s --'",
      'SELECT $a$ $b$ $a$; EXECUTE s',
      'SELECT 1/* /* */ */;EXECUTE s',
      'DO $$ BEGIN EXECUTE x; END $$',
    ])
      assert.equal(await ask(forbidden), 'reject 0A000', forbidden);
    assert.equal(await ask("SELECT '\\'; EXECUTE s --'"), 'reject 42501');
  },
  'reads-from-fresh-readers': async (ask) => {
    const at = (lagOfB: number | null): { context: CallContext } => ({
      context: {
        database: 'dev',
        login_database: 'dev',
        nodes: [
          { name: 'dev', role: 'writer', state: 'serving', lag_bytes: null, lag_seconds: null },
          { name: 'dev.1', role: 'reader', state: 'ready', lag_bytes: 1e6, lag_seconds: 60 },
          { name: 'dev.2', role: 'reader', state: 'ready', lag_bytes: 0, lag_seconds: lagOfB },
        ],
      },
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
    assert.equal(await ask('select 1', { context: { database: 'writer', login_database: 'writer' } }), '=');
    assert.equal(await ask('select 1', { username: 'report_ro', inTransaction: true }), '=');
  },
};

for (const [name, check] of Object.entries(tests)) {
  test(`gallery: ${name}`, async (t) => check(await serve(t, join(GALLERY, name))));
}

test('every rule of the gallery is tested', () => {
  assert.deepEqual(readdirSync(GALLERY).toSorted(), Object.keys(tests).toSorted());
});

/** Texts from which a query of 1 MB is made: any rule looks at each of their characters a few times at most. */
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
/** For rules that know quoting. */
const QUOTED = ['select 1 /*', "select '", 'select "', 'select 1 --'].flatMap((head) =>
  ['a', ' ', "'", '"', '/*', '*/', '--\n'].map((text) => [head, text] as const),
);
const MEGABYTE = 1_000_000;

// Compiled, a linear rule takes some ms for a query of 1 MB; a quadratic one would take many minutes, and is cut off.
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

test('no-sql-prepare looks at each character once, whatever it is', () => {
  const units = [
    ' ',
    'a',
    '1',
    ';',
    "'",
    '"',
    '$',
    '$a$',
    '-',
    '--',
    '/',
    '/*',
    '*/',
    '/**/',
    '\\',
    'é',
    '\n',
    "'a';",
    '$a$b',
  ];
  for (const unit of units) {
    for (const size of [500_000, 1_000_000]) {
      const text = unit.repeat(size / unit.length);
      assert.equal(scan(text).looked, text.length, `${size} characters of ${unit}`);
    }
  }
});
