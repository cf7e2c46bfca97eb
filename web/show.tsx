/** A page with one table of the console, read again every few seconds. */
import { useCallback, useEffect, useState } from 'preact/hooks';
import { Action, useConsole } from './actions.tsx';
import { LoggedOut, quoted, show, type Answer } from './server.ts';
import { Table } from './table.tsx';

const EVERY_MS = 5_000;

export interface Shown {
  /** null: not read yet */
  readonly answer: Answer | null;
  /** '': none */
  readonly problem: string;
  readonly refresh: () => void;
}

/** The table of a SHOW command, or of the function that is given. */
export function useTable(read: () => Promise<Answer>, about: string): Shown {
  const { onEnd } = useConsole();
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [problem, setProblem] = useState('');
  const refresh = useCallback(() => {
    read().then(
      (next) => {
        setProblem(next.error?.message ?? '');
        if (next.error === null) setAnswer(next);
      },
      (error: unknown) => (error instanceof LoggedOut ? onEnd() : setProblem((error as Error).message)),
    );
  }, [about]);
  useEffect(() => {
    refresh();
    const timer = setInterval(() => {
      if (!document.hidden) refresh();
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [refresh]);
  return { answer, problem, refresh };
}

type Verb = 'pause' | 'resume' | 'reconnect' | 'kill' | 'kill_client';

const EFFECTS: Readonly<Record<Verb, string>> = {
  pause: 'Waits for running transactions, then holds all clients of the database until RESUME.',
  resume: 'Lets the clients of the database go on.',
  reconnect: 'Replaces each server as soon as its client has finished its transaction.',
  kill: 'Disconnects all clients of the database, closes its servers and pauses it.',
  kill_client: 'Disconnects the client. Its open transaction is rolled back.',
};

export function ShowPage({
  table,
  actions = [],
}: {
  readonly table: string;
  readonly actions?: readonly Verb[];
}): preact.JSX.Element {
  const { answer, problem, refresh } = useTable(() => show(table), table);
  const { rights } = useConsole();
  const rowActions = (value: (column: string) => string): preact.JSX.Element[] => {
    if (value('name') === 'pgbouncer') return [];
    return actions.map((verb) => {
      const subject = verb === 'kill_client' ? value('id') : quoted(value('name'));
      const statement = `${verb.toUpperCase()} ${subject}`;
      return (
        <Action
          key={verb}
          name={verb.replace('_', ' ')}
          statement={statement}
          effect={EFFECTS[verb]}
          onDone={refresh}
        />
      );
    });
  };
  return (
    <>
      <p role="alert" class="problem">
        {problem}
      </p>
      {answer !== null && (
        <Table
          answer={answer}
          caption={`SHOW ${table.toUpperCase()}`}
          {...(actions.length > 0 && rights === 'admin' && { rowActions })}
        />
      )}
    </>
  );
}
