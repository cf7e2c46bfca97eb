/** Result sets of the console, in text format. */
import { printable } from '../telemetry/printable.ts';
import { message } from '../wire/messages.ts';
import { Backend } from '../wire/protocol.ts';

/** The column types, with OID and size for RowDescription. */
const TYPES = {
  text: { oid: 25, size: -1 },
  int4: { oid: 23, size: 4 },
  int8: { oid: 20, size: 8 },
  numeric: { oid: 1700, size: -1 },
  bytea: { oid: 17, size: -1 },
} as const;

export type ColumnType = keyof typeof TYPES;
/** null stands for SQL's NULL; a boolean is shown as 0 or 1 */
export type Value = string | number | boolean | null;

export function rowDescription(
  columns: readonly { readonly name: string; readonly type: ColumnType }[],
): Buffer {
  const fields = columns.flatMap(({ name, type }) => {
    const rest = Buffer.alloc(18);
    // table OID and column number stay 0: it is not the column of a table
    rest.writeInt32BE(TYPES[type].oid, 6);
    rest.writeInt16BE(TYPES[type].size, 10);
    rest.writeInt32BE(-1, 12);
    return [name, rest];
  });
  return message(Backend.RowDescription, int16(columns.length), ...fields);
}

export function dataRow(values: readonly Value[]): Buffer {
  const parts = values.flatMap((value) => {
    if (value === null) return [-1];
    const bytes = Buffer.from(typeof value === 'boolean' ? String(Number(value)) : printable(String(value)));
    return [bytes.length, bytes];
  });
  return message(Backend.DataRow, int16(values.length), ...parts);
}

export function commandComplete(tag: string): Buffer {
  return message(Backend.CommandComplete, tag);
}

export const EMPTY_QUERY_RESPONSE = message(Backend.EmptyQueryResponse);

function int16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeInt16BE(value);
  return bytes;
}
