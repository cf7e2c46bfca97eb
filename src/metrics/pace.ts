/** Long work in pieces: the event loop gets a turn after each millisecond of it, so that clients are served in between. */
import { setImmediate as nextTurn } from 'node:timers/promises';

const WORK_MS = 1;

export class Pace {
  #until = performance.now() + WORK_MS;

  /** Await this after each piece of work. */
  rest(): Promise<void> | undefined {
    return performance.now() < this.#until ? undefined : this.#turn();
  }

  /** All items of an iterable that makes each on demand. */
  async collect<T>(all: Iterable<T>): Promise<T[]> {
    const items: T[] = [];
    for (const item of all) {
      items.push(item);
      await this.rest();
    }
    return items;
  }

  async #turn(): Promise<void> {
    await nextTurn();
    this.#until = performance.now() + WORK_MS;
  }
}
