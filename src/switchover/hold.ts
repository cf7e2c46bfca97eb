/** A time without a known writer: the clients that wait for its end, their limits, and the verdicts that depend on it. */
import type { Settings } from '../config/options.ts';
import type { Database } from '../pool/database.ts';
import type { Pool } from '../pool/pool.ts';
import type { Waiting } from '../pool/waiter.ts';
import { clientErrors, type ClientError } from '../wire/errors.ts';
import type { Switchover } from './history.ts';
import type { HoldFacts } from './judgement.ts';

/** The precision of switchover_hold_timeout, in ms. */
const CHECK_MS = 50;

export interface HoldOptions {
  /** the databases whose clients are held */
  databases: () => Iterable<Database>;
  settings: Settings;
  entry: Switchover;
  /** a SWITCHOVER command holds them */
  isPlanned: boolean;
  /** no writer was known before */
  isFirst: boolean;
  /** switchover_timeout has passed */
  onOverdue: () => void;
}

export class Hold implements HoldFacts {
  readonly entry: Switchover;
  /** no writer was known before: without one the configured host serves */
  readonly isFirst: boolean;
  /** resolves at the end of the hold */
  readonly over: Promise<void>;
  readonly #databases: () => Iterable<Database>;
  /** 0: no limit */
  readonly #timeoutMs: number;
  readonly #onOverdue: () => void;
  readonly #timers: NodeJS.Timeout[] = [];
  /** clients that wait with servers of their own, and their way on; the oldest first */
  readonly #linked = new Map<Waiting, () => void>();
  #verdicts: ((gone: boolean) => void)[] = [];
  #isPlanned: boolean;
  #isGivenUp = false;
  #isDeployment = false;
  #isOverdue = false;
  #isGone = false;
  #isLimited = false;
  #isOver = false;
  #end: () => void = () => {};

  constructor({ databases, settings, entry, isPlanned, isFirst, onOverdue }: HoldOptions) {
    this.#databases = databases;
    this.entry = entry;
    this.#isPlanned = isPlanned;
    this.isFirst = isFirst;
    this.#timeoutMs = settings.switchover_dry_run ? 0 : settings.switchover_timeout;
    this.#onOverdue = onOverdue;
    this.over = new Promise((resolve) => (this.#end = resolve));
    if (!isPlanned) this.#limitSearch();
    if (settings.switchover_dry_run) return;
    if (settings.switchover_hold_timeout > 0) {
      this.#timers.push(setInterval(() => this.#expire(settings.switchover_hold_timeout), CHECK_MS));
    }
  }

  /** A SWITCHOVER command holds the clients: only another writer ends that, and the command limits its time. */
  get isPlanned(): boolean {
    return this.#isPlanned;
  }

  /** The SWITCHOVER command has given up. */
  get isGivenUp(): boolean {
    return this.#isGivenUp;
  }

  /** A blue/green deployment is switching over: no node's answer ends the hold. */
  get isDeployment(): boolean {
    return this.#isDeployment;
  }

  /** switchover_timeout has passed: clients get errors, and none waits any more. */
  get isOverdue(): boolean {
    return this.#isOverdue;
  }

  /** The old writer was asked, and is gone or is not the writer any more. */
  get isGone(): boolean {
    return this.#isGone;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  *#pools(): Generator<Pool> {
    for (const database of this.#databases()) yield* database.pools.values();
  }

  /** SWITCHOVER has asked for the promotion, which may take long: from now on switchover_timeout counts. */
  promoting(): void {
    this.#limitSearch();
  }

  /** SWITCHOVER has given up, or is over: the writer is searched for as at any other time. */
  endPlan(): void {
    if (!this.#isPlanned) return;
    this.#isPlanned = false;
    this.#isGivenUp = true;
    this.#limitSearch();
  }

  /** Whether a blue/green deployment is switching over. */
  deployment(isSwitching: boolean): void {
    this.#isDeployment = isSwitching;
  }

  #limitSearch(): void {
    if (this.#timeoutMs === 0 || this.#isLimited) return;
    this.#isLimited = true;
    this.#timers.push(
      setTimeout(() => {
        this.#isOverdue = true;
        this.#onOverdue();
        for (const pool of this.#pools()) pool.failWaiters(clientErrors.noWriter());
        for (const waiter of [...this.#linked.keys()]) this.#evict(waiter, clientErrors.noWriter());
      }, this.#timeoutMs),
    );
  }

  /** A client waits with its server; `go` is called after the end of the hold (see `resumeLinked`). */
  waitLinked(waiter: Waiting, go: () => void): void {
    this.#linked.set(waiter, go);
  }

  /** The client does not wait any more. */
  stopWaiting(waiter: Waiting): void {
    this.#linked.delete(waiter);
  }

  /** The hold is over: clients with servers of their own continue. */
  resumeLinked(): void {
    for (const go of [...this.#linked.values()]) go();
  }

  /** Clients that wait now. */
  countHeld(): number {
    let count = this.#linked.size;
    for (const pool of this.#pools()) count += pool.waiters.size + pool.dedicated.size;
    return count;
  }

  /** The oldest clients get errors until no more than `limit` wait; 0: no limit. */
  limit(limit: number): void {
    let count = this.countHeld();
    this.entry.noteHeld(count);
    for (; limit > 0 && count > limit; count--) {
      const oldest = this.#oldest();
      if (oldest === null) return;
      this.#evict(oldest, clientErrors.heldTooMany());
    }
  }

  /** Calls back, later, as soon as it is known whether the old writer is gone. */
  onVerdict(tell: (gone: boolean) => void): void {
    if (this.#isGone) setImmediate(tell, true);
    else this.#verdicts.push(tell);
  }

  /** The old writer does not answer, or says that it is not the writer. */
  gone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#tell(true);
  }

  /** @param isMove another node is the writer */
  end(isMove = false): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#isOver = true;
    this.#end();
    this.#tell(this.#isGone || isMove);
  }

  #tell(gone: boolean): void {
    const verdicts = this.#verdicts;
    this.#verdicts = [];
    for (const tell of verdicts) tell(gone);
  }

  #expire(timeoutMs: number): void {
    const now = performance.now();
    for (;;) {
      const oldest = this.#oldest();
      if (oldest === null) return;
      // time spent waiting before the hold began does not count
      if (now - Math.max(oldest.waitingSince, this.entry.startedAt) < timeoutMs) return;
      this.#evict(oldest, clientErrors.heldTooLong());
    }
  }

  #oldest(): Waiting | null {
    let found = this.#linked.keys().next().value ?? null;
    for (const pool of this.#pools()) {
      const waiter = pool.waiters.first;
      if (waiter !== undefined && (found === null || waiter.waitingSince < found.waitingSince))
        found = waiter;
    }
    return found;
  }

  #evict(waiter: Waiting, error: ClientError): void {
    this.#linked.delete(waiter);
    for (const pool of this.#pools()) pool.cancelWait(waiter);
    waiter.onNoServer(error);
  }
}
