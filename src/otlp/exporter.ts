/**
 * OpenTelemetry's SDK: what it exports, how much of it may wait, and what happens while the collector is away. Nothing waits for
 * the collector, and everything that waits for it is bounded.
 */
import { hostname } from 'node:os';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  detectResources,
  envDetector,
  resourceFromAttributes,
  type Resource,
} from '@opentelemetry/resources';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import type { Observe } from '../admin/observe.ts';
import { programVersion } from '../platform/program-version.ts';
import type { Logger } from '../telemetry/log.ts';
import type { EndedTrace } from '../telemetry/query-trace.ts';
import type { QuerySampler } from '../telemetry/sampler.ts';
import { CollectorHealth } from './collector-health.ts';
import { HeadersFile } from './headers-file.ts';
import { FamilyProducer } from './metric-data.ts';
import { BoundedMetricExporter } from './metric-exporter.ts';
import { BoundedSpanExporter } from './span-exporter.ts';
import { Spans } from './spans.ts';

const LIMITS = {
  /** spans that wait for the collector; more are dropped */
  waitingSpans: 2_048,
  /** spans in one request: it is encoded in one turn of the event loop, in a few milliseconds */
  spansPerRequest: 128,
  /** spans wait for others to join them */
  spanDelayMs: 1_000,
  /** the same for values of metrics */
  valuesPerRequest: 500,
  /** a request that has no answer by then has failed; retries included */
  timeoutMs: 10_000,
  /** requests of one kind under way: one, and one that has timed out and is not yet given up */
  concurrentRequests: 2,
};

export interface ExporterOptions {
  readonly observe: Observe;
  readonly sampler: QuerySampler;
  readonly log: Logger;
  /** URL without `/v1/traces` */
  readonly endpoint: string;
  readonly headersFile: string | null;
  /** 0: no metrics */
  readonly metricsIntervalMs: number;
}

export class Exporter {
  readonly #spans: Spans;
  readonly #tracers: TracerProvider;
  readonly #meters: MeterProvider | null;
  readonly #producer: FamilyProducer | null;

  constructor({ observe, sampler, log, endpoint, headersFile, metricsIntervalMs }: ExporterOptions) {
    const headers = new HeadersFile(headersFile, log);
    const configOf = (path: string): ConstructorParameters<typeof OTLPTraceExporter>[0] => ({
      url: `${endpoint}${endpoint.endsWith('/') ? '' : '/'}${path}`,
      headers: () => Promise.resolve(headers.read()),
      timeoutMillis: LIMITS.timeoutMs,
      concurrencyLimit: LIMITS.concurrentRequests,
    });
    const resource = resourceOf();
    const spanExporter = new BoundedSpanExporter({
      inner: new OTLPTraceExporter(configOf('v1/traces')),
      most: LIMITS.waitingSpans,
      sampler,
      health: new CollectorHealth('traces', endpoint, log),
    });
    this.#tracers = new TracerProvider({
      resource,
      // the proxy has already chosen
      sampler: new AlwaysOnSampler(),
      spanProcessors: [
        new BatchSpanProcessor({
          exporter: spanExporter,
          maxQueueSize: LIMITS.waitingSpans,
          maxExportBatchSize: LIMITS.spansPerRequest,
          scheduledDelayMillis: LIMITS.spanDelayMs,
          exportTimeoutMillis: LIMITS.timeoutMs + 1_000,
        }),
      ],
    });
    const onBug = (error: Error): void => log.error({ event: 'bug', err: error }, `OTLP: ${error.message}`);
    this.#spans = new Spans(this.#tracers.getTracer('pgswitchyard'), spanExporter, onBug);
    if (metricsIntervalMs === 0) {
      this.#meters = null;
      this.#producer = null;
      return;
    }
    this.#producer = new FamilyProducer(observe, onBug);
    const metricExporter = new BoundedMetricExporter(
      new OTLPMetricExporter(configOf('v1/metrics')),
      this.#producer,
      new CollectorHealth('metrics', endpoint, log),
    );
    const reader = new PeriodicExportingMetricReader({
      exporter: metricExporter,
      exportIntervalMillis: metricsIntervalMs,
      exportTimeoutMillis: Math.min(metricsIntervalMs, LIMITS.timeoutMs + 1_000),
      metricProducers: [this.#producer],
      maxExportBatchSize: LIMITS.valuesPerRequest,
    });
    this.#meters = new MeterProvider({ resource, readers: [reader] });
  }

  /** Takes a trace. It is worked on in a later turn of the event loop. */
  take(trace: EndedTrace): void {
    this.#spans.add(trace);
  }

  /** Exports what is left. Resolves when the collector has it, or does not answer. */
  async close(): Promise<void> {
    this.#spans.flush();
    await Promise.allSettled([this.#tracers.shutdown(), this.#meters?.shutdown()]);
    this.#producer?.stop();
  }
}

/** The process, as collectors show it. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win. */
function resourceOf(): Resource {
  const own = resourceFromAttributes({
    'service.name': 'pgswitchyard',
    'service.version': programVersion(),
    'service.instance.id': `${hostname()}:${process.pid}`,
    'process.pid': process.pid,
    'host.name': hostname(),
  });
  return own.merge(detectResources({ detectors: [envDetector] }));
}
