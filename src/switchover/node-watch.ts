import type { Cluster } from '../pool/cluster.ts';
import type { Server } from '../pool/server.ts';

/**
 * What clients and pools see who were led to one node, by its name or as a reader. Nobody waits for a writer there; but
 * when the node goes away its clients stay, and those who asked for the readers go on at another.
 */
export class NodeWatch implements Cluster {
  readonly held = false;
  readonly target = null;
  readonly epoch = 0;
  readonly #topology: Cluster;
  readonly #events: { isWriter(): boolean; ask(): boolean };
  #judges: ((gone: boolean) => void)[] = [];

  /** @param events `ask` has the node asked now how it is; false: nobody asks it any more */
  constructor(topology: Cluster, events: { isWriter(): boolean; ask(): boolean }) {
    this.#topology = topology;
    this.#events = events;
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

  whenJudged(_server: Server, tell: (gone: boolean) => void): void {
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

  refusal(): null {
    return null;
  }

  onHeld(): void {}
  waitWithServer(): void {}
  letGo(): void {}
  connectFailed(): void {}
  transactionBroken(): void {}
}
