import type { BlueGreen } from './blue-green.ts';
import { betterWriter, isKin, isSameServer, isSuccessor, type Lineage } from './facts.ts';
import type { Node } from './node.ts';

/** Which of a cluster's nodes is to be its writer, by what they say of themselves. */
export class Election {
  /** of the writer, also when it is gone */
  lineage: Lineage | null = null;
  readonly #nodes: Iterable<Node>;
  readonly #blueGreen: BlueGreen;
  readonly #warn: (message: string) => void;

  /** @param warn told once of each node that says that it is the writer, too */
  constructor(nodes: Iterable<Node>, blueGreen: BlueGreen, warn: (message: string) => void) {
    this.#nodes = nodes;
    this.#blueGreen = blueGreen;
    this.#warn = warn;
  }

  /** @param current the one that is used, or was; null: none yet */
  best(current: Node | null): Node | null {
    let best: Node | null = null;
    for (const node of this.#nodes) {
      if (!this.#blueGreen.mayWrite(node)) continue;
      if (this.#blueGreen.isTarget(node) && node.role === 'writer') return node;
      if (!isSuccessor(node, current, this.lineage)) continue;
      best = best === null ? node : betterWriter(best, node, current);
    }
    return best;
  }

  /** It was promoted after the writer was, or is where a blue/green deployment leads. */
  isAhead(node: Node): boolean {
    if (this.#blueGreen.isTarget(node) && this.#blueGreen.isDone) return true;
    const timeline = this.lineage?.timeline ?? null;
    return timeline !== null && (node.evidence?.timeline ?? 0) > timeline;
  }

  /** Two that both say that they are the writer: one of them is of the past. */
  fence(writer: Node | null): void {
    if (writer === null || writer.role !== 'writer') return;
    for (const node of this.#nodes) {
      const isSecond =
        node !== writer &&
        node.role === 'writer' &&
        !isSameServer(node, writer) &&
        isKin(node, this.lineage) &&
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
