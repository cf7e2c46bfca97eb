/**
 * Watches the built-ins that change objects, in a version that was found pure: an attempt to change something that outlives a
 * call is noted, even if the rule catches the error; and objects that freezing would miss are noted while the version is loaded.
 */
import { isSpecial } from './kinds.ts';
import { watched, type Lasting } from './lasting.ts';
import {
  apply,
  construct,
  defineProperty,
  functionKinds,
  getOwnPropertyDescriptor,
  getPrototypeOf,
  global,
  ownKeys,
  type AnyFunction,
  type Loose,
} from './primordials.ts';

type Around = (original: AnyFunction, self: unknown, args: unknown[]) => unknown;

function wrap(holder: object, name: PropertyKey, around: Around): void {
  const property = getOwnPropertyDescriptor(holder, name);
  const original = property?.value as AnyFunction | undefined;
  if (typeof original !== 'function') return;
  const wrapped = {
    [name](this: unknown, ...args: unknown[]): unknown {
      return around(original, this, args);
    },
  }[name as string];
  defineProperty(holder, name, { ...property, value: wrapped });
}

export function watchChanges(lasting: Lasting): void {
  if (!lasting.isWatching) return;
  refuseCollections(lasting);
  noteFailures(lasting);
  noteQuestions(lasting);
  noteIteratorSetters(lasting);
  notePrototypes(lasting);
  holdBound(lasting);
  noteProxies(lasting);
  noteRevived(lasting);
  noteMatching(lasting);
}

/** Freezing does not reach what a map or set holds. */
function refuseCollections(lasting: Lasting): void {
  const methods: readonly [object, readonly string[]][] = [
    [Map.prototype, ['clear', 'delete', 'getOrInsert', 'getOrInsertComputed', 'set']],
    [Set.prototype, ['add', 'clear', 'delete']],
  ];
  for (const [holder, names] of methods)
    for (const name of names)
      wrap(holder, name, (original, self, args) => {
        if (lasting.noteTarget(self, name)) throw new TypeError(`Cannot ${name}: it outlives the call`);
        return apply(original, self, args);
      });
}

function noteFailures(lasting: Lasting): void {
  const names: readonly [object, readonly string[]][] = [
    [Object, ['assign', 'defineProperties', 'defineProperty', 'setPrototypeOf']],
    [Object.prototype, ['__defineGetter__', '__defineSetter__']],
    [Error, ['captureStackTrace']],
  ];
  for (const [holder, list] of names)
    for (const name of list)
      wrap(holder, name, (original, self, args) => {
        lasting.notePattern(holder === Object.prototype ? self : args[0], name);
        return watched(lasting, original, self, args);
      });
  for (const name of ['freeze', 'preventExtensions', 'seal'])
    wrap(Object, name, (original, self, args) => {
      lasting.notePattern(args[0], name);
      return apply(original, self, args);
    });
  for (const name of ['set', 'defineProperty', 'deleteProperty', 'setPrototypeOf', 'preventExtensions'])
    wrap(Reflect, name, (original, self, args) => {
      lasting.notePattern(args[0], name);
      const result = watched(lasting, original, self, args);
      if (result === false) {
        lasting.noteTarget(args[0], `Reflect.${name}`);
        if (name === 'set') noteSet(lasting, args);
      }
      return result;
    });
}

/** Reflect.set changes its last argument, and fails as well if a frozen prototype has the property. */
function noteSet(lasting: Lasting, args: readonly unknown[]): void {
  lasting.noteTarget(args[3], 'Reflect.set');
  for (let at = getPrototypeOf(args[0] as object); at !== null; at = getPrototypeOf(at))
    if (lasting.noteTarget(at, 'Reflect.set')) return;
}

/** Iterators have names and constructors that an assignment puts on any object. */
function noteIteratorSetters(lasting: Lasting): void {
  const iterator = getPrototypeOf(getPrototypeOf([][Symbol.iterator]())!)!;
  for (const key of [Symbol.toStringTag, 'constructor']) {
    const { set, ...rest } = getOwnPropertyDescriptor(iterator, key) ?? {};
    if (set !== undefined)
      defineProperty(iterator, key, {
        ...rest,
        set(this: unknown, value: unknown) {
          watched(lasting, set as AnyFunction, this, [value]);
        },
      });
  }
}

/** Code can ask whether an object is frozen, and would get another answer than it gets without freezing. */
function noteQuestions(lasting: Lasting): void {
  const names: readonly [object, readonly string[]][] = [
    [
      Object,
      ['isExtensible', 'isFrozen', 'isSealed', 'getOwnPropertyDescriptor', 'getOwnPropertyDescriptors'],
    ],
    [Reflect, ['isExtensible', 'getOwnPropertyDescriptor']],
  ];
  for (const [holder, list] of names)
    for (const name of list)
      wrap(holder, name, (original, self, args) => {
        lasting.noteTarget(args[0], name);
        return apply(original, self, args);
      });
}

/**
 * An object with a built-in's inner state and another prototype can't be told from a plain one. An object that gets a frozen
 * prototype later can't have properties of its own that the prototype has.
 */
function notePrototypes(lasting: Lasting): void {
  const check = (value: unknown, prototype: unknown): void => {
    lasting.notePattern(value, 'the prototype of a pattern');
    if (!lasting.isLoading) return void lasting.noteTarget(prototype, 'the prototype of an object');
    if (typeof value !== 'object' || value === null) return;
    if (isSpecial(value)) lasting.note('it gives a built-in object another prototype');
  };
  for (const holder of [Object, Reflect])
    wrap(holder, 'setPrototypeOf', (original, self, args) => {
      check(args[0], args[1]);
      return apply(original, self, args);
    });
  const { set, ...rest } = getOwnPropertyDescriptor(Object.prototype, '__proto__')!;
  defineProperty(Object.prototype, '__proto__', {
    ...rest,
    set(this: unknown, value: unknown) {
      check(this, value);
      watched(lasting, set as AnyFunction, this, [value]);
    },
  });
  wrap(Reflect, 'construct', (original, self, args) => {
    const made = apply(original, self, args);
    if (lasting.isLoading && args.length > 2 && args[2] !== args[0])
      lasting.note('it makes an object with another prototype (Reflect.construct)');
    return made;
  });
}

/** A bound function hides what it was bound to. */
function holdBound(lasting: Lasting): void {
  wrap(getPrototypeOf(functionKinds[0]!)!, 'bind', (original, self, args) => {
    lasting.hold('a bound function', self);
    for (let i = 0; i < args.length; i++) lasting.hold('an argument of a bound function', args[i]);
    return apply(original, self, args);
  });
}

/**
 * A proxy that exists when a bundle has been loaded can answer for frozen properties what it likes; one that is made later may
 * not, for an object that is frozen. It also learns the symbols of noteMatching.
 */
function noteProxies(lasting: Lasting): void {
  const AnyProxy = Proxy;
  const { Proxy: NotedProxy } = {
    Proxy: function (...args: unknown[]): unknown {
      if (new.target === undefined) throw new TypeError("Constructor Proxy requires 'new'");
      lasting.note('it uses Proxy');
      return construct(AnyProxy, args);
    },
  };
  for (const key of ownKeys(AnyProxy))
    if (key === 'revocable') {
      const revocable = (AnyProxy as unknown as Loose)[key] as AnyFunction;
      defineProperty(NotedProxy, key, {
        value: (...args: unknown[]) => {
          lasting.note('it uses Proxy');
          return apply(revocable, AnyProxy, args);
        },
      });
    }
  defineProperty(global, 'Proxy', { value: NotedProxy });
}

/** JSON.parse writes to whatever its second argument has put into the result, and says nothing if it can't. */
function noteRevived(lasting: Lasting): void {
  wrap(JSON, 'parse', (original, self, [text, reviver]) => {
    if (typeof reviver !== 'function') return apply(original, self, [text]);
    const watching = function (this: unknown, ...args: unknown[]): unknown {
      lasting.noteTarget(this, 'JSON.parse');
      return apply(reviver as AnyFunction, this, args);
    };
    return apply(original, self, [text, watching]);
  });
}

/**
 * RegExp.prototype's methods for `match`, `replace` and the like set `lastIndex` of any object that they are called on, and
 * fail if that is frozen. They can't be watched themselves (patterns.ts), so the ways to their names are.
 */
function noteMatching(lasting: Lasting): void {
  const AnySymbol = Symbol;
  const { Symbol: NotedSymbol } = {
    Symbol: function (...args: unknown[]): unknown {
      if (new.target !== undefined) throw new TypeError('Symbol is not a constructor');
      return apply(AnySymbol as unknown as AnyFunction, undefined, args);
    },
  };
  for (const key of ownKeys(AnySymbol)) {
    const property = getOwnPropertyDescriptor(AnySymbol, key)!;
    const isMatching = typeof property.value === 'symbol' && property.value in RegExp.prototype;
    const get = (): unknown => {
      lasting.note(`it uses Symbol.${key as string}`);
      return property.value;
    };
    defineProperty(NotedSymbol, key, isMatching ? { get } : property);
  }
  for (const [holder, name] of [
    [AnySymbol.prototype, 'constructor'],
    [global, 'Symbol'],
  ] as const)
    defineProperty(holder, name, { value: NotedSymbol });
  const lists: readonly [object, readonly string[]][] = [
    [Object, ['getOwnPropertyDescriptors', 'getOwnPropertySymbols']],
    [Reflect, ['ownKeys']],
  ];
  for (const [holder, names] of lists)
    for (const name of names)
      wrap(holder, name, (original, self, args) => {
        if (args[0] === RegExp.prototype) lasting.note(`it uses ${name} of RegExp.prototype`);
        return apply(original, self, args);
      });
}
