/**
 * Writes that the writer has refused as read-only (25006): it was demoted, or the client had asked for a read-only
 * transaction. Only the refused clients wait until that is known.
 */
import type { NodeFacts } from './facts.ts';

interface Refused {
  /** ms of performance.now() */
  readonly since: number;
  readonly mayRepeat: boolean;
  readonly onVerdict: (gone: boolean) => void;
}

export class ReadOnlyDoubt {
  #waiting: Refused[] = [];

  /**
   * @param onVerdict true: the statement is resent
   * @param mayRepeat it may be resent to the same node, too, once that node accepts writes again
   */
  add(onVerdict: (gone: boolean) => void, mayRepeat: boolean): void {
    this.#waiting.push({ since: performance.now(), mayRepeat, onVerdict });
  }

  /** Releases clients whose error predates the last full round of probes: nothing has changed. */
  answered(nodes: Iterable<NodeFacts>): void {
    let askedAt = Infinity;
    for (const node of nodes)
      if (node.failure === '') askedAt = Math.min(askedAt, node.evidence?.askedAt ?? 0);
    const waiting = this.#take();
    for (const each of waiting) {
      if (each.since <= askedAt) each.onVerdict(false);
      else this.#waiting.push(each);
    }
  }

  /** The writer accepts writes again: the refused statements that may run there do. */
  takesWrites(): void {
    for (const each of this.#take()) {
      if (each.mayRepeat) each.onVerdict(true);
      else this.#waiting.push(each);
    }
  }

  /** All clients are held now: the end of the hold shows whether the writer is gone. */
  handOver(hold: { onVerdict(tell: (gone: boolean) => void): void }): void {
    for (const each of this.#take())
      // a false alarm does not explain the refusal, which stays in doubt
      hold.onVerdict((gone) => (gone ? each.onVerdict(true) : this.#waiting.push(each)));
  }

  /** No more probes will answer: all refused clients get their errors. */
  end(): void {
    for (const { onVerdict } of this.#take()) onVerdict(false);
  }

  #take(): Refused[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }
}
