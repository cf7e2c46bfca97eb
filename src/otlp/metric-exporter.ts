/** Metrics on their way to the collector. */
import type { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import type { PushMetricExporter, ResourceMetrics } from '@opentelemetry/sdk-metrics';
import type { CollectorHealth } from './collector-health.ts';
import type { FamilyProducer } from './metric-data.ts';

/**
 * One collection takes several requests. Once one of them has failed, the others are not tried: each would wait as long, and
 * the next collection has newer values.
 */
export class BoundedMetricExporter implements PushMetricExporter {
  readonly #inner: OTLPMetricExporter;
  readonly #producer: FamilyProducer;
  readonly #health: CollectorHealth;
  /** the number of the collection that has failed; 0: none */
  #failed = 0;

  constructor(inner: OTLPMetricExporter, producer: FamilyProducer, health: CollectorHealth) {
    this.#inner = inner;
    this.#producer = producer;
    this.#health = health;
  }

  export(metrics: ResourceMetrics, done: Parameters<PushMetricExporter['export']>[1]): void {
    const { collection } = this.#producer;
    if (this.#failed === collection) return done({ code: 1, error: new Error('an earlier part has failed') });
    this.#inner.export(metrics, (result) => {
      if (result.code === 0) this.#health.succeeded();
      else {
        this.#failed = collection;
        this.#health.failed(result.error?.message || 'no reason given');
      }
      // the next part is encoded in another turn of the event loop
      setImmediate(done, result);
    });
  }

  forceFlush(): Promise<void> {
    return this.#inner.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.#inner.shutdown();
  }
}
