/** The versions of a tenant's functions, their source, and the differences between two of them. */
import { useEffect, useState } from 'preact/hooks';
import { Action, useConsole } from './actions.tsx';
import { Differences } from './differences.tsx';
import { quoted, source, type Answer, type Source } from './server.ts';
import { Table } from './table.tsx';

export function Versions({
  tenant,
  answer,
}: {
  readonly tenant: string;
  readonly answer: Answer;
}): preact.JSX.Element {
  const { rights } = useConsole();
  const [number, setNumber] = useState<number | null>(null);
  const mayRead = rights !== 'watcher';
  return (
    <>
      <Table
        answer={answer}
        caption="Versions"
        columns={answer.columns.filter((column) => column !== 'checked_with')}
        {...(mayRead && {
          rowActions: (value: (column: string) => string) => (
            <>
              <button type="button" onClick={() => setNumber(Number(value('number')))}>
                Source of {value('number')}
              </button>
              {value('state') === 'kept' && (
                <Action
                  name={`Roll back to ${value('number')}`}
                  statement={`ROLLBACK FUNCTIONS ${quoted(tenant)} TO ${value('number')}`}
                  effect="This version serves, whatever the files hold, until RESUME or PROMOTE."
                />
              )}
            </>
          ),
        })}
      />
      {number !== null && (
        <SourceOf key={number} tenant={tenant} number={number} versions={numbersIn(answer)} />
      )}
    </>
  );
}

function numbersIn({ columns, rows }: Answer): number[] {
  return rows.map((row) => Number(row[columns.indexOf('number')]));
}

/** Null while it is being read. */
function useSource(tenant: string, number: number | null): { source: Source | null; problem: string } {
  const [found, setFound] = useState<Source | null>(null);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    let isWanted = true;
    setFound(null);
    setProblem('');
    if (number !== null)
      source(tenant, number).then(
        (next) => isWanted && setFound(next),
        (error: unknown) => isWanted && setProblem((error as Error).message),
      );
    return () => {
      isWanted = false;
    };
  }, [tenant, number]);
  return { source: found, problem };
}

function SourceOf({
  tenant,
  number,
  versions,
}: {
  readonly tenant: string;
  readonly number: number;
  readonly versions: readonly number[];
}): preact.JSX.Element {
  const [other, setOther] = useState<number | null>(null);
  const shown = useSource(tenant, number);
  const compared = useSource(tenant, other);
  const choices = versions.filter((each) => each !== number);
  return (
    <section aria-labelledby="source" class="source">
      <h3 id="source">Source of version {number}</h3>
      <p class="tools">
        <label>
          Differences to version{' '}
          <select
            value={other === null ? '' : String(other)}
            onChange={(event) => {
              const { value } = event.currentTarget;
              setOther(value === '' ? null : Number(value));
            }}
          >
            <option value="">none</option>
            {choices.map((each) => (
              <option key={each} value={String(each)}>
                {each}
              </option>
            ))}
          </select>
        </label>
      </p>
      <p role="alert" class="problem">
        {shown.problem || compared.problem}
      </p>
      {shown.source !== null && other === null && <Files source={shown.source} />}
      {shown.source !== null && compared.source !== null && (
        <Differences before={compared.source} after={shown.source} />
      )}
    </section>
  );
}

function Files({
  source: { hash, fileCount, files, code },
}: {
  readonly source: Source;
}): preact.JSX.Element {
  const others = fileCount - files.length;
  return (
    <>
      {files.map(({ path, sha256, text }) => (
        <details key={path} open={files.length === 1}>
          <summary>
            {path} <code>{sha256.slice(0, 12)}</code>
          </summary>
          {text === null ? (
            <p>Its text is not kept, and the file has changed since.</p>
          ) : (
            <pre tabIndex={0}>{text}</pre>
          )}
        </details>
      ))}
      {others > 0 && <p>{others} more files belong to packages, or are not shown.</p>}
      <details open={files.length === 0}>
        <summary>
          What was made of them <code>{hash}</code>
        </summary>
        {code === null ? <p>It is not kept, or not shown.</p> : <pre tabIndex={0}>{code}</pre>}
      </details>
    </>
  );
}
