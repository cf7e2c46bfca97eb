/** The last hour of the whole proxy. */
import { useEffect, useState } from 'preact/hooks';
import { Action, useConsole } from './actions.tsx';
import { Chart } from './chart.tsx';
import { subscribe } from './live.ts';
import { rounded } from './numbers.ts';
import type { Point } from '../src/http/web/point.ts';
import { history, LoggedOut } from './server.ts';

const POINTS = 720;

const CHARTS = [
  { title: 'Queries a second', of: (point: Point) => point.queriesPerSecond },
  { title: 'p50 of queries, ms', of: (point: Point) => point.p50Ms },
  { title: 'p99 of queries, ms', of: (point: Point) => point.p99Ms },
  { title: 'Waiting clients', of: (point: Point) => point.waiting },
  { title: 'Errors of the proxy a second', of: (point: Point) => point.errorsPerSecond },
  { title: 'Servers', of: (point: Point) => point.servers },
] as const;

export function Overview(): preact.JSX.Element {
  const { rights, onEnd } = useConsole();
  const [points, setPoints] = useState<readonly Point[]>([]);
  useEffect(() => {
    history().then(setPoints, (error: unknown) => (error instanceof LoggedOut ? onEnd() : undefined));
    return subscribe('point', (content) => {
      const point = content as Point;
      setPoints((all) => (all.at(-1)?.atMs === point.atMs ? all : [...all, point].slice(-POINTS)));
    });
  }, []);
  const last = points.at(-1);
  return (
    <>
      <dl class="figures">
        <Figure name="Clients" value={last?.clients} />
        <Figure name="Waiting" value={last?.waiting} />
        <Figure name="Longest wait, ms" value={last?.longestWaitMs} />
        <Figure name="Servers" value={last?.servers} />
        <Figure name="Queries a second" value={last?.queriesPerSecond} />
        <Figure name="p99, ms" value={last?.p99Ms ?? undefined} />
      </dl>
      {rights === 'admin' && (
        <p class="tools">
          <Action name="Reload" statement="RELOAD" effect="Reads the configuration and the rules again." />
          <Action
            name="Pause all"
            statement="PAUSE"
            effect="Waits for running transactions, then holds all clients until RESUME."
          />
          <Action name="Resume all" statement="RESUME" effect="Lets all clients go on." />
          <Action
            name="Reconnect all"
            statement="RECONNECT"
            effect="Replaces each server as soon as it comes free."
          />
        </p>
      )}
      <div class="charts">
        {CHARTS.map(({ title, of }) => (
          <Chart
            key={title}
            title={title}
            points={points.map((point) => ({ atMs: point.atMs, value: of(point) }))}
          />
        ))}
      </div>
    </>
  );
}

function Figure({
  name,
  value,
}: {
  readonly name: string;
  readonly value: number | undefined;
}): preact.JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value === undefined ? '–' : rounded(value)}</dd>
    </div>
  );
}
