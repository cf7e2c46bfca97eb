import type { Node } from './node.ts';

/**
 * Writes that the writer has refused as read-only (25006): has it been demoted, or has the client asked for it? Those who
 * were refused wait for the answer, and nobody else does.
 */
export class Doubt {
  readonly #waiting: { readonly since: number; readonly tell: (gone: boolean) => void }[] = [];

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** @param tell true: the writer is another */
  judge(tell: (gone: boolean) => void): void {
    this.#waiting.push({ since: performance.now(), tell });
  }

  /** Those are told that nothing has changed behind whose error all nodes have been asked. */
  answered(nodes: Iterable<Node>): void {
    let asked = Infinity;
    for (const node of nodes) if (node.failure === '') asked = Math.min(asked, node.evidence?.askedAt ?? 0);
    // those who came first have waited longest
    while (this.#waiting.length > 0 && this.#waiting[0]!.since <= asked) this.#waiting.shift()!.tell(false);
  }

  /** Everybody waits now. @returns who did before */
  handOver(): ((gone: boolean) => void)[] {
    return this.#waiting.splice(0).map(({ tell }) => tell);
  }
}
