import type { Cluster } from '../pool/cluster.ts';
import type { Waiter } from '../pool/pool.ts';
import type { Server } from '../pool/server.ts';
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
export class NodeWatch implements Cluster {
  readonly target = null;
  readonly epoch = 0;
  readonly #topology: Cluster;
  readonly #events: NodeWatchEvents;
  #judges: ((gone: boolean) => void)[] = [];

  constructor(topology: Cluster, events: NodeWatchEvents) {
    this.#topology = topology;
    this.#events = events;
  }

  get held(): boolean {
    return this.#events.isHeld();
  }

  get nodesJson(): string {
    return this.#topology.nodesJson;
  }

  get mayRetry(): boolean {
    return this.#topology.mayRetry;
  }

  /** The node has answered, or has not. */
  judged(gone: boolean): void {
    const judges = this.#judges;
    this.#judges = [];
    for (const tell of judges) tell(gone);
  }

  whenJudged(_server: Server, _sqlstate: string, tell: (gone: boolean) => void): void {
    this.#judges.push(tell);
    if (this.#judges.length === 1 && !this.#events.ask()) setImmediate(() => this.judged(true));
  }

  serverLost(server: Server, reason: string): void {
    if (this.#events.isWriter() && !server.isProbe) this.#topology.serverLost(server, reason);
  }

  serverError(server: Server, sqlstate: string): boolean {
    if (this.#events.isWriter()) this.#topology.serverError(server, sqlstate);
    // who asked for this node means it
    return false;
  }

  refusal(): ClientError | null {
    return this.held ? this.#topology.refusal() : null;
  }

  onHeld(): void {
    if (this.held) this.#topology.onHeld();
  }

  waitWithServer(waiter: Waiter, go: () => void): void {
    this.#topology.waitWithServer(waiter, go);
  }

  letGo(waiter: Waiter): void {
    this.#topology.letGo(waiter);
  }

  connectFailed(): void {}
  transactionBroken(): void {}
}
