/** Which statements can be sent again after a switchover, by their text and by the messages that carry them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  cyclesOf,
  isRolledBack,
  isUncommitted,
  uncommittedBytes,
  resendable,
  isForgettable,
  type Interrupted,
} from '../../src/session/resend/resendable.ts';
import { isRepeatable, kindOf, type StatementKind } from '../../src/sql/kind.ts';
import { statementsOf } from '../../src/sql/statements.ts';
import * as raw from '../support/raw.ts';

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
  ])
    assert.equal(isRepeatable(sql), false, sql);
});

test('messages that execute one statement, BEGIN and one statement, or nothing can be sent again', () => {
  const texts = new Map([
    ['w', 'INSERT INTO t VALUES (1)'],
    ['c', 'CALL p()'],
    ['b', 'BEGIN'],
  ]);
  const of = (...messages: Buffer[]): ReturnType<typeof resendable> =>
    resendable(Buffer.concat(messages), (name) => texts.get(name) ?? null);
  const one = { opensTransaction: false, isWhole: true, hasMore: false };
  const execute = (name: string): Buffer => Buffer.concat([raw.bind(name), raw.execute()]);

  assert.deepEqual(of(raw.query('SELECT 1')), one);
  assert.deepEqual(of(execute('w'), raw.sync()), one);
  assert.deepEqual(of(execute('w'), raw.flush()), { ...one, isWhole: false });
  assert.deepEqual(of(raw.parse('', 'SELECT 1'), raw.describe('S'), raw.sync()), one);
  assert.deepEqual(
    of(raw.close('S', 'x'), raw.parse('', 'SELECT 1'), execute(''), raw.close('P'), raw.sync()),
    one,
  );
  assert.deepEqual(of(execute('b'), execute('w'), raw.sync()), {
    opensTransaction: true,
    isWhole: true,
    hasMore: false,
  });
  assert.deepEqual(of(execute('w'), raw.sync(), execute('c'), raw.sync()), {
    opensTransaction: false,
    isWhole: true,
    hasMore: true,
  });

  assert.equal(of(execute('c'), raw.sync()), null);
  assert.equal(of(execute('w'), execute('w'), raw.sync()), null);
  assert.equal(of(execute('b'), execute('c'), raw.sync()), null);
  assert.equal(of(execute('b'), execute('w'), execute('w'), raw.sync()), null);
  assert.equal(of(execute('unknown'), raw.sync()), null);
  // what is bound is the unnamed statement, not the one that was parsed last
  texts.set('', 'CALL p()');
  assert.equal(of(raw.parse('w', 'SELECT 1'), execute(''), raw.sync()), null);
});

test('a message that has not arrived in full has done nothing', () => {
  const of = (bytes: Buffer): ReturnType<typeof resendable> => resendable(bytes, () => null);
  const whole = Buffer.concat([
    raw.parse('', 'SELECT 1'),
    raw.bind(),
    raw.describe('P'),
    raw.execute(),
    raw.sync(),
  ]);
  for (let end = 0; end < whole.length; end++) {
    const found = of(whole.subarray(0, end));
    assert.ok(found !== null, `cut at ${end}`);
    assert.equal(found.isWhole, false);
    assert.equal(found.opensTransaction, false);
  }
  assert.deepEqual(of(raw.parse('', 'CALL p()')), {
    opensTransaction: false,
    isWhole: false,
    hasMore: false,
  });
  assert.deepEqual(of(raw.query('CALL p()').subarray(0, 7)), {
    opensTransaction: false,
    isWhole: false,
    hasMore: true,
  });
  const executed = Buffer.concat([raw.parse('', 'CALL p()'), raw.bind(), raw.execute()]);
  assert.equal(of(Buffer.concat([executed, raw.sync().subarray(0, 3)])), null);
});

test('a server’s replies can be dropped while they report no lasting effect', () => {
  const rows = Buffer.concat([raw.message('1'), raw.message('2'), raw.message('T'), raw.message('D')]);
  const tag = (text: string): Buffer => raw.message('C', Buffer.from(`${text}\0`));
  assert.equal(isForgettable(Buffer.alloc(0), true), true);
  assert.equal(isForgettable(rows, true), true);
  assert.equal(isForgettable(Buffer.concat([tag('BEGIN'), rows]), true), true);
  // the Sync was sent: the statement may have been committed
  const executed = Buffer.concat([rows, tag('INSERT 0 1')]);
  assert.equal(isForgettable(executed, true), false);
  assert.equal(isForgettable(executed, false), true);
  // a warning may be "already committed locally"
  assert.equal(isForgettable(raw.message('N'), false), false);
});

/** Every command of PostgreSQL 18's manual ("SQL Commands"), with the forms that differ in what they leave behind. */
const COMMANDS: Record<StatementKind, string[]> = {
  begin: ['BEGIN', 'begin isolation level serializable', 'START TRANSACTION READ WRITE'],
  rollback: ['ROLLBACK', 'abort', 'ROLLBACK WORK'],
  session: [
    '',
    'DEALLOCATE ALL',
    'DISCARD ALL',
    'LISTEN c',
    "LOAD 'lib'",
    'PREPARE q AS DELETE FROM t',
    'RESET ALL',
    'SET x = 1',
    'SET CONSTRAINTS ALL DEFERRED',
    'SET ROLE r',
    'SET SESSION AUTHORIZATION r',
    'SET TRANSACTION READ ONLY',
    'SHOW x',
    'UNLISTEN *',
  ],
  plain: [
    'ALTER AGGREGATE a(int) OWNER TO r',
    'ALTER EXTENSION e UPDATE',
    'ALTER FOREIGN TABLE t ADD c int',
    'ALTER FUNCTION f() VOLATILE',
    'ALTER GROUP g ADD USER u',
    'ALTER INDEX i RENAME TO j',
    'ALTER MATERIALIZED VIEW v RENAME TO w',
    'ALTER POLICY p ON t RENAME TO q',
    'ALTER ROLE r SET x = 1',
    'ALTER SEQUENCE s RESTART',
    'ALTER TABLE t DETACH PARTITION p',
    "ALTER TYPE e ADD VALUE 'x'",
    'ALTER USER u LOGIN',
    'ALTER VIEW v RENAME TO w',
    "COMMENT ON TABLE t IS ''",
    'CREATE EXTENSION e',
    'CREATE UNIQUE INDEX i ON t (a)',
    'CREATE ROLE r',
    'CREATE TABLE t AS SELECT 1',
    'CREATE TEMP TABLE t (a int)',
    'CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ COMMIT; CALL p() $$',
    'DELETE FROM t',
    'DROP INDEX i',
    'DROP TABLE t',
    'EXPLAIN ANALYZE SELECT 1',
    'GRANT ALL ON t TO r',
    'INSERT INTO t VALUES (1)',
    'LOCK t',
    'MERGE INTO t USING s ON a = b WHEN MATCHED THEN DELETE',
    'NOTIFY c',
    'REFRESH MATERIALIZED VIEW CONCURRENTLY v',
    'REVOKE ALL ON t FROM r',
    'SELECT nextval($1)',
    'SELECT pg_notify($1, $2)',
    'TABLE t',
    'TRUNCATE t',
    'UPDATE t SET a = 1',
    'VALUES (1)',
    'WITH w AS (SELECT 1) SELECT * FROM w',
  ],
  transactional: [
    'ALTER COLLATION c REFRESH VERSION',
    'ALTER DATABASE d SET x = 1',
    'ALTER DATABASE d RENAME TO e',
    'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO r',
    'ALTER LARGE OBJECT 1 OWNER TO r',
    'ALTER PUBLICATION p ADD TABLE t',
    'ALTER SERVER s OPTIONS (a $1)',
    'ALTER TABLESPACE s RENAME TO u',
    'CLOSE c',
    'COMMIT',
    'COPY t FROM STDIN',
    "COPY t FROM '/tmp/x'",
    'COPY t TO STDOUT',
    'COPY (SELECT * FROM t) TO STDOUT WITH (FORMAT csv)',
    'COPY t (a, b) FROM STDIN',
    'CREATE CAST (a AS b) WITHOUT FUNCTION',
    'CREATE PUBLICATION p',
    'CREATE SERVER s FOREIGN DATA WRAPPER w',
    'DECLARE c CURSOR FOR SELECT 1',
    'DROP OWNED BY r',
    'DROP PUBLICATION p',
    'END',
    'EXECUTE q',
    'FETCH c',
    'IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y',
    'MOVE c',
    'PREPARE TRANSACTION $1',
    'REASSIGN OWNED BY r TO s',
    'RELEASE SAVEPOINT s',
    'ROLLBACK TO SAVEPOINT s',
    'ROLLBACK AND CHAIN',
    'SAVEPOINT s',
    "SECURITY LABEL ON TABLE t IS ''",
  ],
  other: [
    'ALTER DATABASE d SET TABLESPACE s',
    'ALTER SUBSCRIPTION s REFRESH PUBLICATION',
    'ALTER SYSTEM SET x = 1',
    'ALTER TABLE t DETACH PARTITION p CONCURRENTLY',
    'ANALYZE',
    'ANALYZE a, b',
    'CALL p()',
    'CHECKPOINT',
    'CLUSTER',
    "COMMIT PREPARED 'x'",
    "COPY t TO '/tmp/x'",
    "COPY t TO PROGRAM 'x'",
    "COPY (SELECT * FROM t) TO '/tmp/x'",
    "COPY (SELECT a FROM t) TO '/tmp/x' WITH (FORMAT csv)",
    `SELECT "dblink"('host=other', 'SELECT 1')`,
    `SELECT "public"."dblink_exec" ('UPDATE t SET a = 1')`,
    "COPY t FROM PROGRAM 'x'",
    'CREATE DATABASE d',
    'CREATE INDEX CONCURRENTLY i ON t (a)',
    "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
    "CREATE TABLESPACE s LOCATION '/x'",
    'DO $$ BEGIN COMMIT; END $$',
    'DROP DATABASE d WITH (FORCE)',
    'DROP INDEX CONCURRENTLY i',
    'DROP SUBSCRIPTION s',
    'DROP TABLESPACE s',
    'REINDEX DATABASE d',
    'REINDEX SYSTEM d',
    'REINDEX TABLE CONCURRENTLY t',
    'REPACK t',
    "ROLLBACK PREPARED 'x'",
    'VACUUM t',
    // a replication connection's
    'START_REPLICATION SLOT s LOGICAL 0/0',
    'CREATE_REPLICATION_SLOT s LOGICAL p',
    // functions whose effect no ROLLBACK takes back
    "SELECT dblink('c', 'q')",
    "SELECT * FROM dblink_exec('q')",
    "SELECT lo_export(1, '/x')",
    "SELECT pg_logical_emit_message(false, 'a', 'b')",
    "SELECT pg_create_logical_replication_slot('s', 'p')",
    "SELECT pg_drop_replication_slot('s')",
    "SELECT * FROM pg_logical_slot_get_changes('s', NULL, NULL)",
    "SELECT pg_replication_origin_create('o')",
    'SELECT pg_terminate_backend(1)',
    'SELECT pg_promote ()',
    'SELECT pg_reload_conf()',
    'SELECT pg_switch_wal()',
    'SELECT pg_stat_reset()',
    'INSERT INTO t SELECT pg_switch_wal()',
  ],
};

test('every SQL command of the manual has a kind, by its effect when its session ends', () => {
  for (const [kind, commands] of Object.entries(COMMANDS)) {
    for (const sql of commands) {
      for (const text of [sql, sql.toLowerCase(), `/* why */ ${sql.replaceAll(' ', '\n\t')} ;`]) {
        assert.deepEqual(statementsOf(text)?.map(kindOf) ?? null, sql === '' ? [] : [kind], text);
      }
      assert.equal(isRepeatable(sql), kind !== 'transactional' && kind !== 'other', sql);
    }
  }
});

test('a string is cut into statements only where it is certain where each one ends', () => {
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

const NO_NAMES = (): null => null;
const run = (sql: string): Buffer => Buffer.concat([raw.parse('', sql), raw.bind(), raw.execute()]);

test('a cycle counts as rolled back if it had not ended and nothing in it commits by itself', () => {
  const of = (bytes: Buffer[], more: Partial<Interrupted> = {}): boolean =>
    isRolledBack(
      { bytes: Buffer.concat(bytes), isComplete: true, answered: 0, pending: 1, ...more },
      NO_NAMES,
    );
  for (const kind of ['begin', 'plain', 'session', 'transactional', 'other'] as const) {
    const isCertain = kind !== 'other';
    for (const sql of COMMANDS[kind].filter((each) => each !== '')) {
      // one that runs, by itself, in a string with others, and in a pipeline after others
      assert.equal(of([raw.query(sql)]), isCertain, sql);
      assert.equal(of([raw.query(`SELECT 1; ${sql}`)], { answered: 1 }), isCertain, sql);
      assert.equal(of([run(sql), raw.sync()]), isCertain, sql);
      assert.equal(of([run('SELECT 1'), run(sql), raw.sync()], { answered: 1 }), isCertain, sql);
      // one that is answered, and another runs in the same pipeline
      assert.equal(of([run(sql), run('SELECT 1'), raw.sync()], { answered: 1 }), isCertain, sql);
      assert.equal(of([run(sql), run('SELECT 1'), raw.flush()], { answered: 1 }), isCertain, sql);
      // all are answered, but for the end
      assert.equal(of([raw.query(sql)], { answered: 1, pending: 1 }), false, sql);
      assert.equal(of([raw.query(`SELECT 1; ${sql}`)], { answered: 2 }), false, sql);
      assert.equal(of([run(sql), raw.sync()], { answered: 1, pending: 0 }), false, sql);
      // what comes after the cycle has not begun
      assert.equal(of([raw.query('SELECT 1'), raw.query(sql)]), true, sql);
    }
  }
  assert.equal(of([raw.message('F', Buffer.alloc(10))]), false, 'a function call');
  assert.equal(of([raw.bind('unknown'), raw.execute(), raw.sync()]), false, 'a statement that is not known');
  assert.equal(of([raw.parse('', 'CALL p()'), raw.describe('S'), raw.sync()], { pending: 0 }), true);
});

test('a statement whose end is not kept counts as rolled back if it is the only one', () => {
  const large = Buffer.concat([raw.parse('', 'INSERT INTO t VALUES ($1)'), raw.bind('', ['x'.repeat(1000)])]);
  const of = (bytes: Buffer, more: Partial<Interrupted> = {}): boolean =>
    isRolledBack({ bytes, isComplete: false, answered: 0, pending: 1, ...more }, NO_NAMES);
  const cut = large.subarray(0, large.length - 500);
  assert.equal(of(cut), true);
  assert.equal(of(large), true);
  assert.equal(of(cut, { pending: 2 }), false);
  assert.equal(of(cut, { answered: 1 }), false);
  assert.equal(of(Buffer.concat([raw.parse('', 'CALL p()'), raw.bind()])), false);
  assert.equal(of(raw.query(`INSERT INTO t VALUES ('${'x'.repeat(1000)}')`).subarray(0, 100)), false);
  assert.equal(of(Buffer.alloc(0)), false);
});

test('bytes that can have committed nothing even if all of them were executed', () => {
  const of = (...bytes: Buffer[]): boolean => isUncommitted(Buffer.concat(bytes), NO_NAMES);
  for (const bytes of [
    raw.query('BEGIN'),
    raw.query('begin; insert into t values (1)'),
    raw.query('SET x = 1; SHOW x'),
    raw.sync(),
    Buffer.concat([raw.parse('', 'INSERT INTO t VALUES (1)'), raw.describe('S'), raw.sync()]),
    Buffer.concat([raw.parse('', 'CALL p()'), raw.bind(), raw.describe('P'), raw.sync()]),
    Buffer.concat([
      run('BEGIN'),
      run('INSERT INTO t VALUES (1)'),
      raw.sync(),
      run('DELETE FROM t'),
      raw.sync(),
    ]),
    raw.query('BEGIN; DELETE FROM t; ROLLBACK; BEGIN'),
  ])
    assert.equal(of(bytes), true, bytes.toString('latin1'));
  for (const bytes of [
    raw.query('SELECT f()'),
    raw.query('BEGIN; INSERT INTO t VALUES (1); COMMIT'),
    raw.query('BEGIN; DELETE FROM t; ROLLBACK; DELETE FROM t'),
    Buffer.concat([run('BEGIN'), raw.sync(), run('CALL p()'), raw.sync()]),
    Buffer.concat([raw.query('BEGIN'), raw.query('END')]),
    raw.message('F', Buffer.alloc(10)),
  ])
    assert.equal(of(bytes), false, bytes.toString('latin1'));
  assert.equal(uncommittedBytes(raw.query('BEGIN'), NO_NAMES, false), 0);
  const harmless = Buffer.concat([raw.query('SET x = 1'), raw.query('ROLLBACK')]);
  const both = Buffer.concat([harmless, raw.query('INSERT INTO t VALUES (1)'), raw.query('SET x = 1')]);
  assert.equal(uncommittedBytes(harmless, NO_NAMES, false), harmless.length);
  assert.equal(uncommittedBytes(both, NO_NAMES, false), harmless.length);
});

test('cycles end after a Query, a FunctionCall and a Sync', () => {
  const parts = [
    raw.query('SELECT 1'),
    Buffer.concat([run('SELECT 2'), raw.sync()]),
    raw.message('F', Buffer.alloc(10)),
  ];
  const bytes = Buffer.concat(parts);
  const ends = [parts[0]!.length, parts[0]!.length + parts[1]!.length, bytes.length];
  assert.deepEqual(cyclesOf(bytes), { ends, isCut: false });
  assert.deepEqual(cyclesOf(bytes.subarray(0, -1)), { ends: ends.slice(0, 2), isCut: true });
  assert.deepEqual(cyclesOf(Buffer.concat([bytes, raw.parse('', 'x').subarray(0, -1)])), {
    ends,
    isCut: false,
  });
});
