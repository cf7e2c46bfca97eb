/** Which messages can be resent after a switchover. */
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
} from '../../src/session/state/resendable.ts';
import * as raw from '../support/raw.ts';
import { COMMANDS } from '../support/sql.ts';

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
  // the bound statement is the unnamed one, not the one that was parsed last
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
      // a running one, by itself, in a string with others, and in a pipeline after others
      assert.equal(of([raw.query(sql)]), isCertain, sql);
      assert.equal(of([raw.query(`SELECT 1; ${sql}`)], { answered: 1 }), isCertain, sql);
      assert.equal(of([run(sql), raw.sync()]), isCertain, sql);
      assert.equal(of([run('SELECT 1'), run(sql), raw.sync()], { answered: 1 }), isCertain, sql);
      // an answered one, while another is running in the same pipeline
      assert.equal(of([run(sql), run('SELECT 1'), raw.sync()], { answered: 1 }), isCertain, sql);
      assert.equal(of([run(sql), run('SELECT 1'), raw.flush()], { answered: 1 }), isCertain, sql);
      // all are answered, but for the end
      assert.equal(of([raw.query(sql)], { answered: 1, pending: 1 }), false, sql);
      assert.equal(of([raw.query(`SELECT 1; ${sql}`)], { answered: 2 }), false, sql);
      assert.equal(of([run(sql), raw.sync()], { answered: 1, pending: 0 }), false, sql);
      // the messages after the cycle have not begun
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
