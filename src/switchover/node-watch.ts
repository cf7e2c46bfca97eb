import type { Server } from '../pool/server.ts';
import type { Waiting } from '../pool/waiter.ts';
import type { SessionWatch } from '../pool/watch.ts';
import type { ClientError } from '../wire/errors.ts';

export interface NodeWatchEvents {
  isWriter(): boolean;
  /** a SWITCHOVER away from the node is under way */
  isHeld(): boolean;
  /** Has the node asked now how it is; false: nobody asks it any more. */
  ask(): boolean;
}

/**
 * What clients and pools see who were led to one node, by its name or as a reader. Nobody waits for a writer there, except
 * while a SWITCHOVER takes the writer away from the node; but
 * when the node goes away its clients stay, and those who asked for the readers go on at another.
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
    // who asked for this node means it
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

  letGo(waiter: Waiting): void {
    this.#cluster.letGo(waiter);
  }

  connectFailed(): void {}
  transactionBroken(): void {}
}
