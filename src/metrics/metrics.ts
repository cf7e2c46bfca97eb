/** All metrics of the proxy. */
import type { Observe } from '../admin/observe.ts';
import { allFamilies } from './all.ts';
import { EventLoop } from './event-loop.ts';
import { print, type Format } from './exposition.ts';
import { Pace } from './pace.ts';

export class Metrics {
  readonly #observe: Observe;
  readonly #loop = new EventLoop();
  /** the scrape that is being printed, by format: requests at the same time share it */
  readonly #running = new Map<Format, Promise<readonly Buffer[]>>();

  constructor(observe: Observe) {
    this.#observe = observe;
  }

  /** The text of a scrape, in pieces. */
  print(format: Format): Promise<readonly Buffer[]> {
    let text = this.#running.get(format);
    if (text === undefined) {
      text = this.#print(format).finally(() => this.#running.delete(format));
      this.#running.set(format, text);
    }
    return text;
  }

  stop(): void {
    this.#loop.stop();
  }

  #print(format: Format): Promise<readonly Buffer[]> {
    const { metrics_prefix: prefix } = this.#observe.config.settings;
    const pace = new Pace();
    return print(allFamilies(this.#observe, this.#loop, pace), prefix, format, pace);
  }
}
