/** Why a tenant's files are loaded later than now, and when. */
import type { Clock } from '../../platform/clock.ts';
import { LOADING } from '../limits.ts';
import type { Complaints } from './complaints.ts';

export interface PostponementOptions {
  readonly clock: Clock;
  readonly complaints: Complaints;
  /** how long until the tenant's debt of processor time has been paid, in ms */
  readonly debtMs: () => number;
  /** It is time to load the files. */
  readonly onDue: () => void;
}

export class Postponement {
  readonly #options: PostponementOptions;
  #cancel = (): void => {};
  #retries = 0;
  /** the next version waits until the debt has been paid */
  #isPaying = false;

  constructor(options: PostponementOptions) {
    this.#options = options;
  }

  /** The files are loaded now, or never. */
  cancel(): void {
    this.#cancel();
  }

  /** The files have been bundled. */
  bundled(): void {
    this.#retries = 0;
  }

  /** The machine lacks a resource, which says nothing about the files. */
  retry(message: string): void {
    const waitMs = Math.min(LOADING.firstRetryMs * 2 ** this.#retries++, LOADING.longestRetryMs);
    this.#options.complaints.postponed(message, `tried again in ${waitMs / 1000} s`);
    this.#after(waitMs);
  }

  postpone(waitMs: number, message: string): void {
    this.#options.complaints.postponed(message, `loaded in ${Math.ceil(waitMs / 1000)} s, or by RELOAD`);
    this.#after(waitMs);
  }

  /**
   * Loading costs processor time. Calls can't put it off for ever: it waits for the present debt only.
   * @returns whether it has been postponed
   */
  mustPay(): boolean {
    const waitMs = Math.min(this.#options.debtMs(), LOADING.longestDebtMs);
    this.#isPaying = waitMs > 0 && !this.#isPaying;
    if (this.#isPaying) this.postpone(waitMs, 'its tenant has used up its processor time (cpu_limit)');
    return this.#isPaying;
  }

  #after(delayMs: number): void {
    this.#cancel();
    this.#cancel = this.#options.clock.after(delayMs, this.#options.onDue);
  }
}
