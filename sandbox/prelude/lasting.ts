/**
 * The objects that exist when a bundle has been loaded: they outlive each call. In a version that was found pure they are
 * frozen, so that no call can leave anything behind in one, or compared after each call (patterns.ts). An attempt, or a
 * difference, is noted: then the version was not pure.
 */
import { isBareGenerator, kindOf } from './kinds.ts';
import { FROZEN_ERROR } from './missing.ts';
import { matches, type Patterns } from './patterns.ts';
import {
  apply,
  create,
  defineProperty,
  freeze,
  getOwnPropertyDescriptor,
  getPrototypeOf,
  global,
  ownKeys,
  type AnyFunction,
} from './primordials.ts';

/** The global that a bundle hands the variables of its functions to: `(label, () => variable, …)`. */
const HOLD = '__pgswitchyard_hold';
/** The one that it tells of errors, before they can be caught. */
const CAUGHT = '__pgswitchyard_caught';

/**
 * Limits on what is handed over, on objects, and on the elements of one array: looking through them takes memory of the isolate,
 * which the rule may need. A rule with more is not followed.
 */
const MAX_HELD = 50_000;
const MAX_OBJECTS = 50_000;
const MAX_ELEMENTS = 50_000;

const addTo = Function.prototype.call.bind(WeakSet.prototype.add) as (
  set: WeakSet<object>,
  value: object,
) => void;
const isIn = Function.prototype.call.bind(WeakSet.prototype.has) as (
  set: WeakSet<object>,
  value: object,
) => boolean;
const isTypeError = Function.prototype.call.bind(
  Function.prototype[Symbol.hasInstance],
  TypeError,
) as unknown as (error: unknown) => boolean;
const isRangeError = Function.prototype.call.bind(
  Function.prototype[Symbol.hasInstance],
  RangeError,
) as unknown as (error: unknown) => boolean;
const { isArray } = Array;
const { preventExtensions } = Object;
const eachEntry = Function.prototype.call.bind(Map.prototype.forEach) as (
  map: object,
  visit: (value: unknown, key: unknown) => void,
) => void;
const eachMember = Function.prototype.call.bind(Set.prototype.forEach) as (
  set: object,
  visit: (value: unknown) => void,
) => void;

interface Found {
  readonly value: object;
  readonly label: string;
}

export class Lasting {
  readonly #isWatching: boolean;
  readonly #patterns: Patterns;
  readonly #held: { readonly label: string; readonly get: () => unknown }[] = [];
  readonly #frozen = new WeakSet();
  /** What bundles tell of errors; `count`: how often they could not. It is never frozen. */
  readonly caught = create(null, { count: { value: 0, writable: true } }) as { count: number };
  #isLoading = true;
  #isFrozen = false;
  /** the first reason why the version is not pure; '': none */
  #why = '';

  /** @param isWatching the version was found pure */
  constructor(isWatching: boolean, patterns: Patterns) {
    this.#isWatching = isWatching;
    this.#patterns = patterns;
  }

  get isWatching(): boolean {
    return this.#isWatching;
  }

  /** Whether everything that outlives a call is frozen, and nothing has tried to change it. */
  get isFrozen(): boolean {
    return this.#isFrozen && this.#why === '';
  }

  /** Whether a call has tried to change something that is frozen. */
  get hasChanged(): boolean {
    return this.#isFrozen && this.#why !== '';
  }

  /** Why the version is not pure after all; '': nothing is known. */
  get why(): string {
    return this.#why;
  }

  /**
   * Makes the globals that bundles call.
   * @param onLack is told if the stack, or memory for a buffer, was used up: how much there is differs from call to call
   */
  provide(onLack: () => void): void {
    const tell = (error: unknown): void => {
      this.noteError(error);
      if (isRangeError(error)) onLack();
      this.caught.count--;
    };
    defineProperty(this.caught, 'tell', { value: freeze(tell) });
    preventExtensions(this.caught);
    defineProperty(global, CAUGHT, { value: this.caught, writable: false, configurable: false });
    const hold = (...entries: unknown[]): void => {
      if (!this.#isLoading || !this.#isWatching || this.#why !== '') return;
      if (this.#held.length > MAX_HELD) return this.#giveUp('it makes too many functions while it is loaded');
      for (let i = 0; i + 1 < entries.length; i += 2)
        this.#held[this.#held.length] = {
          label: `${entries[i] as string}`,
          get: entries[i + 1] as () => unknown,
        };
    };
    defineProperty(global, HOLD, { value: freeze(hold), writable: false, configurable: false });
  }

  /** The code has something that no variable shows, such as the arguments of a bound function. */
  hold(label: string, value: unknown): void {
    if (this.#isLoading && this.#isWatching) this.#held[this.#held.length] = { label, get: () => value };
  }

  get isLoading(): boolean {
    return this.#isLoading;
  }

  note(why: string): void {
    if (this.#isWatching && this.#why === '') this.#why = why;
  }

  /** An error was caught: an attempt to change something frozen is noted. */
  noteError(error: unknown): void {
    if (!this.#isFrozen || this.#why !== '' || !isTypeError(error)) return;
    const message = getOwnPropertyDescriptor(error as object, 'message')?.value as unknown;
    if (typeof message === 'string' && matches(FROZEN_ERROR, message))
      this.note(`a call tried to change something that outlives it: ${message}`);
  }

  /** A built-in was about to change this object, or failed to do so. */
  noteTarget(target: unknown, what: string): boolean {
    if (typeof target !== 'object' && typeof target !== 'function') return false;
    if (target === null || !isIn(this.#frozen, target)) return false;
    this.note(`a call tried to change something that outlives it: ${what}`);
    return true;
  }

  /** A built-in is about to do something that a comparison would not find, if this is a pattern that is compared. */
  notePattern(target: unknown, what: string): void {
    if (typeof target !== 'object' || target === null || !this.#isFrozen) return;
    if (this.#patterns.has(target)) this.note(`a call tried to change something that outlives it: ${what}`);
  }

  /** A call has ended, or what it left to be done later: compares what could not be frozen. */
  compare(): void {
    if (!this.#isFrozen) return;
    if (this.caught.count !== 0) this.note('a call used up the stack and caught the error');
    if (!this.#patterns.areUnchanged())
      this.note('a call changed a pattern that outlives it, or RegExp.prototype');
  }

  /**
   * Freezes everything that can be reached from the bundle's variables.
   * @param roots values that the bundle leaves
   * @param intrinsics what the prelude has frozen already
   */
  freeze(roots: readonly unknown[], intrinsics: ReadonlySet<unknown>): void {
    this.#isLoading = false;
    if (!this.#isWatching || this.#why !== '') return;
    if (this.caught.count !== 0) return this.note('it uses up the stack while it is loaded');
    if (!this.#patterns.isUntouched()) return this.note('RegExp.prototype is changed while it is loaded');
    const found = this.#collect(roots, intrinsics);
    this.#held.length = 0;
    if (this.#why !== '') return;
    for (let i = 0; i < found.length; i++) {
      const { value } = found[i]!;
      if (this.#patterns.keep(value)) continue;
      addTo(this.#frozen, value);
      freeze(value);
    }
    addTo(this.#frozen, globalThis);
    freeze(globalThis);
    this.#isFrozen = true;
  }

  #giveUp(why: string): void {
    this.note(why);
    this.#held.length = 0;
  }

  /** All objects, each with the name by which it was reached. Nothing is collected of one that freezing can't fix. */
  #collect(roots: readonly unknown[], intrinsics: ReadonlySet<unknown>): Found[] {
    const seen = new Set<unknown>();
    const found: Found[] = [];
    const add = (value: unknown, label: string): void => {
      if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return;
      if (seen.has(value) || intrinsics.has(value)) return;
      seen.add(value);
      found[found.length] = { value, label };
    };
    // the bundle's own functions run here, and nowhere below
    for (let i = 0; i < this.#held.length; i++) {
      const { label, get } = this.#held[i]!;
      try {
        add(get(), label);
      } catch {
        // the variable never got its value
      }
    }
    for (let i = 0; i < roots.length; i++) add(roots[i], 'a function');
    for (const key of ownKeys(globalThis)) addProperty(globalThis, key, 'a global', add);
    for (let i = 0; i < found.length && this.#why === ''; i++) {
      if (found.length > MAX_OBJECTS) this.note('it has too many objects to freeze');
      else this.#follow(found[i]!, add);
    }
    return found;
  }

  #follow({ value, label }: Found, add: (value: unknown, label: string) => void): void {
    if (isBareGenerator(value)) return;
    if (isArray(value) && value.length > MAX_ELEMENTS)
      return this.note(`${label} has too many elements to freeze`);
    const kind = kindOf(value);
    if (typeof kind === 'string' && kind !== 'map' && kind !== 'set' && kind !== 'plain')
      return this.note(`${label} ${kind}`);
    if (kind === 'map')
      eachEntry(value, (each, key) => {
        add(each, label);
        add(key, label);
      });
    if (kind === 'set') eachMember(value, (each) => add(each, label));
    add(getPrototypeOf(value), label);
    for (const key of ownKeys(value)) addProperty(value, key, label, add);
  }
}

function addProperty(
  holder: object,
  key: PropertyKey,
  label: string,
  add: (value: unknown, label: string) => void,
): void {
  const property = getOwnPropertyDescriptor(holder, key);
  if (property === undefined) return;
  add(property.value, label);
  add(property.get, label);
  add(property.set, label);
}

/** Runs a built-in that changes its object. A failure on something frozen is noted, even if the rule hides it. */
export function watched(lasting: Lasting, original: AnyFunction, self: unknown, args: unknown[]): unknown {
  try {
    return apply(original, self, args);
  } catch (error) {
    lasting.noteError(error);
    throw error;
  }
}
