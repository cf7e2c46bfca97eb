/** A server of a cluster: what its probe has found, written by its own verbs only. */
import type { Database } from '../pool/database.ts';
import type { Target } from '../pool/socket.ts';
import { nodeKey, type News, type NodeFacts, type Role } from './facts.ts';
import { Following } from './following.ts';
import type { NodeWatch } from './node-watch.ts';
import type { Failure } from './probe.ts';
import type { ProbeHandle } from './probes.ts';
import type { Evidence } from './question.ts';

export interface NodeParts {
  readonly target: Target;
  /** the database whose pools go to this node: `dev@host:port` */
  readonly database: Database;
  readonly watch: (node: Node) => NodeWatch;
  readonly probe: (node: Node) => ProbeHandle;
}

/** See NodeFacts for the fields. */
export class Node implements NodeFacts {
  readonly key: string;
  readonly target: Target;
  readonly database: Database;
  readonly probe: ProbeHandle;
  /** the answer to clients that were led to this node by its name */
  readonly watch: NodeWatch;
  readonly following = new Following();
  #isSeed = false;
  #role: Role = 'unknown';
  #evidence: Evidence | null = null;
  #failure = '';
  #readerFrom = 0;
  #lastProbe = 0;
  #silentSince = 0;
  #lastChange = performance.now();
  #readOnlySince = 0;
  #isFenced = false;
  #label = '';

  constructor({ target, database, watch, probe }: NodeParts) {
    this.key = nodeKey(target);
    this.target = target;
    this.database = database;
    this.watch = watch(this);
    this.probe = probe(this);
  }

  get isSeed(): boolean {
    return this.#isSeed;
  }

  get role(): Role {
    return this.#role;
  }

  get evidence(): Evidence | null {
    return this.#evidence;
  }

  get failure(): string {
    return this.#failure;
  }

  get readerFrom(): number {
    return this.#readerFrom;
  }

  get lastProbe(): number {
    return this.#lastProbe;
  }

  get silentSince(): number {
    return this.#silentSince;
  }

  get lastChange(): number {
    return this.#lastChange;
  }

  get readOnlySince(): number {
    return this.#readOnlySince;
  }

  get isFenced(): boolean {
    return this.#isFenced;
  }

  get label(): string {
    return this.#label;
  }

  /** The configuration names the node. */
  seed(): void {
    this.#isSeed = true;
  }

  /** @param label role and status of the topology query's row */
  describe(label: string): void {
    this.#label = label;
  }

  /** Reads do not go there before `from`, in ms of performance.now(); Infinity: until `readAgain`. */
  setAside(from: number): void {
    this.#readerFrom = from;
  }

  /** Ends a `setAside` without end. */
  readAgain(): void {
    if (this.#readerFrom === Infinity) this.#readerFrom = 0;
  }

  /** Its last claim to be a writer is void: it must be asked again. */
  doubt(): void {
    this.#role = 'unknown';
  }

  /** Whether it claims to be the writer while a better node does, too. */
  fence(isFenced: boolean): void {
    this.#isFenced = isFenced;
  }

  /**
   * Judges whether it follows the writer, while it is a standby.
   * @param at the node at an address
   */
  follow(writer: NodeFacts | null, at: (key: string) => NodeFacts | undefined): News[] {
    const now = performance.now();
    const news = this.following.judge(this, writer, at, now);
    if (news.length > 0) this.#lastChange = now;
    return news;
  }

  /** The probe has an answer. @returns the changes worth logging */
  answered(evidence: Evidence): News[] {
    const now = performance.now();
    const before = this.#evidence;
    const news: News[] = [];
    this.#lastProbe = now;
    this.#readOnlySince = this.#refusesWritesSince(evidence, now);
    if (this.#readOnlySince === now) {
      const message = `${this.key} does not take writes any more`;
      news.push({ level: 'warn', event: 'node_read_only', message });
    }
    if (evidence.refused !== '' && evidence.refused !== before?.refused) {
      const message = `${this.key} does not answer all that its probe asks (${evidence.refused}): ${lostBy(evidence)}`;
      news.push({ level: 'warn', event: 'node_rights', message });
    }
    this.#evidence = evidence;
    this.#failure = '';
    this.#silentSince = 0;
    if (!this.database.isUp) {
      this.database.setUp(true);
      for (const pool of this.database.pools.values()) pool.opener.forgetFailures();
    }
    const role = evidence.recovering ? 'reader' : 'writer';
    if (role !== this.#role) {
      this.#role = role;
      if (role === 'writer') this.following.reset();
      this.#lastChange = now;
      const message = `${this.key} is a ${role} (timeline ${evidence.timeline ?? 'unknown'})`;
      news.push({ level: 'info', event: 'node_role', message });
    }
    return news;
  }

  /** The probe has failed. @returns the changes worth logging */
  failed({ reason, isAlive }: Failure): News[] {
    const now = performance.now();
    const isNew = this.#failure === '';
    this.#failure = reason;
    if (isNew) this.#lastChange = now;
    if (isAlive) {
      this.#silentSince = 0;
    } else {
      this.#role = 'unknown';
      this.database.setUp(false);
      this.#silentSince ||= now;
    }
    const message = isAlive
      ? `${this.key} refuses its probe: ${reason}; whether it is the writer, and how far behind, is not known from now on`
      : `${this.key} does not answer: ${reason}`;
    return isNew ? [{ level: 'warn', event: 'node_failed', message }] : [];
  }

  /** The new value of `readOnlySince`. */
  #refusesWritesSince({ recovering, readOnly }: Evidence, now: number): number {
    if (recovering || !readOnly) return 0;
    const before = this.#evidence;
    const wasWritable = before !== null && !before.recovering && !before.readOnly;
    return wasWritable ? now : this.#readOnlySince;
  }
}

/** The consequence of a question that the node refuses to answer. */
function lostBy({ isShort }: Evidence): string {
  return isShort
    ? 'its timeline, system identifier and lag are not known: of two writers the newer one cannot be told, and rules see no lag'
    : 'its system identifier is not known, and the timeline of a standby only while it streams: a node of another cluster cannot be told. EXECUTE on pg_control_checkpoint() and pg_control_system() is missing';
}
