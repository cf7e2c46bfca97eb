/** A line over time, as an SVG with a text for screen readers. */
import { rounded } from './numbers.ts';

const WIDTH = 300;
const HEIGHT = 80;

export interface ChartPoint {
  readonly atMs: number;
  /** null: a gap */
  readonly value: number | null;
}

export function Chart({
  title,
  points,
}: {
  readonly title: string;
  readonly points: readonly ChartPoint[];
}): preact.JSX.Element {
  const values = points.flatMap(({ value }) => value ?? []);
  const most = Math.max(1e-9, ...values);
  const from = points[0]?.atMs ?? 0;
  const span = Math.max(1, (points.at(-1)?.atMs ?? 0) - from);
  let path = '';
  let isDown = false;
  for (const { atMs, value } of points) {
    if (value !== null) {
      const x = ((atMs - from) / span) * WIDTH;
      const y = HEIGHT - (value / most) * (HEIGHT - 2) - 1;
      path += `${isDown ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
    }
    isDown = value !== null;
  }
  const last = values.at(-1);
  const summary =
    last === undefined
      ? `${title}: no values yet`
      : `${title}: ${rounded(last)} now, ${rounded(most)} at most`;
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={summary} preserveAspectRatio="none">
        <path
          d={path}
          fill="none"
          stroke="currentColor"
          stroke-width="1.5"
          vector-effect="non-scaling-stroke"
        />
      </svg>
      <p class="range">{last === undefined ? '–' : `${rounded(last)} · max ${rounded(most)}`}</p>
    </figure>
  );
}
