/**
 * Decisions that are kept and given again, by everything that they depended on. Each line of a tenant's versions has a memory
 * of its own; all share one room.
 */
import type { RoutingContext } from '../../../sandbox/context.ts';
import { MEMORY } from '../limits.ts';
import type { HostCall } from '../sandbox/call.ts';
import type { Decision } from './policy.ts';
import { askerKey, flagsOf, partsOf, type Asker, type ContextValue, type Question } from './question.ts';
import { Recency, type Place } from './recency.ts';

/** A decision, and the parts of ctx that it depended on with their values. */
interface Variant {
  readonly parts: readonly (keyof RoutingContext)[];
  readonly values: readonly (string | undefined)[];
  readonly decision: Decision;
  readonly bytes: number;
}

/** All decisions about one question that differ in ctx only. */
interface Entry {
  readonly query: string;
  /** those of the same asker, by query */
  readonly siblings: Siblings;
  readonly memory: Memory;
  variants: readonly Variant[];
  bytes: number;
  /** among the entries of its memory, and among all */
  inMemory: Place<Entry> | null;
  inRoom: Place<Entry> | null;
}

interface Siblings {
  readonly asker: string;
  readonly entries: Map<string, Entry>;
}

/** The room that all memories share. */
export class MemoryRoom {
  #maxBytes: number;
  #bytes = 0;
  readonly #entries = new Recency<Entry>();

  /** @param maxBytes 0: nothing is remembered */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get maxBytes(): number {
    return this.#maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  resize(maxBytes: number): void {
    this.#maxBytes = maxBytes;
    this.#makeRoom();
  }

  /** For memories only. */
  add(entry: Entry): void {
    entry.inRoom = this.#entries.add(entry);
  }

  use(entry: Entry): void {
    this.#entries.use(entry.inRoom!);
  }

  remove(entry: Entry): void {
    this.#entries.remove(entry.inRoom!);
  }

  /** A memory has grown or shrunk. */
  noteBytes(bytes: number): void {
    this.#bytes += bytes;
    if (bytes > 0) this.#makeRoom();
  }

  #makeRoom(): void {
    while (this.#bytes > this.#maxBytes || this.#entries.size > MEMORY.maxEntries) {
      const { oldest } = this.#entries;
      if (oldest === null) return;
      oldest.memory.forget(oldest);
    }
  }
}

export class Memory {
  readonly #room: MemoryRoom;
  /** bytes that it may take */
  readonly #limit: () => number;
  /** by asker, then by query: the text of a query is long, and need not be copied into a key */
  readonly #askers = new Map<string, Siblings>();
  /** the last one that was looked up: most tenants have few */
  #last: Siblings | null = null;
  #lastUser = '';
  #lastEntry: string | undefined;
  #lastFlags = 0;
  readonly #order = new Recency<Entry>();
  #bytes = 0;

  /** @param limit the bytes that it may take; the room may have less */
  constructor(room: MemoryRoom, limit: () => number) {
    this.#room = room;
    this.#limit = limit;
  }

  get entries(): number {
    return this.#order.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * @param query as the functions see it
   * @returns null: nothing is remembered that answers this question
   */
  find(question: Question, query = question.query): Decision | null {
    if (query.length > MEMORY.longestQuery) return null;
    const entry = this.#siblingsOf(question)?.entries.get(query);
    if (entry === undefined) return null;
    const { variants } = entry;
    for (let i = 0; i < variants.length; i++) {
      const { parts, values, decision } = variants[i]!;
      if (parts.length > 0 && !isSame(question, parts, values)) continue;
      this.#order.use(entry.inMemory!);
      this.#room.use(entry);
      return decision;
    }
    return null;
  }

  /** Keeps the decision about a call. @param basis the parts of ctx that it depended on (sandbox/call.ts) */
  keep(call: HostCall, basis: number, decision: Decision): void {
    if (call.query.length > MEMORY.longestQuery) return;
    const parts = partsOf(basis);
    const values = parts.map((field) => textOf(call.context[field]));
    const variant = { parts, values, decision, bytes: bytesOf(values, decision) };
    const siblings = this.#siblingsOf(call);
    const asker = siblings?.asker ?? askerKey(call);
    const least = MEMORY.entryBytes + 2 * (asker.length + call.query.length) + variant.bytes;
    if (least > Math.min(this.#limit(), this.#room.maxBytes, MEMORY.longestEntry)) return;
    const known = siblings?.entries.get(call.query);
    const entry = known ?? this.#newEntry(asker, call.query);
    entry.variants = known === undefined ? [variant] : withVariant(known.variants, variant);
    this.#order.use(entry.inMemory!);
    this.#room.use(entry);
    let bytes = least - variant.bytes;
    for (const each of entry.variants) bytes += each.bytes;
    const grown = bytes - entry.bytes;
    entry.bytes = bytes;
    this.#bytes += grown;
    this.#makeRoom();
    this.#room.noteBytes(grown);
  }

  /** The longest-unused entry makes room for others. */
  forget(entry: Entry): void {
    const { siblings, query } = entry;
    siblings.entries.delete(query);
    if (siblings.entries.size === 0) {
      this.#askers.delete(siblings.asker);
      this.#last = null;
    }
    this.#order.remove(entry.inMemory!);
    this.#room.remove(entry);
    this.#bytes -= entry.bytes;
    this.#room.noteBytes(-entry.bytes);
  }

  clear(): void {
    while (this.#order.oldest !== null) this.forget(this.#order.oldest);
  }

  #siblingsOf(asker: Asker): Siblings | null {
    const flags = flagsOf(asker);
    const { username, entry } = asker;
    if (
      this.#last !== null &&
      this.#lastFlags === flags &&
      this.#lastUser === username &&
      this.#lastEntry === entry
    )
      return this.#last;
    const siblings = this.#askers.get(askerKey(asker));
    if (siblings === undefined) return null;
    this.#last = siblings;
    this.#lastUser = username;
    this.#lastEntry = entry;
    this.#lastFlags = flags;
    return siblings;
  }

  #newEntry(asker: string, query: string): Entry {
    let siblings = this.#askers.get(asker);
    if (siblings === undefined) this.#askers.set(asker, (siblings = { asker, entries: new Map() }));
    const entry: Entry = {
      query,
      siblings,
      memory: this,
      variants: [],
      bytes: 0,
      inMemory: null,
      inRoom: null,
    };
    entry.inMemory = this.#order.add(entry);
    this.#room.add(entry);
    siblings.entries.set(query, entry);
    return entry;
  }

  #makeRoom(): void {
    while (this.#bytes > this.#limit() || this.#order.size > MEMORY.maxEntriesOfOne)
      this.forget(this.#order.oldest!);
  }
}

/** The latest few, without a former decision for the same values. */
function withVariant(others: readonly Variant[], variant: Variant): Variant[] {
  const rest = others.filter(
    ({ parts, values }) => parts !== variant.parts || values.some((value, i) => value !== variant.values[i]),
  );
  return [variant, ...rest.slice(0, MEMORY.maxVariants - 1)];
}

function isSame(
  question: Question,
  parts: readonly (keyof RoutingContext)[],
  values: readonly (string | undefined)[],
): boolean {
  for (let i = 0; i < parts.length; i++) if (textOf(question.part(parts[i]!)) !== values[i]) return false;
  return true;
}

/** JSON of lists. Their owners keep a list until it changes, and it is often equal to the one before. */
const texts = new WeakMap<object, string>();

function textOf(value: ContextValue): string | undefined {
  if (typeof value !== 'object') return value;
  let text = texts.get(value);
  if (text === undefined) texts.set(value, (text = JSON.stringify(value)));
  return text;
}

function bytesOf(values: readonly (string | undefined)[], decision: Decision): number {
  const length = values.reduce((sum, value) => sum + (value?.length ?? 0), 0);
  if (decision.kind !== 'go') return MEMORY.variantBytes + MEMORY.rejectionBytes + 2 * length;
  return MEMORY.variantBytes + 2 * (length + (decision.query?.length ?? 0));
}
