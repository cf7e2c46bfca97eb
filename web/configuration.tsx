/** The configuration in force, with the place that each value comes from. */
import { configuration, show, type Answer } from './server.ts';
import { useTable } from './show.tsx';
import { Table } from './table.tsx';

async function entries(): Promise<Answer> {
  const rows = (await configuration()).map(({ section, key, value, place }) => [
    `[${section}]`,
    key,
    value,
    place,
  ]);
  return { columns: ['section', 'key', 'value', 'from'], rows, tag: '', notices: [], error: null };
}

export function Configuration(): preact.JSX.Element {
  const given = useTable(entries, 'entries');
  const all = useTable(() => show('config'), 'config');
  return (
    <>
      <p role="alert" class="problem">
        {given.problem || all.problem}
      </p>
      {given.answer !== null && <Table answer={given.answer} caption="Entries, and where they stand" />}
      {all.answer !== null && <Table answer={all.answer} caption="All options, with their defaults" />}
    </>
  );
}
