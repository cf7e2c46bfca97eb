/** A client's claims and proofs during its login. */
import type { LearnedSecret } from '../../auth/server-auth.ts';
import type { Pool } from '../../pool/pool.ts';

/** `logical`: with a database, for logical replication or for a base backup; `physical`: without one. */
export type Replication = 'none' | 'logical' | 'physical';

/** A connection that only serves to cancel another client's query. */
export class CancelRequest {
  #pool: Pool | null = null;
  #isSent = false;

  /** The pool of the client whose query is cancelled; null: not known, or in another process. */
  get pool(): Pool | null {
    return this.#pool;
  }

  /** The request is on its way to the server, or to another process. */
  get isSent(): boolean {
    return this.#isSent;
  }

  aimAt(pool: Pool): void {
    this.#pool = pool;
  }

  noteSent(): void {
    this.#isSent = true;
  }
}

export class Login {
  #askedSsl = false;
  #askedGss = false;
  #cancelRequest: CancelRequest | null = null;
  #minor = 0;
  #replication: Replication = 'none';
  readonly #replicationParameters: [string, string][] = [];
  #entry = '';
  #isInCluster = false;
  #isOwnProcess = false;
  #learned: LearnedSecret | null = null;
  #cancelKey = '';

  /** Null: the client is not a cancel request. */
  get cancelRequest(): CancelRequest | null {
    return this.#cancelRequest;
  }

  /** The minor version of protocol 3 that was agreed on. */
  get minor(): number {
    return this.#minor;
  }

  get replication(): Replication {
    return this.#replication;
  }

  /** Parameters of the StartupMessage of a replication connection, which its server gets unchanged. */
  get replicationParameters(): readonly [string, string][] {
    return this.#replicationParameters;
  }

  /** The entry of [databases] that the client logged in to, under any name; '': it has not logged in. */
  get entry(): string {
    return this.#entry;
  }

  /** The database's cluster was watched at that time: the session may continue on another node. */
  get isInCluster(): boolean {
    return this.#isInCluster;
  }

  /** The client came through the Unix socket from a process of the proxy's own user: an administrator without password. */
  get isOwnProcess(): boolean {
    return this.#isOwnProcess;
  }

  /** The secret from authentication, with which the proxy can log in to servers as the same user. Null: none. */
  get learned(): LearnedSecret | null {
    return this.#learned;
  }

  /** The key of CancelRequests for this client, as CancelKeys has it; '': it has none yet. */
  get cancelKey(): string {
    return this.#cancelKey;
  }

  /** The client asks for encryption. False: it has already asked for the same kind, which PostgreSQL refuses. */
  askFor(kind: 'ssl' | 'gss'): boolean {
    const isFirst = kind === 'ssl' ? !this.#askedSsl : !this.#askedGss;
    if (kind === 'ssl') this.#askedSsl = true;
    else this.#askedGss = true;
    return isFirst;
  }

  beginCancelRequest(): CancelRequest {
    this.#cancelRequest = new CancelRequest();
    return this.#cancelRequest;
  }

  agreeOn(minor: number): void {
    this.#minor = minor;
  }

  replicate(kind: Replication): void {
    this.#replication = kind;
  }

  addReplicationParameter(name: string, value: string): void {
    this.#replicationParameters.push([name, value]);
  }

  replicationParameter(name: string): string | undefined {
    return this.#replicationParameters.find(([each]) => each === name)?.[1];
  }

  /** Replaces the parameter, or adds it. */
  setReplicationParameter(name: string, value: string): void {
    const known = this.#replicationParameters.find(([each]) => each === name);
    if (known === undefined) this.addReplicationParameter(name, value);
    else known[1] = value;
  }

  enter(entry: string, isInCluster: boolean): void {
    this.#entry = entry;
    this.#isInCluster = isInCluster;
  }

  proveOwnProcess(): void {
    this.#isOwnProcess = true;
  }

  learn(secret: LearnedSecret | null): void {
    this.#learned = secret;
  }

  noteCancelKey(key: string): void {
    this.#cancelKey = key;
  }
}
