/** All metrics of the proxy. */
import type { Observe } from '../admin/observe.ts';
import { EventLoop } from './event-loop.ts';
import { print, type Format } from './exposition.ts';
import { familyGroups } from './groups.ts';

export class Metrics {
  readonly #observe: Observe;
  readonly #loop = new EventLoop();
  /** the scrape that is being printed, by format: requests at the same time share it */
  readonly #running = new Map<Format, Promise<string>>();

  constructor(observe: Observe) {
    this.#observe = observe;
  }

  /** The text of a scrape. */
  print(format: Format): Promise<string> {
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

  #print(format: Format): Promise<string> {
    const { metrics_prefix: prefix } = this.#observe.config.settings;
    return print(familyGroups(this.#observe, this.#loop), prefix, format);
  }
}
