/**
 * The tables of errors: each row is used by the proxy and expected by a test of its situation, and no error is made without
 * a row.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { consoleErrors } from '../../src/admin/errors.ts';
import { ClientError, clientErrors, type ErrorRow } from '../../src/wire/errors.ts';
import { parseErrorFields } from '../../src/wire/messages.ts';
import { errorsMarkdown } from '../../scripts/errors-page.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const TABLES = { clientErrors, consoleErrors } as const;
type Row = ErrorRow<readonly unknown[]>;

const ROWS = Object.entries(TABLES).flatMap(([table, rows]) =>
  Object.entries(rows).map(([name, each]) => ({
    table,
    name: `${table}.${name}`,
    row: each as unknown as Row,
  })),
);

/** A part of a message of this length distinguishes it from all others. */
const TELLING = 15;

/** The expectations of tests for rows that pass on foreign words. */
const PASSED_ON: Readonly<Record<string, string>> = {
  'consoleErrors.candidateUnusable': 'there is no candidate',
  'clientErrors.protocolViolation': 'unknown pkt',
  'clientErrors.authenticationFailed': 'login rejected',
  'clientErrors.passwordFailed': 'password authentication failed',
  'clientErrors.serverLost': 'server conn crashed?',
  'clientErrors.serverLoginFailed': 'unknown pkt from server',
  'clientErrors.serverRefusedLogin': 'does not exist',
  'clientErrors.serverError': 'terminating connection due to administrator command',
  'clientErrors.interrupted': 'interrupted 57P01 terminating connection due to administrator command',
  'clientErrors.rejected': 'rejected',
};

function textsIn(folder: string): Map<string, string> {
  const files = globSync('**/*.ts', { cwd: join(ROOT, folder) });
  return new Map(files.map((file) => [file, readFileSync(join(ROOT, folder, file), 'utf8')]));
}

/** The parts of a message that are the same for any arguments, the longest one first. */
function fixedParts(example: readonly unknown[], message: string): string[] {
  let pieces = [message];
  for (const argument of example)
    if (typeof argument === 'string' || typeof argument === 'number')
      pieces = pieces.flatMap((piece) => piece.split(String(argument)));
  const parts = pieces.map((piece) => piece.replaceAll(/^[\s"']+|[\s"']+$/g, ''));
  const [longest, ...rest] = parts.toSorted((one, two) => two.length - one.length);
  return [longest!, ...rest.filter((part) => part.length >= TELLING)];
}

test('every error has a row: no other code makes one', () => {
  const makers = [...textsIn('src')]
    .filter(([, text]) => text.includes('new ClientError('))
    .map(([file]) => file);
  assert.deepEqual(makers, ['wire/errors.ts']);
});

test('every row is used', () => {
  const source = [...textsIn('src').values()].join('\n');
  const unused = ROWS.filter(({ name }) => !source.includes(`${name}(`)).map(({ name }) => name);
  assert.deepEqual(unused, []);
});

test('every row is expected by a test of its situation', () => {
  const tests = [...textsIn('test')]
    .filter(([file]) => file !== 'wire/errors.test.ts')
    .map(([, text]) => text.replaceAll('\\', ''))
    .join('\n');
  const codes = ROWS.map(({ table, row }) => `${table} ${row(...row.example).code}`);
  const missing = ROWS.filter(({ table, name, row }) => {
    const { message, code } = row(...row.example);
    const parts = name in PASSED_ON ? [PASSED_ON[name]!] : fixedParts(row.example, message);
    // an SQLSTATE of its own is as good as its message
    if (codes.filter((each) => each === `${table} ${code}`).length === 1) parts.push(`'${code}'`);
    return !parts.some((part) => part !== '' && tests.includes(part));
  });
  assert.deepEqual(
    missing.map(({ name }) => name),
    [],
  );
});

test('every row is a whole ErrorResponse, with its situation and remedy', () => {
  for (const { name, row } of ROWS) {
    const error = row(...row.example);
    assert.ok(error instanceof ClientError, name);
    const fields = parseErrorFields(error.encode().subarray(5));
    assert.equal(fields.get('S'), error.severity, name);
    assert.equal(fields.get('V'), error.severity, name);
    assert.equal(fields.get('C'), error.code, name);
    for (const sentence of [row.when, row.help]) assert.match(sentence, /^[A-Z`].*[.;]$/, name);
  }
});

test('the manual has each row, under a code that it explains', () => {
  const manual = errorsMarkdown();
  assert.doesNotMatch(manual, /undefined/);
  for (const { name, row } of ROWS) assert.ok(manual.includes(row.when), name);
});
