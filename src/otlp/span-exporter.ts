/** Spans on their way to the collector: how many wait, and how many traces have arrived or were lost. */
import { SpanKind } from '@opentelemetry/api';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import type { QuerySampler } from '../telemetry/sampler.ts';
import type { CollectorHealth } from './collector-health.ts';

export interface BoundedSpanExporterOptions {
  readonly inner: SpanExporter;
  /** spans that may wait */
  readonly most: number;
  /** counts the traces */
  readonly sampler: QuerySampler;
  readonly health: CollectorHealth;
}

export class BoundedSpanExporter implements SpanExporter {
  readonly #options: BoundedSpanExporterOptions;
  #waiting = 0;

  constructor(options: BoundedSpanExporterOptions) {
    this.#options = options;
  }

  /** Makes room for the spans of one trace. @returns false: there is none, and the trace has been counted as lost */
  admit(spans: number): boolean {
    if (this.#waiting + spans > this.#options.most) {
      this.#options.sampler.noteDropped(1);
      return false;
    }
    this.#waiting += spans;
    return true;
  }

  export(spans: ReadableSpan[], done: Parameters<SpanExporter['export']>[1]): void {
    const { inner, sampler, health } = this.#options;
    this.#waiting -= spans.length;
    // each trace has one
    const traces = spans.filter(({ kind }) => kind === SpanKind.SERVER).length;
    inner.export(spans, (result) => {
      if (result.code === 0) {
        sampler.noteExported(traces);
        health.succeeded();
      } else {
        sampler.noteDropped(traces);
        health.failed(result.error?.message || 'no reason given');
      }
      done(result);
    });
  }

  forceFlush(): Promise<void> {
    return this.#options.inner.forceFlush?.() ?? Promise.resolve();
  }

  shutdown(): Promise<void> {
    return this.#options.inner.shutdown();
  }
}
