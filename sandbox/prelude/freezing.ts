/** Freezes all intrinsics, so that no rule can change what the prelude, or another call, relies on. */
import {
  apply,
  defineProperty,
  freeze,
  functionKinds,
  getOwnPropertyDescriptor,
  getPrototypeOf,
  global,
  ownKeys,
  type AnyFunction,
  type Loose,
} from './primordials.ts';

const OVERRIDABLE = [
  'bind',
  'constructor',
  'toString',
  'valueOf',
  'name',
  'message',
  'hasOwnProperty',
  'toLocaleString',
];

/**
 * Turns inherited names that code commonly assigns to into accessors. Otherwise an assignment to an object fails when its
 * frozen prototype has a property of that name: `error.name = 'MyError'`, or `Sub.prototype.constructor = Sub` in older
 * packages.
 * @param onError is told of each assignment that fails
 */
export function keepOverridable(onError: (error: unknown) => void): void {
  for (const name of ownKeys(globalThis)) {
    const prototype =
      typeof name === 'string' ? (global[name] as { prototype?: unknown } | null)?.prototype : null;
    const isShared = prototype === getPrototypeOf(functionKinds[0]!) || typeof prototype === 'object';
    if (!isShared || prototype === null || prototype === RegExp.prototype) continue;
    for (const key of OVERRIDABLE) {
      // without it, `slice`, `map` and the like would have to ask each array what to make
      if (prototype !== Array.prototype || key !== 'constructor')
        makeOverridable(prototype as object, key, onError);
    }
  }
}

function makeOverridable(prototype: object, key: string, onError: (error: unknown) => void): void {
  const property = getOwnPropertyDescriptor(prototype, key);
  if (property === undefined || !('value' in property) || property.configurable !== true) return;
  const value: unknown = property.value;
  defineProperty(prototype, key, {
    get: () => value,
    set(this: object, own: unknown) {
      if (this === prototype) throw new TypeError(`cannot change ${key}: it is shared`);
      try {
        defineProperty(this, key, { value: own, writable: true, enumerable: true, configurable: true });
      } catch (error) {
        onError(error);
        throw error;
      }
    },
    enumerable: false,
    configurable: false,
  });
}

/**
 * Freezes everything that can be reached from the globals, and from values that only syntax gives, but RegExp.prototype
 * (patterns.ts) and one object.
 * @returns all of it
 */
export function freezeAll(but: object): ReadonlySet<unknown> {
  const seen = new Set<unknown>([globalThis]);
  const deepFreeze = (value: unknown): void => {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value))
      return;
    seen.add(value);
    if (value !== RegExp.prototype && value !== but) freeze(value);
    deepFreeze(getPrototypeOf(value));
    for (const key of ownKeys(value)) {
      const property = getOwnPropertyDescriptor(value, key);
      if (property === undefined) continue;
      deepFreeze(property.value);
      deepFreeze(property.get);
      deepFreeze(property.set);
    }
  };
  for (const key of ownKeys(globalThis)) {
    const property = getOwnPropertyDescriptor(globalThis, key);
    if (property === undefined) continue;
    deepFreeze(property.value);
    if (property.configurable && key !== 'globalThis') {
      defineProperty(
        globalThis,
        key,
        'value' in property ? { writable: false, configurable: false } : { configurable: false },
      );
    }
  }
  for (const kind of functionKinds) deepFreeze(getPrototypeOf(kind));
  deepFreeze(getPrototypeOf(getPrototypeOf([][Symbol.iterator]())!));
  deepFreeze(getPrototypeOf(''[Symbol.iterator]()));
  deepFreeze(getPrototypeOf('a'.matchAll(/a/g)));
  deepFreeze(getPrototypeOf(new Map()[Symbol.iterator]()));
  deepFreeze(getPrototypeOf(new Set()[Symbol.iterator]()));
  for (const prototype of helperPrototypes()) deepFreeze(prototype);
  // all errors share the accessors of their stacks
  const stack = getOwnPropertyDescriptor(new Error('stack'), 'stack');
  deepFreeze(stack?.get);
  deepFreeze(stack?.set);
  return seen;
}

/** The prototypes of what the iterator helpers make: `[].values().map(f)` and `Iterator.from(x)`. */
function helperPrototypes(): object[] {
  const values = [][Symbol.iterator]() as unknown as Loose;
  const helpers = getPrototypeOf(getPrototypeOf(values)!) as Loose;
  const { map } = helpers;
  const from = (helpers['constructor'] as unknown as Loose | undefined)?.['from'];
  const made: unknown[] = [];
  if (typeof map === 'function') made.push(apply(map as AnyFunction, values, [() => {}]));
  if (typeof from === 'function') made.push((from as AnyFunction)({ next() {} }));
  return made.map((each) => getPrototypeOf(each as object)!);
}
