/** Whether series of measurements stay flat, and how they look on one line of text. */

export interface Series {
  readonly name: string;
  readonly values: readonly number[];
  /** the growth from the first value to the last that is allowed: a part of the median, or this much if that is more */
  readonly part: number;
  readonly atLeast: number;
}

/** Neighbours of which only the least counts. */
const GROUP = 5;

/**
 * The growth of a series from its first value to its last, by the least value of each five: what grows raises even these, while
 * other load of the machine and garbage that is not collected yet only raise others. It is the median of the slopes between all
 * pairs of them (Theil and Sen), so that single outliers do not count.
 */
export function growthOf(all: readonly number[]): number {
  const values = grouped(all, Math.ceil(all.length / GROUP), (group) => Math.min(...group));
  const slopes: number[] = [];
  for (let i = 0; i < values.length; i++)
    for (let j = i + 1; j < values.length; j++) slopes.push((values[j]! - values[i]!) / (j - i));
  return slopes.length === 0 ? 0 : medianOf(slopes) * (values.length - 1);
}

export function allowedGrowth({ values, part, atLeast }: Series): number {
  return Math.max(part * medianOf(values), atLeast);
}

export function isFlat(series: Series): boolean {
  return growthOf(series.values) <= allowedGrowth(series);
}

export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length === 0) return NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const BARS = Array.from('▁▂▃▄▅▆▇█');
const WIDTH = 40;

/** The series as bars from zero to its largest value; of a longer one, medians of neighbours. */
export function plotted(values: readonly number[]): string {
  const width = Math.min(WIDTH, values.length);
  const columns = grouped(values, width, medianOf);
  const largest = Math.max(...columns, Number.MIN_VALUE);
  return columns.map((value) => BARS[Math.min(7, Math.floor((value / largest) * 8))]).join('');
}

/** Makes one value of each of so many groups of neighbours. */
function grouped(
  values: readonly number[],
  groups: number,
  merge: (group: readonly number[]) => number,
): number[] {
  return Array.from({ length: groups }, (_, i) =>
    merge(values.slice((i * values.length) / groups, ((i + 1) * values.length) / groups)),
  );
}

/** A table in Markdown. */
export function tableOf(all: readonly Series[]): string {
  const rows = all.map((series) => {
    const { name, values } = series;
    return [
      name,
      plotted(values),
      short(Math.min(...values)),
      short(medianOf(values)),
      short(Math.max(...values)),
      short(growthOf(values)),
      short(allowedGrowth(series)),
    ].join(' | ');
  });
  return [
    '| measure | over the time of the run | least | median | most | growth | allowed |',
    '| --- | --- | ---: | ---: | ---: | ---: | ---: |',
    ...rows.map((row) => `| ${row} |`),
  ].join('\n');
}

function short(value: number): string {
  return Math.abs(value) >= 20 ? value.toFixed(0) : value.toFixed(1);
}
