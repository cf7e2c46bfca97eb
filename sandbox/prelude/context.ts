/** Makes `ctx` from its JSON, and keeps it for calls that bring the same one. Each of its parts notes when it is read. */
import { isContextJson } from '../crossing.ts';
import { BLANK_CONTEXT, type RoutingContext } from '../context.ts';
import type { Basis } from './basis.ts';
import type { PreludeLimits } from './limits.ts';
import { defineProperty, freeze, ownKeys, parse, type Loose } from './primordials.ts';

const FIELDS = ownKeys(BLANK_CONTEXT) as readonly (keyof RoutingContext)[];

export class Contexts {
  readonly #maxKept: number;
  readonly #basis: Basis;
  #base: RoutingContext = BLANK_CONTEXT;
  #kept = new Map<string, RoutingContext>();
  #keptLength = 0;
  /** the most recent JSON: comparing costs less than looking it up */
  #recentField = '';
  #recent: RoutingContext | undefined;
  /** of the running call */
  #current: RoutingContext | undefined;
  /** the different contexts of the current batch */
  #batch: RoutingContext[] = [];

  constructor({ maxKeptContexts }: PreludeLimits, basis: Basis) {
    this.#basis = basis;
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
    if (!isContextJson(field)) return (this.#current = this.#batch[Number(field)]!);
    let context = field === this.#recentField ? this.#recent : this.#kept.get(field);
    if (context === undefined) {
      context = this.#watched({ ...this.#base, ...(parse(field) as Partial<RoutingContext>) });
      this.#keep(field, context);
    }
    this.#recentField = field;
    this.#recent = context;
    this.#current = context;
    this.#batch[this.#batch.length] = context;
    return context;
  }

  /** The same context with getters. A rule may have kept it from an earlier call, which brought other values. */
  #watched(values: RoutingContext): RoutingContext {
    const watched: Loose & Partial<RoutingContext> = {};
    for (let at = 0; at < FIELDS.length; at++) {
      const value = deepFreeze(values[FIELDS[at]!]);
      defineProperty(watched, FIELDS[at]!, {
        get: freeze(() => {
          if (this.#current === watched) this.#basis.notePart(at);
          else this.#basis.noteMore();
          return value;
        }),
        enumerable: true,
      });
    }
    return freeze(watched) as RoutingContext;
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
