/** The last failures of a tenant's functions, each with the lines of its source. */
import { useEffect, useState } from 'preact/hooks';
import { failures, topicOf, type Failure } from './server.ts';
import { useTable } from './show.tsx';

export function Failures({ tenant }: { readonly tenant: string }): preact.JSX.Element {
  const [all, setAll] = useState<readonly Failure[]>([]);
  const [problem, setProblem] = useState('');
  // a new line in the log may be a failure
  const log = useTable(topicOf('FUNCTION LOG', tenant)).answer;
  useEffect(() => {
    failures(tenant).then(
      (next) => {
        setAll(next);
        setProblem('');
      },
      (error: unknown) => setProblem((error as Error).message),
    );
  }, [tenant, log]);
  return (
    <section aria-labelledby="failures">
      <h3 id="failures">Failures</h3>
      <p role="alert" class="problem">
        {problem}
      </p>
      {all.length === 0 && <p>None lately.</p>}
      {all.map((failure) => (
        <article key={`${failure.atMs} ${failure.text}`} class="failure">
          <p>
            <time>{new Date(failure.atMs).toISOString()}</time> {failure.text}
          </p>
          {failure.excerpt !== null && <Excerpt excerpt={failure.excerpt} />}
          {failure.excerpt === null && failure.frame !== '' && <pre tabIndex={0}>{failure.frame}</pre>}
        </article>
      ))}
    </section>
  );
}

function Excerpt({ excerpt }: { readonly excerpt: NonNullable<Failure['excerpt']> }): preact.JSX.Element {
  const { file, line, from, lines } = excerpt;
  return (
    <figure>
      <figcaption>
        {file}, line {line}
      </figcaption>
      <pre tabIndex={0} class="code">
        {lines.map((text, at) => {
          const number = from + at;
          const isIt = number === line;
          return (
            <span key={number} class={isIt ? 'row failing' : 'row'}>
              <span class="line">{number}</span>
              {isIt && <span class="hidden">failing line: </span>}
              {text}
              {'\n'}
            </span>
          );
        })}
      </pre>
    </figure>
  );
}
