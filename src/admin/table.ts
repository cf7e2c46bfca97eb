/** A SHOW command's table: columns, each with a function for its value, over rows that are snapshots. */
import type { Observe } from './observe.ts';
import type { ColumnType, Value } from './result.ts';

/** A column, and its value in a row. */
export interface Column<Row> {
  readonly name: string;
  readonly type: ColumnType;
  of(row: Row): Value;
}

/** Whether an operator sees a tenant, by its name. */
export type Sees = (tenant: string) => boolean;

/** The answer of a SHOW command, with rows of any kind. */
export interface Table {
  readonly columns: readonly { readonly name: string; readonly type: ColumnType }[];
  /** The values of each row, built on demand. Time may pass between two of them. */
  rows(observe: Observe, sees: Sees): Iterable<Value[]>;
  /** not for stats_users */
  readonly isForAdmins: boolean;
  /** also for a tenant's administrators, with the rows of their own tenants */
  readonly isForTenants: boolean;
}

/** @param rows builds each row on demand, if there may be many */
export function table<Row>(
  columns: readonly Column<Row>[],
  rows: (observe: Observe, sees: Sees) => Iterable<Row>,
  { isForAdmins = false, isForTenants = false } = {},
): Table {
  return {
    columns,
    *rows(observe, sees) {
      for (const row of rows(observe, sees)) yield columns.map((column) => column.of(row));
    },
    isForAdmins,
    isForTenants,
  };
}
