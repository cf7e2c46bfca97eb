/** One build at a time. Requests during a build lead to one more build after it, however many they are. */

export class BuildQueue {
  readonly #build: () => Promise<void>;
  readonly #onBuilt: () => void;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;
  #isClosed = false;

  /**
   * @param build never rejects
   * @param onBuilt called after each build, unless the queue has been closed
   */
  constructor(build: () => Promise<void>, onBuilt: () => void) {
    this.#build = build;
    this.#onBuilt = onBuilt;
  }

  get isBusy(): boolean {
    return this.#running !== null;
  }

  /** Another build follows the running one. */
  get hasNext(): boolean {
    return this.#next !== null;
  }

  /** @returns when a build that begins after this call has ended; at once, if the queue has been closed */
  add(): Promise<void> {
    if (this.#next !== null) return this.#next;
    if (this.#running === null) return this.#begin();
    this.#next = this.#running.then(() => {
      this.#next = null;
      return this.#begin();
    });
    return this.#next;
  }

  /** When nothing is being built. */
  async idle(): Promise<void> {
    while (this.#running !== null || this.#next !== null) await (this.#next ?? this.#running);
  }

  /** Begins no more builds. The running one continues. */
  close(): void {
    this.#isClosed = true;
  }

  #begin(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    const running = this.#build().then(() => {
      if (this.#running === running) this.#running = null;
      if (!this.#isClosed) this.#onBuilt();
    });
    this.#running = running;
    return running;
  }
}
