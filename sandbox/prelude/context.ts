/** Makes `ctx` from its JSON, and keeps it for calls that bring the same one. */
import { isContextJson } from '../crossing.ts';
import { BLANK_CONTEXT, type RoutingContext } from '../context.ts';
import type { PreludeLimits } from './limits.ts';
import { freeze, ownKeys, parse, type Loose } from './primordials.ts';

export class Contexts {
  readonly #maxKept: number;
  #base: RoutingContext = BLANK_CONTEXT;
  #kept = new Map<string, RoutingContext>();
  #keptLength = 0;
  /** the most recent JSON: comparing costs less than looking it up */
  #lastField = '';
  #last: RoutingContext | undefined;
  /** the different contexts of the current batch */
  #batch: RoutingContext[] = [];

  constructor({ maxKeptContexts }: PreludeLimits) {
    this.#maxKept = maxKeptContexts;
  }

  /** @param text JSON of the values for fields that a call does not bring */
  setBase(text: string): void {
    this.#base = deepFreeze(parse(text) as RoutingContext);
  }

  beginBatch(): void {
    this.#batch = [];
  }

  /** The context of the next call of a batch, frozen. */
  of(field: string): RoutingContext {
    if (!isContextJson(field)) return this.#batch[Number(field)]!;
    let context = field === this.#lastField ? this.#last : this.#kept.get(field);
    if (context === undefined) {
      context = deepFreeze({ ...this.#base, ...(parse(field) as Partial<RoutingContext>) });
      this.#keep(field, context);
    }
    this.#lastField = field;
    this.#last = context;
    this.#batch[this.#batch.length] = context;
    return context;
  }

  #keep(text: string, context: RoutingContext): void {
    this.#keptLength += text.length;
    if (this.#keptLength > this.#maxKept) {
      this.#kept = new Map();
      this.#keptLength = text.length;
    }
    this.#kept.set(text, context);
  }
}

/** Freezes a value that JSON.parse has made. */
function deepFreeze<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null) return value;
  for (const key of ownKeys(value)) deepFreeze((value as Loose)[key]);
  return freeze(value) as Value;
}
