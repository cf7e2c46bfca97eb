/** A table that can be sorted and filtered. */
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { Answer } from './server.ts';

type Row = Answer['rows'][number];

/** Rows that are drawn; a filter finds the others. */
const MOST = 500;

export interface TableProps {
  readonly answer: Answer;
  /** the name of the table, for screen readers */
  readonly caption: string;
  /** columns to show, in this order; without them: all */
  readonly columns?: readonly string[];
  readonly rowActions?: (value: (column: string) => string) => ComponentChildren;
}

export function Table({
  answer,
  caption,
  columns = answer.columns,
  rowActions,
}: TableProps): preact.JSX.Element {
  const [filter, setFilter] = useState('');
  const [sort, setSort] = useState<{ readonly column: string; readonly isDown: boolean } | null>(null);
  const at = (column: string): number => answer.columns.indexOf(column);
  const wanted = filter.toLowerCase();
  const found = answer.rows.filter((row) => row.some((value) => value?.toLowerCase().includes(wanted)));
  if (answer.rows.length === 0) return <p class="none">{caption}: none</p>;
  const rows = sort === null ? found : found.toSorted((a, b) => compare(a, b, at(sort.column), sort.isDown));
  return (
    <>
      <p class="tools">
        <label>
          Filter{' '}
          <input type="search" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
        <span role="status">
          {rows.length} of {answer.rows.length}
          {answer.isCut ? ', and more that are not here' : ''}
          {rows.length > MOST ? `, the first ${MOST} are shown` : ''}
        </span>
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
        <table>
          <caption>{caption}</caption>
          <thead>
            <tr>
              {columns.map((column) => (
                <th
                  key={column}
                  scope="col"
                  aria-sort={sort?.column === column ? (sort.isDown ? 'descending' : 'ascending') : 'none'}
                >
                  <button
                    type="button"
                    onClick={() => setSort({ column, isDown: sort?.column === column && !sort.isDown })}
                  >
                    {column}
                  </button>
                </th>
              ))}
              {rowActions !== undefined && <th scope="col">actions</th>}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, MOST).map((row, index) => (
              <tr key={index}>
                {columns.map((column) => (
                  <td key={column} class={isNumber(row[at(column)]) ? 'number' : ''}>
                    {row[at(column)]}
                  </td>
                ))}
                {rowActions !== undefined && (
                  <td>
                    <div class="actions">{rowActions((column) => row[at(column)] ?? '')}</div>
                  </td>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function isNumber(value: string | null | undefined): boolean {
  return value !== null && value !== undefined && /^-?\d+(?:\.\d+)?$/.test(value);
}

function compare(a: Row, b: Row, at: number, isDown: boolean): number {
  const [x, y] = [a[at] ?? '', b[at] ?? ''];
  const order = isNumber(x) && isNumber(y) ? Number(x) - Number(y) : x.localeCompare(y);
  return isDown ? -order : order;
}
