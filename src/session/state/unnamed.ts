/**
 * The unnamed prepared statement across servers. Drivers that prepare and execute in two pipelines without a name (sqlx, pgx's
 * describe mode) get another server for the second pipeline, or the same one with another client's statement. So the client's
 * last Parse is kept, and sent once more before the first message about it on each link.
 */
import { HEADER_BYTES } from '../../wire/protocol.ts';
import { UnnamedColumns } from './unnamed-columns.ts';
import { lasting, type Generations, type Judgement } from './generations.ts';

const EMPTY = Buffer.alloc(0);
/** Longest Parse that is kept. A longer one lasts as long as its link. */
const KEPT_BYTES = 64 * 1024;
/** The buffer for the Parse grows in steps of this size. */
const ROUND = 256;

export class UnnamedStatement implements Generations {
  #isHere = false;
  #originGeneration = 0;
  #targetGeneration = 0;
  #serial = 0;
  #frees: string | null = null;
  #route: string | null = null;
  #isUnkept = false;
  #buffer = EMPTY;
  #size = 0;
  #original: Buffer | null = null;
  #columns: UnnamedColumns | null = null;

  /** The unnamed statement of the client's server, if it has one, is this one. */
  get isHere(): boolean {
    return this.#isHere;
  }

  get originGeneration(): number {
    return this.#originGeneration;
  }

  get targetGeneration(): number {
    return this.#targetGeneration;
  }

  /** The number of unnamed statements that the client has had. */
  get serial(): number {
    return this.#serial;
  }

  /** Name of the client's statement that this one deallocates (deallocate.ts); null: this one is no DEALLOCATE. */
  get frees(): string | null {
    return this.#frees;
  }

  /** Name of the database that its Parse was routed to; null without user functions. */
  get route(): string | null {
    return this.#route;
  }

  /** Its result columns; null: the client has not asked for them. */
  get columns(): UnnamedColumns | null {
    return this.#columns;
  }

  /** The last Parse was too long to keep. */
  get isUnkept(): boolean {
    return this.#isUnkept;
  }

  /** The Parse as the client sent it; null: none, or not kept. */
  get original(): Buffer | null {
    return this.#isUnkept ? null : (this.#original ?? this.parse);
  }

  /** The Parse that made it; null: none. */
  get parse(): Buffer | null {
    return this.#size === 0 ? null : Buffer.from(this.#buffer.subarray(0, this.#size));
  }

  /** Its text, a zero byte, and the rest of the Parse; undefined: none. */
  get body(): Buffer | undefined {
    return this.parse?.subarray(HEADER_BYTES + 1);
  }

  /** A Parse is being sent to the server; it begins at `at`. It can only be kept if it has arrived whole. */
  parsed(chunk: Buffer, at: number, size: number): void {
    this.#isHere = true;
    this.#serial++;
    this.#frees = null;
    this.#route = null;
    this.#original = null;
    this.#columns = null;
    this.#originGeneration = 0;
    this.#targetGeneration = 0;
    this.#isUnkept = size > KEPT_BYTES || size > chunk.length - at;
    if (this.#isUnkept) {
      this.#size = 0;
      return;
    }
    if (this.#buffer.length < size) this.#buffer = Buffer.allocUnsafeSlow(Math.ceil(size / ROUND) * ROUND);
    chunk.copy(this.#buffer, 0, at, at + size);
    this.#size = size;
  }

  /** The last Parse deallocates a statement. */
  deallocates(name: string | null): void {
    this.#frees = name;
  }

  /** The last Parse was judged. @param original the client's Parse, if that was another one; null: it was the same */
  judged(judgement: Judgement, original: Buffer | null): void {
    if (original !== null && original.length > KEPT_BYTES) this.#isUnkept = true;
    const { originGeneration, targetGeneration } = this.#isUnkept ? judgement : lasting(judgement);
    this.#originGeneration = originGeneration;
    this.#targetGeneration = targetGeneration;
    this.#original = original === null ? null : Buffer.from(original);
  }

  routed(route: string | null): void {
    this.#route = route;
  }

  /** User functions now want another text: if it differs, the server must get it. @returns whether it differs */
  replace(parse: Buffer): boolean {
    if (this.#buffer.subarray(0, this.#size).equals(parse)) return false;
    const route = this.#route;
    const columns = this.#columns;
    this.parsed(parse, 0, parse.length);
    this.#route = route;
    this.#columns = columns;
    columns?.replaced();
    this.#isHere = false;
    return true;
  }

  /** The client asks for the result columns. */
  described(): UnnamedColumns {
    this.#columns ??= new UnnamedColumns();
    return this.#columns;
  }

  /** It no longer exists: a Query or a Close drops it. */
  dropped(): void {
    this.#size = 0;
    this.#frees = null;
    this.#original = null;
    this.#columns = null;
    this.#isUnkept = false;
  }

  /** The Parse has failed, or was skipped after an error. */
  lost(): void {
    this.dropped();
    this.#isHere = false;
  }

  /** The client has another server now, or its server has another unnamed statement. */
  displaced(): void {
    this.#isHere = false;
  }

  /** The server has the statement, or neither the client nor the server has one. */
  arrived(): void {
    this.#isHere = true;
  }
}

/** Whether a Parse is kept, and therefore collected before it is passed on. */
export function isKept(size: number): boolean {
  return size <= KEPT_BYTES;
}
