/** A limited number of places for some work: those that find none wait, first come, first served. */
import { Fifo } from './fifo.ts';

export class Slots {
  #taken = 0;
  readonly #waiting = new Fifo<() => void>();

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Takes a place, of `limit` in all. Rejects with the signal's reason if none comes free in time. */
  async take(limit: number, signal: AbortSignal): Promise<void> {
    while (this.#taken >= limit) await this.#turn(signal);
    this.#taken++;
  }

  free(): void {
    this.#taken--;
    this.#waiting.first?.();
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        this.#waiting.delete(go);
        signal.removeEventListener('abort', giveUp);
      };
      const go = (): void => {
        stop();
        resolve();
      };
      const giveUp = (): void => {
        stop();
        reject(signal.reason as Error);
      };
      if (signal.aborted) return reject(signal.reason as Error);
      signal.addEventListener('abort', giveUp);
      this.#waiting.add(go);
    });
  }
}
