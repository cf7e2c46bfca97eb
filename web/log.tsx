/** The last lines of the log. */
import { log, type Answer } from './server.ts';
import { useTable } from './show.tsx';
import { Table } from './table.tsx';

async function lines(): Promise<Answer> {
  const rows = (await log()).map(({ atMs, level, text }) => [new Date(atMs).toISOString(), level, text]);
  return { columns: ['time', 'level', 'text'], rows: rows.toReversed(), tag: '', notices: [], error: null };
}

export function Log(): preact.JSX.Element {
  const { answer, problem } = useTable(lines, 'log');
  return (
    <>
      <p role="alert" class="problem">
        {problem}
      </p>
      {answer !== null && <Table answer={answer} caption="The last lines of the log, the newest first" />}
    </>
  );
}
