/** One tenant's calls that have no answer yet: how many there may be, how long each may wait, and how they end. */
import { BATCH } from '../limits.ts';
import { cutOff, type FailureOutcome, type HostAnswer, type HostCall } from '../sandbox/call.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import { isOpen, type Pending } from './pending.ts';
import type { Decision } from './policy.ts';

export interface OpenCallsOptions {
  /**
   * @param opened this call suspended the tenant
   * @param manifest of the version that was asked, which may no longer serve; null: no version was asked
   * @param tookMs from the call's arrival to its answer
   */
  readonly decide: (
    call: HostCall,
    answer: HostAnswer,
    opened: boolean,
    manifest: Manifest | null,
    tookMs: number,
  ) => Decision;
  /** how long a call that does not say waits for its answer, in ms */
  readonly maxWaitMs: number;
  /** All calls that have no answer. */
  readonly all: () => readonly Pending[];
  /** Why a call has no answer yet, and how it fails. */
  readonly whyLate: (pending: Pending) => readonly [outcome: FailureOutcome, reason: string];
  /** Called about once a second while there are calls. @returns there is other work for the next time */
  readonly onLook: (now: number) => boolean;
}

export class OpenCalls {
  readonly #options: OpenCallsOptions;
  #count = 0;
  /** of their queries together, in characters */
  #length = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: OpenCallsOptions) {
    this.#options = options;
  }

  /** Takes a call. @returns false: there are too many, and it will be refused */
  add(pending: Pending): boolean {
    this.#count++;
    this.#length += pending.call.query.length;
    if (this.#count > BATCH.maxWaiting || this.#length > BATCH.maxWaitingLength) {
      setImmediate(() => this.refuse(pending, 'overloaded', 'too many calls wait'));
      return false;
    }
    this.#timer ??= setTimeout(this.#look, Math.min(BATCH.lookMs, this.#patienceOf(pending))).unref();
    return true;
  }

  /** The call has its answer. */
  finish(pending: Pending, answer: HostAnswer, opened: boolean, manifest: Manifest | null): void {
    const { done, call, since } = pending;
    if (done === null) return;
    this.drop(pending);
    if (pending.onChecked !== undefined) return;
    done(this.#options.decide(call, answer, opened, manifest, performance.now() - since));
  }

  refuse(pending: Pending, outcome: FailureOutcome, message: string): void {
    this.finish(pending, cutOff(outcome, message), false, null);
  }

  /** Nobody waits for the answer. */
  drop(pending: Pending): void {
    if (pending.done === null) return;
    pending.done = null;
    this.#count--;
    this.#length -= pending.call.query.length;
  }

  /** There will be no more calls. */
  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  readonly #look = (): void => {
    const now = performance.now();
    const all = this.#options.all();
    for (const pending of all) {
      if (!isOpen(pending)) this.drop(pending);
      else if (now - pending.since >= this.#patienceOf(pending)) this.#giveUp(pending);
    }
    this.#timer = null;
    if (this.#options.onLook(now) || all.length > 0)
      this.#timer = setTimeout(this.#look, Math.min(BATCH.lookMs, this.#options.maxWaitMs)).unref();
  };

  /** How long a call waits, in ms. */
  #patienceOf({ call: { patienceMs = this.#options.maxWaitMs } }: Pending): number {
    return patienceMs === 0 ? Infinity : patienceMs;
  }

  #giveUp(pending: Pending): void {
    const [outcome, reason] = this.#options.whyLate(pending);
    this.refuse(pending, outcome, `not answered within ${this.#patienceOf(pending) / 1000} s${reason}`);
  }
}
