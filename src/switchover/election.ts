/** The choice of the writer among the nodes of a cluster. */
import type { BlueGreen } from './blue-green.ts';
import { betterWriter, isKin, isSameServer, isSuccessor, type Lineage } from './facts.ts';
import type { Node } from './node.ts';

/** Picks the writer among a cluster's nodes, by their own claims. */
export class Election {
  #lineage: Lineage | null = null;
  readonly #nodes: Iterable<Node>;
  readonly #blueGreen: BlueGreen;
  readonly #warn: (message: string) => void;

  /** @param warn called once for each further node that claims to be the writer */
  constructor(nodes: Iterable<Node>, blueGreen: BlueGreen, warn: (message: string) => void) {
    this.#nodes = nodes;
    this.#blueGreen = blueGreen;
    this.#warn = warn;
  }

  /** The history of the writer, even after the writer is gone. */
  get lineage(): Lineage | null {
    return this.#lineage;
  }

  /** A successor has to continue this history. */
  continueFrom(lineage: Lineage | null): void {
    this.#lineage = lineage;
  }

  /** @param current the writer in use, or the last one; null: none yet */
  best(current: Node | null): Node | null {
    let best: Node | null = null;
    for (const node of this.#nodes) {
      if (!this.#blueGreen.mayWrite(node)) continue;
      if (this.#blueGreen.isTarget(node) && node.role === 'writer') return node;
      if (!isSuccessor(node, current, this.#lineage)) continue;
      best = best === null ? node : betterWriter(best, node, current);
    }
    return best;
  }

  /** The node was promoted after the writer, or is the target of a blue/green deployment. */
  isAhead(node: Node): boolean {
    if (this.#blueGreen.isTarget(node) && this.#blueGreen.isDone) return true;
    const timeline = this.#lineage?.timeline ?? null;
    return timeline !== null && (node.evidence?.timeline ?? 0) > timeline;
  }

  /** Marks further nodes that claim to be the writer: they are writers of the past. */
  fence(writer: Node | null): void {
    if (writer === null || writer.role !== 'writer') return;
    for (const node of this.#nodes) {
      const isSecond =
        node !== writer &&
        node.role === 'writer' &&
        !isSameServer(node, writer) &&
        isKin(node, this.#lineage) &&
        !this.#blueGreen.has(node);
      if (isSecond && !node.isFenced) {
        this.#warn(
          `TWO WRITERS: ${writer.key} (timeline ${writer.evidence?.timeline ?? 'unknown'}) is used, ` +
            `${node.key} (timeline ${node.evidence?.timeline ?? 'unknown'}) is fenced off; it must be stopped or rewound`,
        );
      }
      node.fence(isSecond);
    }
  }
}
