/** Text is split into tokens by PostgreSQL's lexical rules, however strange or long it is. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { Scanner, Token } from '../../src/sql/scanner.ts';
import { workOf } from '../support/work.ts';

interface Found {
  readonly kind: Token;
  readonly text: string;
  readonly isClosed: boolean;
}

function tokensOf(sql: string): Found[] {
  const found: Found[] = [];
  for (const scanner = new Scanner(sql); scanner.next();) {
    const { kind, text, isClosed } = scanner;
    found.push({ kind, text, isClosed });
  }
  return found;
}

const NAMES = Object.fromEntries(Object.entries(Token).map(([name, kind]) => [kind, name]));

/** As kinds and texts, without white space; `!` after a token without an end. */
function described(sql: string): string {
  return tokensOf(sql)
    .filter(({ kind }) => kind !== Token.Space)
    .map(({ kind, text, isClosed }) => `${NAMES[kind]}${isClosed ? '' : '!'} ${text}`)
    .join(', ');
}

for (const [sql, tokens] of [
  ['select a1', 'Word select, Word a1'],
  ['a$b$ $b$', 'Word a$b$, DollarText! $b$'],
  ["'it''s' 'a\\\\'", "Text 'it''s', Text 'a\\\\'"],
  // whether the constant ends here depends on standard_conforming_strings
  ["'a\\' , 'b'", "Text! 'a\\' , 'b'"],
  ["E'it\\'s' x", "Text E'it\\'s', Word x"],
  ["e'a''\\'' x", "Text e'a''\\'', Word x"],
  ['U&\'a\' u&"b" u&c', 'Text U&\'a\', QuotedName u&"b", Word u, Symbol &, Word c'],
  ["b'1' X'f' n'a' one'b'", "Text b'1', Text X'f', Text n'a', Word one, Text 'b'"],
  ['"a""b" "', 'QuotedName "a""b", QuotedName! "'],
  ['$$a$b$$ $t$ $$ $t$', 'DollarText $$a$b$$, DollarText $t$ $$ $t$'],
  ['$é$a$é$ $1 $12a $', 'DollarText $é$a$é$, Parameter $1, Parameter $12, Word a, Symbol $'],
  [
    '1.5e-3 .5 0x1F 1_000 a.b',
    'Number 1.5e-3, Number .5, Number 0x1F, Number 1_000, Word a, Symbol ., Word b',
  ],
  [
    '1. 1..2 1..5 1...5 1._5',
    'Number 1., Number 1, Symbol .., Number 2, Number 1, Symbol .., Number 5, Number 1, Symbol .., Number .5, Number 1., Word _5',
  ],
  [
    '1e+5 1e 1e+ 1.e5 1e5_0',
    'Number 1e+5, Number 1, Word e, Number 1, Word e, Symbol +, Number 1.e5, Number 1e5_0',
  ],
  [
    '0x_1f 0x 0xg 0b102 0o78 0b_ 00x1',
    'Number 0x_1f, Number 0, Word x, Number 0, Word xg, Number 0b10, Number 2, Number 0o7, Number 8, Number 0, Word b_, Number 00, Word x1',
  ],
  [
    '1_0_ 1__0 1FROM $1a $1_0',
    'Number 1_0, Word _, Number 1, Word __0, Number 1, Word FROM, Parameter $1, Word a, Parameter $1, Word _0',
  ],
  ["'a'\n 'b' 'c'", "Text 'a'\n 'b', Text 'c'"],
  ["E'a' -- it's\n\t--\n'b\\'' c", "Text E'a' -- it's\n\t--\n'b\\'', Word c"],
  ["'a' -- it's\r\n\t--\n'b\\' c", "Text! 'a' -- it's\r\n\t--\n'b\\' c"],
  ["'a'/**/\n'b'", "Text 'a', Comment /**/, Text 'b'"],
  ["U&'a\\' B'1''0'", "Text U&'a\\', Text B'1', Text '0'"],
  ['a--b\nc --d\re', 'Word a, Comment --b, Word c, Comment --d, Word e'],
  ['a/*b/*c*/d*/e /*f', 'Word a, Comment /*b/*c*/d*/, Word e, Comment! /*f'],
  ['/*/ a', 'Comment! /*/ a'],
  ['/**/;*/', 'Comment /**/, Symbol ;, Symbol *, Symbol /'],
  ['a\u00a0b ü', 'Word a\u00a0b, Word ü'],
] as const) {
  test(`the tokens of ${JSON.stringify(sql)}`, () => {
    assert.equal(described(sql), tokens);
  });
}

/** Tokens that can stand next to each other when white space or a comment is between them. */
const token = fc.oneof(
  fc.constantFrom('select', 'E', 'u', 'x1', '_a$b', 'ünï').map((text) => ({ kind: Token.Word, text })),
  fc.constantFrom('1', '.5', '1e5', '0xff').map((text) => ({ kind: Token.Number, text })),
  fc.constantFrom('$1', '$22').map((text) => ({ kind: Token.Parameter, text })),
  fc.constantFrom(...'();,*/-+=<>.:[]{}\\%&|~?!@#^`').map((text) => ({ kind: Token.Symbol, text })),
  fc.string().map((text) => ({ kind: Token.Text, text: `'${text.replaceAll(/['\\]/g, "''")}'` })),
  fc.string().map((text) => ({ kind: Token.Text, text: `E'${text.replaceAll(/['\\]/g, '\\$&')}'` })),
  fc.string().map((text) => ({ kind: Token.QuotedName, text: `"${text.replaceAll('"', '""')}"` })),
  fc.string().map((text) => ({ kind: Token.DollarText, text: `$q$${text.replaceAll('$', '')}$q$` })),
  fc.string().map((text) => ({ kind: Token.Comment, text: `/*${text.replaceAll(/[/*]/g, '')}*/` })),
  fc.string().map((text) => ({ kind: Token.Comment, text: `--${text.replaceAll(/[\r\n]/g, '')}` })),
);

test('a text that is made of tokens gives these tokens', () => {
  fc.assert(
    fc.property(fc.array(token, { maxLength: 12 }), (tokens) => {
      // without it, constants on lines of their own would be one
      const between = { kind: Token.Comment, text: '/**/' };
      const all = tokens.flatMap((each) => [each, between]);
      const found = tokensOf(all.map(({ text }) => text).join('\n'));
      assert.deepEqual(
        found.filter(({ kind }) => kind !== Token.Space),
        all.map((each) => ({ ...each, isClosed: true })),
      );
    }),
    { numRuns: 2000 },
  );
});

test('the tokens of any text are the text, none is empty, and only the last one may have no end', () => {
  const unit = fc.oneof(
    fc.constantFrom(...Array.from('\'"$/*-\\eEuU&;.1a \n'), '$a$', '/*', '*/', '--'),
    fc.string({ minLength: 1, maxLength: 1 }),
  );
  fc.assert(
    fc.property(fc.string({ unit }), (text) => {
      const found = tokensOf(text);
      assert.equal(found.map((each) => each.text).join(''), text);
      for (const [i, each] of found.entries()) {
        assert.notEqual(each.text, '');
        if (i < found.length - 1) assert.equal(each.isClosed, true, text);
      }
    }),
    { numRuns: 3000 },
  );
});

test('key words are compared whole and in any case', () => {
  const is = (sql: string, word: string): boolean => {
    const scanner = new Scanner(sql);
    return scanner.next() && scanner.is(word);
  };
  assert.equal(is('RollBack ', 'rollback'), true);
  for (const sql of ['rollbac', 'rollbacks', '"rollback"', "'rollback'", 'r\u00cfllback'])
    assert.equal(is(sql, 'rollback'), false);
});

test('twice the text takes twice the work, whatever it is made of', () => {
  const parts = [
    ...[
      "'",
      "''",
      '"',
      '$',
      '$a',
      '$a$',
      '$$',
      '/*',
      '*/',
      '--',
      '\n',
      '\\',
      "\\'",
      "E'",
      'U&',
      '.',
      '1',
      'a',
      ';',
      ' ',
    ],
    ...['$a$b', '/*/', '$1$', "'a'", '/**/'],
  ];
  const work = (size: number): number =>
    workOf(() => {
      for (const start of ['', "'", "E'", '"', '/*', '$x$'])
        for (const part of parts) tokensOf(start + part.repeat(size / part.length));
    });
  const [one, two] = [work(2_000), work(4_000)];
  assert.ok(two <= 2.5 * one + 5_000, `${one} steps, then ${two}`);
});

test('no other file of the proxy has key words of SQL in a regular expression', () => {
  const source = join(import.meta.dirname, '..', '..', 'src');
  // the console's language is pgswitchyard's own
  const found = globSync('**/*.ts', { cwd: source })
    .filter((file) => !/^(?:sql|admin)\//.test(file))
    .filter((file) =>
      /\/\^?[^/\n]*\b(?:begin|commit|rollback|discard|deallocate|select|insert)\b[^/\n]*\/[gimsuy]*\.(?:test|exec)/i.test(
        readFileSync(join(source, file), 'utf8'),
      ),
    );
  assert.deepEqual(found, []);
});
