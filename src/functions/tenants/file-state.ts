/** What the last look at a tenant's files has found. */
export class FileState {
  #hash = '';
  #isSound = false;
  #isRefused = false;

  /** Hash of the bundle that was made of the files; '': none could be made. */
  get hash(): string {
    return this.#hash;
  }

  /** The version that serves, or would serve, is that of the files. */
  get isSound(): boolean {
    return this.#isSound;
  }

  /** The files can't be loaded. */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  /** The files have been looked at. */
  get isKnown(): boolean {
    return this.#isSound || this.#isRefused || this.#hash !== '';
  }

  /** The files are built again. A refusal stands until the build has ended. */
  begin(): void {
    this.#isSound = false;
    this.#hash = '';
  }

  bundled(hash: string): void {
    this.#hash = hash;
  }

  /** @param isSound false: they can be loaded, but another version is pinned */
  accept(isSound = true): void {
    this.#isSound = isSound;
    this.#isRefused = false;
  }

  /** The version of this bundle serves, whatever the files hold. */
  serves(hash: string): void {
    this.#isSound = this.#hash === hash;
  }

  refuse(): void {
    this.#isRefused = true;
  }

  /** Whether the files can be loaded is open. */
  doubt(): void {
    this.#isRefused = false;
  }

  /** An older version serves in the place of that of the files. */
  replaced(): void {
    this.#isSound = false;
  }
}
