/** Rules that keep state in regular expressions, or in RegExp.prototype: these are compared after each call, and not frozen. */
import { R, type Rule } from './rule.ts';

/** A call reads `read` (an expression of `p`, RegExp.prototype), and then runs `change`. */
const onPrototype = (change: string, read: string): string =>
  `const inc = (p) => { const r = String(${read}); ${change}; return r; }; ${R}() => 'n' + inc(Object.getPrototypeOf(/a/));`;

/** The same with a pattern of the top level. */
const onPattern = (change: string, read: string): string =>
  `const re = /s/; const inc = (p) => { const r = String(${read}); ${change}; return r; }; ${R}() => 'n' + inc(re);`;

const PROTOTYPE: readonly (readonly [string, string, string])[] = [
  ['exec replaced', 'p.exec = (s) => null', '/s/.test("s")'],
  [
    'exec replaced, which the engine checks',
    'p.exec = function () { return null; }',
    '"s".replace(/s/, "t")',
  ],
  [
    'test replaced',
    'const old = p.test; p.test = function (s) { return !old.call(this, s); }',
    '/s/.test("s")',
  ],
  ['toString replaced', 'p.toString = () => "t"', 'String(/s/)'],
  ['toString deleted', 'delete p.toString', 'String(/s/)'],
  ['compile replaced', 'p.compile = (p.compile.n ?? 0) + 1', 'typeof p.compile'],
  ['compile deleted', 'delete p.compile', '"compile" in p'],
  ['constructor replaced', 'p.constructor = Array', '/s/.constructor.name'],
  ['flags deleted', 'delete p.flags', '/s/i.flags'],
  ['global deleted', 'delete p.global', '/s/g.global'],
  ['source deleted and assigned', 'delete p.source; p.source = "t"', '/s/.source'],
  ['exec deleted and assigned', 'const e = p.exec; delete p.exec; p.exec = e', 'Object.keys(p)'],
  [
    'toString deleted and assigned',
    'const e = p.toString; delete p.toString; p.toString = e',
    'Object.keys(p)',
  ],
  ['a new property', 'p.n = (p.n ?? 0) + 1', 'p.n'],
  ['a new property, unseen by keys', 'p[Symbol.iterator] = 1', 'Symbol.iterator in p'],
  ['a new property with a symbol', 'p[Symbol("n")] = 1', 'Object.getOwnPropertySymbols(p).length'],
  ['a number as a property', 'p[0] = 1', 'p[0]'],
  ['a getter by defineProperty', 'Object.defineProperty(p, "n", { value: 1 })', 'p.n'],
  ['Reflect.defineProperty', 'Reflect.defineProperty(p, "n", { value: 1 })', 'p.n'],
  ['defineProperties', 'Object.defineProperties(p, { n: { value: 1 } })', 'p.n'],
  [
    'attributes only',
    'Object.defineProperty(p, "exec", { writable: false })',
    'Object.getOwnPropertyDescriptor(p, "exec").writable',
  ],
  ['__defineGetter__', 'p.__defineGetter__("global", () => 5)', '/s/.global'],
  ['__defineSetter__', 'p.__defineSetter__("n", () => 5)', '"n" in p'],
  ['captureStackTrace', 'Error.captureStackTrace(p)', '"stack" in p'],
  ['Reflect.set with another receiver', 'Reflect.set({}, "n", 1, p)', 'p.n'],
  ['Object.assign', 'Object.assign(p, { n: 1 })', 'p.n'],
  ['freeze', 'Object.freeze(p)', 'Object.isFrozen(p)'],
  ['seal', 'Object.seal(p)', 'Object.isSealed(p)'],
  ['preventExtensions', 'Object.preventExtensions(p)', 'Object.isExtensible(p)'],
  ['Reflect.preventExtensions', 'Reflect.preventExtensions(p)', 'Reflect.isExtensible(p)'],
  ['its prototype', 'Object.setPrototypeOf(p, { n: 1 })', 'p.n'],
  ['its prototype, by Reflect', 'Reflect.setPrototypeOf(p, { n: 1 })', 'p.n'],
  ['its prototype, by __proto__', 'p.__proto__ = { n: 1 }', 'p.n'],
  ['a method that sets lastIndex', 'p[Symbol.search]("s")', 'p.lastIndex'],
  ['push', 'Array.prototype.push.call(p, 1)', 'p.length'],
  ['Array.from', 'Array.from.call(function () { return p; }, [1])', 'p[0]'],
  [
    'a field of a class',
    'class A { constructor() { return p; } } class B extends A { n = 1; } new B()',
    'p.n',
  ],
  [
    'a field of a class, in place of exec',
    'const e = p.exec; class A { constructor() { return p; } } class B extends A { exec = e; } new B()',
    'Object.keys(p)',
  ],
  ['a Proxy', 'Object.defineProperty(new Proxy(p, {}), "n", { value: 1 })', 'p.n'],
];

const PATTERN: readonly (readonly [string, string, string])[] = [
  ['lastIndex', 'p.lastIndex++', 'p.lastIndex'],
  ['lastIndex -0', 'p.lastIndex = -0', 'Object.is(p.lastIndex, -0)'],
  ['lastIndex that is converted', 'p.lastIndex = "0"', 'typeof p.lastIndex'],
  ['lastIndex, an object', 'p.lastIndex = { valueOf: () => 0 }', 'typeof p.lastIndex'],
  ['a property', 'p.n = (p.n ?? 0) + 1', 'p.n'],
  ['a property with a symbol', 'p[Symbol.iterator] = 1', 'Symbol.iterator in p'],
  ['exec of its own', 'p.exec = () => null', 'p.test("s")'],
  ['a hidden property', 'Object.defineProperty(p, "n", { value: 1 })', 'p.n'],
  [
    'lastIndex read-only',
    'Object.defineProperty(p, "lastIndex", { writable: false })',
    'Object.getOwnPropertyDescriptor(p, "lastIndex").writable',
  ],
  ['freeze', 'Object.freeze(p)', 'Object.isFrozen(p)'],
  ['its prototype', 'Object.setPrototypeOf(p, null)', 'Object.getPrototypeOf(p) === null'],
  ['its prototype, by __proto__', 'p.__proto__ = { n: 1 }', 'p.n'],
  ['captureStackTrace', 'Error.captureStackTrace(p)', '"stack" in p'],
];

/** Only the calls show what these do. */
export const COMPARED: readonly Rule[] = [
  ...PROTOTYPE.map(([name, change, read]): Rule => [`RegExp.prototype: ${name}`, onPrototype(change, read)]),
  ...PATTERN.map(([name, change, read]): Rule => [`a pattern: ${name}`, onPattern(change, read)]),
];

/** These are found in other ways. */
export const PATTERNS: readonly Rule[] = [
  [
    'a change that the next call takes back',
    `const p = Object.getPrototypeOf(/a/); const { test } = p; const turn = (p) => { const r = p.test !== test; p.test = r ? test : () => true; return r; }; ${R}() => 'n' + turn(p);`,
  ],
  [
    'a change by a promise',
    `${R}() => { const p = Object.getPrototypeOf(/a/); const r = p.n; Promise.resolve().then(() => { p.n = (p.n ?? 0) + 1; }); return 'n' + r; };`,
  ],
  [
    'a change that hides itself from the check',
    `${R}() => { const p = Object.getPrototypeOf(/a/); const r = p.n; p.n = (p.n ?? 0) + 1; p.exec = () => null; p.test = () => false; return 'n' + r; };`,
  ],
  [
    'a change at the load',
    `RegExp.prototype.n = { n: 0 }; const inc = (o) => ++o.n; ${R}() => 'n' + inc(/a/.n);`,
  ],
  [
    'an attribute changed at the load',
    `Object.defineProperty(RegExp.prototype, 'exec', { enumerable: true }); let n = 0; ${R}() => 'n' + Object.keys(RegExp.prototype);`,
  ],
  [
    'more patterns than are compared',
    `const all = Array.from({ length: 100 }, (_, i) => new RegExp('s' + i)); const inc = (r) => r.lastIndex++; ${R}() => 'n' + inc(all[99]);`,
  ],
  [
    'a pattern with a property of its own',
    `const re = Object.assign(/s/, { n: 0 }); const inc = (r) => r.n++; ${R}() => 'n' + inc(re);`,
  ],
  [
    'a pattern with another prototype',
    `class P extends RegExp {} const re = new P('s'); const inc = (r) => r.lastIndex++; ${R}() => 'n' + inc(re);`,
  ],
  [
    'lastIndex of a frozen object, set by a method of RegExp.prototype',
    `const s = { exec: () => null }; const f = (o) => { try { RegExp.prototype[Symbol.search].call(o, 's'); } catch {} return o.lastIndex; }; ${R}() => { const r = s.lastIndex; f(s); return 'n' + r; };`,
  ],
  [
    'the same by a name that a list gives',
    `const s = { exec: () => null }; const f = (o) => { const { search } = Object.fromEntries(Reflect.ownKeys(RegExp.prototype).filter((k) => typeof k === 'symbol').map((k) => [k.description.slice(7), k])); try { RegExp.prototype[search].call(o, 's'); } catch {} }; ${R}() => { const r = s.lastIndex; f(s); return 'n' + r; };`,
  ],
  [
    'the same by a name that a Proxy learns',
    `const s = { exec: () => null }; const f = (o) => { let key; try { 's'.search(new Proxy({}, { get(t, k) { key ??= k; } })); } catch {} try { RegExp.prototype[key].call(o, 's'); } catch {} }; ${R}() => { const r = s.lastIndex; f(s); return 'n' + r; };`,
  ],
  [
    'the input of the last match',
    `${R}(u, q) => { const r = RegExp.input; RegExp.input = q; return 'n' + r; };`,
  ],
  [
    'a remnant of the last match',
    `const K = 'right' + 'Context'; ${R}(u, q) => { const r = RegExp[K]; /s/.exec(q); return 'n' + r; };`,
  ],
];
