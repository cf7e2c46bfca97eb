/** The output of a tenant's console.log on its way to the log: at most a few lines a second. */
import { printable } from '../build/places.ts';
import { JOURNAL } from '../limits.ts';

export class Printed {
  readonly #log: (line: string) => void;
  readonly #maxLines: () => number;
  #quietUntil = 0;
  #lines = 0;
  #length = 0;

  /**
   * @param log given each line that is not over the limits
   * @param maxLines lines a second
   */
  constructor(log: (line: string) => void, maxLines: () => number = () => JOURNAL.maxPrinted) {
    this.#log = log;
    this.#maxLines = maxLines;
  }

  /** @param printed lines of one batch, separated by newlines */
  note(printed: string): void {
    const now = performance.now();
    if (now >= this.#quietUntil) this.#beginPeriod(now);
    for (const line of printed.slice(0, JOURNAL.maxPrintedText).split('\n')) {
      this.#length += line.length;
      if (this.#lines++ < this.#maxLines() && this.#length <= JOURNAL.maxPrintedLength)
        this.#log(printable(line));
    }
  }

  #beginPeriod(now: number): void {
    const leftOut = this.#lines - this.#maxLines();
    if (leftOut > 0) this.#log(`(${leftOut} more lines were left out)`);
    this.#quietUntil = now + JOURNAL.quietMs;
    this.#lines = 0;
    this.#length = 0;
  }
}
