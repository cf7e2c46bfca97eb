/** All metrics of the proxy. */
import type { Observe } from '../admin/observe.ts';
import { EventLoop } from './event-loop.ts';
import { print, type Format } from './exposition.ts';
import { fleetFamilies } from './fleet.ts';
import { clusterFamilies } from './clusters.ts';
import { functionFamilies } from './functions.ts';
import { processFamilies } from './process.ts';
import { databaseFamilies, listFamilies, poolFamilies, statisticsFamilies } from './pooler.ts';

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
    const observe = this.#observe;
    const { metrics_prefix: prefix, metrics_max_series: most } = observe.config.settings;
    return print(
      [
        () => listFamilies(observe),
        () => databaseFamilies(observe, most),
        () => poolFamilies(observe, most),
        () => statisticsFamilies(observe, most),
        () => functionFamilies(observe, most),
        () => clusterFamilies(observe, most),
        () => fleetFamilies(observe),
        () => processFamilies(observe, this.#loop, most),
      ],
      prefix,
      format,
    );
  }
}
