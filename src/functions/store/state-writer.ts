/**
 * Writes to the state folder: for each tenant one after the other, so that what is written last is what was changed last. The
 * program goes on without a folder that can't be written; what could not be written is written as soon as that works again.
 */
import { printable } from '../build/places.ts';
import { STORE } from '../limits.ts';
import type { StateFolder } from './state-folder.ts';

/** The part of a log that is used here. */
export interface StoreLog {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Writes what is true when it is called: it may be called long after it was asked for, and again. */
type Write = (folder: StateFolder) => Promise<void>;

interface Unwritten {
  readonly owner: string;
  readonly write: Write;
}

export class StateWriter {
  readonly #folder: StateFolder | null;
  readonly #log: StoreLog;
  /** by tenant */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** writes under way */
  readonly #writes = new Set<Promise<void>>();
  /** writes that have failed, by what they write */
  readonly #unwritten = new Map<string, Unwritten>();
  #retryTimer: NodeJS.Timeout | null = null;
  /** the folder could not be written lately: only the first failure is logged */
  #isFailing = false;

  /** @param folder null: nothing is written */
  constructor(folder: StateFolder | null, log: StoreLog) {
    this.#folder = folder;
    this.#log = log;
  }

  /**
   * @param key of what is written: a later write with the same key takes the place of one that has failed; null: a write that
   * fails is given up
   * @returns when it has been written, or could not be, or takes too long
   */
  save(owner: string, key: string | null, write: Write): Promise<void> {
    const folder = this.#folder;
    if (folder === null) return Promise.resolve();
    if (key !== null) this.#unwritten.delete(key);
    const written = this.#inTurn(owner, () => write(folder)).then(
      () => this.#written(),
      (error: unknown) => this.#failed(owner, key, write, error as Error),
    );
    const done = written.finally(() => this.#writes.delete(done));
    this.#writes.add(done);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, STORE.longestWriteMs);
    });
    return Promise.race([done, late]).finally(() => clearTimeout(timer));
  }

  /** This has not been written, and is written later. @param key as in `save` */
  later(owner: string, key: string, write: Write): void {
    if (this.#folder === null) return;
    this.#unwritten.set(key, { owner, write });
    this.#retryLater();
  }

  /** When everything so far has been written, or could not be. */
  async flush(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all(this.#writes);
    if (this.#unwritten.size === 0) return;
    this.#retry();
    while (this.#writes.size > 0) await Promise.all(this.#writes);
  }

  #inTurn(owner: string, work: () => Promise<void>): Promise<void> {
    const turn = (this.#turns.get(owner) ?? Promise.resolve()).then(work);
    const settled = turn
      .catch(() => {})
      .then(() => {
        if (this.#turns.get(owner) === settled) this.#turns.delete(owner);
      });
    this.#turns.set(owner, settled);
    return turn;
  }

  #written(): void {
    if (!this.#isFailing || this.#unwritten.size > 0) return;
    this.#isFailing = false;
    this.#log.warn(
      { event: 'state_writable' },
      `versions of user functions are kept in ${this.#folder?.path} again`,
    );
  }

  #failed(owner: string, key: string | null, write: Write, error: Error): void {
    // a later write may have come in between
    if (key !== null && !this.#unwritten.has(key)) this.#unwritten.set(key, { owner, write });
    this.#retryLater();
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#log.error(
      { event: 'state_unwritable' },
      `versions of user functions can't be kept in ${this.#folder?.path}: ${printable(error.message)}; until they can, a restart would not know the present ones`,
    );
  }

  #retryLater(): void {
    if (this.#unwritten.size === 0) return;
    this.#retryTimer ??= setTimeout(() => this.#retry(), STORE.retryMs).unref();
  }

  #retry(): void {
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    for (const [key, { owner, write }] of [...this.#unwritten]) void this.save(owner, key, write);
  }
}
