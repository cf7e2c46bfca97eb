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

/** Makes families; each group is made in a turn of the event loop of its own. */
export type FamilyGroup = () => readonly Family[] | Promise<readonly Family[]>;

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

/**
 * One family for each column, with a sample for each row.
 * @param most rows with a series of their own: the later ones are merged into one, whose labels all say `other`
 */
export function familiesOf<Row>(
  rows: readonly Row[],
  labelsOf: (row: Row) => Labels,
  columns: readonly Column<Row>[],
  most: number,
): ValueFamily[] {
  const labels = rows.slice(0, most).map(labelsOf);
  const rest = rows.slice(most);
  const [example] = rest;
  const other = example === undefined ? null : otherOf(labelsOf(example));
  return columns.map(({ name, help, type, of, merge = 'sum' }) => {
    const samples: Sample[] = labels.map((each, at) => ({ labels: each, value: of(rows[at]!) }));
    if (other !== null) samples.push({ labels: other, value: merged(rest.map(of), merge) });
    return { name, help, type, samples };
  });
}

export function otherOf(labels: Labels): Labels {
  return Object.fromEntries(Object.keys(labels).map((name) => [name, OTHER]));
}

function merged(values: readonly number[], merge: Merge): number {
  // NaN: unknown
  const known = values.filter((value) => !Number.isNaN(value));
  if (known.length === 0 && values.length > 0) return NaN;
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
