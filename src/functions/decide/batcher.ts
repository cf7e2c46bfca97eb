/**
 * One tenant's calls on their way to its host and back. They cross in batches, one at a time, so that tenants that share a
 * host take turns. Calls that have proven costly run apart from all others (apart-queue.ts).
 */
import { BATCH } from '../limits.ts';
import {
  isPlatformFailure,
  type CallFailure,
  type FailureOutcome,
  type HostAnswer,
  type HostCall,
} from '../sandbox/call.ts';
import { NO_PROCESS } from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import { ApartQueue } from './apart-queue.ts';
import { Breaker } from './breaker.ts';
import { BudgetGate } from './budget-gate.ts';
import type { Budget } from './budget.ts';
import { CallTimes, type Percentiles } from './call-times.ts';
import { costOf, lacksMemory, platformFailure, wasAsked } from './costs.ts';
import { nextBatch } from './next-batch.ts';
import { Penalties } from './penalties.ts';
import { OpenCalls, type OpenCallsOptions } from './open-calls.ts';
import { isOpen, newPending, type Pending, type Route, type Serving } from './pending.ts';
import type { Decision } from './policy.ts';
import { Probe } from './probe.ts';
import { Retries } from './retries.ts';
import { evaluate } from './shaped.ts';

const SUSPENDED = 'suspended: several clients have run into its limits, and nobody was answered';
const ENDED: CallFailure = {
  outcome: 'overloaded',
  message: 'its batch was ended again and again',
  stack: '',
};
const OVER_BUDGET = 'its tenant has used up its processor time (cpu_limit)';

export interface BatcherOptions extends Route {
  /** the tenant's processor time */
  readonly budget: Budget;
  /** Over budget, calls wait: their failure would let queries pass a guard. */
  readonly waitsForBudget: () => boolean;
  /** how long a call that does not say waits for its answer, in ms */
  readonly longestWaitMs?: number;
  readonly decide: OpenCallsOptions['decide'];
  /** The tenant has been suspended. */
  readonly onOpened: () => void;
}

export class Batcher {
  readonly #options: BatcherOptions;
  readonly #breaker = new Breaker();
  readonly #penalties = new Penalties();
  readonly #times = new CallTimes();
  readonly #probe: Probe;
  readonly #apart: ApartQueue;
  readonly #gate: BudgetGate;
  readonly #open: OpenCalls;
  readonly #retries = new Retries((calls) => this.#tryAgain(calls));
  /** in order of arrival */
  #waiting: Pending[] = [];
  #inFlight: readonly Pending[] | null = null;
  #isScheduled = false;
  #isNew = true;
  #onDrained: (() => void) | null = null;
  #costUs: number | null = null;
  #heapBytes = 0;

  constructor(options: BatcherOptions) {
    this.#options = options;
    this.#open = new OpenCalls({
      decide: options.decide,
      maxWaitMs: options.longestWaitMs ?? BATCH.maxWaitMs,
      all: () => this.#all,
      whyLate: (pending) => this.#whyLate(pending),
      onLook: (now) => this.#lookAround(now),
    });
    this.#gate = new BudgetGate({
      budget: options.budget,
      waits: options.waitsForBudget,
      calls: () => [...this.#waiting, ...this.#apart.waiting],
      onRefused: () => this.#failAll('over_budget', OVER_BUDGET),
      onOpened: () => this.wake(),
    });
    this.#probe = new Probe({
      breaker: this.#breaker,
      serving: options.serving,
      onEnded: () => {
        if (this.#onDrained !== null) this.#flush();
        else this.#schedule();
      },
    });
    this.#apart = new ApartQueue({
      serving: options.serving,
      noVersion: options.noVersion,
      apart: options.apart,
      onPrinted: options.onPrinted,
      isSuspended: () => this.#breaker.isOpen,
      mayRun: () => this.#gate.lets(),
      refuse: (pending) => this.#open.refuse(pending, 'suspended', SUSPENDED),
      drop: (pending) => this.#open.drop(pending),
      onAnswer: (pending, answer, manifest) => {
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
    return this.#waiting.length + this.#retries.calls.length === 0 && this.#inFlight === null;
  }

  /** How many calls wait for the tenant's budget. */
  get heldByBudget(): number {
    if (!this.#gate.isClosed) return 0;
    return [...this.#waiting, ...this.#apart.waiting].filter(isOpen).length;
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
    this.#add(newPending(call, done));
    this.#schedule();
  }

  #add(pending: Pending): void {
    if (!this.#open.add(pending)) return;
    this.#waiting.push(pending);
    this.#gate.noteArrival(pending);
  }

  /**
   * Asks again about a call that was answered from memory, in the next batch. It counts for nothing.
   * @param onChecked not called if there is no answer
   */
  check(call: HostCall, onChecked: (answer: HostAnswer) => void): void {
    if (this.#isNew || this.#breaker.isOpen || this.#onDrained !== null) return;
    if (this.#gate.isClosed || !this.#options.budget.mayRun) return;
    this.#add(newPending(call, () => {}, onChecked));
    this.#schedule();
  }

  /** The files have been loaded or refused: calls no longer wait for that. */
  open(): void {
    this.#isNew = false;
    this.wake();
  }

  /** What calls wait for may have happened. */
  wake(): void {
    this.#schedule();
    this.#apart.run();
  }

  /** No call waits, none is in flight, and none runs apart. */
  get isQuiet(): boolean {
    return this.isIdle && !this.#probe.isRunning && this.#apart.isIdle;
  }

  /** Calls wait until `open`: the version has been unloaded. To be called while it is quiet. */
  hold(): void {
    this.#isNew = true;
    this.#apart.leave();
  }

  /** A new version serves: it starts without faults. */
  reset(): void {
    this.#breaker.reset();
    this.#penalties.reset();
    this.#apart.reset();
    this.#schedule();
  }

  /** No more calls will arrive. @param onDrained called after all calls have been answered; at once if there are none */
  close(onDrained: () => void): void {
    // No function has judged the calls that wait for a first version, so their queries go nowhere.
    if (this.#isNew) this.#failAll('unavailable', 'not loaded');
    this.#isNew = false;
    this.#onDrained = onDrained;
    for (const pending of this.#retries.takeAll())
      this.#open.refuse(pending, pending.trouble!.outcome, pending.trouble!.message);
    if (this.#waiting.length > 0 && this.#inFlight === null) this.#flush();
    this.#drained();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#inFlight !== null || this.#isNew || this.#probe.isRunning) return;
    if (this.#waiting.length === 0) return;
    this.#isScheduled = true;
    // After all sockets that are ready in this turn of the event loop have been read.
    setImmediate(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isScheduled = false;
    if (this.#inFlight === null && !this.#probe.isRunning) this.#flush();
  };

  #flush(): void {
    const version = this.#options.serving();
    const now = performance.now();
    if (version === null) return this.#withoutVersion();
    if (!this.#gate.lets()) return;
    if (this.#breaker.isDue(now)) return this.#probe.run(version);
    const batch = this.#takeBatch(now);
    if (batch.length > 0) this.#send(version, batch);
    this.#drained();
  }

  /** The functions' own failure is answered. Otherwise calls wait for a version. */
  #withoutVersion(): void {
    const [outcome, message] = this.#options.noVersion();
    if (this.#onDrained !== null || !isPlatformFailure(outcome)) this.#failAll(outcome, message);
  }

  /** Takes the next calls that may cross together. Calls that must run apart leave the queue. */
  #takeBatch(now: number): Pending[] {
    // Clients whose calls were not costly may test a suspended tenant, one at a time.
    const isOneByOne = this.#breaker.isOpen;
    const { batch, rest } = nextBatch(this.#waiting, isOneByOne, (pending) => this.#crosses(pending, now));
    this.#waiting = rest;
    this.#apart.run();
    return batch;
  }

  /** @returns false: the call has been dropped or refused, or runs apart */
  #crosses(pending: Pending, now: number): boolean {
    if (!isOpen(pending)) {
      this.#open.drop(pending);
      return false;
    }
    const { tooLong } = pending.call;
    if (tooLong !== undefined) {
      this.#open.refuse(pending, 'too_large', `query of ${tooLong} bytes is over user_function_max_query`);
      return false;
    }
    const penalty = this.#penalties.of(pending.call, now);
    const isSuspended = this.#breaker.isOpen;
    if (penalty === null && (pending.onChecked === undefined || !isSuspended)) return true;
    if (pending.onChecked !== undefined) this.#open.drop(pending);
    else if (penalty !== null && !isSuspended) this.#apart.add(pending, penalty);
    else if (penalty === 'hard') this.#open.refuse(pending, 'suspended', SUSPENDED);
    else return true;
    return false;
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
    const again = nothingAnswered ? rest.filter((pending) => this.#runsAlone(pending)) : rest;
    this.#waiting = [...again, ...this.#waiting];
  }

  /** It is unknown which call of a batch ended it, so each is sent alone. @returns false: it was alone, and is tried later */
  #runsAlone(pending: Pending): boolean {
    if (pending.isAlone) this.#retries.add(pending, ENDED);
    else pending.isAlone = true;
    return pending.trouble === null;
  }

  /** Calls that could not be made come first in the next batch. */
  #tryAgain(calls: readonly Pending[]): void {
    this.#waiting = [...calls, ...this.#waiting];
    this.#schedule();
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
    const trouble = platformFailure(answer);
    if (trouble !== null && this.#onDrained === null && isOpen(pending))
      return this.#retries.add(pending, trouble);
    if (trouble === null) this.#noteAnswered(pending);
    this.#open.finish(pending, answer, opened, manifest);
  }

  #endCheck(pending: Pending, onChecked: (answer: HostAnswer) => void, answer: HostAnswer): void {
    if (pending.done === null) return;
    this.#open.drop(pending);
    onChecked(answer);
  }

  #noteAnswered({ since }: Pending): void {
    const now = performance.now();
    this.#times.note(now - since, now);
    this.#retries.answered();
  }

  #failAll(outcome: FailureOutcome, message: string): void {
    const all = [...this.#waiting, ...this.#apart.takeWaiting()];
    this.#waiting = [];
    for (const pending of all) this.#open.refuse(pending, outcome, message);
    this.#drained();
  }

  // --- the end of waiting ------------------------------------------------------------------------------------------------

  /** All calls that have no answer. */
  get #all(): readonly Pending[] {
    return [...this.#waiting, ...(this.#inFlight ?? []), ...this.#apart.calls, ...this.#retries.calls];
  }

  #lookAround(now: number): boolean {
    this.#penalties.expire(now);
    this.#waiting = this.#waiting.filter(isOpen);
    return !this.#penalties.isEmpty;
  }

  #whyLate({ trouble, isHeld }: Pending): readonly [FailureOutcome, string] {
    const version = this.#options.serving();
    if (trouble !== null) return [trouble.outcome, `: ${trouble.message}`];
    if (this.#isNew || version === null) return [this.#whyNone(), ': no version is loaded'];
    if (version.host.isDown === true) return ['unavailable', `: ${NO_PROCESS}`];
    return ['overloaded', isHeld ? `: ${OVER_BUDGET}` : ''];
  }

  /** The outcome of a call that has waited for a version in vain. */
  #whyNone(): FailureOutcome {
    const [outcome] = this.#options.noVersion();
    return isPlatformFailure(outcome) ? outcome : 'unavailable';
  }

  #drained(): void {
    if (this.#onDrained === null || this.#inFlight !== null || this.#probe.isRunning) return;
    if (this.#waiting.length > 0 || !this.#apart.isIdle) return;
    this.#gate.stop();
    const onDrained = this.#onDrained;
    this.#onDrained = null;
    this.#open.stop();
    this.#apart.leave();
    onDrained();
  }
}
