import type { Settings } from '../config/options.ts';
import type { Database } from '../pool/database.ts';
import type { Pool } from '../pool/pool.ts';
import type { Waiting } from '../pool/waiter.ts';
import { clientErrors, type ClientError } from '../wire/errors.ts';
import type { Switchover } from './history.ts';

/** How exact switchover_hold_timeout is. */
const CHECK_MS = 50;

/** The time in which nobody knows who the writer is: who waits, for how long, and what is to be told to whom. */
export class Hold {
  readonly entry: Switchover;
  /** nobody has known a writer before: the configured host serves where there is none */
  readonly isFirst: boolean;
  /** the SWITCHOVER command waits for transactions: the old writer's word does not end it, and the command has a limit */
  isPlanned: boolean;
  /** the SWITCHOVER command has given up */
  isGivenUp = false;
  /** a blue/green switchover is in progress: no node's word ends it */
  isDeployment = false;
  /** switchover_timeout has passed: nobody waits any more */
  isOverdue = false;
  /** the old writer has been asked, and is not there or is none any more */
  isGone = false;
  /** who waits with a server of his own, and is told when it is over; the oldest first */
  readonly linked = new Map<Waiting, () => void>();
  readonly #databases: () => Iterable<Database>;
  readonly #timeoutMs: number;
  readonly #onOverdue: () => void;
  readonly #timers: NodeJS.Timeout[] = [];
  #isLimited = false;
  #isOver = false;
  /** resolves when nobody waits for it any more */
  readonly over: Promise<void>;
  #end: () => void = () => {};
  #judges: ((gone: boolean) => void)[] = [];

  constructor(options: {
    /** whose clients wait */
    databases: () => Iterable<Database>;
    settings: Settings;
    entry: Switchover;
    isPlanned: boolean;
    isFirst: boolean;
    onOverdue: () => void;
  }) {
    const { settings } = options;
    this.#databases = options.databases;
    this.entry = options.entry;
    this.isPlanned = options.isPlanned;
    this.isFirst = options.isFirst;
    this.#timeoutMs = settings.switchover_dry_run ? 0 : settings.switchover_timeout;
    this.#onOverdue = options.onOverdue;
    this.over = new Promise((resolve) => (this.#end = resolve));
    if (!this.isPlanned) this.#limitSearch();
    if (settings.switchover_dry_run) return;
    if (settings.switchover_hold_timeout > 0) {
      this.#timers.push(setInterval(() => this.#expire(settings.switchover_hold_timeout), CHECK_MS));
    }
  }

  *#pools(): Generator<Pool> {
    for (const database of this.#databases()) yield* database.pools.values();
  }

  /** SWITCHOVER has asked for the promotion: it may take long, and those who wait are told after a while. */
  promoting(): void {
    this.#limitSearch();
  }

  /** SWITCHOVER has given up, or is over: what is not known now is looked for as at any other time. */
  notPlanned(): void {
    if (!this.isPlanned) return;
    this.isPlanned = false;
    this.isGivenUp = true;
    this.#limitSearch();
  }

  #limitSearch(): void {
    if (this.#timeoutMs === 0 || this.#isLimited) return;
    this.#isLimited = true;
    this.#timers.push(
      setTimeout(() => {
        this.isOverdue = true;
        this.#onOverdue();
        for (const pool of this.#pools()) pool.failWaiters(clientErrors.noWriter());
        for (const waiter of [...this.linked.keys()]) this.#evict(waiter, clientErrors.noWriter());
      }, this.#timeoutMs),
    );
  }

  /** Clients that wait now. */
  countHeld(): number {
    let count = this.linked.size;
    for (const pool of this.#pools()) count += pool.waiters.size + pool.dedicated.size;
    return count;
  }

  /** The oldest go until no more than `limit` wait; 0: no limit. */
  limit(limit: number): void {
    let count = this.countHeld();
    this.entry.clientsHeld = Math.max(this.entry.clientsHeld, count);
    for (; limit > 0 && count > limit; count--) {
      const oldest = this.#oldest();
      if (oldest === null) return;
      this.#evict(oldest, clientErrors.heldTooMany());
    }
  }

  /** Calls back as soon as it is known whether the old writer is gone. */
  judge(tell: (gone: boolean) => void): void {
    if (this.isGone) setImmediate(tell, true);
    else this.#judges.push(tell);
  }

  /** The old writer does not answer, or says that it is none. */
  gone(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.#tell(true);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** It is over. */
  end(isMove = false): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#isOver = true;
    this.#end();
    this.#tell(this.isGone || isMove);
  }

  #tell(gone: boolean): void {
    const judges = this.#judges;
    this.#judges = [];
    for (const tell of judges) tell(gone);
  }

  #expire(timeoutMs: number): void {
    const now = performance.now();
    for (;;) {
      const oldest = this.#oldest();
      if (oldest === null) return;
      // who has waited for a server before has not been held for so long
      if (now - Math.max(oldest.waitingSince, this.entry.startedAt) < timeoutMs) return;
      this.#evict(oldest, clientErrors.heldTooLong());
    }
  }

  #oldest(): Waiting | null {
    let found = this.linked.keys().next().value ?? null;
    for (const pool of this.#pools()) {
      const waiter = pool.waiters.first;
      if (waiter !== undefined && (found === null || waiter.waitingSince < found.waitingSince))
        found = waiter;
    }
    return found;
  }

  #evict(waiter: Waiting, error: ClientError): void {
    this.linked.delete(waiter);
    for (const pool of this.#pools()) pool.cancelWait(waiter);
    waiter.onNoServer(error);
  }
}
