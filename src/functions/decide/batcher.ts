/**
 * One tenant's calls on their way to its host and back. They cross in batches, one at a time, so that tenants that share a
 * host take turns. Calls that have proven costly run apart from all others (apart-queue.ts).
 */
import { BATCH } from '../limits.ts';
import { cutOff, type FailureOutcome, type HostAnswer, type HostCall } from '../sandbox/call.ts';
import type { VersionCode } from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import { ApartQueue } from './apart-queue.ts';
import { Breaker } from './breaker.ts';
import { CallTimes, type Percentiles } from './call-times.ts';
import { costOf, lacksMemory, outcomesOf, wasAsked } from './costs.ts';
import { Penalties } from './penalties.ts';
import type { Pending, Route, Serving } from './pending.ts';
import type { Decision } from './policy.ts';
import { evaluate } from './shaped.ts';

const SUSPENDED = 'suspended: several clients have run into its limits, and nobody was answered';

export interface BatcherOptions extends Route {
  /** a call without an answer gets an error after this long, in ms */
  readonly longestWaitMs?: number;
  /**
   * @param opened this call suspended the tenant
   * @param manifest of the version that was asked, which may no longer serve; null: no version was asked
   */
  readonly decide: (
    call: HostCall,
    answer: HostAnswer,
    opened: boolean,
    manifest: Manifest | null,
  ) => Decision;
  /** The tenant has been suspended. */
  readonly onOpened: () => void;
}

export class Batcher {
  readonly #options: BatcherOptions;
  readonly #breaker = new Breaker();
  readonly #penalties = new Penalties();
  readonly #times = new CallTimes();
  readonly #apart: ApartQueue;
  readonly #maxWaitMs: number;
  readonly #lookMs: number;
  /** in order of arrival */
  #waiting: Pending[] = [];
  #inFlight: readonly Pending[] | null = null;
  #isScheduled = false;
  #isNew = true;
  /** the proxy's own query is running, to find out whether a suspended tenant works again */
  #isProbing = false;
  #look: NodeJS.Timeout | null = null;
  #onDrained: (() => void) | null = null;
  #costUs: number | null = null;
  #heapBytes = 0;

  constructor(options: BatcherOptions) {
    this.#options = options;
    this.#maxWaitMs = options.longestWaitMs ?? BATCH.maxWaitMs;
    this.#lookMs = Math.min(BATCH.lookMs, this.#maxWaitMs);
    this.#apart = new ApartQueue({
      serving: options.serving,
      noVersion: options.noVersion,
      apart: options.apart,
      onPrinted: options.onPrinted,
      isSuspended: () => this.#breaker.isOpen,
      refuse: (pending) => this.#refuse(pending, 'suspended', SUSPENDED),
      onAnswer: (pending, answer, manifest) => {
        const now = performance.now();
        this.#times.note(now - pending.since, now);
        this.#costUs = null;
        this.#answer(pending, answer, manifest);
        if (costOf(answer) === null) this.#penalties.clear(pending.call);
      },
      onEnded: () => this.#drained(),
    });
  }

  /** The first attempt to load a version has not ended: calls wait for it. */
  get isNew(): boolean {
    return this.#isNew;
  }

  /** No call waits, and none is in flight. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#inFlight === null;
  }

  get isSuspended(): boolean {
    return this.#breaker.isOpen;
  }

  /** Memory that the isolate of the last asked version held after its last batch; 0: unknown. */
  get heapBytes(): number {
    return this.#heapBytes;
  }

  /** Processor time of the call whose decision is being handed over, as its part of the batch, in µs; null: unknown. */
  get costUs(): number | null {
    return this.#costUs;
  }

  /** How long calls have taken lately, from question to answer, waiting included. */
  get times(): Percentiles {
    return this.#times.observe(performance.now());
  }

  /**
   * Takes a call. The calls of one turn of the event loop cross into the isolate together, as do those that arrive while it is
   * busy.
   * @param done called once, never before `evaluate` has returned
   */
  evaluate(call: HostCall, done: (decision: Decision) => void): void {
    this.#waiting.push({ call, done, since: performance.now(), isAlone: false, tries: 0 });
    this.#look ??= setTimeout(this.#lookAround, this.#lookMs).unref();
    this.#schedule();
  }

  /**
   * Asks again about a call that was answered from memory, in the next batch. It counts for nothing.
   * @param onChecked not called if there is no answer
   */
  check(call: HostCall, onChecked: (answer: HostAnswer) => void): void {
    if (this.#isNew || this.#breaker.isOpen || this.#onDrained !== null) return;
    const since = performance.now();
    this.#waiting.push({ call, done: () => {}, onChecked, since, isAlone: false, tries: 0 });
    this.#schedule();
  }

  /** Calls no longer wait: a version was loaded, or the files were refused. */
  open(): void {
    if (!this.#isNew) return;
    this.#isNew = false;
    this.#schedule();
  }

  /** A new version serves: it starts without faults. */
  reset(): void {
    this.#breaker.reset();
    this.#penalties.reset();
    this.#apart.reset();
  }

  /** No more calls will arrive. @param onDrained called after all calls have been answered; at once if there are none */
  close(onDrained: () => void): void {
    // No function has judged the calls that wait for a first version, so their queries go nowhere.
    if (this.#isNew) this.#failAll('overloaded', 'not loaded');
    this.#isNew = false;
    this.#onDrained = onDrained;
    if (this.#waiting.length > 0 && this.#inFlight === null) this.#flush();
    this.#drained();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#inFlight !== null || this.#isNew || this.#isProbing) return;
    if (this.#waiting.length === 0) return;
    this.#isScheduled = true;
    // After all sockets that are ready in this turn of the event loop have been read.
    setImmediate(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isScheduled = false;
    if (this.#inFlight === null && !this.#isProbing) this.#flush();
  };

  #flush(): void {
    const version = this.#options.serving();
    const now = performance.now();
    if (version === null) return this.#failAll(...this.#options.noVersion());
    if (this.#breaker.isDue(now)) return this.#probe(version);
    const batch = this.#takeBatch(now);
    if (batch.length > 0) this.#send(version, batch);
    this.#drained();
  }

  /** Takes the next calls that may cross together. Calls that must run apart leave the queue. */
  #takeBatch(now: number): Pending[] {
    const batch: Pending[] = [];
    let length = 0;
    let at = 0;
    for (; at < this.#waiting.length; at++) {
      const pending = this.#waiting[at]!;
      if (pending.done === null) continue;
      const penalty = this.#penalties.of(pending.call, now);
      if (pending.onChecked !== undefined && (penalty !== null || this.#breaker.isOpen)) {
        pending.done = null;
        continue;
      }
      if (penalty === 'hard' && this.#breaker.isOpen) {
        this.#refuse(pending, 'suspended', SUSPENDED);
        continue;
      }
      if (penalty !== null && !this.#breaker.isOpen) {
        this.#apart.add(pending, penalty);
        continue;
      }
      // Clients whose calls were not costly may test a suspended tenant, one at a time.
      const isAlone = pending.isAlone || this.#breaker.isOpen;
      if (batch.length > 0 && (isAlone || length >= BATCH.maxLength)) break;
      batch.push(pending);
      length += pending.call.query.length;
      if (isAlone || batch.length === BATCH.maxCalls) {
        at++;
        break;
      }
    }
    this.#waiting = at === this.#waiting.length ? [] : this.#waiting.slice(at);
    this.#apart.run();
    return batch;
  }

  #send(version: Serving, batch: readonly Pending[]): void {
    this.#inFlight = batch;
    evaluate(
      version,
      version.host,
      batch.map((each) => each.call),
      (answers, consoleText, { cpuMs, heapBytes }) => {
        this.#inFlight = null;
        this.#heapBytes = heapBytes;
        this.#costUs = answers.length === 0 ? null : (cpuMs * 1000) / answers.length;
        if (consoleText !== '') this.#options.onPrinted(consoleText);
        const now = performance.now();
        for (let i = 0; i < answers.length; i++) {
          const { onChecked, since } = batch[i]!;
          if (onChecked === undefined) this.#times.note(now - since, now);
        }
        for (let i = 0; i < answers.length; i++) {
          const { onChecked } = batch[i]!;
          if (onChecked !== undefined) this.#endCheck(batch[i]!, onChecked, answers[i]!);
          else if (!version.host.isInline && lacksMemory(answers[i]!)) this.#apart.add(batch[i]!, 'soft');
          else this.#answer(batch[i]!, answers[i]!, version.manifest);
        }
        this.#apart.run();
        if (answers.length < batch.length) this.#again(batch.slice(answers.length), answers.length === 0);
        if (this.#onDrained !== null && this.#waiting.length > 0) this.#flush();
        else this.#schedule();
        this.#drained();
      },
    );
  }

  /** Calls that were sent but not run come first in the next batch. */
  #again(rest: readonly Pending[], nothingAnswered: boolean): void {
    const again = rest.filter((pending) => {
      // It is unknown which of them ended the batch.
      if (nothingAnswered) pending.isAlone = true;
      if (!nothingAnswered || ++pending.tries < BATCH.maxTries) return true;
      this.#refuse(pending, 'overloaded', 'its batch was ended again and again');
      return false;
    });
    this.#waiting = [...again, ...this.#waiting];
  }

  #answer(pending: Pending, answer: HostAnswer, manifest: Manifest | null): void {
    const cost = costOf(answer);
    let opened = false;
    if (cost !== null) {
      const now = performance.now();
      this.#penalties.add(pending.call, now);
      // The tenant is not to blame for a process that was ended from outside.
      opened = cost !== 'lost' && this.#breaker.fault(pending.call, now);
      if (opened) this.#options.onOpened();
    } else if (wasAsked(answer)) this.#breaker.answered();
    this.#finish(pending, answer, opened, manifest);
  }

  #endCheck(pending: Pending, onChecked: (answer: HostAnswer) => void, answer: HostAnswer): void {
    if (pending.done === null) return;
    pending.done = null;
    onChecked(answer);
  }

  #finish(pending: Pending, answer: HostAnswer, opened: boolean, manifest: Manifest | null): void {
    const { done, call } = pending;
    if (done === null) return;
    pending.done = null;
    if (pending.onChecked !== undefined) return;
    done(this.#options.decide(call, answer, opened, manifest));
  }

  #refuse(pending: Pending, outcome: FailureOutcome, message: string): void {
    this.#finish(pending, cutOff(outcome, message), false, null);
  }

  #failAll(outcome: FailureOutcome, message: string): void {
    const all = [...this.#waiting, ...this.#apart.takeWaiting()];
    this.#waiting = [];
    for (const pending of all) this.#refuse(pending, outcome, message);
    this.#drained();
  }

  /** Sends the proxy's own query, to find out whether a suspended tenant works again. Calls wait in the meantime. */
  #probe(version: Serving): void {
    this.#isProbing = true;
    evaluate(version, version.host, [ownCall(version.code)], ([answer]) => {
      this.#isProbing = false;
      const now = performance.now();
      // A missing answer tells as little as a call that could not be made.
      if (answer === undefined || !wasAsked(answer)) this.#breaker.postpone(now);
      else if (this.#options.serving()?.id === version.id)
        this.#breaker.tried(outcomesOf(answer).length === 0, now);
      if (this.#onDrained !== null) this.#flush();
      else this.#schedule();
    });
  }

  // --- the end of waiting ------------------------------------------------------------------------------------------------

  readonly #lookAround = (): void => {
    this.#look = null;
    const now = performance.now();
    this.#penalties.expire(now);
    const all = [...this.#waiting, ...(this.#inFlight ?? []), ...this.#apart.calls];
    for (const pending of all) {
      if (now - pending.since >= this.#maxWaitMs)
        this.#refuse(
          pending,
          'overloaded',
          `${this.#isNew ? 'not loaded' : 'not answered'} within ${this.#maxWaitMs / 1000} s`,
        );
    }
    this.#waiting = this.#waiting.filter(({ done }) => done !== null);
    if (all.length > 0 || !this.#penalties.isEmpty)
      this.#look = setTimeout(this.#lookAround, this.#lookMs).unref();
  };

  #drained(): void {
    if (this.#onDrained === null || this.#inFlight !== null || this.#isProbing) return;
    if (this.#waiting.length > 0 || !this.#apart.isIdle) return;
    const onDrained = this.#onDrained;
    this.#onDrained = null;
    if (this.#look !== null) clearTimeout(this.#look);
    this.#apart.leave();
    onDrained();
  }
}

/** The query that tests a suspended tenant: no client can make it fail. */
function ownCall({ databases: [database] }: VersionCode): HostCall {
  return { username: 'pgswitchyard', query: 'SELECT 1', inTransaction: false, context: { database } };
}
