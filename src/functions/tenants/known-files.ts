/** The existing rule files, with a memory of vanished ones. */
import { join } from 'node:path';
import { presenceOf } from '../build/sources.ts';

export interface KnownFilesEvents {
  /** A file that applied has vanished. It stays active. */
  onGone(file: string): void;
  /** It is back. */
  onBack(file: string): void;
  /** Another file applies somewhere, or none any more. */
  onChanged(): void;
  /** It has been gone for the whole grace period. @returns whether it no longer applies */
  onOverdue(file: string): boolean;
}

/**
 * A vanished file stays active until its grace period is over or an operator has confirmed its removal: deployment tools
 * remove files and write them again, and file systems are unmounted.
 */
export class KnownFiles {
  readonly #events: KnownFilesEvents;
  readonly #graceMs: () => number;
  /** the file that applies, by its path without the extension */
  readonly #applying = new Map<string, string>();
  /** places that are only known from before a restart, and that nobody has asked about since */
  readonly #unasked = new Set<string>();
  /** the files of the last look, including those that did not apply */
  readonly #seen = new Set<string>();
  /** vanished files that still apply; null: the grace period is over */
  readonly #gone = new Map<string, NodeJS.Timeout | null>();

  /** @param graceMs how long a vanished file stays active at least */
  constructor(graceMs: () => number, events: KnownFilesEvents) {
    this.#graceMs = graceMs;
    this.#events = events;
  }

  /** The files that apply, by their paths without the extension. */
  get all(): [place: string, file: string][] {
    return [...this.#applying];
  }

  /** Takes over what applied before a restart: a file that has vanished since then counts as one that vanishes now. */
  restore(all: readonly (readonly [place: string, file: string])[]): void {
    for (const [slot, file] of all) {
      if (this.#applying.has(slot)) continue;
      this.#applying.set(slot, file);
      this.#seen.add(file);
      this.#unasked.add(slot);
    }
  }

  /** The file that applies: the first existing extension, or the file that was there before. */
  find(folder: string, name: string, extensions: readonly string[]): string | null {
    const slot = join(folder, name);
    const last = this.#applying.get(slot);
    this.#unasked.delete(slot);
    const there: string[] = [];
    const hidden: string[] = [];
    let fresh: string | undefined;
    for (const extension of extensions) {
      const file = slot + extension;
      const presence = presenceOf(file);
      if (presence === 'there') {
        there.push(file);
        if (!this.#seen.has(file)) fresh ??= file;
      } else if (presence === 'hidden') hidden.push(file);
      else this.#seen.delete(file);
    }
    for (const file of there) this.#seen.add(file);
    // not remembered: it may not exist
    if (hidden.length > 0) return last ?? there[0] ?? hidden[0]!;
    // only a file that is new takes its place: one that was there all the time did not apply
    const isGone = last !== undefined && !there.includes(last);
    const file = isGone ? (fresh ?? last) : there[0];
    if (last !== undefined && file !== last) this.#forget(last);
    if (file === undefined) {
      if (this.#applying.delete(slot)) this.#events.onChanged();
      return null;
    }
    this.#applying.set(slot, file);
    if (file !== last) this.#events.onChanged();
    if (isGone && file === last) this.#noteGone(file);
    else this.#noteThere(file);
    return file;
  }

  isGone(file: string | null): boolean {
    return file !== null && this.#gone.has(file);
  }

  /** All vanished files were removed on purpose. @returns these files */
  confirmRemovals(): string[] {
    const files = [...this.#gone.keys()];
    for (const file of files) this.remove(file);
    for (const slot of this.#unasked) this.#applying.delete(slot);
    this.#unasked.clear();
    this.#events.onChanged();
    return files;
  }

  /** The file no longer applies. */
  remove(file: string): void {
    this.#forget(file);
    for (const [slot, each] of this.#applying) if (each === file) this.#applying.delete(slot);
    this.#events.onChanged();
  }

  stop(): void {
    for (const file of [...this.#gone.keys()]) this.#forget(file);
  }

  #noteGone(file: string): void {
    if (this.#gone.has(file)) return;
    const overdue = (): void => {
      this.#gone.set(file, null);
      if (this.#events.onOverdue(file)) this.remove(file);
    };
    const graceMs = this.#graceMs();
    this.#gone.set(file, setTimeout(overdue, graceMs).unref());
    if (graceMs > 0) this.#events.onGone(file);
  }

  #noteThere(file: string): void {
    if (!this.#gone.has(file)) return;
    this.#forget(file);
    this.#events.onBack(file);
  }

  #forget(file: string): void {
    const timer = this.#gone.get(file);
    if (timer) clearTimeout(timer);
    this.#gone.delete(file);
  }
}
