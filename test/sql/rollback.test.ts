/** Which queries are a plain ROLLBACK, and the cost of finding out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { kindOf } from '../../src/sql/kind.ts';
import { isRollback } from '../../src/sql/rollback.ts';
import { whiteSpace } from '../support/sql.ts';

test('a plain ROLLBACK is recognized, and nothing else is', () => {
  for (const query of [
    'rollback',
    'ROLLBACK;',
    ' Abort Work ; ',
    'rollback\ttransaction',
    '\r\nrollback\n;\n',
    'ABORT',
  ])
    assert.equal(isRollback(query), true, query);
  for (const query of [
    '',
    ' ',
    'rollback to a',
    'rollback work work',
    'rollback prepared x',
    'rollbackwork',
    'rollback transactions',
    'rollback and chain',
    'rollback;;',
    'rollback; drop table t',
    'rollback work; x',
    'xrollback',
    'rollbac',
    'abort\u00a0',
    'commit',
  ])
    assert.equal(isRollback(query), false, query);
});

/** The number of characters of a text that are looked at. */
function looks(query: string): number {
  let count = 0;
  const text = {
    length: query.length,
    charCodeAt: (at: number): number => {
      count++;
      return query.charCodeAt(at);
    },
  };
  isRollback(text as unknown as string);
  return count;
}

const SPACE = ' '.repeat(500_000);
for (const [what, make] of Object.entries<(filling: string) => string>({
  'spaces before': (filling) => filling,
  'spaces before, and no rollback': (filling) => `${filling}x`,
  'spaces after it, and a letter': (filling) => `rollback${filling}x`,
  'spaces after work, and a letter': (filling) => `rollback work${filling}x`,
  'spaces around the semicolon, and a letter': (filling) => `${filling}rollback${filling};${filling}x`,
  'spaces everywhere': (filling) => `${filling}abort${filling}transaction${filling};${filling}`,
})) {
  test(`looking for a ROLLBACK is linear: ${what}`, () => {
    const [once, twice] = [looks(make(SPACE)), looks(make(SPACE + SPACE))];
    assert.ok(twice <= once * 2 + 100, `${once} characters, then ${twice}`);
    assert.ok(twice <= make(SPACE + SPACE).length * 4 + 100);
  });
}

test('a query that cannot be a ROLLBACK is given up at its first word', () => {
  assert.ok(looks(`select ${'x'.repeat(1_000_000)}`) < 50);
});

test('a plain ROLLBACK is recognized with any white space and case, and not with a comment', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('rollback', 'abort'),
      fc.constantFrom('', 'work', 'transaction'),
      fc.constantFrom('', ';'),
      fc.tuple(whiteSpace, whiteSpace, whiteSpace, whiteSpace),
      fc.boolean(),
      (verb, noise, end, [a, b, c, d], isUpper) => {
        const words = verb + (noise === '' ? '' : b + noise);
        const sql = `${a}${isUpper ? words.toUpperCase() : words}${c}${end}${d}`;
        assert.equal(isRollback(sql), true, sql);
        assert.equal(kindOf(sql.replace(';', '')), 'rollback');
        assert.equal(isRollback(`${sql}/* x */`), false, sql);
        assert.equal(isRollback(`${sql}; x`), false, sql);
      },
    ),
  );
});

test('every plain ROLLBACK is of the kind rollback, and no text makes the search throw', () => {
  const unit = fc.constantFrom('rollback', 'abort', 'work', 'to', ';', ' ', '/**/', 'a', "'", '$');
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 6 }), (sql) => {
      if (isRollback(sql)) assert.equal(kindOf(sql.replace(';', '')), 'rollback', sql);
    }),
    { numRuns: 2000 },
  );
});
