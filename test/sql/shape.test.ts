/** Shapes show no constants, and a text made from a shape gets them back as whole tokens. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { loadModule, scanSync } from 'libpg-query';
import { lexingOf, UNKNOWN_LEXING, type Lexing } from '../../src/sql/lexing.ts';
import { restored } from '../../src/sql/restoring.ts';
import { Scanner, Token } from '../../src/sql/scanner.ts';
import { shapeOf, type Shape } from '../../src/sql/shape.ts';
import { hasInnerComment, sqlText } from '../support/sql-text.ts';

before(loadModule);

const ON = lexingOf('on', 'UTF8');

function shape(query: string, lexing: Lexing = ON): Shape {
  const found = shapeOf(query, lexing);
  assert.ok(found !== null, query);
  return found;
}

/** The query for a shape that a rule has changed; a complaint after `!`. */
function put(query: string, rewritten: string, maxLength = 1_000): string {
  const result = restored(rewritten, shape(query), maxLength);
  return 'text' in result ? result.text : `!${result.complaint}`;
}

for (const [query, expected] of [
  ["SELECT * FROM t WHERE a = 'x' AND b = 5", 'SELECT * FROM t WHERE a = $1 AND b = $2'],
  ["  select\n\t'a' /* data */ , -5 -- data\n", 'select $1 , -$2'],
  ['', ''],
  [' -- only a comment', ''],
  ['/*+ SeqScan(t) */ select 1', 'select $1'],
  // parameters keep their numbers, wherever they are
  ['select 5, $2, $1', 'select $3, $2, $1'],
  ['select $3, 5, 6', 'select $3, $4, $5'],
  ['select $99999999999, 5', 'select $99999999999, $1'],
  // names and key words stay
  ['select "a 1".b2, NULL, true, x1 from "T"', 'select "a 1".b2, NULL, true, x1 from "T"'],
  ["select date '2020-01-01', 'x'::text, interval '1 day'", 'select date $1, $2::text, interval $3'],
  ["select E'it\\'s', $$a$$, $t$b$t$, B'1', X'f', N'n'", 'select $1, $2, $3, $4, $5, $6'],
  ["select 'a'\n  'b' -- c\n 'd', 'e'", 'select $1, $2'],
  ["select U&'d!0061' UESCAPE '!', U&\"d!0061\" UESCAPE '!', 1", 'select $1, U&"d!0061" UESCAPE \'!\', $2'],
  ["select U&'a' /* b */\n uescape '!' || 'c'", 'select $1 || $2'],
  ["select U&'a' uescape, 'b'", 'select $1 uescape, $2'],
  ['select U&"a" uescape \'data\'', 'select U&"a" uescape $1'],
  ['select 1..2, 1.5e-3, 0x1F, 1_000, .5', 'select $1..$2, $3, $4, $5, $6'],
  // a placeholder is a token of its own
  ["select date'2020-01-01'and 1'a'", 'select date $1 and $2 $3'],
  ['select a.5, $1.5, 1FROM t', 'select a $2, $1 $3, $4 FROM t'],
  ["select 'a''b' 'c'$$d$$", 'select $1 $2 $3'],
  ['select 1;select 2 ;', 'select $1;select $2 ;'],
  ['select a=-1, b- -1, c/**/d', 'select a=-$1, b- -$2, c d'],
  // what has no end is one constant
  ["select 'data", 'select $1'],
  ['select 1, /* data', 'select $1, $2'],
  ['select "data from t', 'select $1'],
  ['select $a$ data', 'select $1'],
] as const) {
  test(`the shape of ${JSON.stringify(query)}`, () => {
    assert.equal(shape(query).text, expected);
  });
}

test('with standard_conforming_strings = off there are no shapes', () => {
  assert.equal(shapeOf('select 1', lexingOf('off', 'UTF8')), null);
});

for (const [query, expected] of [
  ["select 'a\\b', E'\\''", 'select $1, $2'],
  ["select 'C:\\', 'b'", null],
  ["select 'é', x = ANY('{é}')", 'select $1, x = ANY($2)'],
  // in GBK the backslash could belong to the character before it
  ["select E'é\\' or 1", null],
  ["select 'é\\\\', 1", null],
  ['select $é\\$', null],
  ['select é|a', null],
  ["select U&'é\\' , B'é\\'", 'select $1 , $2'],
] as const) {
  test(`${JSON.stringify(query)} while settings are not known`, () => {
    assert.equal(shapeOf(query, UNKNOWN_LEXING)?.text ?? null, expected);
  });
}

for (const [encoding, bytes, expected] of [
  // 表 is 0x95 0x5c in SJIS
  ['SJIS', "select E'\x95\\', 'b", 'select $1, $2'],
  ['SJIS', "select E'\xb1\\'', 'b'", 'select $1, $2'],
  ['shift_jis_2004', "select E'\x95\\', 'b", 'select $1, $2'],
  ['GBK', "select E'\xb1\\', 'b", 'select $1, $2'],
  ['BIG5', "select E'\xb1\\', 'b", 'select $1, $2'],
  ['LATIN1', "select E'\xb1\\'', 'b'", 'select $1, $2'],
  ['GB18030', "select $\x81\x30\x81\x30$ ' $\x81\x30\x81\x30$, 1", 'select $1, $2'],
  ['UHC', "select $\xb1\\$ ' $\xb1\\$, 1", 'select $1, $2'],
  ['JOHAB', 'select \xb1;1, 1', 'select \xb1;1, $1'],
  ['EUC_JP', 'select \xb1;1, 1', 'select \xb1;$1, $2'],
] as const) {
  test(`the shape of ${JSON.stringify(bytes)} in ${encoding}`, () => {
    assert.equal(shape(bytes, lexingOf('on', encoding)).text, expected);
  });
}

for (const [query, rewritten, expected] of [
  ["select 'a', 5", 'select $2, $1, $2', "select 5, 'a', 5"],
  ["select $1, 'a'", 'select $2, $1, $1', "select 'a', $1, $1"],
  ["select 'a'", 'select 1', 'select 1'],
  [
    "select 'a'",
    'select \'$1\', "$1", $$ $1 $$, /* $1 */ x$1, $1 -- $1',
    "select '$1', \"$1\", $$ $1 $$, /* $1 */ x$1, 'a' -- $1",
  ],
  // tokens stay apart
  ["select 'a'", "select 1$1'b'", "select 1 'a' /**/'b'"],
  ["select 'a', 5", 'select $1$2.x', "select 'a' 5 .x"],
  ['select .5, 5', 'select a.$1, $2..$1', 'select a. .5, 5 .. .5'],
  ["select 'a'", 'select u&$1and x', "select u& 'a' and x"],
  ["select 'a', 'b'", 'select $1\n$2', "select 'a'\n/**/'b'"],
  ["select 'a'", "select 'b'\n$1 -- c\n 'd'", "select 'b'\n/**/'a' -- c\n /**/'d'"],
  ["select 'a'", "select 'b'\n'c', $1", "select 'b'\n'c', 'a'"],
  ['select $$a$$', 'select x($1)', 'select x($$a$$)'],
  ["select 'a\nb'\n 'c', 1", 'select $1', "select 'a\nb'\n 'c'"],
  ["select U&'a' UESCAPE '!', 1", 'select $1', "select U&'a' UESCAPE '!'"],
  // the rule's mistakes
  ["select 'a'", 'select $2', '!returned a query with $2, but the shape ends with $1'],
  ['select x', 'select $1', '!returned a query with $1, but the shape has no numbers'],
  ['select x', 'select $0, $99999999999', 'select $0, $99999999999'],
  // what has no end must not swallow what a rule adds, nor end there
  ["select 'a", 'select $1', "select 'a"],
  ["select 'a", 'select $1, $1', '!returned a query in which text follows $1, a constant without an end'],
  ["select 'a", "select $1 -- '", '!returned a query in which text follows $1, a constant without an end'],
  ["select 'a", 'select 1', 'select 1'],
] as const) {
  test(`${JSON.stringify(rewritten)} for ${JSON.stringify(query)}`, () => {
    assert.equal(put(query, rewritten), expected);
  });
}

test('constants that are used too often make a text too long', () => {
  const result = restored(
    `select ${'$1,'.repeat(10_000)}1`,
    shape(`select '${'x'.repeat(60_000)}'`),
    1_000_000,
  );
  assert.ok('complaint' in result);
  assert.equal(result.isTooLong, true);
  assert.match(result.complaint, /more than 1000000 characters/);
});

/** Tokens as a server sees them, without comments. */
function tokensOf(text: string): string[] | null {
  try {
    return scanSync(text)
      .tokens.filter(({ tokenType }) => tokenType !== 275 && tokenType !== 276)
      .map(({ tokenType, text: token }) => `${tokenType} ${token}`);
  } catch {
    return null;
  }
}

test('the shape with its constants has the tokens of the query', () => {
  let compared = 0;
  fc.assert(
    fc.property(sqlText, (query) => {
      const expected = tokensOf(query);
      if (expected === null || hasInnerComment(query)) return;
      const found = shape(query);
      const result = restored(found.text, found, Infinity);
      assert.ok('text' in result, JSON.stringify(result));
      assert.deepEqual(
        tokensOf(result.text),
        expected,
        `${JSON.stringify(query)} -> ${JSON.stringify(found.text)} -> ${JSON.stringify(result.text)}`,
      );
      compared++;
    }),
    { numRuns: 3_000 },
  );
  assert.ok(compared > 1_000);
});

test('a shape has no constants, and is its own shape', () => {
  fc.assert(
    fc.property(sqlText, (query) => {
      const { text, last, isFinished } = shape(query);
      if (!isFinished) return;
      const again = shape(text);
      // that a name is escaped is all that a shape may say in quotes
      const isName = / UESCAPE '.'/.test(text);
      if (!isName) assert.equal(again.text, text);
      const parameters: number[] = [];
      for (const scanner = new Scanner(text, 'plain'); scanner.next();) {
        if (scanner.kind === Token.Parameter) parameters.push(Number(scanner.text.slice(1)));
        else if (!isName) assert.notEqual(scanner.kind, Token.Text, text);
        assert.notEqual(scanner.kind, Token.Number, text);
        assert.notEqual(scanner.kind, Token.DollarText, text);
        assert.notEqual(scanner.kind, Token.Comment, text);
      }
      assert.ok(parameters.every((number) => number <= last));
    }),
    { numRuns: 3_000 },
  );
});

test('constants put anywhere remain tokens of their own', () => {
  const place = fc.array(
    fc.constantFrom(
      '$1',
      '$2',
      '$1',
      "'x'",
      '"x"',
      'x',
      '1',
      '.',
      '&',
      'u&',
      '(',
      '::',
      '-',
      '\n',
      ' ',
      ',',
      '--\n',
      '/*a*/',
    ),
  );
  fc.assert(
    fc.property(sqlText, place, (query, parts) => {
      const found = shapeOf(`select 'a', 5, ${query}`, ON);
      if (found === null || !found.isFinished || found.parameters > 0) return;
      const text = parts.join('');
      const before = tokensOf(text);
      const result = restored(text, found, Infinity);
      if (before === null || !('text' in result)) return;
      const expected = before.map((each) =>
        each.replace(/^267 \$1$/, "261 'a'").replace(/^267 \$2$/, '266 5'),
      );
      assert.deepEqual(tokensOf(result.text), expected, JSON.stringify([text, result.text]));
    }),
    { numRuns: 3_000 },
  );
});
