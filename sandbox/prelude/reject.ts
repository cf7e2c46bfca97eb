/** The global `reject`, with which a rule refuses a query. */
import type { Rejection } from '../crossing.ts';
import type { PreludeLimits } from './limits.ts';
import { matches } from './patterns.ts';
import { create, defineProperty, freeze, global, stringify } from './primordials.ts';
import { clip } from './texts.ts';

interface More {
  readonly code?: unknown;
  readonly hint?: unknown;
  readonly detail?: unknown;
}

/** insufficient_privilege */
const DEFAULT_CODE = '42501';
const SQLSTATE = /^[0-9A-Z]{5}$/;

/** The last rejection. `reject` throws a token without content; its texts are kept here. */
export class Rejections {
  readonly #token = freeze(create(null) as object);
  readonly #maxMessage: number;
  #last: Rejection | null = null;

  constructor({ maxMessage }: PreludeLimits) {
    this.#maxMessage = maxMessage;
  }

  /** Makes `reject` a global. */
  provide(): void {
    const reject = (message: unknown, more?: More): never => {
      const code = more?.code;
      this.#last = {
        message: this.#text(message) ?? 'rejected by a user function',
        code: typeof code === 'string' && matches(SQLSTATE, code) ? code : DEFAULT_CODE,
        hint: this.#text(more?.hint),
        detail: this.#text(more?.detail),
      };
      throw this.#token;
    };
    defineProperty(global, 'reject', { value: freeze(reject), writable: false, configurable: false });
  }

  /** Whether an error is what `reject` throws. */
  isToken(error: unknown): boolean {
    return error === this.#token;
  }

  /** The last rejection as JSON; null: `reject` has not been called since the last `clear`. */
  get json(): string | null {
    return this.#last === null ? null : stringify(this.#last);
  }

  clear(): void {
    this.#last = null;
  }

  #text(value: unknown): string | null {
    return typeof value === 'string' && value !== '' ? clip(value, this.#maxMessage) : null;
  }
}
