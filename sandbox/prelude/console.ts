/** The global `console`: collects the lines that the calls of a batch print, up to a limit. */
import type { Basis } from './basis.ts';
import type { PreludeLimits } from './limits.ts';
import { defineProperty, freeze, global, join, ownKeys, stringify, type Loose } from './primordials.ts';
import { clip } from './texts.ts';

export class Console {
  readonly #maxLines: number;
  readonly #maxLength: number;
  readonly #basis: Basis;
  #lines: string[] = [];
  #length = 0;
  #isPrinting = false;
  /** how many lines the calls before the running one have printed */
  #linesBefore = 0;

  constructor({ maxConsoleLines, maxConsoleLength }: PreludeLimits, basis: Basis) {
    this.#basis = basis;
    this.#maxLines = maxConsoleLines;
    this.#maxLength = maxConsoleLength;
  }

  /** Makes `console` a global. */
  provide(): void {
    const print = (...args: unknown[]): void => this.#print(args);
    const console = { log: print, info: print, warn: print, error: print, debug: print };
    for (const name of ownKeys(console)) freeze((console as unknown as Loose)[name]);
    defineProperty(global, 'console', { value: freeze(console), writable: false, configurable: false });
  }

  clear(): void {
    this.#lines = [];
    this.#length = 0;
    this.#isPrinting = false;
    this.#linesBefore = 0;
  }

  /** A call has ended. */
  mark(): void {
    this.#linesBefore = this.#lines.length;
  }

  /** The lines of the calls that have ended, if one was cut off since: it may print its own again. */
  get textBefore(): string {
    this.#lines.length = this.#linesBefore;
    return this.text;
  }

  /** The lines printed since the last `clear`; '': none. */
  get text(): string {
    return this.#lines.length === 0 ? '' : join(this.#lines, '\n');
  }

  #print(args: unknown[]): void {
    // an answer that is given again would print nothing
    this.#basis.noteMore();
    // Printing during the conversion of a value to text (toJSON, toString) would bypass the limits.
    if (this.#isPrinting || this.#lines.length >= this.#maxLines || this.#length >= this.#maxLength) return;
    this.#isPrinting = true;
    try {
      const room = this.#maxLength - this.#length;
      let line = '';
      for (let i = 0; i < args.length && line.length <= room; i++)
        line += `${i === 0 ? '' : ' '}${clip(wordOf(args[i]), room)}`;
      line = clip(line, room);
      this.#length += line.length;
      this.#lines[this.#lines.length] = line;
    } finally {
      this.#isPrinting = false;
    }
  }
}

function wordOf(value: unknown): string {
  if (typeof value !== 'object' || value === null || value instanceof Error) return String(value);
  try {
    return stringify(value) ?? 'undefined';
  } catch {
    return '[object]';
  }
}
