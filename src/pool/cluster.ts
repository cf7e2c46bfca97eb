import type { ClientError } from '../wire/errors.ts';
import type { Waiter } from './pool.ts';
import type { Server } from './server.ts';
import type { Target } from './socket.ts';

/**
 * What pools and sessions need of whoever watches the cluster behind a database with a topology_query (src/switchover).
 * They report what they see and are told where the writer is.
 */
export interface Cluster {
  /** Nobody knows who the writer is: servers are neither lent nor opened, and whoever wants one waits. */
  readonly held: boolean;
  /** Where new servers go; null: as configured. */
  readonly target: Target | null;
  /** Counts the times at which the writer was found, be it the old one: servers from before are checked before use. */
  readonly epoch: number;
  /** What user functions are told of the nodes: ctx.nodes as JSON. */
  readonly nodesJson: string;
  /** A statement that provably had no effect may be sent again (switchover_retry = safe). */
  readonly mayRetry: boolean;
  /** Why somebody who would have to wait gets an error instead; null: he may wait. */
  refusal(): ClientError | null;
  /** Somebody began to wait while it is held: who came first may have to go. */
  onHeld(): void;
  /**
   * Somebody who has a server of his own, in session pooling, waits while it is held.
   * @param go told at the end of it, with the server or without
   */
  waitWithServer(waiter: Waiter, go: () => void): void;
  /** He doesn't wait any more. */
  letGo(waiter: Waiter): void;
  /** The other side ended a connection, or it broke. */
  serverLost(server: Server, reason: string): void;
  /**
   * A server reported an error that a writer in good health does not: 57P01, 57P02, 57P03, 25006.
   * @returns whether it is being found out what it means, so that `whenJudged` is worth waiting for
   */
  serverError(server: Server, sqlstate: string): boolean;
  /** A connection could not be made; the SQLSTATE, where there was one. */
  connectFailed(target: Target, reason: string): void;
  /**
   * Tells once whether the node of a server that reported this error is gone or no writer any more, or takes writes again
   * that it has refused (true), or whether it is as it was.
   */
  whenJudged(server: Server, sqlstate: string, tell: (gone: boolean) => void): void;
  /** A transaction was broken by the switchover (SHOW SWITCHOVERS counts them). */
  transactionBroken(): void;
}

/** SQLSTATEs that say that a server is going down, or is no writer. */
const ALARMS = new Set(['57P01', '57P02', '57P03', '25006']);

export function isAlarm(sqlstate: string): boolean {
  return ALARMS.has(sqlstate);
}
