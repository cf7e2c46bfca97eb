/** The readers of a cluster for clients, and its nodes for rules. */
import type { ClusterNode } from '../../sandbox/context.ts';
import type { Database } from '../pool/database.ts';
import type { Lag } from './lag.ts';
import { isSameServer, type NodeFacts } from './facts.ts';
import type { Node } from './node.ts';

/** The nodes of a cluster for rules and clients: the readers in turn, and ctx.nodes. */
export class Readers {
  readonly #nodes: Iterable<Node>;
  readonly #lag: Lag;
  #next = 0;
  #contextNodes: readonly ClusterNode[] | null = null;

  constructor(nodes: Iterable<Node>, lag: Lag) {
    this.#nodes = nodes;
    this.#lag = lag;
  }

  /** The facts about a node have changed. */
  changed(): void {
    this.#contextNodes = null;
  }

  /**
   * The database of the next reader in turn; null: none.
   * @param current the client's reader: it stays there for as long as that node serves reads
   */
  choose(current: Database | null): Database | null {
    const now = performance.now();
    const readers = [...this.#nodes].filter((node) => servesReads(node, now));
    if (readers.length === 0) return null;
    if (current !== null && readers.some((node) => node.database === current)) return current;
    this.#next = (this.#next + 1) % readers.length;
    return readers[this.#next]!.database;
  }

  /** ctx.nodes; the same list until something becomes known of a node. */
  contextNodes(writer: Node | null): readonly ClusterNode[] {
    this.#contextNodes ??= [...this.#nodes].map((node) => ({
      name: node.database.name,
      role: node.role === 'writer' && node !== writer ? 'unknown' : node.role,
      state: stateOf(node, writer),
      lag_bytes: this.#lag.bytes(node),
      lag_seconds: this.#lag.seconds(node),
    }));
    return this.#contextNodes;
  }
}

function servesReads(node: Node, now: number): boolean {
  return node.role === 'reader' && node.readerFrom <= now && node.database.isUp && node.following.isReadable;
}

/** The state of a node in SHOW TOPOLOGY and ctx.nodes. */
export type NodeState = ClusterNode['state'];

/** @param writer the cluster's writer, or the last one while another is searched for */
export function stateOf(node: NodeFacts, writer: NodeFacts | null, now = performance.now()): NodeState {
  if (node.failure !== '') return 'failed';
  if (node.role === 'unknown') return 'asked';
  if (node === writer) return 'serving';
  if (node.isFenced) return 'fenced';
  if (writer !== null && node.role === 'writer' && isSameServer(node, writer)) return 'alias';
  if (node.following.isOrphaned) return 'orphaned';
  if (!node.following.isReadable || node.readerFrom > now) return 'recovering';
  return node.evidence?.isPaused === true ? 'paused' : 'ready';
}
