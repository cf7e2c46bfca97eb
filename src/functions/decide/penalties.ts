/** Calls that run apart for a while because others would wait for them: by connection, by text, by user and address. */
import { PENALTY } from '../limits.ts';
import type { HostCall } from '../sandbox/call.ts';

/**
 * `hard`: this connection, or this text, was costly to others. `soft`: several connections of the same user and address were.
 * null: nothing is known against the call.
 */
export type Penalty = 'hard' | 'soft' | null;

/** In ms of the caller's clock. */
interface Entry {
  readonly until: number;
  /** the time for which it was remembered */
  readonly ms: number;
}

export class Penalties {
  readonly #clients = new Map<number, Entry>();
  readonly #texts = new Map<string, Entry>();
  /** by user and address: the connections that have had costly calls, and until when each counts */
  readonly #origins = new Map<string, Map<number, number>>();

  get isEmpty(): boolean {
    return this.#texts.size === 0 && this.#clients.size === 0 && this.#origins.size === 0;
  }

  of(call: HostCall, now: number): Penalty {
    // Almost always true.
    if (this.isEmpty) return null;
    if (call.clientId !== undefined && isOn(this.#clients, call.clientId, now)) return 'hard';
    if (isOn(this.#texts, textKey(call), now)) return 'hard';
    const connections = this.#origins.get(originOf(call));
    return connections !== undefined && countOn(connections, now) >= PENALTY.connections ? 'soft' : null;
  }

  /** The call was costly. */
  add(call: HostCall, now: number): void {
    addTo(this.#texts, textKey(call), now);
    if (call.clientId === undefined) return;
    addTo(this.#clients, call.clientId, now);
    const until = now + PENALTY.firstMs;
    const origin = originOf(call);
    const connections = this.#origins.get(origin) ?? new Map<number, number>();
    for (const [id, end] of connections)
      if (end <= now || connections.size >= PENALTY.connections) connections.delete(id);
    connections.set(call.clientId, until);
    put(this.#origins, origin, connections);
  }

  /** A call with this text was answered after all. */
  clear(call: HostCall): void {
    this.#texts.delete(textKey(call));
  }

  /** Another version serves, which may be better. */
  reset(): void {
    this.#clients.clear();
    this.#texts.clear();
    this.#origins.clear();
  }

  /** Forgets expired penalties, so that calls need not be compared with them. */
  expire(now: number): void {
    forget(this.#clients, now);
    forget(this.#texts, now);
    for (const [origin, connections] of this.#origins)
      if (countOn(connections, now) === 0) this.#origins.delete(origin);
  }
}

function isOn<Key>(table: ReadonlyMap<Key, Entry>, key: Key, now: number): boolean {
  return (table.get(key)?.until ?? 0) > now;
}

function addTo<Key>(table: Map<Key, Entry>, key: Key, now: number): void {
  const last = table.get(key);
  const ms = last === undefined ? PENALTY.firstMs : Math.min(last.ms * 2, PENALTY.longestMs);
  put(table, key, { until: now + ms, ms });
}

/** An expired penalty is remembered for as long again: a further fault then counts for more. */
function forget<Key>(table: Map<Key, Entry>, now: number): void {
  for (const [key, { until, ms }] of table) if (until + ms <= now) table.delete(key);
}

function countOn(connections: ReadonlyMap<number, number>, now: number): number {
  let count = 0;
  for (const until of connections.values()) if (until > now) count++;
  return count;
}

function put<Key, Value>(table: Map<Key, Value>, key: Key, value: Value): void {
  table.delete(key);
  table.set(key, value);
  if (table.size > PENALTY.maxEntries) table.delete(table.keys().next().value!);
}

/** All input of the rule: the same query of another user, or in a transaction, may cost nothing. */
function textKey({ username, context, inTransaction, query }: HostCall): string {
  const text =
    query.length <= PENALTY.longestKey
      ? query
      : `${query.length}\0${query.slice(0, PENALTY.endKey)}\0${query.slice(-PENALTY.endKey)}`;
  return `${username}\0${context.database ?? ''}\0${inTransaction ? '1' : '0'}${text}`;
}

function originOf(call: HostCall): string {
  return `${call.username}\0${call.address ?? ''}`;
}
