/**
 * Stops one batcher's calls while its tenant's budget is used up. They fail under the policy; but if the policy would then let
 * queries pass a guard, they wait in their order until the bucket holds something again.
 */
import { BUDGET } from '../limits.ts';
import type { Budget } from './budget.ts';
import { isOpen, type Pending } from './pending.ts';

export interface BudgetGateOptions {
  readonly budget: Budget;
  /** Whether calls wait. */
  readonly waits: () => boolean;
  /** All calls that have not been sent. */
  readonly calls: () => readonly Pending[];
  /** Calls fail. */
  readonly onRefused: () => void;
  /** Calls that waited may run. */
  readonly onOpened: () => void;
}

export class BudgetGate {
  readonly #options: BudgetGateOptions;
  #cancel: (() => void) | null = null;

  constructor(options: BudgetGateOptions) {
    this.#options = options;
  }

  /** Calls wait for the budget now. */
  get isClosed(): boolean {
    return this.#cancel !== null;
  }

  /** Whether calls may be sent now. If not, they have been refused, or `onOpened` will be called. */
  lets(): boolean {
    const { budget, waits, calls, onRefused } = this.#options;
    if (this.isClosed) return false;
    if (budget.limit === 0 || (budget.mayRun && !budget.isOver)) return true;
    const stopped = calls();
    if (stopped.length === 0) return false;
    if (!waits()) {
      budget.noteRefused(stopped.filter(isCounted).length);
      onRefused();
      return false;
    }
    if (budget.mayRun) return true;
    for (const pending of stopped) this.#hold(pending);
    this.#cancel = budget.after(BUDGET.longestLookMs, this.#open);
    return false;
  }

  /** A call has arrived. */
  noteArrival(pending: Pending): void {
    if (this.isClosed) this.#hold(pending);
  }

  /** No call will be sent any more. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #hold(pending: Pending): void {
    if (pending.isHeld || !isCounted(pending)) return;
    pending.isHeld = true;
    this.#options.budget.noteWaiting(1);
  }

  readonly #open = (): void => {
    this.#cancel = null;
    this.#options.onOpened();
  };
}

/** A check of a remembered decision is nobody's query. */
function isCounted(pending: Pending): boolean {
  return isOpen(pending) && pending.onChecked === undefined;
}
