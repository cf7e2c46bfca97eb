/**
 * Metrics and traces for an OpenTelemetry collector, if otlp_endpoint is set. Without it, none of the code for it is loaded, and
 * no query is traced.
 */
import type { Observe } from '../admin/observe.ts';
import type { Settings } from '../config/options.ts';
import type { Logger } from '../telemetry/log.ts';
import type { QuerySampler } from '../telemetry/sampler.ts';
import type { Exporter } from './exporter.ts';

/** How long the end of the process waits for the last export. */
const LAST_EXPORT_MS = 500;

export class OtlpExport {
  readonly #observe: Observe;
  readonly #sampler: QuerySampler;
  readonly #log: Logger;
  #exporter: Exporter | null = null;
  /** the options that the exporter was made with; '': there is none */
  #madeWith = '';

  constructor(observe: Observe, sampler: QuerySampler, log: Logger) {
    this.#observe = observe;
    this.#sampler = sampler;
    this.#log = log;
  }

  /** Start, RELOAD and SET. */
  configure(settings: Settings): void {
    const wanted = isWanted(settings)
      ? JSON.stringify([settings.otlp_endpoint, settings.otlp_headers_file, settings.otlp_metrics_interval])
      : '';
    if (wanted !== this.#madeWith) {
      this.#madeWith = wanted;
      void this.#exporter?.close();
      this.#exporter = null;
      if (wanted !== '') void this.#open(settings, wanted);
    }
    this.#sample(settings);
  }

  /** Exports what is left, for a short time. */
  async close(): Promise<void> {
    const exporter = this.#exporter;
    this.#exporter = null;
    this.#madeWith = '';
    this.#sampler.configure(null);
    if (exporter === null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, LAST_EXPORT_MS);
    await Promise.race([exporter.close(), promise]);
    clearTimeout(timer);
  }

  async #open(settings: Settings, wanted: string): Promise<void> {
    try {
      const { Exporter } = await import('./exporter.ts');
      // the options may have changed meanwhile
      if (this.#madeWith !== wanted) return;
      this.#exporter = new Exporter({
        observe: this.#observe,
        sampler: this.#sampler,
        log: this.#log,
        endpoint: settings.otlp_endpoint,
        headersFile: settings.otlp_headers_file,
        metricsIntervalMs: settings.otlp_metrics_interval * 1000,
      });
      this.#sample(this.#observe.config.settings);
      this.#log.info({ event: 'otlp' }, `exporting over OTLP to ${settings.otlp_endpoint}`);
    } catch (error) {
      this.#log.error(
        { event: 'otlp' },
        `otlp_endpoint: OpenTelemetry can't be loaded: ${(error as Error).message}`,
      );
    }
  }

  #sample({ otlp_trace_ratio: ratio, otlp_traces_per_second: mostPerSecond }: Settings): void {
    const exporter = this.#exporter;
    if (exporter === null) return this.#sampler.configure(null);
    this.#sampler.configure({ ratio, mostPerSecond, onEnded: (trace) => exporter.take(trace) });
  }
}

/** OTEL_SDK_DISABLED is the standard's own switch. */
function isWanted({ otlp_endpoint: endpoint }: Settings): boolean {
  return endpoint !== '' && process.env['OTEL_SDK_DISABLED']?.toLowerCase() !== 'true';
}
