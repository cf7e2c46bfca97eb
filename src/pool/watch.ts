/**
 * The border between switchover (src/switchover) and the users of a watched database. Pools and sessions report events of
 * its servers; they learn whether to wait, and where the writer is. Two classes implement it: the controller of a cluster, for
 * the database with the topology_query, and the watch of a single node, for the database of that node.
 */
import type { ClusterNode } from '../../sandbox/context.ts';
import type { ClientError } from '../wire/errors.ts';
import type { Server } from './server.ts';
import type { Target } from './socket.ts';
import type { Waiting } from './waiter.ts';

/** The cluster as pools and their servers see it. */
export interface PoolWatch {
  /** True while the writer is unknown: no server is lent or opened, and clients that need one wait. */
  readonly held: boolean;
  /** The target of new servers; null: as configured. */
  readonly target: Target | null;
  /** Incremented whenever a writer is (re)confirmed; servers from an earlier epoch are checked before reuse. */
  readonly epoch: number;
  /** The error for a client that would have to wait; null: it may wait. */
  refusal(): ClientError | null;
  /** A client began to wait while `held`. The oldest waiters may be evicted (switchover_hold_limit). */
  onHeld(): void;
  /** The connection ended from the other side, or broke. */
  serverLost(server: Server, reason: string): void;
  /**
   * A server reported an error that a healthy writer does not: see `isAlarm`.
   * @returns whether the nodes are being asked about it, so that `onVerdict` is worth waiting for
   */
  serverError(server: Server, sqlstate: string): boolean;
  /** A connection to `target` could not be made. */
  connectFailed(target: Target, reason: string): void;
}

/** The additional needs of a session whose server fails, or that a switchover holds. */
export interface SessionWatch extends PoolWatch {
  /** A statement that provably had no effect may be resent (switchover_retry = safe). */
  readonly mayRetry: boolean;
  /**
   * Lets a client that keeps its server (session pooling) wait while `held`.
   * @param go called when the hold ends, whether or not the server still exists
   */
  waitWithServer(waiter: Waiting, go: () => void): void;
  /** The client no longer waits with its server. */
  stopWaiting(waiter: Waiting): void;
  /**
   * Calls back once when the meaning of a server's error is known. `gone` is true if its node is gone, is no longer the
   * writer, or takes writes again after refusing them; false if nothing has changed.
   */
  onVerdict(server: Server, sqlstate: string, callback: (gone: boolean) => void): void;
  /** The switchover broke a transaction (counted in SHOW SWITCHOVERS). */
  transactionBroken(): void;
}

/** The cluster as user functions see it. */
export interface ClusterView {
  /** ctx.nodes; the same list until a node's facts change. */
  readonly contextNodes: readonly ClusterNode[];
}
