/** Families of metrics as OpenTelemetry's SDK has them. Their names are those of OpenMetrics: counters lack `_total`. */
import { ValueType, type HrTime } from '@opentelemetry/api';
import { emptyResource } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  DataPointType,
  type CollectionResult,
  type DataPoint,
  type Histogram,
  type MetricData,
  type MetricProducer,
} from '@opentelemetry/sdk-metrics';
import type { Observe } from '../admin/observe.ts';
import { allFamilies } from '../metrics/all.ts';
import { EventLoop } from '../metrics/event-loop.ts';
import type { Family, HistogramFamily, ValueFamily } from '../metrics/family.ts';
import { Pace } from '../metrics/pace.ts';
import { BOUNDS_SECONDS } from '../metrics/times.ts';

/** When counting began, and now. */
interface Span {
  readonly startTime: HrTime;
  readonly endTime: HrTime;
}

export class FamilyProducer implements MetricProducer {
  readonly #observe: Observe;
  readonly #onBug: (error: Error) => void;
  /** of its own: its delay is that since the last export */
  readonly #loop = new EventLoop();
  #collection = 0;

  /** @param onBug is told about an error that the SDK would hide */
  constructor(observe: Observe, onBug: (error: Error) => void) {
    this.#observe = observe;
    this.#onBug = onBug;
  }

  /** The number of the last collection. */
  get collection(): number {
    return this.#collection;
  }

  async collect(): Promise<CollectionResult> {
    this.#collection++;
    const { metrics_prefix: prefix } = this.#observe.config.settings;
    const span = { startTime: hrTime(performance.timeOrigin), endTime: hrTime(Date.now()) };
    const metrics: MetricData[] = [];
    const pace = new Pace();
    try {
      for await (const family of allFamilies(this.#observe, this.#loop, pace)) {
        metrics.push(metricData(family, prefix, span));
        await pace.rest();
      }
    } catch (error) {
      this.#onBug(error as Error);
    }
    const scopeMetrics = [{ scope: { name: 'pgswitchyard' }, metrics }];
    // the SDK puts its own resource in the place of this one
    return { resourceMetrics: { resource: emptyResource(), scopeMetrics }, errors: [] };
  }

  stop(): void {
    this.#loop.stop();
  }
}

function metricData(family: Family, prefix: string, span: Span): MetricData {
  const name = family.type === 'counter' ? family.name.replace(/_total$/, '') : family.name;
  const common = {
    descriptor: {
      name: prefix === '' ? name : `${prefix}_${name}`,
      description: family.help,
      unit: unitOf(name),
      valueType: ValueType.DOUBLE,
    },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
  if (family.type === 'histogram')
    return { ...common, dataPointType: DataPointType.HISTOGRAM, dataPoints: histogramPoints(family, span) };
  const dataPoints = valuePoints(family, span);
  return family.type === 'counter'
    ? { ...common, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints }
    : { ...common, dataPointType: DataPointType.GAUGE, dataPoints };
}

/** UCUM, from the name. */
function unitOf(name: string): string {
  if (name.endsWith('_seconds')) return 's';
  return name.endsWith('_bytes') ? 'By' : '';
}

function valuePoints({ samples }: ValueFamily, span: Span): DataPoint<number>[] {
  return (
    samples
      // unknown values are left out
      .filter(({ value }) => !Number.isNaN(value))
      .map(({ labels, value }) => ({ ...span, attributes: labels, value }))
  );
}

function histogramPoints({ histograms }: HistogramFamily, span: Span): DataPoint<Histogram>[] {
  return histograms.map(({ labels, histogram: { counts, sumUs } }) => ({
    ...span,
    attributes: labels,
    value: {
      buckets: { boundaries: [...BOUNDS_SECONDS], counts: [...counts] },
      sum: sumUs / 1e6,
      count: counts.reduce((sum, count) => sum + count, 0),
    },
  }));
}

function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)];
}
