/** Generated SQL text: tokens of all kinds, with or without something in between. Much of it is no valid statement. */
import fc from 'fast-check';
import { Scanner, Token } from '../../src/sql/scanner.ts';

const quotable = fc.string({
  unit: fc.oneof(
    fc.constantFrom(...Array.from('ab1\'"\\$-/* \n.é')),
    fc.constantFrom("''", '""', '$$', '$t$', '--', '/*', '*/', '$1'),
  ),
  maxLength: 8,
});

export const constant = fc.oneof(
  quotable.map((text) => `'${text.replaceAll("'", "''")}'`),
  quotable.map((text) => `E'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`),
  quotable.map((text) => `e'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`),
  quotable.map((text) => `U&'${text.replaceAll("'", "''").replaceAll('\\', '')}'`),
  quotable.map((text) => `N'${text.replaceAll("'", "''")}'`),
  quotable.map((text) => `$t$${text.replaceAll('$', '')}$t$`),
  quotable.map((text) => `$$${text.replaceAll('$', '')}$$`),
  fc
    .tuple(quotable, quotable)
    .map((parts) => parts.map((text) => `'${text.replaceAll("'", "''")}'`).join(' \n ')),
  fc.constantFrom("B'101'", "x'1Fa'", "U&'d!0061' UESCAPE '!'"),
  fc.constantFrom(
    '1',
    '0',
    '42',
    '1.5',
    '1.',
    '.5',
    '1e5',
    '1.5E-3',
    '.5e+2',
    '1_000',
    '0x1F',
    '0o17',
    '0b101',
  ),
);

const other = fc.oneof(
  fc.constantFrom(
    'select',
    'from',
    'where',
    'E',
    'u',
    'n',
    'x',
    'b',
    'a$1',
    '_t',
    'ünï',
    'null',
    'true',
    'date',
  ),
  fc.constantFrom('$1', '$2', '$10', '"a b"', '"a""b"', '"$1"', 'U&"a"', 'U&"d!0061" UESCAPE \'!\''),
  fc.constantFrom('(', ')', '[', ']', ',', ';', '.', '..', ':', '::', ':=', '=>'),
  fc.constantFrom(
    '=',
    '<>',
    '<=',
    '-',
    '+',
    '*',
    '/',
    '%',
    '^',
    '|',
    '||',
    '&',
    '~',
    '!',
    '@',
    '#',
    '?',
    '`',
    '->>',
  ),
);

const comment = fc.constantFrom(
  '/**/',
  "/* it's $1 */",
  '/* a /* b */ c */',
  '/*+ hint */',
  "-- it's $2\n",
  '--\r',
);

const gap = fc.oneof(
  { weight: 3, arbitrary: fc.constant('') },
  { weight: 6, arbitrary: fc.constantFrom(' ', '  ', '\n', '\t', ' \r\n ') },
  comment,
);

export const sqlText = fc
  .array(fc.tuple(gap, fc.oneof({ weight: 2, arbitrary: constant }, { weight: 3, arbitrary: other })), {
    maxLength: 14,
  })
  .map((pieces) => pieces.flat().join(''));

/**
 * Whether a comment is between the parts of a constant. There libpg-query differs from PostgreSQL: it makes tokens of comments,
 * and ends the constant. test/e2e/shapes.test.ts asks a server about such constants.
 */
export function hasInnerComment(text: string): boolean {
  for (const scanner = new Scanner(text, 'plain'); scanner.next();)
    if (scanner.kind === Token.Text && /'\s*--/.test(scanner.text)) return true;
  return false;
}
