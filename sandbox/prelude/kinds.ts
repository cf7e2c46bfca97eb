/** Kinds of objects, by what keeps their state: properties, which can be frozen, or something inside. */
import {
  apply,
  functionKinds,
  getOwnPropertyDescriptor,
  getPrototypeOf,
  ownKeys,
  type AnyFunction,
} from './primordials.ts';

const getterOf = (holder: object, key: PropertyKey): AnyFunction =>
  getOwnPropertyDescriptor(holder, key)!.get as AnyFunction;

const iterator = getPrototypeOf(getPrototypeOf([][Symbol.iterator]())!)!;
const typedArray = getPrototypeOf(Uint8Array.prototype)!;
const isView = ArrayBuffer.isView;
const mapSize = getterOf(Map.prototype, 'size');
const setSize = getterOf(Set.prototype, 'size');
const stackSetter = getOwnPropertyDescriptor(new Error('stack'), 'stack')?.set;
const isGlobal = getterOf(RegExp.prototype, 'global');
const isSticky = getterOf(RegExp.prototype, 'sticky');

const generator = (functionKinds[2] as { readonly prototype?: object }).prototype!;
const generators = getPrototypeOf(generator)!;

/**
 * Whether an object is what a generator function is born with as its prototype, rather than a generator. A generator of that
 * form can't exist: the analysis refuses generators that are made while the bundle is loaded.
 */
export function isBareGenerator(value: object): boolean {
  return getPrototypeOf(value) === generators && ownKeys(value).length === 0;
}

/** Prototypes of objects that keep state inside. */
const SPECIAL = new Set<object>([
  Map.prototype,
  Set.prototype,
  WeakMap.prototype,
  WeakSet.prototype,
  Date.prototype,
  RegExp.prototype,
  ArrayBuffer.prototype,
  DataView.prototype,
  typedArray,
  iterator,
]);

/** Whether an object has the prototype of such objects, directly or not. */
export function isSpecial(value: object): boolean {
  return specialOf(value) !== null;
}

/** @returns the first such prototype of an object; null: it has none */
function specialOf(value: object): object | null {
  for (let at = getPrototypeOf(value); at !== null; at = getPrototypeOf(at)) if (SPECIAL.has(at)) return at;
  return null;
}

/**
 * The kind of an object; any other text says why it can't be frozen. Objects whose prototypes were exchanged are not looked
 * through: changes.ts notes those.
 */
export function kindOf(value: object): string {
  // its stack has a setter, which freezing does not stop
  if (getOwnPropertyDescriptor(value, 'stack')?.set === stackSetter && stackSetter !== undefined)
    return 'has the stack of an error';
  const special = specialOf(value);
  if (special === null) return 'plain';
  switch (special) {
    case Map.prototype:
      return answers(mapSize, value) ? 'map' : 'plain';
    case Set.prototype:
      return answers(setSize, value) ? 'set' : 'plain';
    case RegExp.prototype:
      if (!answers(isGlobal, value)) return 'plain';
      return apply(isGlobal, value, []) === true || apply(isSticky, value, []) === true
        ? 'is a regular expression with g or y'
        : 'plain';
    case iterator:
      return 'is an iterator, or made from one';
    case Date.prototype:
      return 'is a Date';
    case WeakMap.prototype:
    case WeakSet.prototype:
      return 'is a WeakMap or WeakSet';
    default:
      return isView(value) ? 'is a typed array' : 'is an ArrayBuffer';
  }
}

/** Whether a getter of a built-in takes an object for one of its own. */
function answers(getter: AnyFunction, value: object): boolean {
  try {
    apply(getter, value, []);
    return true;
  } catch {
    return false;
  }
}
