/** What each tenant's functions have cost lately. */
import type { Answer } from './server.ts';
import { Table } from './table.tsx';

const COLUMNS = [
  'name',
  'calls',
  'hits',
  'cpu_minute_ms',
  'cpu_total_ms',
  'cpu_limit',
  'budget',
  'heap_bytes',
  'cache_bytes',
  'p50_us',
  'p99_us',
] as const;

/** @param answer of SHOW TENANTS: a row for each set of functions, with the processor time of its tenant */
export function Cost({ answer }: { readonly answer: Answer }): preact.JSX.Element {
  const { columns, rows } = answer;
  const at = (column: string): number => columns.indexOf(column);
  const spent = (row: Answer['rows'][number]): number => Number(row[at('cpu_minute_ms')] ?? 0);
  const byTenant = new Map(rows.map((row) => [row[at('name')], spent(row)]));
  const total = [...byTenant.values()].reduce((sum, ms) => sum + ms, 0);
  const costs = rows
    .toSorted((a, b) => spent(b) - spent(a))
    .map((row) => [
      ...COLUMNS.map((column) => row[at(column)] ?? null),
      total === 0 ? '0 %' : `${((spent(row) / total) * 100).toFixed(1)} %`,
    ]);
  return (
    <Table
      answer={{ ...answer, columns: [...COLUMNS, 'share of the minute'], rows: costs }}
      caption="Cost: processor time of the last minute, the highest first"
    />
  );
}
