/**
 * Asks a candidate about queries that have already been forwarded, and compares its answers with those of the version that
 * serves. Nobody waits for that: calls that find no processor time or no room are dropped and counted.
 */
import type { Clock } from '../../platform/clock.ts';
import { SHADOW } from '../limits.ts';
import type { Serving } from '../decide/pending.ts';
import { evaluate } from '../decide/shaped.ts';
import { isPlatformFailure, type HostAnswer, type HostCall } from '../sandbox/call.ts';
import type { BatchCost } from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import type { Outcome } from './outcome.ts';
import { ShadowReport } from './shadow-report.ts';

export interface ShadowOptions {
  /** one that is never set */
  readonly clock: Clock;
  /** for the times that are shown */
  readonly wallClock: Pick<Clock, 'now'>;
  /** null: none can be asked */
  readonly candidate: () => Serving | null;
  /** processor time for the candidate, in ms per second */
  readonly limitMs: () => number;
  /** Calls of clients wait for an answer. */
  readonly isServingBusy: () => boolean;
  readonly judge: (call: HostCall, answer: HostAnswer, manifest: Manifest) => Omit<Outcome, 'costUs'>;
  readonly onPrinted: (text: string) => void;
}

/** A query, and what the serving version made of it. */
interface Asked {
  readonly call: HostCall;
  readonly serving: Outcome;
}

export class Shadow {
  readonly #options: ShadowOptions;
  #report: ShadowReport;
  /** in order of arrival */
  #waiting: Asked[] = [];
  /** of the waiting queries, in characters */
  #length = 0;
  /** until this time of the clock the candidate rests */
  #paidUntil = -Infinity;
  #isScheduled = false;
  #isRunning = false;
  /** the serving version's calls go first until this time of the clock */
  #yieldsUntil = 0;
  #cancel = (): void => {};
  #isClosed = false;

  constructor(options: ShadowOptions) {
    this.#options = options;
    this.#report = this.#newReport();
  }

  get report(): ShadowReport {
    return this.#report;
  }

  /** Other code serves, or is the candidate: the counts begin again. */
  restart(): void {
    this.#waiting = [];
    this.#length = 0;
    this.#report = this.#newReport();
  }

  /** Whether one more query can be taken. If not, it counts as dropped. */
  hasRoom(): boolean {
    const isFull = this.#waiting.length >= SHADOW.maxCalls || this.#length >= SHADOW.maxLength;
    if (isFull || this.#isOverBudget) this.#report.noteUncompared(isFull ? 'queue full' : 'over budget');
    return !isFull && !this.#isOverBudget;
  }

  /** A query has been forwarded. */
  offer(call: HostCall, serving: Outcome): void {
    if (this.#isClosed || !isComparable(serving) || !this.hasRoom()) return;
    this.#waiting.push({ call, serving });
    this.#length += call.query.length;
    this.#schedule(0);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
    this.restart();
  }

  #newReport(): ShadowReport {
    const { wallClock, clock } = this.#options;
    return new ShadowReport(
      () => wallClock.now(),
      () => clock.now(),
    );
  }

  get #isOverBudget(): boolean {
    return this.#options.limitMs() <= 0 || this.#restMs > 0;
  }

  /** How long the candidate must rest, in ms; 0 or less: not at all. */
  get #restMs(): number {
    return this.#paidUntil - this.#options.clock.now();
  }

  #schedule(delayMs: number): void {
    if (this.#isScheduled || this.#isRunning || this.#isClosed || this.#waiting.length === 0) return;
    this.#isScheduled = true;
    if (delayMs === 0) this.#yieldsUntil = this.#options.clock.now() + SHADOW.longestYieldMs;
    this.#cancel = this.#options.clock.after(Math.max(delayMs, SHADOW.yieldMs), this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isScheduled = false;
    const { clock, isServingBusy, candidate } = this.#options;
    const now = clock.now();
    if (isServingBusy() && now < this.#yieldsUntil) return this.#schedule(SHADOW.yieldMs);
    if (this.#restMs > 0) return this.#schedule(this.#restMs);
    const version = this.#isOverBudget ? null : candidate();
    if (version === null) {
      this.#report.noteUncompared('not evaluated', this.#waiting.length);
      this.#take(this.#waiting.length);
    } else if (this.#waiting.length > 0) this.#run(version);
  };

  #run(version: Serving): void {
    const report = this.#report;
    const batch = this.#take(SHADOW.batch);
    this.#isRunning = true;
    evaluate(
      version,
      version.host,
      batch.map(({ call }) => call),
      (answers, consoleText, cost) => {
        this.#isRunning = false;
        this.#spend(cost);
        if (this.#isClosed || report !== this.#report) return this.#schedule(0);
        if (consoleText !== '') this.#options.onPrinted(consoleText);
        const costUs = answers.length === 0 ? null : (cost.cpuMs * 1000) / answers.length;
        for (const [i, answer] of answers.entries()) this.#note(batch[i]!, answer, costUs, version.manifest);
        const rest = batch.slice(answers.length);
        // which of them ended the batch is unknown
        if (answers.length === 0) report.noteUncompared('not evaluated', rest.length);
        else this.#putBack(rest);
        this.#schedule(0);
      },
    );
  }

  #note({ call, serving }: Asked, answer: HostAnswer, costUs: number | null, manifest: Manifest): void {
    const outcome = this.#options.judge(call, answer, manifest);
    if (isComparable(outcome)) this.#report.note(call, serving, { ...outcome, costUs });
    else this.#report.noteUncompared('not evaluated');
  }

  /** After a batch that took t ms, the candidate rests for as long as it takes to earn t ms at its limit. */
  #spend({ cpuMs }: BatchCost): void {
    const now = this.#options.clock.now();
    const limitMs = this.#options.limitMs();
    // up to one burst was saved while the candidate had nothing to do
    const since = Math.max(this.#paidUntil, now - SHADOW.burstMs);
    if (limitMs > 0) this.#paidUntil = Math.min(since + (cpuMs * 1000) / limitMs, now + SHADOW.longestRestMs);
  }

  #take(count: number): Asked[] {
    const taken = this.#waiting.splice(0, count);
    for (const { call } of taken) this.#length -= call.query.length;
    return taken;
  }

  #putBack(rest: readonly Asked[]): void {
    this.#waiting.unshift(...rest);
    for (const { call } of rest) this.#length += call.query.length;
  }
}

/** Whether the version was asked, and has answered or failed by itself. */
function isComparable({ failure }: Pick<Outcome, 'failure'>): boolean {
  return (
    failure === null || (!isPlatformFailure(failure) && failure !== 'paused' && failure !== 'no_version')
  );
}
