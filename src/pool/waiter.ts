/** A pool's view of a client that waits for one of its servers. */
import type { ClientError } from '../wire/errors.ts';
import type { Welcome } from './login.ts';
import type { Server } from './server.ts';

/** Any wait: for a server, or with a server for the end of a switchover. */
export interface Waiting {
  /** ms of performance.now() */
  readonly waitingSince: number;
  /** The wait has failed. */
  onNoServer(error: ClientError): void;
}

/** A client that waits for a server, or one of the proxy's own queries that does. */
export interface Waiter extends Waiting {
  /** Start of log lines about it. */
  readonly label?: string;
  /** The server belongs to the waiter from now on, until the waiter calls `pool.give`. */
  onServer(server: Server): void;
  /** The node that the pool connects to is gone. A waiter that may use another node moves there. */
  onNodeGone?(): void;
}

/** A replication connection, which needs a server of its own from login to end. */
export interface DedicatedWaiter extends Waiting {
  /** The parameters of its StartupMessage, in addition to the pool's own. */
  readonly startupParameters: readonly [string, string][];
  onOwnServer(server: Server, welcome: Welcome): void;
}
