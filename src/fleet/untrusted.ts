/** Values that come from the store: they have the size and the form that is expected, or the row is refused. */
import type { Row } from './connection.ts';

/** A row that is not as it should be. The message says which part. */
export class DamagedRow extends Error {}

export function textOf(row: Row, column: string, maxBytes: number): string {
  const value = row[column];
  if (typeof value !== 'string' || Buffer.byteLength(value) > maxBytes) throw wrong(column);
  return value;
}

/** An integer from `min` to `max`. */
export function integerOf(row: Row, column: string, min: number, max: number): number {
  const value = row[column];
  const number = Number(value);
  if (typeof value !== 'string' || !/^-?\d{1,16}$/.test(value)) throw wrong(column);
  if (number < min || number > max) throw wrong(column);
  return number;
}

/** A finite number, from `min`. */
export function numberOf(row: Row, column: string, min: number): number {
  const number = Number(row[column] ?? 'none');
  if (!Number.isFinite(number) || number < min) throw wrong(column);
  return number;
}

/** null: SQL's NULL. */
export function jsonOf(row: Row, column: string, maxBytes: number): unknown {
  if (row[column] === null) return null;
  try {
    return JSON.parse(textOf(row, column, maxBytes)) as unknown;
  } catch {
    throw wrong(column);
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(column: string): DamagedRow {
  return new DamagedRow(`its ${column} is not as it should be`);
}
