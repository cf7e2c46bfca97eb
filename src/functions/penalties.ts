import type { HostCall } from './host.ts';

/** What is kept after a costly call, in ms; again after each further one. */
const PENALTY_MS = 10_000;
/** So many connections of one user from one address: what comes next under yet another number is theirs too. */
const CONNECTIONS = 4;
/** Entries of each table; the oldest goes first. */
const MAX_ENTRIES = 256;
/** Of a longer text only so much is compared at each end, in characters. */
const LONGEST_KEY = 4_096;
const END_KEY = 256;

/**
 * `hard`: this connection, or this text, has cost others something. `soft`: it comes from where several connections have.
 * null: nothing is known against it.
 */
export type Penalty = 'hard' | 'soft' | null;

/** Calls that are run apart for a while, because others would wait for them: by connection, by text, by user and address. */
export class Penalties {
  /** until when */
  readonly #clients = new Map<number, number>();
  readonly #texts = new Map<string, number>();
  /** by user and address, the connections that have had costly calls, each until when */
  readonly #origins = new Map<string, Map<number, number>>();

  get isEmpty(): boolean {
    return this.#texts.size === 0;
  }

  of(call: HostCall, now: number): Penalty {
    // almost always
    if (this.isEmpty) return null;
    if (call.clientId !== undefined && isOn(this.#clients, call.clientId, now)) return 'hard';
    if (isOn(this.#texts, textKey(call.query), now)) return 'hard';
    const connections = this.#origins.get(originOf(call));
    return connections !== undefined && countOn(connections, now) >= CONNECTIONS ? 'soft' : null;
  }

  /** The call was costly. */
  add(call: HostCall, now: number): void {
    const until = now + PENALTY_MS;
    put(this.#texts, textKey(call.query), until);
    if (call.clientId === undefined) return;
    put(this.#clients, call.clientId, until);
    const origin = originOf(call);
    const connections = this.#origins.get(origin) ?? new Map<number, number>();
    for (const [id, end] of connections)
      if (end <= now || connections.size >= CONNECTIONS) connections.delete(id);
    connections.set(call.clientId, until);
    put(this.#origins, origin, connections);
  }

  /** Another version may be better. */
  reset(): void {
    this.#clients.clear();
    this.#texts.clear();
    this.#origins.clear();
  }

  /** Forgets what is over, so that calls need not be looked at any more. */
  expire(now: number): void {
    for (const [id, until] of this.#clients) if (until <= now) this.#clients.delete(id);
    for (const [text, until] of this.#texts) if (until <= now) this.#texts.delete(text);
    for (const [origin, connections] of this.#origins)
      if (countOn(connections, now) === 0) this.#origins.delete(origin);
  }
}

function isOn<Key>(table: ReadonlyMap<Key, number>, key: Key, now: number): boolean {
  return (table.get(key) ?? 0) > now;
}

function countOn(connections: ReadonlyMap<number, number>, now: number): number {
  let count = 0;
  for (const until of connections.values()) if (until > now) count++;
  return count;
}

function put<Key, Value>(table: Map<Key, Value>, key: Key, value: Value): void {
  table.delete(key);
  table.set(key, value);
  if (table.size > MAX_ENTRIES) table.delete(table.keys().next().value!);
}

function textKey(query: string): string {
  if (query.length <= LONGEST_KEY) return query;
  return `${query.length}\0${query.slice(0, END_KEY)}\0${query.slice(-END_KEY)}`;
}

function originOf(call: HostCall): string {
  return `${call.username}\0${call.address ?? ''}`;
}
