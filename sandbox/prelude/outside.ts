/**
 * The built-ins whose results are not a function of their arguments: the clock, randomness, and what the engine keeps of the
 * last match of a regular expression. A call that uses one is noted.
 */
import type { Basis } from './basis.ts';
import {
  apply,
  construct,
  defineProperty,
  getOwnPropertyDescriptor,
  global,
  ownKeys,
  type AnyFunction,
  type Loose,
} from './primordials.ts';

export function watchOutside(basis: Basis): void {
  watchClock(basis);
  watchMethod(Math, 'random', basis);
  watchLastMatch(basis);
}

/** `Date()`, `new Date()` and `Date.now()` read the clock. */
function watchClock(basis: Basis): void {
  const AnyDate = Date;
  const { Date: WatchedDate } = {
    Date: function (...args: unknown[]): unknown {
      if (new.target === undefined || args.length === 0) basis.noteOutside();
      return new.target === undefined ? apply(AnyDate, undefined, []) : construct(AnyDate, args, new.target);
    },
  };
  watchMethod(AnyDate, 'now', basis);
  for (const key of ownKeys(AnyDate))
    defineProperty(WatchedDate, key, getOwnPropertyDescriptor(AnyDate, key)!);
  for (const [holder, name] of [
    [AnyDate.prototype, 'constructor'],
    [global, 'Date'],
  ] as const)
    defineProperty(holder, name, { value: WatchedDate });
}

function watchMethod(holder: object, name: string, basis: Basis): void {
  const original = (holder as Loose)[name] as AnyFunction;
  const watched = {
    [name](this: unknown, ...args: unknown[]): unknown {
      basis.noteOutside();
      return apply(original, this, args);
    },
  }[name];
  defineProperty(holder, name, { value: watched });
}

/** `RegExp.$1`, `RegExp.lastMatch` and the like: they outlive a call, and no freezing stops that. */
function watchLastMatch(basis: Basis): void {
  for (const key of ownKeys(RegExp)) {
    const { get, configurable } = getOwnPropertyDescriptor(RegExp, key)!;
    if (get === undefined || configurable !== true || typeof key === 'symbol') continue;
    const watched = function (this: unknown): unknown {
      basis.noteOutside();
      return apply(get, this, []);
    };
    defineProperty(RegExp, key, { get: watched });
  }
}
