import type { Database } from '../pool/databases.ts';
import type { Node } from './node.ts';

/** What rules and clients see of a cluster's nodes: who serves reads now, and ctx.nodes. */
export class Readers {
  readonly #nodes: Iterable<Node>;
  #next = 0;
  #json: string | null = null;

  constructor(nodes: Iterable<Node>) {
    this.#nodes = nodes;
  }

  /** Something has become known of a node. */
  changed(): void {
    this.#json = null;
  }

  /**
   * The database of the next reader in turn; null: there is none.
   * @param current where the client is: it stays there for as long as that node serves reads
   */
  choose(current: Database | null): Database | null {
    const now = performance.now();
    const readers = [...this.#nodes].filter((node) => servesReads(node, now));
    if (readers.length === 0) return null;
    if (current !== null && readers.some((node) => node.database === current)) return current;
    this.#next = (this.#next + 1) % readers.length;
    return readers[this.#next]!.database;
  }

  /** ctx.nodes (sandbox/api.ts) as JSON. */
  json(writer: Node | null): string {
    this.#json ??= JSON.stringify(
      [...this.#nodes].map((node) => ({
        name: node.database.name,
        role: node.role === 'writer' && node !== writer ? 'unknown' : node.role,
        lag_bytes: lagBytes(node, writer),
        lag_seconds: node.role === 'reader' ? (node.evidence?.lagSeconds ?? null) : null,
      })),
    );
    return this.#json;
  }
}

function servesReads(node: Node, now: number): boolean {
  return node.role === 'reader' && node.readerFrom <= now && node.database.isUp;
}

/** Bytes of WAL that the writer had written at its last probe and a reader has not replayed; null: not known. */
export function lagBytes(node: Node, writer: Node | null): number | null {
  const written = writer?.evidence?.position ?? null;
  const replayed = node.evidence?.position ?? null;
  if (node.role !== 'reader' || written === null || replayed === null) return null;
  return Math.max(0, Number(written - replayed));
}
