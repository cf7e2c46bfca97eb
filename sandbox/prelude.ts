/**
 * The first code in every isolate, run before a tenant's. It is a script of one function expression, compiled by the
 * proxy and handed over as text: it can import nothing. It takes away what could leave the isolate's limits, freezes
 * what remains, and wraps every call of a user function.
 *
 * What it hands to the outside are strings, made here; what it gets are strings. See docs/sandbox.md for the reasons.
 */
(maxResultLength: number) => {
  'use strict';

  const MAX_ARRAY = 5_000_000;
  const MAX_STRING = 16_000_000;
  const MAX_TEXT = 500;
  const MAX_STACK = 2_000;
  /** Of a longer error message only this much is looked at. */
  const MAX_SEARCHED = 65_536;
  /** Shorter queries are found in too many words to be blotted out. */
  const MIN_SECRET = 6;
  const MAX_CONSOLE_LINES = 64;
  const MAX_CONSOLE_LENGTH = 16_384;
  /** A batch ends after the call that passes one of these: others wait for their turn. */
  const BATCH_MS = 20;
  const BATCH_LENGTH = 262_144;
  /** No database's name is longer, whatever alias it is given by. */
  const MAX_ROUTE = 1_000;

  type AnyFunction = (...args: unknown[]) => unknown;
  type Loose = Record<PropertyKey, unknown>;
  const { apply, construct, ownKeys, getOwnPropertyDescriptor, getPrototypeOf } = Reflect;
  const { defineProperty, freeze, create } = Object;
  const global = globalThis as unknown as Loose;

  /** As it was before the guards below: of the prelude's own strings the length is known. */
  const split = Function.prototype.call.bind(String.prototype.split) as unknown as (
    text: string,
    separator: string,
  ) => string[];
  const join = Function.prototype.call.bind(Array.prototype.join) as unknown as (
    parts: readonly string[],
    separator: string,
  ) => string;
  const includes = Function.prototype.call.bind(String.prototype.includes) as unknown as (
    text: string,
    part: string,
  ) => boolean;

  // --- what goes -----------------------------------------------------------------------------------------------------
  const GONE = [
    'WebAssembly',
    'SharedArrayBuffer',
    'Atomics',
    'WeakRef',
    'FinalizationRegistry',
    'Intl',
    'eval',
    'Function',
    'Iterator',
    'AsyncDisposableStack',
    'DisposableStack',
    'ShadowRealm',
    'Temporal',
  ];
  for (const name of GONE) delete global[name];

  // The engine's own registry of symbols is not this realm's alone, and never forgets: packages get one that ends with it.
  const symbols = new Map<string, symbol>();
  const keys = new Map<symbol, string>();
  const registry = {
    for(key: unknown): symbol {
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
      if (typeof symbol !== 'symbol') throw new TypeError('Symbol.keyFor takes a symbol');
      return keys.get(symbol);
    },
  };
  defineProperty(Symbol, 'for', { value: registry.for });
  defineProperty(Symbol, 'keyFor', { value: registry.keyFor });

  // A buffer that may grow has its memory beside the isolate's limit.
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

  // A promise that is rejected and that nobody listens to is reported to the host, which reads the properties of what it was
  // rejected with. So somebody listens to each, from its first moment. Bundles have no async functions, whose promises
  // nobody could get at here (src/functions/bundle.ts).
  const AnyPromise = Promise;
  const promises = AnyPromise.prototype as object;
  const anyThen = (promises as Loose)['then'] as AnyFunction;
  const ignore = (): void => {};
  const aside = { value: freeze({ [Symbol.species]: AnyPromise }), configurable: true };
  const listenTo = (promise: object): void => {
    try {
      // what `then` makes there is none of the tenant's, whatever the promise's class says
      if (getOwnPropertyDescriptor(promise, 'constructor') !== undefined) return;
      defineProperty(promise, 'constructor', aside);
      try {
        apply(anyThen, promise, [undefined, ignore]);
      } finally {
        delete (promise as { constructor?: unknown }).constructor;
      }
    } catch {
      // no promise, then
    }
  };
  const { Promise: HeardPromise, next: heardThen } = {
    Promise: function (executor: unknown) {
      if (new.target === undefined)
        throw new TypeError("Promise constructor cannot be invoked without 'new'");
      const promise = construct(AnyPromise, [executor], new.target) as object;
      listenTo(promise);
      return promise;
    },
    next(this: unknown, onFulfilled: unknown, onRejected: unknown): unknown {
      const next = apply(anyThen, this, [onFulfilled, onRejected]) as object;
      listenTo(next);
      return next;
    },
  };
  for (const key of ownKeys(AnyPromise)) {
    if (key !== 'length' && key !== 'name')
      defineProperty(HeardPromise, key, getOwnPropertyDescriptor(AnyPromise, key)!);
  }
  defineProperty(promises, 'then', { value: heardThen });
  for (const [holder, name] of [
    [promises, 'constructor'],
    [global, 'Promise'],
  ] as const)
    defineProperty(holder, name, { value: HeardPromise });
  // it makes a promise of its own
  delete (Array as unknown as Loose)['fromAsync'];
  const isPromise = (value: unknown): boolean =>
    typeof value === 'object' && value !== null && getPrototypeOf(value) === promises;

  // Code from strings: every kind of function has a constructor that makes one.
  const noConstructor = (): never => {
    throw new TypeError('code cannot be made from strings in a user function');
  };
  const functionKinds = [
    function () {},
    async function () {},
    function* () {},
    async function* () {},
  ] as unknown as AnyFunction[];
  for (const kind of functionKinds) {
    defineProperty(getPrototypeOf(kind)!, 'constructor', {
      value: noConstructor,
      writable: false,
      configurable: false,
    });
  }

  // --- built-ins that run for long without ever being interrupted -----------------------------------------------------
  const guard = (holder: object, name: string, check: (self: unknown, args: unknown[]) => void): void => {
    const original = (holder as Loose)[name];
    if (typeof original !== 'function') return;
    const guarded = {
      [name](this: unknown, ...args: unknown[]): unknown {
        check(this, args);
        return apply(original, this, args);
      },
    }[name];
    defineProperty(holder, name, { value: guarded, writable: true, configurable: true, enumerable: false });
  };
  const checkLength = (self: unknown): void => {
    const length = self === null || self === undefined ? 0 : (self as { length?: unknown }).length;
    if (typeof length === 'number' && length > MAX_ARRAY)
      throw new RangeError(`array too long for a user function: ${length}`);
  };
  for (const name of ownKeys(Array.prototype)) {
    if (typeof name === 'string' && name !== 'constructor' && name !== 'length')
      guard(Array.prototype, name, checkLength);
  }
  // what is spread into the new array may be as long
  guard(Array.prototype, 'concat', (_self, args) => {
    for (let i = 0; i < args.length; i++) if (typeof args[i] === 'object') checkLength(args[i]);
  });
  guard(Array, 'from', (_self, args) => checkLength(args[0]));
  const checkText = (self: unknown, count: unknown): void => {
    if (Number(count) * Math.max(1, String(self).length) > MAX_STRING)
      throw new RangeError('string too long for a user function');
  };
  guard(String.prototype, 'repeat', (self, args) => checkText(self, args[0]));
  guard(String.prototype, 'padStart', (_self, args) => checkText('', args[0]));
  guard(String.prototype, 'padEnd', (_self, args) => checkText('', args[0]));
  for (const name of [
    'replaceAll',
    'split',
    'normalize',
    'localeCompare',
    'indexOf',
    'lastIndexOf',
    'includes',
  ]) {
    guard(String.prototype, name, (self) => {
      if (String(self).length > MAX_STRING) throw new RangeError('string too long for a user function');
    });
  }

  // An error's stack is made by the engine, not by whoever is asked to prepare it.
  defineProperty(Error, 'prepareStackTrace', { value: undefined, writable: false, configurable: false });
  defineProperty(Error, 'stackTraceLimit', { value: 10, writable: false, configurable: false });

  // --- what a rule may use ---------------------------------------------------------------------------------------------
  interface Rejection {
    readonly message: string;
    readonly code: string;
    readonly hint: string | null;
    readonly detail: string | null;
  }
  /** @param limit characters; a limit below none is none */
  const clip = (text: string, limit: number): string => {
    const cut = text.length > limit ? `${text.slice(0, limit > 0 ? limit : 0)}…` : text;
    // NUL separates fields on the way out
    return cut.split('\0').join('\ufffd');
  };
  const REJECTED = freeze(create(null) as object);
  let rejection: Rejection | null = null;
  const optional = (value: unknown): string | null =>
    typeof value === 'string' && value !== '' ? clip(value, MAX_TEXT) : null;
  const reject = (message: unknown, more?: { code?: unknown; hint?: unknown; detail?: unknown }): never => {
    const code = more?.code;
    rejection = {
      message:
        typeof message === 'string' && message !== ''
          ? clip(message, MAX_TEXT)
          : 'rejected by a user function',
      code: typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : '42501',
      hint: optional(more?.hint),
      detail: optional(more?.detail),
    };
    throw REJECTED;
  };
  defineProperty(global, 'reject', { value: freeze(reject), writable: false, configurable: false });

  let consoleLines: string[] = [];
  let consoleLength = 0;
  let isPrinting = false;
  const consoleIsFull = (): boolean =>
    consoleLines.length >= MAX_CONSOLE_LINES || consoleLength >= MAX_CONSOLE_LENGTH;
  const print = (...args: unknown[]): void => {
    // what is printed while a value is made into text would go round the limits
    if (isPrinting || consoleIsFull()) return;
    isPrinting = true;
    try {
      const room = MAX_CONSOLE_LENGTH - consoleLength;
      let line = '';
      for (let i = 0; i < args.length && line.length <= room; i++) {
        const arg = args[i];
        const word =
          typeof arg === 'object' && arg !== null && !(arg instanceof Error) ? json(arg) : String(arg);
        line += `${i === 0 ? '' : ' '}${clip(word, room)}`;
      }
      line = clip(line, room);
      consoleLength += line.length;
      consoleLines[consoleLines.length] = line;
    } finally {
      isPrinting = false;
    }
  };
  const json = (value: object): string => {
    try {
      return JSON.stringify(value) ?? 'undefined';
    } catch {
      return '[object]';
    }
  };
  const console = { log: print, info: print, warn: print, error: print, debug: print };
  for (const name of ownKeys(console)) freeze((console as unknown as Loose)[name]);
  defineProperty(global, 'console', { value: freeze(console), writable: false, configurable: false });

  // --- what is inherited may be overridden -------------------------------------------------------------------------------
  // An assignment fails where a frozen prototype has a property of that name: `error.name = 'MyError'`, or
  // `Sub.prototype.constructor = Sub` in older packages. As accessors the common ones can be assigned to.
  const overridable = (prototype: object, key: string): void => {
    const property = getOwnPropertyDescriptor(prototype, key);
    if (property === undefined || !('value' in property) || property.configurable !== true) return;
    const value: unknown = property.value;
    defineProperty(prototype, key, {
      get: () => value,
      set(this: object, own: unknown) {
        if (this === prototype) throw new TypeError(`cannot change ${key}: it is shared`);
        defineProperty(this, key, { value: own, writable: true, enumerable: true, configurable: true });
      },
      enumerable: false,
      configurable: false,
    });
  };
  for (const name of ownKeys(globalThis)) {
    const prototype =
      typeof name === 'string' ? (global[name] as { prototype?: unknown } | null)?.prototype : null;
    if (typeof prototype !== 'object' || prototype === null) continue;
    for (const key of [
      'constructor',
      'toString',
      'valueOf',
      'name',
      'message',
      'hasOwnProperty',
      'toLocaleString',
    ])
      overridable(prototype, key);
  }

  // --- where the bundle leaves its functions, and what it has thrown ------------------------------------------------------
  // As properties that can be assigned to and never made into accessors: an accessor could throw at whoever looks.
  for (const name of ['__pgswitchyard', '__pgswitchyard_failed'])
    defineProperty(global, name, {
      value: undefined,
      writable: true,
      enumerable: false,
      configurable: false,
    });

  // --- freeze all that is left, so that nothing below can be changed under us -------------------------------------------
  const seen = new Set<unknown>([globalThis]);
  const deepFreeze = (value: unknown): void => {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value))
      return;
    seen.add(value);
    freeze(value);
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
  deepFreeze(getPrototypeOf(/a/[Symbol.matchAll]('a')));
  deepFreeze(getPrototypeOf(new Map()[Symbol.iterator]()));
  deepFreeze(getPrototypeOf(new Set()[Symbol.iterator]()));

  // --- calls -------------------------------------------------------------------------------------------------------------
  let routingRules: AnyFunction | null = null;
  let rewriteQuery: AnyFunction | null = null;
  let databases: readonly string[] = freeze([]);
  let finished: string[] = [];
  /** what rewriting gave, while routing runs; '' before that */
  let half = '';
  /** that of the last call: most are about the same database */
  let context: {
    readonly database: string;
    readonly login_database: string;
    readonly databases: readonly string[];
  } | null = null;
  /** the names of the last call that brought its own */
  let nameable: readonly string[] = databases;
  let nameableText = '';
  const NO_NODES: readonly object[] = freeze([]);
  let nodes = NO_NODES;
  let nodesText = '';
  let startedAt = 0;
  const maxRouteLength = maxResultLength < MAX_ROUTE ? maxResultLength : MAX_ROUTE;

  /** Takes the query out of an error's text: the log must not have it. */
  const withoutQuery = (text: string, query: string): string => {
    if (query.length < MIN_SECRET) return text;
    const start = query.slice(0, 40);
    let rest = text.length > MAX_SEARCHED ? text.slice(0, MAX_SEARCHED) : text;
    let clean = '';
    for (let at = rest.indexOf(start); at >= 0; at = rest.indexOf(start)) {
      let end = start.length;
      while (end < query.length && rest[at + end] === query[end]) end++;
      clean += `${rest.slice(0, at)}[query]`;
      rest = rest.slice(at + end);
    }
    return clean + rest;
  };

  const describe = (error: unknown, query: string): string => {
    if (error === REJECTED) return 'reject() outside of a call';
    try {
      if (typeof error !== 'object' || error === null)
        return clip(withoutQuery(`threw ${typeof error}: ${String(error)}`, query), MAX_TEXT);
      const { name, message, stack } = error as { name?: unknown; message?: unknown; stack?: unknown };
      const head = `${typeof name === 'string' ? name : 'Error'}: ${typeof message === 'string' ? message : ''}`;
      // A stack begins with the message, however long: only its frames are of use.
      const frames = typeof stack === 'string' ? stack.slice(-MAX_STACK) : '';
      return `${clip(withoutQuery(head, query), MAX_TEXT)}\u0001${clip(frames, MAX_STACK)}`;
    } catch {
      return 'threw something that cannot be described';
    }
  };

  /** One function's answer: `n` nothing, `s` a string, `r` a rejection, `f` a failure and its outcome. */
  const ask = (
    fn: AnyFunction,
    username: string,
    query: string,
    inTransaction: boolean,
    context: object,
    maxLength: number,
  ): string => {
    let result: unknown;
    try {
      result = fn(username, query, inTransaction, context);
      if (isPromise(result))
        return `fbad_result\u0001a user function must not be async: it has to answer at once`;
    } catch (error) {
      if (error === REJECTED && rejection !== null) return `r${JSON.stringify(rejection)}`;
      return `fthrew\u0001${describe(error, query)}`;
    }
    if (result === null || result === undefined) return 'n';
    if (typeof result !== 'string') return `fbad_result\u0001returned ${typeof result}, not a string or null`;
    if (result.length > maxLength)
      return `ftoo_large\u0001returned ${result.length} characters, over ${maxLength === maxResultLength ? 'user_function_max_result' : 'the length of any name'}`;
    if (includes(result, '\0')) return 'fbad_result\u0001returned a string with a NUL character';
    return `s${result}`;
  };

  /** What a function is told beside the query. */
  const contextOf = (database: string, text: string, login: string, names: string): object => {
    if (text !== nodesText) {
      nodes = text === '' ? NO_NODES : (JSON.parse(text) as object[]);
      for (const node of nodes) freeze(node);
      freeze(nodes);
      nodesText = text;
      context = null;
    }
    if (names !== nameableText) {
      nameable = freeze(split(names, '\u0001'));
      nameableText = names;
    }
    const login_database = login === '' ? database : login;
    const shown = names === '' ? databases : nameable;
    if (
      context?.database !== database ||
      context.login_database !== login_database ||
      context.databases !== shown
    )
      context = freeze({ database, login_database, databases: shown, nodes });
    return context;
  };

  const call = (
    username: string,
    query: string,
    inTransaction: boolean,
    routeOnly: boolean,
    context: object,
  ): string => {
    let rewritten = 'n';
    let text = query;
    half = '';
    rejection = null;
    if (rewriteQuery !== null && !routeOnly) {
      rewritten = ask(rewriteQuery, username, query, inTransaction, context, maxResultLength);
      if (rewritten[0] === 's') text = rewritten.slice(1);
      if (rewritten[0] === 'r') return `${rewritten}\0n`;
    }
    if (routingRules === null) return `${rewritten}\0n`;
    half = rewritten;
    const route = ask(routingRules, username, text, inTransaction, context, maxRouteLength);
    return `${rewritten}\0${route}`;
  };

  const callSafely: typeof call = (username, query, inTransaction, routeOnly, context) => {
    try {
      return call(username, query, inTransaction, routeOnly, context);
    } catch (error) {
      const failed = `fthrew\u0001${describe(error, query)}`;
      return `${failed}\0${failed}`;
    }
  };

  const activate = (names: string): string => {
    databases = freeze(names === '' ? [] : split(names, '\0'));
    const failed = global['__pgswitchyard_failed'] as [unknown] | undefined;
    // whatever it calls itself, it is no `ok`
    if (failed !== undefined) return describe(failed[0], '').replace(/^ok/, 'Error: ok');
    const bundle = global['__pgswitchyard'] as Loose | undefined;
    if (bundle === undefined || bundle === null) return 'the bundle has not run';
    const take = (name: string): AnyFunction | null => {
      const value = bundle[name];
      if (value === undefined || value === null) return null;
      if (typeof value !== 'function') throw new TypeError(`${name} is not a function`);
      const kind = getPrototypeOf(value as object);
      if (kind === getPrototypeOf(functionKinds[1]!) || kind === getPrototypeOf(functionKinds[3]!)) {
        throw new TypeError(`${name} must not be async: it has to answer at once`);
      }
      return value as AnyFunction;
    };
    routingRules = take('routing_rules');
    rewriteQuery = take('rewrite_query');
    return `ok${routingRules === null ? '' : ' routes'}${rewriteQuery === null ? '' : ' rewrites'}`;
  };

  const evaluate = (packed: string): string => {
    const fields = split(packed, '\0');
    finished = [];
    consoleLines = [];
    consoleLength = 0;
    isPrinting = false;
    let length = 0;
    const begunAt = Date.now();
    startedAt = begunAt;
    for (let i = 0; i + 6 < fields.length; i += 7) {
      const answer = callSafely(
        fields[i]!,
        fields[i + 1]!,
        fields[i + 2]![0] === '1',
        fields[i + 2]!.length > 1,
        contextOf(fields[i + 3]!, fields[i + 4]!, fields[i + 5]!, fields[i + 6]!),
      );
      finished[finished.length] = answer;
      length += answer.length;
      startedAt = Date.now();
      if (startedAt - begunAt >= BATCH_MS || length >= BATCH_LENGTH) break;
    }
    const answers = `${join(finished, '\0')}\0${consoleLines.length === 0 ? '' : join(consoleLines, '\n')}`;
    // Whoever is cut off from here on is cut off in the last call's microtasks: it counts as the one that runs.
    half = '';
    finished.length -= 1;
    return answers;
  };

  /**
   * What the outside calls. Whatever is thrown out of an isolate is copied there, after the deadline and by reading its
   * properties: so nothing that a tenant made may be thrown out of here.
   */
  return {
    /** Takes the functions over from the bundle that has run. Answers `ok` and which there are, or what is wrong. */
    activate(names: string): string {
      try {
        return activate(names);
      } catch (error) {
        return describe(error, '').replace(/^ok/, 'Error: ok');
      }
    },

    /**
     * Runs a batch: seven fields a call, separated by NUL. Answers two fields a call, for the first call and as many as there
     * was time for, and one with console lines.
     */
    evaluate(packed: string): string {
      try {
        return evaluate(packed);
      } catch {
        return '';
      }
    },

    /** After a batch was cut off: for how many ms its current call had run, what came of rewriting, the answers before. */
    progress(): string {
      try {
        return `${Date.now() - startedAt}\0${half}\0${join(finished, '\0')}`;
      } catch {
        return '';
      }
    },
  };
};
