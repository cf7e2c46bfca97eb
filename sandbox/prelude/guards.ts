/** Length guards on the built-ins that may run for long: V8 interrupts none of them at a deadline. */
import type { PreludeLimits } from './limits.ts';
import { apply, defineProperty, ownKeys, type Loose } from './primordials.ts';

type Check = (self: unknown, args: unknown[]) => void;

/** Puts a check before a method. It throws a RangeError for anything too long. */
function guard(holder: object, name: string, check: Check, onError?: (error: unknown) => void): void {
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
  defineProperty(holder, name, { value: guarded, writable: true, configurable: true, enumerable: false });
}

/** @param onError is told of each error of an array's method */
export function guardBuiltIns(
  { maxArray, maxString }: PreludeLimits,
  onError: (error: unknown) => void,
): void {
  guardArrays(maxArray, onError);
  guardStrings(maxString);
  // The engine makes an error's stack, and no function is asked to prepare it.
  defineProperty(Error, 'prepareStackTrace', { value: undefined, writable: false, configurable: false });
  defineProperty(Error, 'stackTraceLimit', { value: 10, writable: false, configurable: false });
}

function guardArrays(maxArray: number, onError: (error: unknown) => void): void {
  const checkLength = (self: unknown): void => {
    const length = self === null || self === undefined ? 0 : (self as { length?: unknown }).length;
    if (typeof length === 'number' && length > maxArray)
      throw new RangeError(`array too long for a user function: ${length}`);
  };
  for (const name of ownKeys(Array.prototype)) {
    if (typeof name === 'string' && name !== 'constructor' && name !== 'length')
      guard(Array.prototype, name, checkLength, onError);
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

function guardStrings(maxString: number): void {
  const tooLong = (): never => {
    throw new RangeError('string too long for a user function');
  };
  const checkTimes = (text: string, count: unknown): void => {
    if (Number(count) * Math.max(1, text.length) > maxString) tooLong();
  };
  guard(String.prototype, 'repeat', (self, args) => checkTimes(String(self), args[0]));
  guard(String.prototype, 'padStart', (_self, args) => checkTimes('', args[0]));
  guard(String.prototype, 'padEnd', (_self, args) => checkTimes('', args[0]));
  for (const name of SLOW_STRING_METHODS)
    guard(String.prototype, name, (self) => {
      if (String(self).length > maxString) tooLong();
    });
}
