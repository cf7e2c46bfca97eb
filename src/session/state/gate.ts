/**
 * Why the next message of a client has to wait. Two things can stop it, independently of each other: something must happen
 * before the message can be handled (the gate is closed), or its answers pile up (the gate is halted).
 */

/**
 * The event that a message waits for: the end of the login; a server; the settings of the client on its new server; the
 * decision of user functions; the answers to all earlier messages; the verdict on a server that failed.
 */
export type Reason = 'login' | 'server' | 'settings' | 'decision' | 'answers' | 'verdict';

/** The client does not take its answers, or has more unanswered requests than it may have. */
export type Pressure = 'unsent' | 'ahead';

export class Gate {
  #reason: Reason | null = 'login';
  #pressure: Pressure | null = null;

  /** Null: the gate is open. */
  get reason(): Reason | null {
    return this.#reason;
  }

  get isOpen(): boolean {
    return this.#reason === null;
  }

  get isHalted(): boolean {
    return this.#pressure !== null;
  }

  /** The gate is halted because the server owes too many answers. */
  get isAhead(): boolean {
    return this.#pressure === 'ahead';
  }

  /** The next message may be handled. */
  get lets(): boolean {
    return this.#reason === null && this.#pressure === null;
  }

  /** The client waits for a server, or for the verdict on the one that it had. */
  get isWaiting(): boolean {
    return this.#reason === 'server' || this.#reason === 'verdict';
  }

  /** There is one reason at a time: a later one replaces it. */
  close(reason: Reason): void {
    this.#reason = reason;
  }

  /** The event has happened. A gate that is closed for another reason stays closed. */
  open(reason: Reason): void {
    if (this.#reason === reason) this.#reason = null;
  }

  /** The wait for a server or a verdict has ended, with any outcome. */
  endWait(): void {
    if (this.isWaiting) this.#reason = null;
  }

  halt(pressure: Pressure): void {
    this.#pressure = pressure;
  }

  /** The answers have been taken, or have arrived. */
  release(): void {
    this.#pressure = null;
  }
}
