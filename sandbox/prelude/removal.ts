/** Removes everything that makes code from strings, outlives an isolate, or has memory outside of the isolate's limit. */
import type { Basis } from './basis.ts';
import {
  construct,
  defineProperty,
  functionKinds,
  getOwnPropertyDescriptor,
  getPrototypeOf,
  global,
  type Loose,
} from './primordials.ts';

const REMOVED = [
  'WebAssembly',
  'SharedArrayBuffer',
  'Atomics',
  'WeakRef',
  'FinalizationRegistry',
  'Intl',
  'eval',
  'Iterator',
  'AsyncDisposableStack',
  'DisposableStack',
  'ShadowRealm',
  'Temporal',
];

export function removeDangerousGlobals(): void {
  for (const name of REMOVED) delete global[name];
  // It makes a promise that the prelude could not listen to (promises.ts).
  delete (Array as unknown as Loose)['fromAsync'];
  // It leads to Temporal, which would not be frozen.
  delete (Date.prototype as unknown as Loose)['toTemporalInstant'];
}

/**
 * Replaces Symbol.for and Symbol.keyFor. The engine's own registry is shared by all realms and never forgets; this one ends
 * with its isolate. A call that uses it is noted.
 */
export function replaceSymbolRegistry(basis: Basis): void {
  const symbols = new Map<string, symbol>();
  const keys = new Map<symbol, string>();
  const registry = {
    for(key: unknown): symbol {
      basis.noteMore();
      const name = `${key as string}`;
      let symbol = symbols.get(name);
      if (symbol === undefined) {
        symbol = Symbol(name);
        symbols.set(name, symbol);
        keys.set(symbol, name);
      }
      return symbol;
    },
    keyFor(symbol: unknown): string | undefined {
      basis.noteMore();
      if (typeof symbol !== 'symbol') throw new TypeError('Symbol.keyFor takes a symbol');
      return keys.get(symbol);
    },
  };
  defineProperty(Symbol, 'for', { value: registry.for });
  defineProperty(Symbol, 'keyFor', { value: registry.keyFor });
}

/** Replaces ArrayBuffer by one that cannot grow: a buffer that may grow has its memory outside of the isolate's limit. */
export function replaceArrayBuffer(): void {
  const AnyBuffer = ArrayBuffer;
  const { ArrayBuffer: FixedBuffer } = {
    ArrayBuffer: function (length: unknown, options?: { readonly maxByteLength?: unknown }) {
      if (new.target === undefined) throw new TypeError("Constructor ArrayBuffer requires 'new'");
      if (options?.maxByteLength !== undefined)
        throw new TypeError('a user function has no buffers that can be resized');
      return construct(AnyBuffer, [length], new.target) as unknown;
    },
  };
  for (const key of ['isView', 'prototype', Symbol.species])
    defineProperty(FixedBuffer, key, getOwnPropertyDescriptor(AnyBuffer, key)!);
  for (const name of ['resize', 'resizable', 'maxByteLength', 'transfer', 'transferToFixedLength'])
    delete (AnyBuffer.prototype as unknown as Loose)[name];
  for (const [holder, name] of [
    [AnyBuffer.prototype, 'constructor'],
    [global, 'ArrayBuffer'],
  ] as const)
    defineProperty(holder, name, { value: FixedBuffer });
}

/**
 * Every kind of function has a constructor that makes code from strings. `Function` is left as a name, since packages ask whether
 * something is an instance of it.
 */
export function removeFunctionConstructors(): void {
  const { Function: NoFunction } = {
    Function: function (): never {
      throw new TypeError('code can not be made from strings in a user function');
    },
  };
  const prototype = getPrototypeOf(functionKinds[0]!)!;
  defineProperty(NoFunction, 'prototype', { value: prototype, writable: false });
  for (const kind of functionKinds)
    defineProperty(getPrototypeOf(kind)!, 'constructor', {
      value: NoFunction,
      writable: false,
      configurable: false,
    });
  defineProperty(global, 'Function', { value: NoFunction });
}
