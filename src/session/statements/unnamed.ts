import { sizeOf } from '../../wire/frame.ts';
import { closeStatement } from '../../wire/messages.ts';
import { HEADER_BYTES } from '../../wire/protocol.ts';
import type { Client } from '../client.ts';
import { isInDoubt, noteDiscard, undecided } from './prepared.ts';
import type { Generations } from './generations.ts';

/**
 * The unnamed prepared statement across servers. Drivers that prepare and execute in two pipelines without a name (sqlx,
 * pgx's describe mode) find another server behind the second one, or the same with the statement of somebody else. So the
 * client's last Parse is kept, and sent again before the first message about it on each link.
 */
const EMPTY = Buffer.alloc(0);
/** Longest Parse that is kept. What is longer exists until its link ends. */
const KEPT_BYTES = 64 * 1024;
const ROUND = 256;

export class UnnamedStatement {
  /** what the client's server holds as the unnamed statement, if any, is this client's */
  isHere = false;
  /** under which functions its text was judged (rejudge.ts) */
  originGeneration = 0;
  targetGeneration = 0;
  /** how many there have been */
  serial = 0;
  /** it deallocates this statement of the client's; null: it does something else (prepared.ts) */
  frees: string | null = null;
  /** the last Parse was too long to be kept */
  isUnkept = false;
  #buffer = EMPTY;
  #size = 0;
  /** the Parse as the client sent it, where user functions have changed its text; null: they have not */
  #original: Buffer | null = null;

  /** A new one is on its way to the server: the Parse begins at `at`. Only what is whole can be kept. */
  parsed(chunk: Buffer, at: number, size: number): void {
    this.isHere = true;
    this.serial++;
    this.frees = null;
    this.#original = null;
    this.originGeneration = 0;
    this.targetGeneration = 0;
    this.isUnkept = size > KEPT_BYTES || size > chunk.length - at;
    if (this.isUnkept) {
      this.#size = 0;
      return;
    }
    if (this.#buffer.length < size) this.#buffer = Buffer.allocUnsafeSlow(Math.ceil(size / ROUND) * ROUND);
    chunk.copy(this.#buffer, 0, at, at + size);
    this.#size = size;
  }

  /** The one that was just noted was judged. @param original the client's Parse, where that is another */
  judged({ originGeneration, targetGeneration }: Generations, original: Buffer | null): void {
    this.originGeneration = originGeneration;
    this.targetGeneration = targetGeneration;
    if (original !== null && original.length > KEPT_BYTES) this.isUnkept = true;
    this.#original = original === null ? null : Buffer.from(original);
  }

  /** User functions want another text now: the server has to be told. */
  replace(parse: Buffer): void {
    this.parsed(parse, 0, parse.length);
    this.isHere = false;
  }

  /** There is none any more: a Query or a Close drops it. */
  dropped(): void {
    this.#size = 0;
    this.frees = null;
    this.#original = null;
    this.isUnkept = false;
  }

  /** The Parse has failed, or an error before it made the server skip it. */
  lost(): void {
    this.dropped();
    this.isHere = false;
  }

  /** The Parse as the client sent it; null: there is none, or it is not kept. */
  get original(): Buffer | null {
    return this.isUnkept ? null : (this.#original ?? this.parse);
  }

  /** The Parse that made it; null: there is none. */
  get parse(): Buffer | null {
    return this.#size === 0 ? null : Buffer.from(this.#buffer.subarray(0, this.#size));
  }

  /** Its text, a zero byte and what follows in the Parse; undefined: there is none. */
  get body(): Buffer | undefined {
    return this.parse?.subarray(HEADER_BYTES + 1);
  }
}

/** A Parse that should be collected before it is passed on. */
export function isKept(size: number): boolean {
  return size <= KEPT_BYTES;
}

/** A Parse without a name is on its way to the client's server. */
export function noteUnnamedParse(client: Client, bytes: Buffer, at = 0, size = sizeOf(bytes)): void {
  if (client.outstanding.skipping) return;
  client.unnamed.parsed(bytes, at, size);
  noteDiscard(client, bytes, at + HEADER_BYTES + 1, at + size);
}

/**
 * Brings the statement to the client's server, where it may be another's that is there. Where there is none, the server is
 * to say so.
 * @returns false: it is not known yet what is there; ask again when what was sent has been answered
 */
export function bringUnnamed(client: Client): boolean {
  const { unnamed, outstanding } = client;
  if (unnamed.isHere || outstanding.inCopy) return true;
  if (client.undecided?.has(unnamed)) return !isInDoubt(client, unnamed);
  const forget = undecided(client, unnamed);
  const done = (): void => {
    forget();
    unnamed.isHere = true;
  };
  const { parse } = unnamed;
  if (parse === null) {
    outstanding.sentClose({ undo: forget, done });
    client.forward(closeStatement(''));
  } else {
    client.database!.stats.serverParseCount++;
    outstanding.sentParse(true, { undo: forget, done });
    client.forward(parse);
  }
  return true;
}
