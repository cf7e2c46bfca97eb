/** A string is split into its statements where it is certain which text belongs to which. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse } from 'pgsql-ast-parser';
import { statementsOf } from '../../src/sql/statements.ts';
import { rewritten, spacing } from '../support/sql.ts';

test('a string is split where it is certain which text belongs to which statement', () => {
  assert.deepEqual(statementsOf("SELECT 1; ; COMMIT -- ;\n; SELECT ';'"), ['SELECT 1', 'COMMIT', 'SELECT']);
  for (const sql of [
    "SELECT E'\\'; COMMIT; --'",
    'SELECT $$ ; COMMIT',
    'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END',
    'CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)',
    '/* /* */ */ SELECT 1',
  ])
    assert.equal(statementsOf(sql), null, sql);
});

test('a line comment ends at a line feed and at a carriage return', () => {
  assert.deepEqual(statementsOf('SELECT 1 -- x\r; COMMIT'), ['SELECT 1', 'COMMIT']);
  assert.deepEqual(statementsOf('SELECT 1 -- x\n; COMMIT'), ['SELECT 1', 'COMMIT']);
});

test('a dollar sign inside a name begins no constant', () => {
  assert.deepEqual(statementsOf('SELECT a$b$ ; COMMIT; SELECT c$b$'), [
    'SELECT a$b$',
    'COMMIT',
    'SELECT c$b$',
  ]);
});

/** Statements that PostgreSQL and pgsql-ast-parser accept. */
const statement = fc.constantFrom(
  'select 1',
  "select ';', ''';', a from t where b = ';--'",
  'select "a;b" from "t"',
  "insert into t (a, b) values (1, '/*')",
  "update t set a = '$$;$$' where b = 2",
  "delete from t where a <> ''",
  'begin',
  'commit',
  'rollback',
  'truncate table t',
  'drop table t',
  "create table t (a int, b text default ';')",
);

test('a string has as many statements as a parser finds, with any white space and comments', () => {
  fc.assert(
    fc.property(
      fc.array(statement, { minLength: 1, maxLength: 6 }),
      fc.array(spacing, { minLength: 1, maxLength: 5 }),
      (statements, spaces) => {
        const text = statements.map((each) => rewritten(each, spaces, false)).join(';');
        assert.equal(statementsOf(text)?.length, parse(statements.join(';')).length, text);
      },
    ),
    { numRuns: 300 },
  );
});

test('the statements have no constants and comments, and splitting them again changes nothing', () => {
  const unit = fc.constantFrom(...Array.from('ab1$;\'"/*- \n\\(e'));
  fc.assert(
    fc.property(fc.string({ unit }), (text) => {
      const statements = statementsOf(text);
      if (statements === null) return;
      for (const each of statements) assert.doesNotMatch(each, /['";]|--|\/\*/);
      assert.deepEqual(statementsOf(statements.join(';')), statements);
    }),
    { numRuns: 3000 },
  );
});
