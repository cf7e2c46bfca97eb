import type { Node } from './node.ts';

interface Waiting {
  readonly since: number;
  readonly mayRepeat: boolean;
  readonly tell: (gone: boolean) => void;
}

/**
 * Writes that the writer has refused as read-only (25006): has it been demoted, or has the client asked for it? Those who
 * were refused wait for the answer, and nobody else does.
 */
export class Doubt {
  #waiting: Waiting[] = [];

  /**
   * @param tell true: the statement is sent again
   * @param mayRepeat also to the same node, once that takes writes again
   */
  judge(tell: (gone: boolean) => void, mayRepeat: boolean): void {
    this.#waiting.push({ since: performance.now(), mayRepeat, tell });
  }

  /** Those are told that nothing has changed after whose error all nodes have been asked. */
  answered(nodes: Iterable<Node>): void {
    let asked = Infinity;
    for (const node of nodes) if (node.failure === '') asked = Math.min(asked, node.evidence?.askedAt ?? 0);
    // those who came first have waited longest
    while (this.#waiting.length > 0 && this.#waiting[0]!.since <= asked) this.#waiting.shift()!.tell(false);
  }

  /** The writer had begun to refuse writes, and does so no more: what waited for another goes on at the same one. */
  takesWrites(): void {
    const waiting = this.#waiting;
    this.#waiting = waiting.filter(({ mayRepeat }) => !mayRepeat);
    for (const { mayRepeat, tell } of waiting) if (mayRepeat) tell(true);
  }

  /** Everybody waits now. */
  handOver(hold: { judge(tell: (gone: boolean) => void): void }): void {
    for (const each of this.#take())
      // where it was a false alarm, it is still to be found out why they were refused
      hold.judge((gone) => (gone ? each.tell(true) : this.#waiting.push(each)));
  }

  /** Nobody will find it out. */
  end(): void {
    for (const { tell } of this.#take()) tell(false);
  }

  #take(): Waiting[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }
}
