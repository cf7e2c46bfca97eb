import { Breaker, isCostly } from './breaker.ts';
import { failureOf, type Decision } from './policy.ts';
import {
  cutOff,
  isPlatformFailure,
  type FailureOutcome,
  type HostAnswer,
  type HostCall,
  type SandboxHost,
  type VersionCode,
} from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import { Penalties } from './penalties.ts';
import { APART, BATCH } from '../limits.ts';

const SUSPENDED = 'suspended: several clients have run into its limits, and nobody was answered';

/** The version that serves. */
export interface Serving {
  readonly id: number;
  readonly code: VersionCode;
  readonly host: SandboxHost;
  /** which functions there are */
  readonly manifest: Manifest;
}

interface Pending {
  readonly call: HostCall;
  /** null: it has been called */
  done: ((decision: Decision) => void) | null;
  readonly since: number;
  /** It was in a batch of which nothing was answered. */
  isAlone: boolean;
  tries: number;
}

export interface BatcherOptions {
  /** null: there is none */
  readonly serving: () => Serving | null;
  /** how a call fails without one */
  readonly noVersion: () => readonly [outcome: FailureOutcome, message: string];
  /** a call that has had no answer for so long gets an error, in ms */
  readonly longestWaitMs?: number;
  /** @param manifest of the version that was asked, which may not serve any more; null: none was */
  readonly decide: (
    call: HostCall,
    answer: HostAnswer,
    opened: boolean,
    manifest: Manifest | null,
  ) => Decision;
  readonly onPrinted: (text: string) => void;
  /** The set has been suspended. */
  readonly onOpened: () => void;
  /** Where calls run that cost others too much; null: alone, but where all others do */
  readonly apart: () => SandboxHost | null;
}

/**
 * The calls of one function set on their way to its host and back: gathers them into batches, one at a time, so that sets
 * which share a host take turns. Calls that have proven costly run apart from all others, one by one.
 */
export class Batcher {
  readonly #options: BatcherOptions;
  readonly #breaker = new Breaker();
  readonly #penalties = new Penalties();
  /** in the order in which they came */
  #waiting: Pending[] = [];
  #inFlight: readonly Pending[] | null = null;
  #isScheduled = false;
  #isNew = true;
  #isProbing = false;
  /** calls that run apart, by what is known against them, in the order in which they came */
  #apart: Record<'soft' | 'hard', Pending[]> = { soft: [], hard: [] };
  #apartInFlight: Pending | null = null;
  /** costly calls wait until then */
  #apartFrom = 0;
  #apartTimer: NodeJS.Timeout | null = null;
  /** where the version was loaded for calls that run apart */
  #apartAt: { readonly host: SandboxHost; readonly id: number } | null = null;
  #apartBrokenUntil = 0;
  #look: NodeJS.Timeout | null = null;
  #onDrained: (() => void) | null = null;

  readonly #maxWaitMs: number;
  readonly #lookMs: number;

  constructor(options: BatcherOptions) {
    this.#options = options;
    this.#maxWaitMs = options.longestWaitMs ?? BATCH.maxWaitMs;
    this.#lookMs = Math.min(BATCH.lookMs, this.#maxWaitMs);
  }

  /** The first attempt to load it has not ended yet: calls wait for that. */
  get isNew(): boolean {
    return this.#isNew;
  }

  /** There is no call that waits. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#inFlight === null;
  }

  get isSuspended(): boolean {
    return this.#breaker.isOpen;
  }

  /**
   * Takes a call. The calls of one turn of the event loop cross into the isolate together, and so do those that come while
   * it is busy.
   * @param done is called once, never before `evaluate` has returned
   */
  evaluate(call: HostCall, done: (decision: Decision) => void): void {
    this.#waiting.push({ call, done, since: performance.now(), isAlone: false, tries: 0 });
    this.#look ??= setTimeout(this.#lookAround, this.#lookMs).unref();
    this.#schedule();
  }

  /** Calls no longer wait: there is a version now, or a complaint. */
  open(): void {
    if (!this.#isNew) return;
    this.#isNew = false;
    this.#schedule();
  }

  /** A new version serves: nothing is held against it. */
  reset(): void {
    this.#breaker.reset();
    this.#penalties.reset();
    this.#apartBrokenUntil = 0;
    this.#apartFrom = 0;
    this.#leaveApart();
    this.#nextApart();
  }

  /** Nothing more comes. @param onDrained is called when all calls have been answered; at once, if there are none */
  close(onDrained: () => void): void {
    // nobody has judged what waits for a first version, so it goes nowhere
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
    // after the reads of all sockets that are ready in this turn
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

  /** The next calls that may cross together. Whatever is to run apart leaves the queue. */
  #takeBatch(now: number): Pending[] {
    const batch: Pending[] = [];
    let length = 0;
    let at = 0;
    for (; at < this.#waiting.length; at++) {
      const pending = this.#waiting[at]!;
      if (pending.done === null) continue;
      const penalty = this.#penalties.of(pending.call, now);
      if (penalty === 'hard' && this.#breaker.isOpen) {
        this.#refuse(pending, 'suspended', SUSPENDED);
        continue;
      }
      if (penalty !== null && !this.#breaker.isOpen) {
        this.#apart[penalty].push(pending);
        continue;
      }
      // a suspended set is tried by those that have had no costly call, one at a time
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
    this.#nextApart();
    return batch;
  }

  #send(version: Serving, batch: readonly Pending[]): void {
    this.#inFlight = batch;
    version.host.evaluate(
      version.id,
      batch.map((each) => each.call),
      (answers, consoleText) => {
        this.#inFlight = null;
        if (consoleText !== '') this.#options.onPrinted(consoleText);
        for (let i = 0; i < answers.length; i++) {
          if (!version.host.isInline && lacksMemory(answers[i]!)) this.#apart.soft.push(batch[i]!);
          else this.#answer(batch[i]!, answers[i]!, version.manifest);
        }
        this.#nextApart();
        if (answers.length < batch.length) this.#again(batch.slice(answers.length), answers.length === 0);
        if (this.#onDrained !== null && this.#waiting.length > 0) this.#flush();
        else this.#schedule();
        this.#drained();
      },
    );
  }

  /** What was sent and not run comes first in the next batch. */
  #again(rest: readonly Pending[], nothingAnswered: boolean): void {
    const again = rest.filter((pending) => {
      // nobody knows which of them it was
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
      // who has ended a process from outside is not known
      opened = cost !== 'lost' && this.#breaker.fault(pending.call, now);
      if (opened) this.#options.onOpened();
    } else if (wasAsked(answer)) this.#breaker.answered();
    this.#finish(pending, answer, opened, manifest);
  }

  #finish(pending: Pending, answer: HostAnswer, opened: boolean, manifest: Manifest | null): void {
    const { done, call } = pending;
    if (done === null) return;
    pending.done = null;
    done(this.#options.decide(call, answer, opened, manifest));
  }

  #refuse(pending: Pending, outcome: FailureOutcome, message: string): void {
    this.#finish(pending, cutOff(outcome, message), false, null);
  }

  #failAll(outcome: FailureOutcome, message: string): void {
    const all = [...this.#waiting, ...this.#apart.soft, ...this.#apart.hard];
    this.#waiting = [];
    this.#apart = { soft: [], hard: [] };
    for (const pending of all) this.#refuse(pending, outcome, message);
    this.#drained();
  }

  /** The proxy's own query finds out whether a suspended set works again. Calls wait meanwhile. */
  #probe(version: Serving): void {
    this.#isProbing = true;
    version.host.evaluate(version.id, [ownCall(version.code)], ([answer]) => {
      this.#isProbing = false;
      const now = performance.now();
      // an answer that is missing says as little as one that could not be had
      if (answer === undefined || !wasAsked(answer)) this.#breaker.postpone(now);
      else if (this.#options.serving()?.id === version.id)
        this.#breaker.tried(outcomesOf(answer).length === 0, now);
      if (this.#onDrained !== null) this.#flush();
      else this.#schedule();
    });
  }

  // --- calls that run apart ----------------------------------------------------------------------------------------------

  readonly #nextApart = (): void => {
    if (this.#apartInFlight !== null) return;
    const now = performance.now();
    if (this.#breaker.isOpen) this.#refuseCostly();
    const pending = this.#takeApart(now);
    if (pending === null) return;
    this.#apartInFlight = pending;
    const version = this.#options.serving();
    void this.#runApart(pending, version).then((answer) => {
      this.#apartInFlight = null;
      this.#answer(pending, answer, version?.manifest ?? null);
      const ended = performance.now();
      if (costOf(answer) === null) this.#penalties.clear(pending.call);
      else this.#apartFrom = ended + Math.min((ended - now) * APART.pace, APART.longestPaceMs);
      this.#nextApart();
      this.#drained();
    });
  };

  /** The next call that may run apart now. Those that only share an address with costly ones wait for none of these. */
  #takeApart(now: number): Pending | null {
    const { soft, hard } = this.#apart;
    for (let next = soft.shift(); next !== undefined; next = soft.shift())
      if (next.done !== null) return next;
    if (hard.length > 0 && now < this.#apartFrom) {
      if (this.#apartTimer !== null) clearTimeout(this.#apartTimer);
      this.#apartTimer = setTimeout(this.#nextApart, this.#apartFrom - now).unref();
      return null;
    }
    for (let next = hard.shift(); next !== undefined; next = hard.shift())
      if (next.done !== null) return next;
    return null;
  }

  /** The set is suspended: those whose calls were costly do not wait to make it worse. */
  #refuseCostly(): void {
    for (const pending of this.#apart.hard.splice(0)) this.#refuse(pending, 'suspended', SUSPENDED);
  }

  async #runApart(pending: Pending, version: Serving | null): Promise<HostAnswer> {
    if (version === null) return cutOff(...this.#options.noVersion());
    const host = this.#options.apart();
    if (host !== null && !(await this.#loadApart(host, version)))
      return cutOff('overloaded', 'its version could not be loaded apart from others');
    return new Promise((resolve) => {
      (host ?? version.host).evaluate(version.id, [pending.call], ([answer], consoleText) => {
        if (consoleText !== '') this.#options.onPrinted(consoleText);
        resolve(answer ?? cutOff('overloaded', 'it was not run'));
      });
    });
  }

  async #loadApart(host: SandboxHost, version: Serving): Promise<boolean> {
    if (this.#apartAt?.host === host && this.#apartAt.id === version.id) return true;
    if (performance.now() < this.#apartBrokenUntil) return false;
    this.#leaveApart();
    const result = await host.load(version.code);
    if (result.kind === 'refused') {
      this.#apartBrokenUntil = performance.now() + APART.retryMs;
      return false;
    }
    this.#apartAt = { host, id: version.id };
    return true;
  }

  #leaveApart(): void {
    this.#apartAt?.host.dispose(this.#apartAt.id);
    this.#apartAt = null;
  }

  // --- the end of waiting ------------------------------------------------------------------------------------------------

  readonly #lookAround = (): void => {
    this.#look = null;
    const now = performance.now();
    this.#penalties.expire(now);
    const sent = [...(this.#inFlight ?? []), ...(this.#apartInFlight === null ? [] : [this.#apartInFlight])];
    const all = [...this.#waiting, ...this.#apart.soft, ...this.#apart.hard, ...sent];
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
    const { soft, hard } = this.#apart;
    if (this.#waiting.length + soft.length + hard.length > 0 || this.#apartInFlight !== null) return;
    const onDrained = this.#onDrained;
    this.#onDrained = null;
    if (this.#look !== null) clearTimeout(this.#look);
    this.#leaveApart();
    onDrained();
  }
}

function outcomesOf(answer: HostAnswer): FailureOutcome[] {
  return [failureOf(answer.rewrite), failureOf(answer.route)].flatMap((failure) => failure?.outcome ?? []);
}

/** How a call has cost others something, in either of its functions; null: it has not. */
function costOf(answer: HostAnswer): FailureOutcome | null {
  if (answer.rewrite === null && answer.route === null) return null;
  return outcomesOf(answer).find(isCostly) ?? null;
}

/**
 * Whether a buffer could not be had. The rule may want too much, or its neighbours have filled the process: apart from them it
 * will show.
 */
function lacksMemory({ rewrite, route }: HostAnswer): boolean {
  if (rewrite === null && route === null) return false;
  return [failureOf(rewrite), failureOf(route)].some(
    (failure) => failure?.outcome === 'threw' && /allocation failed|out of memory/i.test(failure.message),
  );
}

/** Whether the rule was asked, if only to throw. */
function wasAsked(answer: HostAnswer): boolean {
  return !outcomesOf(answer).some(isPlatformFailure);
}

/** What a suspended set is tried with: no client can make it fail. */
function ownCall({ databases: [database] }: VersionCode): HostCall {
  return { username: 'pgswitchyard', query: 'SELECT 1', inTransaction: false, context: { database } };
}
