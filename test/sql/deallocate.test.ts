/** Which texts drop prepared statements: one, or all of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { deallocatedName, dropsAll, mayDeallocate } from '../../src/sql/deallocate.ts';
import { spacing } from '../support/sql.ts';

function isDropped(sql: string): boolean {
  const bytes = Buffer.from(`${sql}\0`);
  return dropsAll(bytes, 0, bytes.length);
}

test('DEALLOCATE of one statement gives the name as a Parse has it', () => {
  for (const [sql, name] of [
    ['deallocate a', 'a'],
    ['DEALLOCATE PREPARE Ab_1$x ;', 'ab_1$x'],
    ['deallocate "A b"', 'A b'],
    ['deallocate "say ""a"""', 'say "a"'],
    ['deallocate prepare "all"', 'all'],
    ['deallocate prepare', 'prepare'],
    ['deallocate prepare;', 'prepare'],
    ['deallocate prepare prepare', 'prepare'],
    ['deallocate\n\tpdo_stmt_00000001', 'pdo_stmt_00000001'],
    // the bytes of an UTF-8 name keep their case
    [Buffer.from('deallocate ÉT').toString('latin1'), Buffer.from('Ét').toString('latin1')],
  ] as const)
    assert.equal(deallocatedName(sql), name, sql);
  for (const sql of [
    '',
    'deallocate',
    'deallocate all',
    'deallocate prepare ALL',
    'deallocate ""',
    'deallocate "a',
    'deallocate a b',
    'deallocate "prepare" b',
    'deallocate a; select 1',
    'deallocate a;;',
    'deallocate 1',
    "deallocate 'a'",
    'deallocate U&"a"',
    'deallocate a /*',
    'deallocate prepare /* a',
    'deallocate prepare a b',
    'deallocated a',
    'delete from a',
  ])
    assert.equal(deallocatedName(sql), null, sql);
});

test('a statement that drops all prepared statements is recognized at the beginning of a text', () => {
  for (const sql of [
    'discard all',
    'DISCARD ALL;',
    'deallocate all',
    'Deallocate Prepare All',
    'discard\n all; select 1',
    'deallocate /* x */ all',
  ])
    assert.equal(isDropped(sql), true, sql);
  for (const sql of [
    '',
    'd',
    'discard',
    'discard temp',
    'discard prepare all',
    'deallocate',
    'deallocate a',
    'deallocate "all"',
    'discard alls',
    ' discard all',
    '-- x\ndiscard all',
    'delete from all',
    `discard all; ${' '.repeat(64)}`,
  ])
    assert.equal(isDropped(sql), false, sql);
});

test('a text has the same effect on statements with any white space and comments in it', () => {
  const name = fc.constantFrom('a', '"B ""c"', 'prepare', '"all"', 'x$1');
  fc.assert(
    fc.property(
      name,
      fc.boolean(),
      fc.tuple(spacing, spacing, spacing, spacing),
      fc.boolean(),
      (named, hasPrepare, [a, b, c, d], isEnded) => {
        const prepare = hasPrepare ? 'PREPARE ' : '';
        const plain = `DEALLOCATE ${prepare}${named}`;
        const other = `Deallocate${a}${prepare === '' ? '' : `prepare${b}`}${named}${c}${isEnded ? `;${d}` : ''}`;
        assert.notEqual(deallocatedName(plain), null, plain);
        assert.equal(deallocatedName(other), deallocatedName(plain), other);
      },
    ),
  );
});

test('a text that deallocates a statement passes the look at its letters and its size', () => {
  const at = 3;
  const look = (sql: string, there = Infinity): boolean => {
    const bytes = Buffer.concat([Buffer.alloc(at, 'x'), Buffer.from(`${sql}\0`)]);
    return mayDeallocate(bytes.subarray(0, there), at, bytes.length);
  };
  for (const sql of ['deallocate a', 'DEALLOCATE a', 'dEaLlocate "b"']) {
    assert.equal(look(sql), true, sql);
    for (let there = 0; there < sql.length; there++)
      assert.equal(look(sql, there), true, `${sql} to ${there}`);
  }
  for (const sql of [
    'select 1',
    'delete from t',
    'declare c cursor for select 1',
    `deallocate ${'a'.repeat(200)}`,
  ])
    assert.equal(look(sql), false, sql);
});

test('no text makes the search throw, and no other statement is taken for one', () => {
  const unit = fc.constantFrom(
    'deallocate',
    'discard',
    'prepare',
    'all',
    ' ',
    ';',
    '"',
    "'",
    'a',
    '$',
    '/*',
    '*/',
  );
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 8 }), (sql) => {
      const name = deallocatedName(sql);
      if (name !== null) assert.match(sql, /^(?:\s|\/\*[^]*?\*\/)*deallocate/);
      if (isDropped(sql)) assert.match(sql, /^(?:deallocate|discard)[^]*all/);
    }),
    { numRuns: 2000 },
  );
});
