/** Histograms of times, in seconds. */
import { addHistograms, BOUNDS_US, type HistogramSnapshot } from '../telemetry/histogram.ts';
import { otherOf, type Family, type Labels, type Sample } from './family.ts';

/** Upper bounds in seconds, as labels. */
const BOUNDS = [...BOUNDS_US.map((us) => String(us / 1e6)), '+Inf'];
/** Series of one histogram: its classes, `_sum` and `_count`. */
const SERIES = BOUNDS.length + 2;

export interface LabeledHistogram {
  readonly labels: Labels;
  readonly histogram: HistogramSnapshot;
}

/** @param most series of the family: later histograms are added up under `other` */
export function histogramFamily(
  name: string,
  help: string,
  all: readonly LabeledHistogram[],
  most: number,
): Family {
  const room = Math.max(1, Math.floor(most / SERIES) - 1);
  const own = all.length <= room + 1 ? all : all.slice(0, room);
  const rest = all.slice(own.length);
  const samples = own.flatMap(samplesOf);
  const [example] = rest;
  if (example !== undefined)
    samples.push(
      ...samplesOf({
        labels: otherOf(example.labels),
        histogram: addHistograms(rest.map(({ histogram }) => histogram)),
      }),
    );
  return { name, help, type: 'histogram', samples };
}

function samplesOf({ labels, histogram: { counts, sumUs } }: LabeledHistogram): Sample[] {
  let count = 0;
  const buckets = BOUNDS.map((bound, at): Sample => {
    count += counts[at]!;
    return { labels, le: bound, value: count, suffix: '_bucket' };
  });
  return [
    ...buckets,
    { labels, value: sumUs / 1e6, suffix: '_sum' },
    { labels, value: count, suffix: '_count' },
  ];
}
