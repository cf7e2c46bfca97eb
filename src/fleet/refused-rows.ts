/** Rows of the store that were refused: counted, and each logged once. */
import { printable } from '../telemetry/printable.ts';
import { REFUSED_ROWS } from './limits.ts';

export class RefusedRows {
  readonly #warn: (fields: object, message: string) => void;
  readonly #known = new Set<string>();
  #count = 0;

  constructor(log: { warn(fields: object, message: string): void }) {
    this.#warn = (fields, message) => log.warn(fields, message);
  }

  /** Different complaints about rows, since the start. */
  get count(): number {
    return this.#count;
  }

  /** @param row the row, in the words of the log: `proxy "a"` */
  refuse(row: string, problem: string): void {
    const complaint = `${row}: ${problem}`.slice(0, 500);
    if (this.#known.has(complaint)) return;
    this.#count++;
    this.#known.add(complaint);
    if (this.#known.size > REFUSED_ROWS) this.#known.delete(this.#known.values().next().value!);
    this.#warn(
      { event: 'fleet_row_refused' },
      `fleet: a row of the store is ignored: ${printable(complaint)}`,
    );
  }
}
