/** The loss of a client's server, as far as the client has not yet been told of it. */
import type { ClientError } from '../../wire/errors.ts';

/** The question whether the node of a failed server is gone. Each question is an object of its own. */
export interface PendingVerdict {
  /** the work that ran on the server will not be resent */
  readonly isLost: boolean;
}

export class Loss {
  #verdict: PendingVerdict | null = null;
  #transaction: ClientError | null = null;
  #hadFailed = false;

  /** The client waits for the verdict on its failed server. */
  get awaitsVerdict(): boolean {
    return this.#verdict !== null;
  }

  /** The client waits, and the work on the server has ended: there is nothing to cancel. */
  get hasNothingToCancel(): boolean {
    return this.#verdict?.isLost === true;
  }

  /** The answer to the client's next message: its transaction was lost while nothing was outstanding. Null: no loss. */
  get transaction(): ClientError | null {
    return this.#transaction;
  }

  /** The lost transaction had failed before, so that only its end is expected. */
  get hadFailed(): boolean {
    return this.#hadFailed;
  }

  /** @returns the question, for `isPending` */
  awaitVerdict(isLost: boolean): PendingVerdict {
    this.#verdict = { isLost };
    return this.#verdict;
  }

  /** Whether the client still waits for this verdict. */
  isPending(verdict: PendingVerdict): boolean {
    return this.#verdict === verdict;
  }

  /** The verdict has arrived, or the client no longer waits for it. */
  endVerdict(): void {
    this.#verdict = null;
  }

  /** A transaction was lost. The client must be told at its next message. */
  noteTransaction(error: ClientError, hadFailed: boolean): void {
    this.#transaction = error;
    this.#hadFailed = hadFailed;
  }

  /** The client has been told of its loss, or knows. */
  forgetTransaction(): void {
    this.#transaction = null;
  }
}
