/** Length guards on the built-ins that may run for long: V8 interrupts none of them at a deadline. */
import type { PreludeLimits } from './limits.ts';
import { apply, defineProperty, ownKeys, uncurried, type Loose } from './primordials.ts';

type Check = (self: unknown, args: unknown[]) => void;
/** A check of the object alone. */
type CheckSelf = (self: unknown) => void;
type OnError = (error: unknown) => void;

/** Puts a check before a method. It throws a RangeError for anything too long. */
function guard(holder: object, name: string, check: Check, onError?: OnError): void {
  const original = (holder as Loose)[name];
  if (typeof original !== 'function') return;
  const guarded = {
    [name](this: unknown, ...args: unknown[]): unknown {
      check(this, args);
      if (onError === undefined) return apply(original, this, args);
      try {
        return apply(original, this, args);
      } catch (error) {
        onError(error);
        throw error;
      }
    },
  }[name];
  replace(holder, name, guarded!);
}

/**
 * The same for a method of three arguments at most, to which an argument that is missing is the same as undefined. It takes half
 * the time, since no list of arguments is made.
 */
function guardPlain(holder: object, name: string, check: CheckSelf, onError: OnError): void {
  const original = (holder as Loose)[name];
  if (typeof original !== 'function') return;
  const call = uncurried(original);
  const guarded = {
    [name](this: unknown, a: unknown, b: unknown, c: unknown): unknown {
      check(this);
      try {
        return call(this, a, b, c);
      } catch (error) {
        onError(error);
        throw error;
      }
    },
  }[name];
  replace(holder, name, guarded!);
}

function replace(holder: object, name: string, value: object): void {
  defineProperty(holder, name, { value, writable: true, configurable: true, enumerable: false });
}

/** @param onError is told of each error of such a method */
export function guardBuiltIns({ maxArray, maxString }: PreludeLimits, onError: OnError): void {
  guardArrays(maxArray, onError);
  guardStrings(maxString, onError);
  // The engine makes an error's stack, and no function is asked to prepare it.
  defineProperty(Error, 'prepareStackTrace', { value: undefined, writable: false, configurable: false });
  defineProperty(Error, 'stackTraceLimit', { value: 10, writable: false, configurable: false });
}

/** Methods of arrays that take any number of arguments, or tell a missing one from undefined. */
const COUNTS_ARGUMENTS = [
  'concat',
  'lastIndexOf',
  'push',
  'reduce',
  'reduceRight',
  'splice',
  'toSpliced',
  'unshift',
];

function guardArrays(maxArray: number, onError: OnError): void {
  const tooLong = (length: number): never => {
    throw new RangeError(`array too long for a user function: ${length}`);
  };
  const checkLength = (self: unknown): void => {
    const length = self === null || self === undefined ? 0 : (self as { length?: unknown }).length;
    if (typeof length === 'number' && length > maxArray) tooLong(length);
  };
  for (const name of ownKeys(Array.prototype)) {
    if (typeof name !== 'string' || name === 'constructor' || name === 'length') continue;
    if (COUNTS_ARGUMENTS.includes(name)) guard(Array.prototype, name, checkLength, onError);
    else guardPlain(Array.prototype, name, checkLength, onError);
  }
  // Its arguments are spread into the new array, and may be as long.
  guard(Array.prototype, 'concat', (_self, args) => {
    for (let i = 0; i < args.length; i++) if (typeof args[i] === 'object') checkLength(args[i]);
  });
  guard(Array, 'from', (_self, args) => checkLength(args[0]), onError);
  guard(Array, 'of', () => {}, onError);
}

/** Methods that take time in proportion to the string's length, or more. */
const SLOW_STRING_METHODS = [
  'replaceAll',
  'split',
  'normalize',
  'localeCompare',
  'indexOf',
  'lastIndexOf',
  'includes',
];

function guardStrings(maxString: number, onError: OnError): void {
  const tooLong = (): never => {
    throw new RangeError('string too long for a user function');
  };
  const checkTimes = (text: string, count: unknown): void => {
    if (Number(count) * Math.max(1, text.length) > maxString) tooLong();
  };
  guard(String.prototype, 'repeat', (self, args) => checkTimes(String(self), args[0]));
  guard(String.prototype, 'padStart', (_self, args) => checkTimes('', args[0]));
  guard(String.prototype, 'padEnd', (_self, args) => checkTimes('', args[0]));
  const checkLength = (self: unknown): void => {
    if ((typeof self === 'string' ? self : String(self)).length > maxString) tooLong();
  };
  for (const name of SLOW_STRING_METHODS) guardPlain(String.prototype, name, checkLength, onError);
}
