/**
 * What keeps calls from a tenant's functions although a version is loaded: a PAUSE, or a file that has been gone for too
 * long.
 */
import type { FailureOutcome } from '../sandbox/call.ts';
import type { Pause } from '../store/version-record.ts';

export class Obstacles {
  readonly #onChanged: () => void;
  #pausedAs: Pause['as'] | null = null;
  /** the missing file, and how calls fail without it */
  #missing: { readonly file: string; readonly message: string } | null = null;

  /** @param onChanged queries may be judged otherwise from now on */
  constructor(onChanged: () => void) {
    this.#onChanged = onChanged;
  }

  get isBlocked(): boolean {
    return this.#pausedAs !== null || this.#missing !== null;
  }

  get isMissing(): boolean {
    return this.#missing !== null;
  }

  /** What becomes of queries while an administrator has paused the functions; null: they are not paused. */
  get pausedAs(): Pause['as'] | null {
    return this.#pausedAs;
  }

  /** How each call fails; null: calls reach the functions. */
  get failure(): readonly [FailureOutcome, string] | null {
    if (this.#pausedAs !== null) return ['paused', 'paused by an administrator'];
    return this.#missing === null ? null : ['no_version', this.#missing.message];
  }

  setPaused(as: Pause['as'] | null): void {
    if (as === this.#pausedAs) return;
    this.#pausedAs = as;
    this.#onChanged();
  }

  /** A file has been gone for too long. @param message for people */
  miss(file: string, message: string): void {
    const isKnown = this.#missing?.message === message;
    this.#missing = { file, message };
    if (!isKnown) this.#onChanged();
  }

  /** All files are there. */
  found(): void {
    if (this.#missing === null) return;
    this.#missing = null;
    this.#onChanged();
  }

  /** The functions lie in these files now. */
  useFiles(entries: readonly string[]): void {
    if (this.#missing !== null && !entries.includes(this.#missing.file)) this.found();
  }
}
