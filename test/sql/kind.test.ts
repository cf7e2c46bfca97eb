/** The kind of a statement, by every command of the manual, however it is written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isBegin, isRepeatable, kindOf } from '../../src/sql/kind.ts';
import { statementsOf } from '../../src/sql/statements.ts';
import { COMMANDS, rewritten, spacing } from '../support/sql.ts';

test('one transactional statement can be sent again', () => {
  for (const sql of [
    '',
    'select 1',
    ' INSERT INTO t VALUES (1); ',
    '/* hint */ (SELECT 1) UNION (SELECT 2)',
    "UPDATE t SET a = 'x;y' -- ;",
    'WITH w AS (SELECT 1) DELETE FROM t',
    'BEGIN',
    'START TRANSACTION READ WRITE',
    'show transaction_isolation',
    "SET search_path = 'a', b",
    'EXPLAIN SELECT 1',
    'truncate t',
    'create table t (a int)',
    'CREATE UNIQUE INDEX i ON t (a)',
    'create or replace function f() returns int language sql as $$ select 1; $$',
    'drop materialized view v',
    'ALTER TABLE t ADD COLUMN b int',
    'REFRESH MATERIALIZED VIEW v',
  ])
    assert.equal(isRepeatable(sql), true, sql);
});

test('a statement that commits inside, works outside of transactions, or is several statements cannot be sent again', () => {
  for (const sql of [
    'CALL p()',
    'DO $$ begin commit; end $$',
    'VACUUM t',
    'ANALYZE',
    'CLUSTER t',
    'REINDEX TABLE t',
    'CREATE INDEX CONCURRENTLY i ON t (a)',
    'drop index concurrently i',
    'ALTER TABLE t DETACH PARTITION p CONCURRENTLY',
    'CREATE DATABASE d',
    'DROP DATABASE d',
    'ALTER DATABASE d SET TABLESPACE s',
    "CREATE TABLESPACE s LOCATION '/x'",
    "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
    "ALTER SYSTEM SET work_mem = '1MB'",
    'COPY t FROM STDIN',
    'COMMIT',
    "PREPARE TRANSACTION 'x'",
    'EXECUTE q',
    'INSERT INTO t VALUES (1); COMMIT; SELECT 1',
    "SELECT E'\\'; COMMIT; --'",
    `SELECT "dblink_exec"('a', 'b')`,
    `SELECT U&"dblink_exec"('a', 'b')`,
    String.raw`SELECT U&"\0064blink_exec"('a', 'b')`,
  ])
    assert.equal(isRepeatable(sql), false, sql);
});

test('every SQL command of the manual has its kind', () => {
  for (const [kind, commands] of Object.entries(COMMANDS)) {
    for (const sql of commands) {
      for (const text of [sql, sql.toLowerCase(), `/* why */ ${sql.replaceAll(' ', '\n\t')} ;`]) {
        assert.deepEqual(statementsOf(text)?.map(kindOf) ?? null, sql === '' ? [] : [kind], text);
      }
      assert.equal(isRepeatable(sql), kind !== 'transactional' && kind !== 'other', sql);
    }
  }
});

test('a statement has the same kind with any white space, comments and case', () => {
  const all = Object.entries(COMMANDS).flatMap(([kind, commands]) => commands.map((sql) => ({ kind, sql })));
  fc.assert(
    fc.property(
      fc.constantFrom(...all.filter(({ sql }) => sql !== '')),
      fc.array(spacing, { minLength: 1, maxLength: 5 }),
      fc.boolean(),
      ({ kind, sql }, spaces, isUpper) => {
        const text = rewritten(sql, spaces, isUpper);
        assert.deepEqual(statementsOf(text)?.map(kindOf), [kind], text);
        assert.equal(isRepeatable(text), isRepeatable(sql), text);
        assert.equal(isBegin(text), kind === 'begin', text);
      },
    ),
    { numRuns: 500 },
  );
});

test('key words inside constants, comments and names in quotes do not change the kind', () => {
  for (const filling of ['commit', 'vacuum', 'concurrently', 'to', 'chain', 'dblink(', 'set tablespace'])
    for (const sql of [
      `SELECT '${filling}'`,
      `SELECT $$${filling}$$`,
      `SELECT 1 /* ${filling} */`,
      `SELECT 1 -- ${filling}`,
      `SELECT a AS "x ${filling}" FROM t`,
    ])
      assert.deepEqual(statementsOf(sql)?.map(kindOf), ['plain'], sql);
});

test('no text makes the search for its kind throw', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      kindOf(text);
      isRepeatable(text);
      isBegin(text);
    }),
    { numRuns: 1000 },
  );
});
