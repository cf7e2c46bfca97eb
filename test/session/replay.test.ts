/** What may be sent again behind a switchover, by its text and by the messages that carry it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPlainStatement, replayable, said } from '../../src/session/replay.ts';
import * as raw from '../support/raw.ts';

test('one transactional statement is plain', () => {
  for (const sql of [
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
    assert.equal(isPlainStatement(sql), true, sql);
});

test('what commits inside, works outside of transactions, or is more than one, is not', () => {
  for (const sql of [
    '',
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
    assert.equal(isPlainStatement(sql), false, sql);
});

test('messages that execute one statement, or BEGIN and one more, or none', () => {
  const texts = new Map([
    ['w', 'INSERT INTO t VALUES (1)'],
    ['c', 'CALL p()'],
    ['b', 'BEGIN'],
  ]);
  const of = (...messages: Buffer[]): ReturnType<typeof replayable> =>
    replayable(Buffer.concat(messages), (name) => texts.get(name) ?? null);
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

test('what has not come whole yet has done nothing', () => {
  const of = (bytes: Buffer): ReturnType<typeof replayable> => replayable(bytes, () => null);
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

test('what a server has said before it went', () => {
  const rows = Buffer.concat([raw.message('1'), raw.message('2'), raw.message('T'), raw.message('D')]);
  const tag = (text: string): Buffer => raw.message('C', Buffer.from(`${text}\0`));
  const nothing = { isForgettable: true, isExecuted: false };
  assert.deepEqual(said(Buffer.alloc(0), true), nothing);
  assert.deepEqual(said(rows, true), nothing);
  assert.deepEqual(said(Buffer.concat([tag('BEGIN'), rows]), true), nothing);
  // the Sync was sent: it may have been committed
  const executed = Buffer.concat([rows, tag('INSERT 0 1')]);
  assert.deepEqual(said(executed, true), { isForgettable: false, isExecuted: true });
  assert.deepEqual(said(executed, false), { isForgettable: true, isExecuted: true });
  // a warning may be "already committed locally"
  assert.deepEqual(said(raw.message('N'), false), { isForgettable: false, isExecuted: false });
});
