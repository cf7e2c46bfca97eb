/** Work for a client beside the relay, such as its login or a console command, that may have to be ended. */

export class Errand {
  #onLeft: (() => void) | null = null;
  #onCancel: (() => void) | null = null;

  /**
   * @param callback called once if the client leaves; null: the work is done
   * @returns the previous callback
   */
  onLeft(callback: (() => void) | null): (() => void) | null {
    const before = this.#onLeft;
    this.#onLeft = callback;
    return before;
  }

  /** @param callback called for each cancel request for this client */
  onCancel(callback: () => void): void {
    this.#onCancel = callback;
  }

  /** The client leaves. */
  left(): void {
    this.#onLeft?.();
  }

  /** A cancel request has arrived. False: it is about a query of the relay's. */
  cancel(): boolean {
    if (this.#onCancel === null) return false;
    this.#onCancel();
    return true;
  }
}
