/** The effects of a switchover on the pools of a cluster: those of its database, and those of its nodes. */
import type { Database } from '../pool/database.ts';
import type { Pool } from '../pool/pool.ts';
import { cutOff, leaveNode, moveServers, nodeGone, retireElsewhere, takeOver } from '../pool/relocation.ts';
import type { Target } from '../pool/socket.ts';
import { clientErrors } from '../wire/errors.ts';
import type { Node } from './node.ts';

export class ClusterPools {
  readonly #database: Database;
  readonly #nodes: Iterable<Node>;

  constructor(database: Database, nodes: Iterable<Node>) {
    this.#database = database;
    this.#nodes = nodes;
  }

  /** Lets waiting clients have servers again. */
  activate(): void {
    for (const pool of this.#database.pools.values()) pool.activate();
  }

  /** The same for clients that asked for a node by its name. */
  activateNodes(): void {
    for (const { database } of this.#nodes) for (const pool of database.pools.values()) pool.activate();
  }

  /** Closes the servers that are not connected to the writer, each as soon as it is free. */
  retireElsewhere(writer: Target): void {
    for (const pool of this.#database.pools.values()) retireElsewhere(pool, writer);
  }

  /**
   * Another node is the writer, or the writer is back.
   * @param readOnlySince since when the old writer has refused writes; 0 or undefined: it has not
   */
  moveTo(writer: Target, readOnlySince: number | undefined): void {
    for (const pool of this.#database.pools.values()) moveServers(pool, writer, readOnlySince);
  }

  /** Waiting clients get an error (switchover_retry = never). */
  failWaiters(): void {
    for (const pool of this.#database.pools.values()) pool.failWaiters(clientErrors.notSentAgain());
  }

  /** Uses the connections that were opened to the new writer in advance: they are there before any new one could be. */
  useSpares(writer: Node): void {
    for (const pool of this.#database.pools.values()) {
      const spare = writer.database.pools.get(pool.user);
      if (spare !== undefined) takeOver(pool, spare);
    }
  }

  /**
   * A node is gone.
   * @param hasWriters the pools of the database have servers at the node
   * @param isClosing its server shuts down: free connections, and those between transactions, would keep it from its end
   */
  nodeGone(
    node: Node,
    reason: string,
    { hasWriters, isClosing }: { hasWriters: boolean; isClosing: boolean },
  ): void {
    for (const pool of node.database.pools.values()) nodeGone(pool, reason);
    if (isClosing) for (const pool of this.#poolsAt(node, hasWriters)) leaveNode(pool, node.target);
  }

  /** Ends the statements that run at a node that has been silent for too long: a lost network would never report their end. */
  cutOff(node: Node, hasWriters: boolean): void {
    for (const pool of this.#poolsAt(node, hasWriters))
      cutOff(pool, node.target, `${node.key} does not answer`);
  }

  #poolsAt(node: Node, hasWriters: boolean): Pool[] {
    const pools = [...node.database.pools.values()];
    if (hasWriters) pools.push(...this.#database.pools.values());
    return pools;
  }
}
