/** The processor time that a tenant has used: in total, and in the last minute, to the accuracy of a slot. */
import { BUDGET } from '../limits.ts';

const SLOTS = 12;
const SLOT_MS = BUDGET.minuteMs / SLOTS;

export class CpuUse {
  #totalMs = 0;
  /** ms by slot; a slot is emptied when its time has come round again */
  readonly #slots = new Float64Array(SLOTS);
  /** the number of the last slot written to, counted from time 0 */
  #last = 0;

  /** In ms, since the proxy started. */
  get totalMs(): number {
    return this.#totalMs;
  }

  /** @param now of the same clock as all others, in ms */
  add(ms: number, now: number): void {
    this.#turn(now);
    this.#totalMs += ms;
    this.#slots[this.#last % SLOTS]! += ms;
  }

  /** In ms. */
  lastMinuteMs(now: number): number {
    this.#turn(now);
    return this.#slots.reduce((sum, ms) => sum + ms, 0);
  }

  #turn(now: number): void {
    const slot = Math.floor(now / SLOT_MS);
    if (slot - this.#last >= SLOTS) this.#slots.fill(0);
    else for (let at = this.#last + 1; at <= slot; at++) this.#slots[at % SLOTS] = 0;
    this.#last = Math.max(this.#last, slot);
  }
}
