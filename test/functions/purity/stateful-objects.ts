/** Rules whose answers depend on earlier calls, by properties of objects. */
import { R, type Rule } from './rule.ts';

export const OBJECTS: readonly Rule[] = [
  ['a property', `const s = { n: 0 }; ${R}() => 'n' + s.n++;`],
  ['a property by another name', `const s = { n: 0 }; ${R}() => { const t = s; t.n++; return 'n' + s.n; };`],
  ['a property of a property', `const s = { a: { n: 0 } }; ${R}() => 'n' + s.a.n++;`],
  [
    'a computed property',
    `const s = {}; ${R}(u, q) => { const r = 'n' + Object.keys(s).length; s[u + q] = 1; return r; };`,
  ],
  [
    'delete',
    `const s = { a: 1 }; ${R}() => { const r = 'n' + Object.keys(s).length; delete s.a; return r; };`,
  ],
  ['an array', `const a = []; ${R}() => 'n' + a.push(1);`],
  ['an array index', `const a = [0]; ${R}() => 'n' + a[0]++;`],
  [
    'the length of an array',
    `const a = [1, 2, 3]; ${R}() => { const r = 'n' + a.length; a.length = 0; return r; };`,
  ],
  ['splice', `const a = [1, 2, 3]; ${R}() => 'n' + a.splice(0, 1);`],
  ['sort', `const a = ['b', 'a']; ${R}() => { const [r] = a; a.sort(); return r; };`],
  ['reverse', `const a = ['b', 'a']; ${R}() => a.reverse()[0];`],
  ['fill', `const a = [0]; ${R}() => { const r = 'n' + a[0]; a.fill(1); return r; };`],
  ['push through a parameter', `const a = []; const add = (list) => list.push(1); ${R}() => 'n' + add(a);`],
  [
    'push through a parameter, hidden',
    `const a = []; const add = (list) => { try { list.push(1); } catch {} }; ${R}() => { add(a); return 'n' + a.length; };`,
  ],
  ['a write through a parameter', `const s = { n: 0 }; const inc = (o) => o.n++; ${R}() => 'n' + inc(s);`],
  [
    'a write through a parameter, hidden',
    `const s = { n: 0 }; const inc = (o) => { try { o.n++; } catch {} }; ${R}() => { inc(s); return 'n' + s.n; };`,
  ],
  [
    'a write, hidden by finally',
    `const s = { n: 0 }; const inc = (o) => { for (;;) { try { o.n++; } finally { break; } } }; ${R}() => { inc(s); return 'n' + s.n; };`,
  ],
  [
    'a write, hidden by a promise',
    `const s = { n: 0 }; const inc = (o) => new Promise(() => { o.n++; }); ${R}() => { inc(s); return 'n' + s.n; };`,
  ],
  [
    'a write, hidden by the console',
    `const s = { n: 0 }; const inc = (o) => o.n++; ${R}() => { console.log({ toJSON() { inc(s); } }); return 'n' + s.n; };`,
  ],
  ['push.call', `const a = []; ${R}() => 'n' + Array.prototype.push.call(a, 1);`],
  [
    'push.apply, hidden',
    `const a = []; const { push } = Array.prototype; ${R}() => { try { push.apply(a, [1]); } catch {} return 'n' + a.length; };`,
  ],
  [
    'Reflect.apply, hidden',
    `const a = []; ${R}() => { try { Reflect.apply(a.push, a, [1]); } catch {} return 'n' + a.length; };`,
  ],
  ['Object.assign', `const s = { n: 0 }; ${R}() => { Object.assign(s, { n: s.n + 1 }); return 'n' + s.n; };`],
  [
    'Object.assign, hidden',
    `const s = { n: 0 }; ${R}() => { try { Object.assign(s, { n: s.n + 1 }); } catch {} return 'n' + s.n; };`,
  ],
  [
    'Object.defineProperty',
    `const s = {}; ${R}(u, q) => { const r = 'n' + Object.keys(s).length; try { Object.defineProperty(s, q, { value: 1, enumerable: true }); } catch {} return r; };`,
  ],
  ['Reflect.set', `const s = { n: 0 }; ${R}() => { Reflect.set(s, 'n', s.n + 1); return 'n' + s.n; };`],
  [
    'Reflect.set with a receiver',
    `const s = { n: 0 }; ${R}() => { Reflect.set({}, 'n', s.n + 1, s); return 'n' + s.n; };`,
  ],
  [
    'Reflect.defineProperty',
    `const s = {}; ${R}(u, q) => { const r = 'n' + Object.keys(s).length; Reflect.defineProperty(s, q, { value: 1, enumerable: true }); return r; };`,
  ],
  [
    'Reflect.deleteProperty',
    `const s = { a: 1 }; ${R}() => { const r = 'n' + ('a' in s); Reflect.deleteProperty(s, 'a'); return r; };`,
  ],
  [
    'setPrototypeOf',
    `const s = {}; ${R}() => { const r = 'n' + (s.x ?? 0); try { Object.setPrototypeOf(s, { x: 1 }); } catch {} return r; };`,
  ],
  [
    'Reflect.setPrototypeOf',
    `const s = {}; ${R}() => { const r = 'n' + (s.x ?? 0); Reflect.setPrototypeOf(s, { x: 1 }); return r; };`,
  ],
  [
    '__proto__',
    `const s = {}; ${R}() => { const r = 'n' + (s.x ?? 0); const o = s; o.__proto__ = { x: 1 }; return r; };`,
  ],
  [
    '__proto__ through a parameter',
    `const s = {}; const set = (o) => { o['__pro' + 'to__'] = { x: 1 }; }; ${R}() => { const r = 'n' + (s.x ?? 0); set(s); return r; };`,
  ],
  [
    '__defineGetter__',
    `const s = {}; ${R}() => { const r = 'n' + (s.x ?? 0); try { s.__defineGetter__('x', () => 1); } catch {} return r; };`,
  ],
  [
    'JSON.parse with a reviver',
    `const s = { n: 1 }; ${R}() => { JSON.parse('{"a":1,"b":2}', function (k, v) { if (k === 'a') Reflect.set(this, 'b', s); return typeof v === 'number' ? v + 1 : v; }); return 'n' + s.n; };`,
  ],
  [
    'species',
    `const s = [0]; ${R}() => { const a = [1]; Object.defineProperty(a, 'constructor', { value: { [Symbol.species]: function () { return s; } } }); try { a.map((x) => s[0] + 1); } catch {} return 'n' + s[0]; };`,
  ],
  [
    'Array.of',
    `const s = [0]; ${R}() => { try { Array.of.call(function () { return s; }, s[0] + 1); } catch {} return 'n' + s[0]; };`,
  ],
  [
    'captureStackTrace',
    `const s = {}; ${R}() => { const r = 'n' + ('stack' in s); try { Error.captureStackTrace(s); } catch {} return r; };`,
  ],
  [
    'preventExtensions',
    `const s = {}; ${R}() => { const o = s; const r = 'n' + Object.isExtensible(o); Object.preventExtensions(o); return r; };`,
  ],
  ['a property of a function', `function f() { f.n = (f.n ?? 0) + 1; return 'n' + f.n; } ${R}() => f();`],
  [
    'a property of a function, of itself',
    `const f = function g() { g.n = (g.n ?? 0) + 1; return 'n' + g.n; }; ${R}() => f();`,
  ],
  [
    'a property of a hidden function',
    `const f = (function outer() { return () => { outer.n = (outer.n ?? 0) + 1; return 'n' + outer.n; }; })(); ${R}() => f();`,
  ],
  [
    'a property of a function, by a parameter',
    `const f = () => {}; const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; ${R}() => 'n' + inc(f);`,
  ],
  [
    'the routing function itself',
    `export function routing_rules() { const f = routing_rules; f.n = (f.n ?? 0) + 1; return 'n' + f.n; }`,
  ],
  [
    'the prototype of a function',
    `function F() {} ${R}() => { F.prototype.n = (F.prototype.n ?? 0) + 1; return 'n' + new F().n; };`,
  ],
  [
    'the prototype of a class',
    `class C {} ${R}() => { const p = C.prototype; const r = 'n' + (p.n ?? 0); p.n = 1; return r; };`,
  ],
  [
    'the prototype of an instance',
    `class C {} ${R}() => { const p = Object.getPrototypeOf(new C()); const r = 'n' + (p.n ?? 0); p.n = 1; return r; };`,
  ],
  [
    'the constructor of an instance',
    `class C {} ${R}() => { const c = new C().constructor; const r = 'n' + (c.n ?? 0); c.n = 1; return r; };`,
  ],
  ['static state', `class C { static n = 0; static next() { return ++C.n; } } ${R}() => 'n' + C.next();`],
  [
    'static state by this',
    `class C { static n = 0; static next() { return ++this.n; } } ${R}() => 'n' + C.next();`,
  ],
  [
    'an instance',
    `class C { n = 0; next() { return ++this.n; } } const c = new C(); ${R}() => 'n' + c.next();`,
  ],
  [
    'an instance, hidden',
    `class C { n = 0; next() { try { this.n++; } catch {} return this.n; } } const c = new C(); ${R}() => 'n' + c.next();`,
  ],
  [
    'an instance in a closure',
    `class C { n = 0; next() { return ++this.n; } } const f = ((c) => () => c.next())(new C()); ${R}() => 'n' + f();`,
  ],
  [
    'an instance in a bound method',
    `class C { n = 0; next() { return ++this.n; } } const f = ((c) => c.next.bind(c))(new C()); ${R}() => 'n' + f();`,
  ],
  [
    'an instance that an arrow keeps',
    `class C { constructor() { this.n = 0; this.f = () => ++this.n; } } const { f } = new C(); ${R}() => 'n' + f();`,
  ],
  [
    'an instance that a field keeps',
    `const { f } = new (class { n = 0; f = () => ++this.n; })(); ${R}() => 'n' + f();`,
  ],
  [
    'this of a factory',
    `function F() { this.n = 0; return () => ++this.n; } const f = new F(); ${R}() => 'n' + f();`,
  ],
  [
    'arguments of a factory',
    `function make() { return () => ++arguments[0].n; } const f = make({ n: 0 }); ${R}() => 'n' + f();`,
  ],
  [
    'an object in a closure',
    `const f = (() => { const s = { n: 0 }; return () => ++s.n; })(); ${R}() => 'n' + f();`,
  ],
  [
    'an object in a closure, by a parameter',
    `const inc = (o) => ++o.n; const f = (() => { const s = { n: 0 }; return () => inc(s); })(); ${R}() => 'n' + f();`,
  ],
  [
    'an object in a parameter of a closure',
    `const inc = (o) => ++o.n; const make = (s) => () => inc(s); const f = make({ n: 0 }); ${R}() => 'n' + f();`,
  ],
  [
    'an object in a loop',
    `const inc = (o) => ++o.n; const fs = []; for (const s of [{ n: 0 }]) fs.push(() => inc(s)); ${R}() => 'n' + fs[0]();`,
  ],
  [
    'an object in a loop without a block',
    `const inc = (o) => ++o.n; const fs = []; for (const s of [{ n: 0 }]) fs.push(() => inc(s)); ${R}() => 'n' + fs.map((f) => f()).join();`,
  ],
  [
    'an object in the head of a loop',
    `const inc = (o) => ++o.n; let f; for (let s = { n: 0 }, g = () => inc(s); ; s = null) { f = g; break; } ${R}() => 'n' + f();`,
  ],
  [
    'a parameter and a variable of one name',
    `const inc = (o) => ++o.n; function make(s = { n: 0 }, f = () => inc(s)) { var s = null; return f; } const f = make(); ${R}() => 'n' + f();`,
  ],
  [
    'a class that knows itself',
    `const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; const f = (class K { static m() { return inc(K); } }).m; ${R}() => 'n' + f();`,
  ],
  [
    'a declared class that knows itself',
    `const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; let f; { class K { static m() { return inc(K); } } f = K.m; } ${R}() => 'n' + f();`,
  ],
  [
    'super of an object',
    `const inc = (a) => a.push(1); const f = ({ __proto__: { list: [] }, m() { return inc(super.list); } }).m; ${R}() => 'n' + f();`,
  ],
  [
    'super of a class',
    `const inc = (a) => a.push(1); const f = (class extends (class { static list = []; }) { static m() { return inc(super.list); } }).m; ${R}() => 'n' + f();`,
  ],
  [
    'a private field',
    `class C { #n = 0; next() { return ++this.#n; } } const c = new C(); ${R}() => 'n' + c.next();`,
  ],
  [
    'an object in a private field',
    `const inc = (o) => ++o.n; class C { #s = { n: 0 }; next() { return inc(this.#s); } } const c = new C(); ${R}() => 'n' + c.next();`,
  ],
  [
    'a static private field',
    `class C { static #n = 0; static next() { return ++C.#n; } } ${R}() => 'n' + C.next();`,
  ],
  [
    'a private name on a frozen object',
    `const s = {}; class A { constructor(o) { return o; } } class B extends A { #n = 1; static has(o) { return #n in o; } } ${R}() => { const r = 'n' + B.has(s); if (!B.has(s)) new B(s); return r; };`,
  ],
  [
    'a field on an object that exists',
    `const s = {}; class A { constructor(o) { return o; } } class B extends A { n = 1; } ${R}() => { const r = 'n' + (s.n ?? 0); try { new B(s); } catch {} return r; };`,
  ],
  [
    'a setter with a property',
    `const s = { _n: 0, set n(x) { this._n = x; } }; ${R}() => { s.n = s._n + 1; return 'n' + s._n; };`,
  ],
  [
    'for-of into a property',
    `const s = { last: 'z' }; ${R}(u, q) => { const r = s.last; for (s.last of [q]) ; return r; };`,
  ],
  ['a pattern into a property', `const s = { n: 0 }; ${R}() => { [s.n] = [s.n + 1]; return 'n' + s.n; };`],
  [
    'a pattern into a property, by a parameter, hidden',
    `const s = { n: 0 }; const set = (o) => { try { ({ n: o.n } = { n: o.n + 1 }); } catch {} }; ${R}() => { set(s); return 'n' + s.n; };`,
  ],
  ['globalThis', `${R}() => { globalThis.n = (globalThis.n ?? 0) + 1; return 'n' + globalThis.n; };`],
  [
    'globalThis by a parameter',
    `const inc = (g) => { g.n = (g.n ?? 0) + 1; return g.n; }; ${R}() => 'n' + inc(globalThis);`,
  ],
  [
    'globalThis by a parameter, hidden',
    `const inc = (g) => { try { g.n = (g.n ?? 0) + 1; } catch {} return g.n; }; ${R}() => 'n' + inc(globalThis);`,
  ],
  [
    'a global of the load',
    `globalThis.s = { n: 0 }; const inc = (o) => ++o.n; ${R}() => 'n' + inc(globalThis.s);`,
  ],
  [
    'this of the top level',
    `const g = (0, function () { return globalThis; })(); ${R}() => { const o = g; o.n = (o.n ?? 0) + 1; return 'n' + o.n; };`,
  ],
  [
    'the prototype of an iterator helper',
    `${R}() => { const p = Object.getPrototypeOf([].values().map((x) => x)); try { p.n = (p.n ?? 0) + 1; } catch { return 'no'; } return 'n' + p.n; };`,
  ],
];
