/** Which queries are a plain ROLLBACK, and what finding out costs. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { isRollback } from '../../src/sql/rollback.ts';
import { fingerprint, queryShape } from '../../src/sql/fingerprint.ts';

test('a plain ROLLBACK is known, however it is written', () => {
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

/** How many characters of a text are looked at. */
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

test('fingerprints leave out constants, comments, spaces and case, also where they have no end', () => {
  const same = [
    "select a1 from t where b = 'x' and c = 5",
    "SELECT  a1\nFROM t /* it's */ WHERE b = 'it''s' -- 1\n AND c = 5.5",
    'select a1 from t where b = $1 and c = $2 /*',
    "select a1 from t where b = '' and c = '",
  ];
  assert.equal(new Set(same.map(fingerprint)).size, 1, same.map(fingerprint).join());
  assert.notEqual(fingerprint('select a1'), fingerprint('select a2'));
  for (const text of ['/*', "'", '/*/', '1', '$', 'x', '--', '\\', ' '])
    assert.match(fingerprint(text.repeat(1_000_000)), /^[0-9a-f]{16}$/);
});

for (const [query, shape] of [
  ["SELECT a FROM t\n WHERE b = 'secret' -- secret", 'SELECT a FROM t WHERE b = ?'],
  ["select 'it''s secret', 'C:\\secret', x", 'select ?, ..., x'],
  ["select E'it\\'s secret', x", 'select ?, x'],
  // whether it ends at the second quote depends on the server's settings
  ["select 'a\\' , 'secret' from t", 'select ?'],
  ['select $$secret$$, $x$ secret $$ $x$, $1 from t', 'select ?, ... from t'],
  ["select U&'secret', x'5ec', B'1', N'secret' from t", 'select ?, ... from t'],
  ['select 1e5, .5, 0xFF, 1_000, 5.0e-3', 'select ?, ...-?'],
  ['select /* a /* secret */ secret */ "Tab".a1 from "Tab"', 'select "Tab".a1 from "Tab"'],
  ["insert into t values (1, 'secret'), (2, 'secret')", 'insert into t values (?, ...), (?, ...)'],
  ["alter role a password 'secret", 'alter role a password ?'],
  ['select $a$secret', 'select ?'],
  ['select /* secret', 'select'],
  [`select ${'x'.repeat(300)}`, `select ${'x'.repeat(193)}…`],
] as const) {
  test(`the shape of ${JSON.stringify(query.slice(0, 60))} has no constants`, () => {
    assert.equal(queryShape(query), shape);
  });
}
