/** Pages with one table of the console, which the proxy keeps up to date. */
import { useEffect, useState } from 'preact/hooks';
import { Action, useConsole } from './actions.tsx';
import { subscribe } from './live.ts';
import { quoted, type Answer } from './server.ts';
import { Table } from './table.tsx';

export interface Shown {
  /** null: not there yet */
  readonly answer: Answer | null;
  /** '': none */
  readonly problem: string;
}

/** A live table (src/http/web/topics.ts has the topics). */
export function useTable(topic: string): Shown {
  const [answer, setAnswer] = useState<Answer | null>(null);
  useEffect(() => {
    setAnswer(null);
    return subscribe(topic, (content) => setAnswer(content as Answer));
  }, [topic]);
  const error = answer?.error ?? null;
  return error === null ? { answer, problem: '' } : { answer: null, problem: error.message };
}

/** A live table with its caption, or the reason why it can't be shown. */
export function LiveTable({
  topic,
  caption,
}: {
  readonly topic: string;
  readonly caption: string;
}): preact.JSX.Element {
  const { answer, problem } = useTable(topic);
  return (
    <>
      <p role="alert" class="problem">
        {problem}
      </p>
      {answer !== null && <Table answer={answer} caption={caption} />}
    </>
  );
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
  const { answer, problem } = useTable(`SHOW ${table.toUpperCase()}`);
  const { rights } = useConsole();
  const rowActions = (value: (column: string) => string): preact.JSX.Element[] => {
    if (value('name') === 'pgbouncer') return [];
    return actions.map((verb) => {
      const subject = verb === 'kill_client' ? value('id') : quoted(value('name'));
      const statement = `${verb.toUpperCase()} ${subject}`;
      return <Action key={verb} name={verb.replace('_', ' ')} statement={statement} effect={EFFECTS[verb]} />;
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
