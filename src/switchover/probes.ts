/** The probes of all clusters, and the sharing of a probe among databases. */
import { ControlError, type Row } from '../pool/control.ts';
import type { Pool } from '../pool/pool.ts';
import type { Target } from '../pool/socket.ts';
import { Probe, type Failure, type ProbeEvents } from './probe.ts';
import type { Evidence } from './question.ts';

/** A cluster's view of the probe of one of its nodes. */
export type ProbeHandle = Pick<NodeProbe, 'isFirst' | 'start' | 'kick' | 'renew' | 'stop'>;

/** Makes the probes of nodes; tests put another one in its place. */
export interface ProbeSource {
  /** A probe that is not started yet. */
  of(key: string, target: Target, events: ProbeEvents): ProbeHandle;
}

/**
 * The probes of all clusters of a proxy. Databases whose nodes are the same servers, and whose probes log in there as the
 * same user, share one probe for each server.
 */
export class Probes implements ProbeSource {
  readonly #byKey = new Map<string, SharedProbe>();

  /** A probe that is not started yet. Its owner does not see whether other clusters share the connection. */
  of(key: string, target: Target, events: ProbeEvents): NodeProbe {
    return new NodeProbe(this, key, target, events);
  }

  join(member: NodeProbe, user: string): SharedProbe {
    const key = `${member.key}/${user}`;
    let shared = this.#byKey.get(key);
    if (shared === undefined) {
      shared = new SharedProbe(member.target, user, () => this.#byKey.delete(key));
      this.#byKey.set(key, shared);
    }
    shared.add(member);
    return shared;
  }
}

/** One cluster's share in the probe of a node. */
export class NodeProbe {
  readonly key: string;
  readonly target: Target;
  readonly events: ProbeEvents;
  readonly #probes: Probes;
  #shared: SharedProbe | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isStarted = false;

  constructor(probes: Probes, key: string, target: Target, events: ProbeEvents) {
    this.#probes = probes;
    this.key = key;
    this.target = target;
    this.events = events;
  }

  /** No other database probed this node before. */
  get isFirst(): boolean {
    return this.#shared !== null && this.#shared.first === this;
  }

  start(): void {
    this.#isStarted = true;
    this.join();
  }

  /** Asks now instead of at the next turn. */
  kick(): void {
    if (this.#shared === null) this.join();
    else this.#shared.probe.kick();
  }

  /** Asks now, on a new connection, and ignores earlier answers (Probe.renew). */
  renew(): void {
    if (this.#shared === null) this.join();
    else this.#shared.probe.renew();
  }

  stop(): void {
    this.#isStarted = false;
    this.leave();
  }

  /** Runs a query on the probe's connection once it is free. @throws ControlError */
  async query(sql: string, timeoutMs: number): Promise<Row[]> {
    if (this.#shared === null) throw new ControlError('no connection to this node', '08003');
    return await this.#shared.probe.query(sql, timeoutMs);
  }

  /** Joins the shared probe of the same role; tries again later if no role is known yet that could log in. */
  join(): void {
    if (!this.#isStarted || this.#shared !== null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const pool = this.events.pool();
    if (pool === null) this.#timer = setTimeout(() => this.join(), this.events.intervalMs());
    else this.#shared = this.#probes.join(this, pool.credentials.user);
  }

  leave(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const shared = this.#shared;
    this.#shared = null;
    shared?.remove(this);
  }
}

/** One probe and its members. It logs in to the database of one of them. */
class SharedProbe {
  readonly probe: Probe;
  readonly user: string;
  readonly #members = new Set<NodeProbe>();
  readonly #onEmpty: () => void;
  /** the index of the member whose login is used */
  #turn = 0;
  /** logins that were refused since one was accepted */
  #refusals = 0;

  constructor(target: Target, user: string, onEmpty: () => void) {
    this.user = user;
    this.#onEmpty = onEmpty;
    this.probe = new Probe(target, {
      pool: () => this.#pool(),
      intervalMs: () => this.#least((events) => events.intervalMs()),
      deadlineMs: () => this.#least((events) => events.deadlineMs()),
      onEvidence: (evidence) => this.#onEvidence(evidence),
      onFailure: (failure) => this.#onFailure(failure),
    });
  }

  get first(): NodeProbe | undefined {
    return this.#members.values().next().value;
  }

  add(member: NodeProbe): void {
    this.#members.add(member);
    if (this.#members.size === 1) this.probe.start();
    else this.probe.kick();
  }

  remove(member: NodeProbe): void {
    this.#members.delete(member);
    if (this.#members.size > 0) return;
    this.probe.stop();
    this.#onEmpty();
  }

  #least(of: (events: ProbeEvents) => number): number {
    let least = Infinity;
    for (const { events } of this.#members) least = Math.min(least, of(events));
    return least;
  }

  /** The pool whose login is used now. Members that probe as another role by now move to that role's probe. */
  #pool(): Pool | null {
    const pools: Pool[] = [];
    for (const member of [...this.#members]) {
      const pool = member.events.pool();
      if (pool?.credentials.user === this.user) pools.push(pool);
      else if (this.#members.size > 1) {
        member.leave();
        member.join();
      } else if (pool !== null) pools.push(pool);
    }
    return pools[this.#turn % pools.length] ?? null;
  }

  #onEvidence(evidence: Evidence): void {
    this.#refusals = 0;
    for (const member of [...this.#members])
      if (this.#members.has(member)) member.events.onEvidence(evidence);
  }

  /** A login that one member's database refuses may be accepted by another's. */
  #onFailure(failure: Failure): void {
    if (failure.isLogin) {
      this.#turn++;
      this.#refusals++;
      if (this.#refusals < this.#members.size) return this.probe.kick();
    }
    for (const member of [...this.#members]) if (this.#members.has(member)) member.events.onFailure(failure);
  }
}
