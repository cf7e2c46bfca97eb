/** Sends a table slice by slice, so that a long one does not delay all other connections. */
import { setImmediate as othersTurn } from 'node:timers/promises';
import type { Operator } from './operator.ts';
import { commandComplete, dataRow, rowDescription } from './result.ts';
import type { Table } from './table.ts';

/** Rows that are built and sent together. */
const SLICE_ROWS = 100;

/**
 * Between two slices all other connections are served, and the client must have taken one slice before the next is built. Each
 * row shows the moment at which it is built.
 * @returns the end of the answer, with the rows of the last slice; null: the client has left
 */
export async function sendTable(operator: Operator, table: Table): Promise<Buffer | null> {
  const { terminal, observe } = operator;
  let parts = [rowDescription(table.columns)];
  for (const row of table.rows(observe, (tenant) => operator.sees(tenant))) {
    if (parts.length > SLICE_ROWS) {
      terminal.send(Buffer.concat(parts));
      parts = [];
      await othersTurn();
      await operator.untilTaken();
      if (operator.isGone) return null;
    }
    parts.push(dataRow(row));
  }
  return Buffer.concat([...parts, commandComplete('SHOW')]);
}
