/** SQL commands by their effect, and ways to write the same text differently. */
import fc from 'fast-check';
import type { StatementKind } from '../../src/sql/kind.ts';

/** Every command of PostgreSQL 18's manual ("SQL Commands"), in each form whose effect differs. */
export const COMMANDS: Record<StatementKind, string[]> = {
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
    // functions whose effect survives a ROLLBACK
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

/** White space and comments, at least one character. */
export const spacing = fc
  .array(
    fc.oneof(
      fc.constantFrom(' ', '\t', '\n', '\r\n', '\f', '\v'),
      fc.constantFrom('/**/', "/* it's */", '/* ; commit; */', '/* " */', '-- ;\n', "-- it's\r", '--$$\n'),
    ),
    { minLength: 1, maxLength: 4 },
  )
  .map((parts) => parts.join(''));

/** White space, at least one character. */
export const whiteSpace = fc
  .array(fc.constantFrom(' ', '\t', '\n', '\r', '\f', '\v'), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join(''));

/** A statement with other spacing before, between and after its words, and in the other case; constants stay. */
export function rewritten(sql: string, spaces: readonly string[], isUpper: boolean): string {
  let i = 0;
  const next = (): string => spaces[i++ % spaces.length]!;
  const text = sql
    .split(/('[^']*'|\$\$.*?\$\$|"[^"]*")/)
    .map((part, at) => {
      if (at % 2 === 1) return part;
      return (isUpper ? part.toUpperCase() : part.toLowerCase()).replaceAll(' ', next);
    })
    .join('');
  return next() + text + next();
}
