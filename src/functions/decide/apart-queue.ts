/**
 * One tenant's calls that run apart from all others, one by one: calls known to be costly (`hard`), and calls that only share
 * an address with those, or lacked memory (`soft`).
 */
import { APART } from '../limits.ts';
import { cutOff, type HostAnswer } from '../sandbox/call.ts';
import type { SandboxHost } from '../sandbox/host.ts';
import { costOf } from './costs.ts';
import { isOpen, type OnAnswer, type Pending, type Route, type Serving } from './pending.ts';
import type { Penalty } from './penalties.ts';
import { evaluate } from './shaped.ts';

export interface ApartQueueOptions extends Route {
  /** Whether calls may run now. If not, they have been refused, or wait until `run`. */
  readonly mayRun: () => boolean;
  /** Nobody waits for this call any more. */
  readonly drop: (pending: Pending) => void;
  /** The tenant is suspended: costly calls are refused. */
  readonly isSuspended: () => boolean;
  readonly refuse: (pending: Pending) => void;
  readonly onAnswer: OnAnswer;
  /** A call has ended. */
  readonly onEnded: () => void;
}

export class ApartQueue {
  readonly #options: ApartQueueOptions;
  #soft: Pending[] = [];
  #hard: Pending[] = [];
  #running: Pending | null = null;
  /** hard calls wait until this time of performance.now() */
  #waitsUntil = 0;
  #timer: NodeJS.Timeout | null = null;
  /** where the version was loaded for these calls */
  #loaded: { readonly host: SandboxHost; readonly id: number } | null = null;
  /** a version that could not be loaded is not tried again before this time */
  #brokenUntil = 0;

  constructor(options: ApartQueueOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#soft.length + this.#hard.length === 0 && this.#running === null;
  }

  /** Calls that are not running yet. */
  get waiting(): readonly Pending[] {
    return [...this.#soft, ...this.#hard];
  }

  /** All calls, the running one included. */
  get calls(): readonly Pending[] {
    return [...this.waiting, ...(this.#running === null ? [] : [this.#running])];
  }

  add(pending: Pending, penalty: NonNullable<Penalty>): void {
    (penalty === 'soft' ? this.#soft : this.#hard).push(pending);
  }

  /** Removes and returns all calls that are not running yet. */
  takeWaiting(): Pending[] {
    const all = [...this.#soft, ...this.#hard];
    this.#soft = [];
    this.#hard = [];
    return all;
  }

  /** Another version serves: it may be better. */
  reset(): void {
    this.#brokenUntil = 0;
    this.#waitsUntil = 0;
    this.leave();
    this.run();
  }

  /** Removes the version from the host for such calls. */
  leave(): void {
    this.#loaded?.host.dispose(this.#loaded.id);
    this.#loaded = null;
  }

  /** Runs the next call, if none is running and one may run. */
  readonly run = (): void => {
    if (this.#running !== null || this.#soft.length + this.#hard.length === 0) return;
    if (!this.#options.mayRun()) return;
    if (this.#options.isSuspended())
      for (const pending of this.#hard.splice(0)) this.#options.refuse(pending);
    const startedAt = performance.now();
    const pending = this.#next(startedAt);
    if (pending === null) return;
    this.#running = pending;
    const version = this.#options.serving();
    void this.#ask(pending, version).then((answer) => {
      this.#running = null;
      this.#options.onAnswer(pending, answer, version?.manifest ?? null);
      if (costOf(answer) !== null) this.#pace(startedAt);
      this.run();
      this.#options.onEnded();
    });
  };

  /** Makes the next hard call wait in proportion to the time that this one took. */
  #pace(startedAt: number): void {
    const endedAt = performance.now();
    this.#waitsUntil = endedAt + Math.min((endedAt - startedAt) * APART.pace, APART.longestPaceMs);
  }

  /** The next call that may run now. Soft calls do not wait for hard ones. */
  #next(now: number): Pending | null {
    const soft = this.#firstOpen(this.#soft);
    if (soft !== null) return soft;
    if (this.#hard.length > 0 && now < this.#waitsUntil) {
      if (this.#timer !== null) clearTimeout(this.#timer);
      this.#timer = setTimeout(this.run, this.#waitsUntil - now).unref();
      return null;
    }
    return this.#firstOpen(this.#hard);
  }

  /** Removes the first call that still waits for a decision. */
  #firstOpen(queue: Pending[]): Pending | null {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (isOpen(next)) return next;
      this.#options.drop(next);
    }
    return null;
  }

  async #ask(pending: Pending, version: Serving | null): Promise<HostAnswer> {
    if (version === null) return cutOff(...this.#options.noVersion());
    const host = this.#options.apart();
    if (host !== null && !(await this.#load(host, version)))
      return cutOff('overloaded', 'its version could not be loaded apart from others');
    return new Promise((resolve) => {
      evaluate(version, host ?? version.host, [pending.call], ([answer], consoleText) => {
        if (consoleText !== '') this.#options.onPrinted(consoleText);
        resolve(answer ?? cutOff('overloaded', 'it was not run'));
      });
    });
  }

  async #load(host: SandboxHost, version: Serving): Promise<boolean> {
    if (this.#loaded?.host === host && this.#loaded.id === version.id) return true;
    if (performance.now() < this.#brokenUntil) return false;
    this.leave();
    const result = await host.load(version.code);
    if (result.kind === 'refused') {
      this.#brokenUntil = performance.now() + APART.retryMs;
      return false;
    }
    this.#loaded = { host, id: version.id };
    return true;
  }
}
