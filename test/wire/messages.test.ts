/** Messages are read as they were written, and nonsense makes no reader throw. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { clientErrors } from '../../src/wire/errors.ts';
import {
  errorResponse,
  message,
  parameterStatus,
  parseColumns,
  parseErrorFields,
  parseParameterStatus,
  parseRow,
} from '../../src/wire/messages.ts';

const text = fc.string({ unit: 'grapheme' }).map((each) => each.replaceAll('\0', ''));
const filled = text.filter((each) => each !== '');

test('the length in a message counts itself and the payload, and not the type', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(text, fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }))), (parts) => {
      const bytes = message(0x51, ...parts);
      assert.equal(bytes[0], 0x51);
      assert.equal(bytes.readInt32BE(1), bytes.length - 1);
    }),
  );
});

test('error fields are read as they were written, and a cut payload does not throw', () => {
  fc.assert(
    fc.property(filled, filled, filled, fc.nat(), (said, detail, hint, cut) => {
      const payload = errorResponse({
        severity: 'ERROR',
        code: '22012',
        message: said,
        detail,
        hint,
      }).subarray(5);
      assert.deepEqual(Object.fromEntries(parseErrorFields(payload)), {
        S: 'ERROR',
        V: 'ERROR',
        C: '22012',
        M: said,
        D: detail,
        H: hint,
      });
      parseErrorFields(payload.subarray(0, cut % payload.length));
    }),
  );
});

test('a ParameterStatus is read as it was written, and a cut one is null', () => {
  fc.assert(
    fc.property(text, text, fc.nat(), (name, value, cut) => {
      const payload = parameterStatus(name, value).subarray(5);
      assert.deepEqual(parseParameterStatus(payload), { name, value });
      assert.equal(parseParameterStatus(payload.subarray(0, cut % payload.length)), null);
    }),
  );
});

test('random bytes make no reader throw', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      parseErrorFields(Buffer.from(bytes));
      parseParameterStatus(Buffer.from(bytes));
      parseRow(Buffer.from(bytes));
      parseColumns(Buffer.from(bytes));
    }),
  );
});

test('rows and columns are read, NULL included, and cut ones are null', () => {
  const column = (name: string): Buffer => Buffer.concat([Buffer.from(`${name}\0`), Buffer.alloc(18)]);
  const columns = Buffer.concat([Buffer.from([0, 2]), column('a'), column('ü')]);
  assert.deepEqual(parseColumns(columns), ['a', 'ü']);
  const row = Buffer.from([0, 3, 0, 0, 0, 1, 65, 255, 255, 255, 255, 0, 0, 0, 0]);
  assert.deepEqual(parseRow(row), ['A', null, '']);
  for (let end = 0; end < row.length; end++) assert.equal(parseRow(row.subarray(0, end)), null);
  for (let end = 0; end < columns.length; end++) assert.equal(parseColumns(columns.subarray(0, end)), null);
});

test('the errors that pgbouncer has are 08P01 and fatal, as there', () => {
  const fields = (error: { encode(): Buffer }): Record<string, string> =>
    Object.fromEntries(parseErrorFields(error.encode().subarray(5)));
  for (const error of [
    clientErrors.queryTimeout(),
    clientErrors.serverLost('server conn crashed?'),
    clientErrors.tooManyClients(),
    clientErrors.noSuchDatabase('x'),
  ]) {
    assert.equal(fields(error)['C'], '08P01', error.message);
    assert.equal(fields(error)['S'], 'FATAL', error.message);
  }
});
