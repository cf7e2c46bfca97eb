/**
 * A promise that is rejected without a listener is reported to the process around the isolate, which reads the properties of
 * the reason. So the prelude listens to each promise from its first moment. Bundles have no async functions, whose promises
 * the prelude could not reach (src/functions/build/bundle.ts).
 */
import type { Basis } from './basis.ts';
import {
  apply,
  construct,
  defineProperty,
  freeze,
  getOwnPropertyDescriptor,
  getPrototypeOf,
  global,
  ownKeys,
  type AnyFunction,
  type Loose,
} from './primordials.ts';

const AnyPromise = Promise;
const prototype = AnyPromise.prototype as object;
const anyThen = (prototype as Loose)['then'] as AnyFunction;

export function isPromise(value: unknown): boolean {
  return typeof value === 'object' && value !== null && getPrototypeOf(value) === prototype;
}

const ignore = (): void => {};
/** Makes `then` return a plain promise, whatever the class of the promise that is listened to. */
const plainSpecies = { value: freeze({ [Symbol.species]: AnyPromise }), configurable: true };

function listenTo(promise: object): void {
  try {
    if (getOwnPropertyDescriptor(promise, 'constructor') !== undefined) return;
    defineProperty(promise, 'constructor', plainSpecies);
    try {
      apply(anyThen, promise, [undefined, ignore]);
    } finally {
      delete (promise as { constructor?: unknown }).constructor;
    }
  } catch {
    // It is not a promise.
  }
}

/** A call that makes a promise is noted: the promise outlives it. */
export function listenToPromises(basis: Basis): void {
  const { Promise: HeardPromise, next: heardThen } = {
    Promise: function (executor: unknown) {
      if (new.target === undefined)
        throw new TypeError("Promise constructor cannot be invoked without 'new'");
      basis.notePromise();
      const promise = construct(AnyPromise, [executor], new.target) as object;
      listenTo(promise);
      return promise;
    },
    next(this: unknown, onFulfilled: unknown, onRejected: unknown): unknown {
      basis.notePromise();
      const next = apply(anyThen, this, [onFulfilled, onRejected]) as object;
      listenTo(next);
      return next;
    },
  };
  for (const key of ownKeys(AnyPromise)) {
    if (key !== 'length' && key !== 'name')
      defineProperty(HeardPromise, key, getOwnPropertyDescriptor(AnyPromise, key)!);
  }
  defineProperty(prototype, 'then', { value: heardThen });
  for (const [holder, name] of [
    [prototype, 'constructor'],
    [global, 'Promise'],
  ] as const)
    defineProperty(holder, name, { value: HeardPromise });
}
