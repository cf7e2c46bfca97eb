/**
 * Regular expressions that outlive a call, and `RegExp.prototype`. The engine leaves its fast paths for good when one of these is
 * frozen, or changed otherwise than by an assignment: `replace` and `split` would then take ten times as long. So they are
 * compared after each call instead of being frozen.
 *
 * The comparison finds all that an assignment, `delete`, or the field of a class can do to them. The few built-ins that can do
 * more are watched (changes.ts).
 */
import {
  apply,
  create,
  freeze,
  getOwnPropertyDescriptor,
  getPrototypeOf,
  ownKeys,
  type AnyFunction,
  type Loose,
} from './primordials.ts';

const prototype = RegExp.prototype as unknown as Loose;
const { exec, test, toString, constructor } = prototype;
const { match, matchAll, replace, search, split } = Symbol;
const methods = [match, matchAll, replace, search, split].map((each) => prototype[each]);
const [matchOf, matchAllOf, replaceOf, searchOf, splitOf] = methods;
const sourceOf = getOwnPropertyDescriptor(prototype, 'source')!.get as AnyFunction;
const { assign, isExtensible } = Object;
const isIn = Function.prototype.call.bind(WeakSet.prototype.has) as (set: object, value: object) => boolean;
const addTo = Function.prototype.call.bind(WeakSet.prototype.add) as (set: object, value: object) => void;

const compile = freeze(function compile(): never {
  throw new TypeError('a user function can not change a pattern');
});

/** Patterns that are compared after each call. Comparing takes time, so a rule's others are frozen. */
const MAX_COMPARED = 32;

const blank = /(?:)/;

/** Whether a pattern of the prelude is found in a text, whatever a rule has made of RegExp.prototype. */
export function matches(pattern: RegExp, text: string): boolean {
  return apply(exec as AnyFunction, pattern, [text]) !== null;
}

/**
 * Makes the engine forget the last match, which `RegExp.$1` and the like would show: it may have been in another user's
 * query.
 */
export function forgetLastMatch(): void {
  apply(exec as AnyFunction, blank, ['']);
}

/** Whether it is a regular expression of the plain kind, with nothing that a comparison would take for a change. */
function isComparable(value: object): value is RegExp {
  if (getPrototypeOf(value) !== prototype || !isExtensible(value) || ownKeys(value).length !== 1)
    return false;
  try {
    apply(sourceOf, value, []);
  } catch {
    return false;
  }
  return (
    isZero((value as RegExp).lastIndex) && getOwnPropertyDescriptor(value, 'lastIndex')?.writable === true
  );
}

/** Whether it is 0: neither -0 nor anything that can be converted to 0. */
function isZero(value: unknown): boolean {
  return value === 0 && 1 / value === Infinity;
}

export class Patterns {
  readonly #members = new WeakSet<object>();
  readonly #patterns: RegExp[] = [];
  /** Arguments of `Object.assign`. The first takes no property, so that the call fails if any other has one to be enumerated. */
  readonly #compared: object[] = [freeze(create(null) as object)];
  /** the properties of RegExp.prototype */
  readonly #original: { readonly key: PropertyKey; readonly value: unknown; readonly get: unknown }[] = [];

  /**
   * `compile` changes a pattern in ways that no comparison finds. It is replaced by an assignment, which the fast paths survive.
   */
  constructor() {
    prototype['compile'] = compile;
    const keys = ownKeys(prototype);
    for (let i = 0; i < keys.length; i++) {
      const { value, get } = getOwnPropertyDescriptor(prototype, keys[i]!)!;
      this.#original[i] = { key: keys[i]!, value: value as unknown, get };
    }
    addTo(this.#members, prototype);
    this.#compared[1] = prototype;
  }

  /** Whether an object is compared rather than frozen. */
  has(value: object): boolean {
    return isIn(this.#members, value);
  }

  /** @returns false: it must be frozen */
  keep(value: object): boolean {
    if (this.#patterns.length >= MAX_COMPARED || !isComparable(value)) return false;
    addTo(this.#members, value);
    this.#patterns[this.#patterns.length] = value;
    this.#compared[this.#compared.length] = value;
    return true;
  }

  /** Whether RegExp.prototype is as it was: looks at everything, and takes some µs. */
  isUntouched(): boolean {
    const keys = ownKeys(prototype);
    if (keys.length !== this.#original.length || !isExtensible(prototype)) return false;
    for (let i = 0; i < keys.length; i++) {
      const { key, value, get } = this.#original[i]!;
      const now = getOwnPropertyDescriptor(prototype, key);
      if (now === undefined || now.value !== value || now.get !== get || now.configurable !== true)
        return false;
      if (now.enumerable === true || (get === undefined && now.writable !== true)) return false;
    }
    return this.areUnchanged();
  }

  /** Whether no call has changed one of them, provided that it could only do so by the ways that are not watched. */
  areUnchanged(): boolean {
    const patterns = this.#patterns;
    for (let i = 0; i < patterns.length; i++) if (!isZero(patterns[i]!.lastIndex)) return false;
    if (!hasOriginalMethods() || !hasAllGetters()) return false;
    try {
      apply(assign as AnyFunction, undefined, this.#compared);
      return true;
    } catch {
      return false;
    }
  }
}

/** The methods can be replaced by an assignment. */
function hasOriginalMethods(): boolean {
  return (
    prototype['exec'] === exec &&
    prototype['test'] === test &&
    prototype['toString'] === toString &&
    prototype['compile'] === compile &&
    prototype['constructor'] === constructor &&
    prototype[match] === matchOf &&
    prototype[matchAll] === matchAllOf &&
    prototype[replace] === replaceOf &&
    prototype[search] === searchOf &&
    prototype[split] === splitOf
  );
}

/** The getters can be deleted. One that is made anew by an assignment can be enumerated. */
function hasAllGetters(): boolean {
  return (
    'flags' in prototype &&
    'source' in prototype &&
    'global' in prototype &&
    'sticky' in prototype &&
    'ignoreCase' in prototype &&
    'multiline' in prototype &&
    'dotAll' in prototype &&
    'unicode' in prototype &&
    'unicodeSets' in prototype &&
    'hasIndices' in prototype
  );
}
