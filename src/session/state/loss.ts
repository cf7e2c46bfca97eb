/** The loss of a client's server, as far as the client has not been told yet. */
import type { ClientError } from '../../wire/errors.ts';

/** The question whether the node of a server that failed is gone. Each one is an object of its own. */
export interface PendingVerdict {
  /** what ran on the server will not be sent again */
  readonly isLost: boolean;
}

export class Loss {
  #verdict: PendingVerdict | null = null;
  #transaction: ClientError | null = null;
  #hadFailed = false;

  /** The client waits for the verdict on the server that it had. */
  get awaitsVerdict(): boolean {
    return this.#verdict !== null;
  }

  /** It waits, and what ran there has ended: there is nothing to cancel. */
  get hasNothingToCancel(): boolean {
    return this.#verdict?.isLost === true;
  }

  /** The answer to the client's next message: its transaction was lost while nothing was outstanding. Null: it was not. */
  get transaction(): ClientError | null {
    return this.#transaction;
  }

  /** The transaction that was lost had failed before, so that only its end is expected. */
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

  /** The verdict has come, or the client does not wait for it any more. */
  endVerdict(): void {
    this.#verdict = null;
  }

  /** A transaction was lost of which the client has to be told at its next message. */
  noteTransaction(error: ClientError, hadFailed: boolean): void {
    this.#transaction = error;
    this.#hadFailed = hadFailed;
  }

  /** The client is told of its transaction, or knows. */
  forgetTransaction(): void {
    this.#transaction = null;
  }
}
