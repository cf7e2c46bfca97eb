/** The cluster as it looks to clients that were led to one of its nodes. */
import type { Server } from '../pool/server.ts';
import type { Waiting } from '../pool/waiter.ts';
import type { SessionWatch } from '../pool/watch.ts';
import type { ClientError } from '../wire/errors.ts';

export interface NodeWatchEvents {
  isWriter(): boolean;
  /** a SWITCHOVER away from the node is under way */
  isHeld(): boolean;
  /** Has the node probed now; false: it is not probed any more. */
  ask(): boolean;
}

/**
 * The cluster as seen by clients and pools that were led to one node, by its name or as a reader. They do not wait for a
 * writer, except while a SWITCHOVER takes the writer away from the node. If the node goes away, its clients stay connected,
 * and those that asked for the readers continue on another node.
 */
export class NodeWatch implements SessionWatch {
  readonly target = null;
  readonly epoch = 0;
  readonly #cluster: SessionWatch;
  readonly #events: NodeWatchEvents;
  #judges: ((gone: boolean) => void)[] = [];

  constructor(cluster: SessionWatch, events: NodeWatchEvents) {
    this.#cluster = cluster;
    this.#events = events;
  }

  get held(): boolean {
    return this.#events.isHeld();
  }

  get mayRetry(): boolean {
    return this.#cluster.mayRetry;
  }

  /** The node has answered, or has not. */
  judged(gone: boolean): void {
    const judges = this.#judges;
    this.#judges = [];
    for (const tell of judges) tell(gone);
  }

  onVerdict(_server: Server, _sqlstate: string, tell: (gone: boolean) => void): void {
    this.#judges.push(tell);
    if (this.#judges.length === 1 && !this.#events.ask()) setImmediate(() => this.judged(true));
  }

  serverLost(server: Server, reason: string): void {
    if (this.#events.isWriter() && !server.isProbe) this.#cluster.serverLost(server, reason);
  }

  serverError(server: Server, sqlstate: string): boolean {
    if (this.#events.isWriter()) this.#cluster.serverError(server, sqlstate);
    // a client that named this node is not moved to another
    return false;
  }

  refusal(): ClientError | null {
    return this.held ? this.#cluster.refusal() : null;
  }

  onHeld(): void {
    if (this.held) this.#cluster.onHeld();
  }

  waitWithServer(waiter: Waiting, go: () => void): void {
    this.#cluster.waitWithServer(waiter, go);
  }

  stopWaiting(waiter: Waiting): void {
    this.#cluster.stopWaiting(waiter);
  }

  connectFailed(): void {}
  transactionBroken(): void {}
}
