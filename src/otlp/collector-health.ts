/** Whether exports to the collector succeed: one line in the log when they begin to fail, and one when they succeed again. */
import type { Logger } from '../telemetry/log.ts';

export class CollectorHealth {
  readonly #what: string;
  readonly #endpoint: string;
  readonly #log: Logger;
  #isFailing = false;

  /** @param what is exported */
  constructor(what: 'traces' | 'metrics', endpoint: string, log: Logger) {
    this.#what = what;
    this.#endpoint = endpoint;
    this.#log = log;
  }

  succeeded(): void {
    if (!this.#isFailing) return;
    this.#isFailing = false;
    this.#log.info({ event: 'otlp' }, `${this.#what} are exported to ${this.#endpoint} again`);
  }

  failed(reason: string): void {
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#log.warn(
      { event: 'otlp', reason },
      `${this.#what} can't be exported to ${this.#endpoint}, and are dropped until they can: ${reason}`,
    );
  }
}
