/** Makes `ctx` from its JSON, and keeps it for the calls that bring the same one. */
import { SAME_CONTEXT } from '../crossing.ts';
import { BLANK_CONTEXT, type RoutingContext } from '../context.ts';
import type { PreludeLimits } from './limits.ts';
import { freeze, ownKeys, parse, type Loose } from './primordials.ts';

export class Contexts {
  readonly #maxKept: number;
  #base: RoutingContext = BLANK_CONTEXT;
  #kept = new Map<string, RoutingContext>();
  #keptLength = 0;
  #lastText = SAME_CONTEXT;
  #last: RoutingContext = BLANK_CONTEXT;

  constructor({ maxKeptContexts }: PreludeLimits) {
    this.#maxKept = maxKeptContexts;
  }

  /** @param text JSON of the values for fields that a call does not bring */
  setBase(text: string): void {
    this.#base = this.#last = deepFreeze(parse(text) as RoutingContext);
  }

  /** The context of a call, frozen. */
  of(text: string): RoutingContext {
    if (text === SAME_CONTEXT || text === this.#lastText) return this.#last;
    let context = this.#kept.get(text);
    if (context === undefined) {
      context = deepFreeze({ ...this.#base, ...(parse(text) as Partial<RoutingContext>) });
      this.#keep(text, context);
    }
    this.#lastText = text;
    this.#last = context;
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
