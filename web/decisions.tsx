/** The live tail of decisions: samples, with the constants of queries masked. */
import { useEffect, useState } from 'preact/hooks';
import { useConsole } from './actions.tsx';
import type { DecisionSample } from '../src/telemetry/snapshots/decisions.ts';
import { findSessionEnd, watchDecisions } from './server.ts';

const MOST = 200;

/** @param part a tenant; '': all tenants that the user may see */
export function Decisions({ part: tenant }: { readonly part: string }): preact.JSX.Element {
  const { onEnd } = useConsole();
  const [isOn, setOn] = useState(false);
  const [samples, setSamples] = useState<readonly DecisionSample[]>([]);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    if (!isOn) return undefined;
    setProblem('');
    return watchDecisions(
      tenant === '' ? null : tenant,
      (sample) => setSamples((all) => [sample, ...all].slice(0, MOST)),
      () => {
        setOn(false);
        setProblem('The proxy has ended the stream, or too many consoles watch decisions.');
        findSessionEnd(onEnd);
      },
    );
  }, [isOn, tenant]);
  const Heading = tenant === '' ? 'h2' : 'h3';
  const leftOut = samples.reduce((sum, sample) => sum + sample.leftOut, 0);
  return (
    <section aria-labelledby="decisions">
      <Heading id="decisions">Live decisions</Heading>
      <p class="tools">
        <button type="button" aria-pressed={isOn} onClick={() => setOn(!isOn)}>
          {isOn ? 'Stop watching' : 'Watch'}
        </button>
        <span>
          {samples.length} shown, {leftOut} between them left out
        </span>
      </p>
      <p role="alert" class="problem">
        {problem}
      </p>
      {samples.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Decisions">
          <table>
            <caption>Decisions, the newest first</caption>
            <thead>
              <tr>
                {['time', 'tenant', 'database', 'user', 'query', 'decision', 'from', 'ms'].map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {samples.map((sample) => (
                <Row key={`${sample.atMs} ${sample.query}`} sample={sample} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Row({ sample }: { readonly sample: DecisionSample }): preact.JSX.Element {
  const { atMs, tenant, database, user, query, decision, from, tookMs } = sample;
  return (
    <tr>
      <td>{new Date(atMs).toISOString().slice(11, 23)}</td>
      <td>{tenant}</td>
      <td>{database}</td>
      <td>{user}</td>
      <td>
        <code>{query}</code>
      </td>
      <td>{decision}</td>
      <td>{from}</td>
      <td class="number">{from === 'memory' ? '' : tookMs.toFixed(1)}</td>
    </tr>
  );
}
