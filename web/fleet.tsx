/** The proxies that share a store, with sums, and what operators did to any of them. */
import { useState } from 'preact/hooks';
import { useConsole } from './actions.tsx';
import { LoggedOut, run, type Answer } from './server.ts';
import { LiveTable } from './show.tsx';
import { Table } from './table.tsx';

export function Fleet(): preact.JSX.Element {
  const { rights } = useConsole();
  return (
    <>
      <LiveTable topic="SHOW FLEET" caption="All proxies, this one first, and their sums" />
      {rights === 'admin' && <FleetAudit />}
    </>
  );
}

/** It is read from the store when somebody asks for it. */
function FleetAudit(): preact.JSX.Element {
  const { onEnd } = useConsole();
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [problem, setProblem] = useState('');
  const read = (): void => {
    run('SHOW FLEET_AUDIT').then(
      (next) => {
        setProblem(next.error?.message ?? '');
        setAnswer(next.error === null ? { ...next, rows: next.rows.toReversed() } : null);
      },
      (error: unknown) => (error instanceof LoggedOut ? onEnd() : setProblem((error as Error).message)),
    );
  };
  return (
    <section aria-labelledby="fleet-audit">
      <h2 id="fleet-audit">Audit log of all proxies</h2>
      <p class="tools">
        <button type="button" onClick={read}>
          {answer === null ? 'Read it' : 'Read it again'}
        </button>
      </p>
      <p role="alert" class="problem">
        {problem}
      </p>
      {answer !== null && <Table answer={answer} caption="Statements on any proxy, the newest first" />}
    </section>
  );
}
