/** Shapes and fingerprints of queries leave out the constants. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fingerprint, masked } from '../../src/sql/fingerprint.ts';
import { rewritten, spacing } from '../support/sql.ts';

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
  ['select 1e5, .5, 0xFF, 1_000, 5.0e-3', 'select ?, ...'],
  ['select 5ec12e7 , 5ec12e7-a', 'select ?, ...-a'],
  ['select /* a /* secret */ secret */ "Tab".a1 from "Tab"', 'select "Tab".a1 from "Tab"'],
  ["insert into t values (1, 'secret'), (2, 'secret')", 'insert into t values (?, ...), (?, ...)'],
  ["alter role a password 'secret", 'alter role a password ?'],
  ['select $a$secret', 'select ?'],
  ['select /* secret', 'select'],
  ['select "a b", "select \'secret\'", "no end secret', 'select "a b", ?, ...'],
  [`select "${'secret '.repeat(10)}"`, 'select ?'],
  [`select ${'x'.repeat(300)}`, `select ${'x'.repeat(193)}…`],
] as const) {
  test(`the shape of ${JSON.stringify(query.slice(0, 60))} has no constants`, () => {
    assert.equal(masked(query), shape);
  });
}

test('queries that differ in white space, comments, case and constants have one fingerprint', () => {
  const query = fc.constantFrom(
    'select a , b from t where c = $1 and d in ( $2 , $3 )',
    'insert into t ( a ) values ( $1 )',
    'update "T" set a = $1 where b = $2',
  );
  const constant = fc.oneof(
    fc.string().map((text) => `'${text.replaceAll(/['\\]/g, '')}'`),
    fc.string().map((text) => `E'${text.replaceAll(/['\\]/g, (each) => `\\${each}`)}'`),
    fc.string().map((text) => `$t$${text.replaceAll('$', '')}$t$`),
    fc.nat().map(String),
    fc.double({ min: 0, max: 1e9, noNaN: true }).map((number) => number.toFixed(3)),
  );
  fc.assert(
    fc.property(
      query,
      fc.array(spacing, { minLength: 1, maxLength: 5 }),
      fc.boolean(),
      fc.array(constant, { minLength: 3, maxLength: 3 }),
      (sql, spaces, isUpper, constants) => {
        const numbered = (_: string, i: string): string => constants[Number(i) - 1]!;
        const text = rewritten(sql.replaceAll(/\$([123])/g, '\u0001$1'), spaces, isUpper);
        // oxlint-disable-next-line no-control-regex
        const filled = text.replaceAll(/\u0001([123])/g, numbered);
        assert.equal(fingerprint(filled), fingerprint(sql), filled);
      },
    ),
    { numRuns: 500 },
  );
});

test('a shape is one line, and shows nothing of a constant', () => {
  const unit = fc.constantFrom(...Array.from('ab1$;"/*- \n\\(e'), 'secret');
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 30 }), (filling) => {
      const text = filled(filling);
      for (const constant of [`'${text}'`, `$x$${text}$x$`, `E'${text}'`])
        assert.equal(masked(`select ${constant} from t`), 'select ? from t');
      assert.doesNotMatch(masked(filling), /\n/);
    }),
    { numRuns: 1000 },
  );
});

/** A text that is the same in any quotes. */
function filled(text: string): string {
  return text.replaceAll(/[\\$]/g, '');
}
