/** Metrics as families of samples, made from snapshots. exposition.ts prints them. */
import type { HistogramSnapshot } from '../telemetry/histogram.ts';

/** Label names and values; foreign names are escaped when they are printed. */
export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  /** the same object for all samples of a row, so that its text is made once */
  readonly labels: Labels;
  readonly value: number;
}

/** Counters or gauges. */
export interface ValueFamily {
  /** without the prefix; a counter's ends in `_total` */
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly samples: readonly Sample[];
}

/** Histograms of times. */
export interface HistogramFamily {
  /** without the prefix */
  readonly name: string;
  readonly help: string;
  readonly type: 'histogram';
  readonly histograms: readonly LabeledHistogram[];
}

export interface LabeledHistogram {
  readonly labels: Labels;
  readonly histogram: HistogramSnapshot;
}

export type Family = ValueFamily | HistogramFamily;

/** The sum under which the rest of too many series is shown. */
export const OTHER = 'other';

/** How samples of several series become one. */
export type Merge = 'sum' | 'max';

/** A column of a group of families that have the same labels. */
export interface Column<Row> {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  of(row: Row): number;
  /** for the rest of too many rows; none: `sum` */
  readonly merge?: Merge;
}

export function gauge<Row>(
  name: string,
  help: string,
  of: (row: Row) => number,
  merge: Merge = 'sum',
): Column<Row> {
  return { name, help, type: 'gauge', of, merge };
}

export function counter<Row>(name: string, help: string, of: (row: Row) => number): Column<Row> {
  return { name, help, type: 'counter', of };
}

/** Rows that are shown as one. */
export interface Series<Row> {
  readonly labels: Labels;
  readonly rows: Row[];
}

/**
 * Rows by their labels, which no two series share.
 * @param most rows with a series of their own: the later ones are in one series, whose labels all say `other`
 */
export function seriesOf<Row>(
  rows: readonly Row[],
  labelsOf: (row: Row) => Labels,
  most: number,
): readonly Series<Row>[] {
  const all = new Map<string, Series<Row>>();
  for (const row of rows) {
    const labels = labelsOf(row);
    const key = Object.values(labels).join('\0');
    const series = all.get(key);
    if (series === undefined) all.set(key, { labels, rows: [row] });
    else series.rows.push(row);
  }
  if (all.size <= most) return [...all.values()];
  const own = [...all.values()].slice(0, most).filter(({ labels }) => !isOther(labels));
  const shown = new Set(own);
  const rest = [...all.values()].filter((series) => !shown.has(series));
  return [...own, { labels: otherOf(rest[0]!.labels), rows: rest.flatMap((series) => series.rows) }];
}

/** Somebody may call a database so. */
function isOther(labels: Labels): boolean {
  return Object.values(labels).every((value) => value === OTHER);
}

function otherOf(labels: Labels): Labels {
  return Object.fromEntries(Object.keys(labels).map((name) => [name, OTHER]));
}

/** One family for each column, with a sample for each series. The parameters are those of `seriesOf`. */
export function* familiesOf<Row>(
  rows: readonly Row[],
  labelsOf: (row: Row) => Labels,
  columns: readonly Column<Row>[],
  most: number,
): Generator<ValueFamily> {
  const all = seriesOf(rows, labelsOf, most);
  for (const { name, help, type, of, merge = 'sum' } of columns) {
    const samples = all.map(({ labels, rows: [first, ...more] }): Sample => ({
      labels,
      value: more.length === 0 ? of(first!) : merged([first!, ...more].map(of), merge),
    }));
    yield { name, help, type, samples };
  }
}

function merged(values: readonly number[], merge: Merge): number {
  // NaN: unknown
  const known = values.filter((value) => !Number.isNaN(value));
  if (known.length === 0) return NaN;
  return known.reduce((sum, value) => (merge === 'sum' ? sum + value : Math.max(sum, value)), 0);
}

/** A family with one series, or a few whose number is fixed. */
export function fixed(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  value: number | readonly (readonly [Labels, number])[],
): ValueFamily {
  const samples =
    typeof value === 'number'
      ? [{ labels: {}, value }]
      : value.map(([labels, each]) => ({ labels, value: each }));
  return { name, help, type, samples };
}
