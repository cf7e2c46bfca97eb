/** Histograms of times, in seconds. */
import { addHistograms, BOUNDS_US } from '../telemetry/histogram.ts';
import { seriesOf, type HistogramFamily, type LabeledHistogram, type Sample } from './family.ts';

/** Upper bounds of the classes in seconds. The last class has none. */
export const BOUNDS_SECONDS: readonly number[] = BOUNDS_US.map((us) => us / 1e6);

/** The same as labels. */
const BOUNDS = [...BOUNDS_SECONDS.map(String), '+Inf'];

/** Series of one histogram in Prometheus' text: its classes, `_sum` and `_count`. */
export const SERIES = BOUNDS.length + 2;

/** A line about a histogram in Prometheus' text. */
export interface HistogramSample extends Sample {
  /** upper bound of a class */
  readonly le?: string;
  /** added to the family's name, as `_bucket` */
  readonly suffix: string;
}

/** @param most series of the family: later histograms are added up under `other` */
export function histogramFamily(
  name: string,
  help: string,
  all: readonly LabeledHistogram[],
  most: number,
): HistogramFamily {
  const room = Math.max(1, Math.floor(most / SERIES) - 1);
  const series = seriesOf(all, ({ labels }) => labels, room);
  const histograms = series.map(({ labels, rows }) => ({
    labels,
    histogram: addHistograms(rows.map((row) => row.histogram)),
  }));
  return { name, help, type: 'histogram', histograms };
}

export function samplesOf({ labels, histogram: { counts, sumUs } }: LabeledHistogram): HistogramSample[] {
  let count = 0;
  const buckets = BOUNDS.map((bound, at): HistogramSample => {
    count += counts[at]!;
    return { labels, le: bound, value: count, suffix: '_bucket' };
  });
  return [
    ...buckets,
    { labels, value: sumUs / 1e6, suffix: '_sum' },
    { labels, value: count, suffix: '_count' },
  ];
}
