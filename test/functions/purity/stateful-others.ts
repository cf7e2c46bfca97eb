/** Rules whose answers depend on earlier calls, by built-in objects, packages and other means. */
import { R, type Rule } from './rule.ts';

export const OTHERS: readonly Rule[] = [
  // collections
  ['a Map', `const m = new Map(); ${R}(u, q) => { const r = 'n' + m.size; m.set(u + q, 1); return r; };`],
  [
    'a Map in a closure',
    `const f = (() => { const m = new Map(); return (k) => { const r = m.size; m.set(k, 1); return r; }; })(); ${R}(u, q) => 'n' + f(u + q);`,
  ],
  [
    'a Map, hidden',
    `const m = new Map(); ${R}(u, q) => { const r = 'n' + m.size; try { m.set(u + q, 1); } catch {} return r; };`,
  ],
  [
    'Map.prototype.set.call, hidden',
    `const m = new Map(); ${R}(u, q) => { const r = 'n' + m.size; try { Map.prototype.set.call(m, u + q, 1); } catch {} return r; };`,
  ],
  [
    'Map.delete',
    `const m = new Map([['a', 1]]); const drop = (x) => x.delete('a'); ${R}() => 'n' + drop(m);`,
  ],
  [
    'Map.clear',
    `const m = new Map([['a', 1]]); const drop = (x) => x.clear(); ${R}() => { const r = 'n' + m.size; drop(m); return r; };`,
  ],
  [
    'an object in a Map',
    `const m = new Map([['a', { n: 0 }]]); const inc = (o) => ++o.n; ${R}() => 'n' + inc(m.get('a'));`,
  ],
  [
    'an object as a key',
    `const k = { n: 0 }; const m = new Map([[k, 1]]); const inc = (o) => ++o.n; ${R}() => 'n' + inc([...m.keys()][0]);`,
  ],
  ['a Set', `const s = new Set(); ${R}(u, q) => { const r = 'n' + s.size; s.add(u + q); return r; };`],
  [
    'a Set by a parameter',
    `const s = new Set(); const add = (x, k) => x.add(k); ${R}(u, q) => { const r = 'n' + s.size; add(s, u + q); return r; };`,
  ],
  [
    'a subclass of Map',
    `class M extends Map {} const m = new M(); const put = (x, k) => x.set(k, 1); ${R}(u, q) => { const r = 'n' + m.size; put(m, u + q); return r; };`,
  ],
  [
    'a Map with another prototype',
    `const m = new Map([['a', { n: 0 }]]); Object.setPrototypeOf(m, Object.prototype); const inc = (o) => ++o.n; ${R}() => 'n' + inc(Map.prototype.get.call(m, 'a'));`,
  ],
  [
    'a Map made with another prototype',
    `function F() {} const m = Reflect.construct(Map, [], F); Map.prototype.set.call(m, 'a', { n: 0 }); const inc = (o) => ++o.n; ${R}() => 'n' + inc(Map.prototype.get.call(m, 'a'));`,
  ],
  [
    'a subclass that lost its prototype',
    `class M extends Map {} Object.setPrototypeOf(M.prototype, Object.prototype); const m = new M(); Map.prototype.set.call(m, 'a', { n: 0 }); const inc = (o) => ++o.n; ${R}() => 'n' + inc(Map.prototype.get.call(m, 'a'));`,
  ],
  [
    'a WeakMap',
    `const w = new WeakMap(); const k = {}; const put = (x) => x.set(k, (x.get(k) ?? 0) + 1); ${R}() => { put(w); return 'n' + w.get(k); };`,
  ],
  [
    'an object in a WeakMap',
    `const k = {}; const w = new WeakMap([[k, { n: 0 }]]); const inc = (o) => ++o.n; ${R}() => 'n' + inc(w.get(k));`,
  ],
  [
    'a WeakSet',
    `const w = new WeakSet(); const k = {}; const add = (x) => x.add(k); ${R}() => { const r = 'n' + w.has(k); add(w); return r; };`,
  ],
  [
    'a Date',
    `const d = new Date(0); ${R}() => { const r = 'n' + d.getTime(); d.setTime(d.getTime() + 1); return r; };`,
  ],
  ['a typed array', `const a = new Uint8Array(1); const inc = (x) => x[0]++; ${R}() => 'n' + inc(a);`],
  [
    'a DataView',
    `const v = new DataView(new ArrayBuffer(1)); const inc = (x) => x.setUint8(0, x.getUint8(0) + 1); ${R}() => { inc(v); return 'n' + v.getUint8(0); };`,
  ],
  [
    'an ArrayBuffer',
    `const b = new ArrayBuffer(1); const inc = (x) => new Uint8Array(x)[0]++; ${R}() => 'n' + inc(b);`,
  ],
  // regular expressions
  ['a pattern with g', `const re = /s/g; ${R}(u, q) => 'n' + re.test(q);`],
  ['a pattern with y', `const re = /s/y; ${R}(u, q) => 'n' + re.test(q);`],
  ['a pattern with g in an object', `const o = { re: /s/g }; ${R}(u, q) => 'n' + o.re.test(q);`],
  ['a pattern with g in a closure', `const f = ((re) => (q) => re.test(q))(/s/g); ${R}(u, q) => 'n' + f(q);`],
  ['a pattern with g from RegExp', `const re = new RegExp('s', 'g'); ${R}(u, q) => 'n' + re.test(q);`],
  [
    'a pattern with flags from elsewhere',
    `const flags = ['g'].join(''); const re = RegExp('s', flags); ${R}(u, q) => 'n' + re.test(q);`,
  ],
  ['lastIndex', `const re = /s/; ${R}() => 'n' + re.lastIndex++;`],
  ['lastIndex by a parameter', `const re = /s/; const inc = (r) => r.lastIndex++; ${R}() => 'n' + inc(re);`],
  ['the last match', `${R}(u, q) => { const r = RegExp['$1']; /(.)$/.exec(q); return 'n' + r; };`],
  // iterators and generators
  [
    'a generator',
    `function* g() { let n = 0; for (;;) yield n++; } const it = g(); ${R}() => 'n' + it.next().value;`,
  ],
  [
    'a generator in an object',
    `const o = { *g() { let n = 0; for (;;) yield n++; } }; const it = o.g(); ${R}() => 'n' + it.next().value;`,
  ],
  [
    'a generator with another prototype',
    `function* g() { let n = 0; for (;;) yield n++; } const next = Object.getPrototypeOf(g).prototype.next; g.prototype = null; const it = g(); Object.setPrototypeOf(it, null); ${R}() => 'n' + next.call(it).value;`,
  ],
  [
    'an iterator of an array',
    `const it = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14][Symbol.iterator](); ${R}() => 'n' + it.next().value;`,
  ],
  [
    'an iterator of a Map',
    `const it = new Map([[1, 1], [2, 2], [3, 3]]).keys(); ${R}() => 'n' + it.next().value;`,
  ],
  [
    'an iterator with another prototype',
    `const it = [1, 2, 3][Symbol.iterator](); const { next } = it; Object.setPrototypeOf(it, null); ${R}() => 'n' + next.call(it).value;`,
  ],
  ['an iterator of matches', `const it = 'abcdefgh'.matchAll(/./g); ${R}() => 'n' + it.next().value;`],
  [
    'an iterator helper',
    `const it = [1, 2, 3, 4, 5].values().map((x) => x); ${R}() => 'n' + it.next().value;`,
  ],
  [
    'an iterator in a closure',
    `const f = ((it) => () => it.next().value)([1, 2, 3, 4, 5].values()); ${R}() => 'n' + f();`,
  ],
  [
    'an object made from an iterator',
    `const it = Object.create([1, 2, 3].values()); ${R}() => { const p = Object.getPrototypeOf(it); return 'n' + p.next().value; };`,
  ],
  // others
  ['a Proxy', `let n = 0; const p = new Proxy({}, { get: () => n++ }); ${R}() => 'n' + p.x;`],
  [
    'a Proxy for a target',
    `const t = { n: 0 }; const p = new Proxy(t, {}); const inc = (o) => ++o.n; ${R}() => 'n' + inc(p);`,
  ],
  ['a bound argument', `const inc = (o) => ++o.n; const f = inc.bind(null, { n: 0 }); ${R}() => 'n' + f();`],
  ['a bound this', `const f = function () { return ++this.n; }.bind({ n: 0 }); ${R}() => 'n' + f();`],
  [
    'a bound function with properties',
    `const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; const f = (function g() { return inc(g); }).bind(null); ${R}() => 'n' + f();`,
  ],
  [
    'a symbol as a key',
    `const k = Symbol('k'); const s = {}; ${R}() => { s[k] = (s[k] ?? 0) + 1; return 'n' + s[k]; };`,
  ],
  [
    'Symbol.for as a key',
    `const s = {}; const inc = (o) => { o[Symbol.for('k')] = (o[Symbol.for('k')] ?? 0) + 1; }; ${R}() => { inc(s); return 'n' + s[Symbol.for('k')]; };`,
  ],
  ['the clock of the load', `const at = Date.now(); ${R}() => 'n' + (at > 0);`],
  ['randomness of the load', `const salt = Math.random(); ${R}() => 'n' + (salt < 2);`],
  [
    'an error object',
    `const e = new Error('x'); const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; ${R}() => 'n' + inc(e);`,
  ],
  [
    'a template object',
    `const tag = (s) => s; const s = () => tag\`x\`; const seen = new Set(); ${R}() => { const r = 'n' + seen.has(s()); seen.add(s()); return r; };`,
  ],
  [
    'a getter on a prototype',
    `class C { get n() { this._n = (this._n ?? 0) + 1; return this._n; } } const c = new C(); ${R}() => 'n' + c.n;`,
  ],
  ['a handed-over name', `globalThis.__pgswitchyard_hold; let n = 0; ${R}() => 'n' + n++;`],
  ['a label', `let n = 0; ${R}() => { outer: for (;;) { n++; break outer; } return 'n' + n; };`],
  [
    'an enum of TypeScript',
    `enum E { A } ${R}() => { const e: any = E; e.n = (e.n ?? 0) + 1; return 'n' + e.n; };`,
  ],
  [
    'a namespace of TypeScript',
    `namespace N { export let n = 0; export const next = () => ++n; } ${R}() => 'n' + N.next();`,
  ],
  // other files and packages
  [
    'an imported counter',
    `import { next } from './counter.ts'; ${R}() => 'n' + next();`,
    { 'counter.ts': 'let n = 0; export const next = () => ++n;' },
  ],
  [
    'a live binding',
    `import { n, next } from './counter.ts'; ${R}() => { next(); return 'n' + n; };`,
    { 'counter.ts': 'export let n = 0; export const next = () => { n++; };' },
  ],
  [
    'an imported Map',
    `import { seen } from './seen.ts'; ${R}(u, q) => { const r = 'n' + seen.size; seen.set(u + q, 1); return r; };`,
    { 'seen.ts': 'export const seen = new Map();' },
  ],
  [
    'an imported default',
    `import s from './s.ts'; ${R}() => 'n' + s.n++;`,
    { 's.ts': 'export default { n: 0 };' },
  ],
  ['imported JSON', `import s from './s.json'; ${R}() => 'n' + s.n++;`, { 's.json': '{ "n": 0 }' }],
  [
    'imported JSON, deep',
    `import s from './s.json'; const inc = (o) => ++o.n; ${R}() => 'n' + inc(s.a);`,
    { 's.json': '{ "a": { "n": 0 } }' },
  ],
  [
    'a namespace import',
    `import * as c from './counter.ts'; ${R}() => 'n' + c.next();`,
    { 'counter.ts': 'let n = 0; export const next = () => ++n;' },
  ],
  [
    'a CommonJS counter',
    `import c from './c.cjs'; ${R}() => 'n' + c.next();`,
    { 'c.cjs': 'let n = 0; exports.next = () => ++n;' },
  ],
  [
    'a CommonJS object',
    `import c from './c.cjs'; ${R}() => 'n' + c.state.n++;`,
    { 'c.cjs': 'exports.state = { n: 0 };' },
  ],
  [
    'a CommonJS object, by a parameter',
    `import c from './c.cjs'; const inc = (o) => ++o.n; ${R}() => 'n' + inc(c.state);`,
    { 'c.cjs': 'module.exports = { state: { n: 0 } };' },
  ],
  [
    'exports as state',
    `import c from './c.cjs'; ${R}() => 'n' + c.next();`,
    { 'c.cjs': 'exports.n = 0; exports.next = () => ++exports.n;' },
  ],
  [
    'module as state',
    `import c from './c.cjs'; ${R}() => 'n' + c.next();`,
    { 'c.cjs': 'module.n = 0; exports.next = () => ++module.n;' },
  ],
  [
    'module as state, by a parameter',
    `import c from './c.cjs'; ${R}() => 'n' + c.next();`,
    {
      'c.cjs': 'const inc = (o) => { o.n = (o.n || 0) + 1; return o.n; }; exports.next = () => inc(module);',
    },
  ],
  [
    'a CommonJS class',
    `import { Counter } from './c.cjs'; const c = new Counter(); ${R}() => 'n' + c.next();`,
    {
      'c.cjs':
        'function Counter() { this.n = 0; } Counter.prototype.next = function () { return ++this.n; }; exports.Counter = Counter;',
    },
  ],
  [
    'a factory of a package',
    `import { make } from './c.cjs'; const next = make(); ${R}() => 'n' + next();`,
    { 'c.cjs': 'exports.make = function () { var n = 0; return function () { return ++n; }; };' },
  ],
  [
    'a package that memoises',
    `import { memo } from './c.cjs'; const f = memo((u, q) => u); ${R}(u, q) => f(u, q);`,
    {
      'c.cjs':
        'exports.memo = function (f) { var cache; return function () { return cache || (cache = f.apply(null, arguments)); }; };',
    },
  ],
  [
    'a package with UMD',
    `import c from './c.cjs'; ${R}() => 'n' + c.next();`,
    {
      'c.cjs':
        '(function (root, factory) { if (typeof module === "object") module.exports = factory(); else root.c = factory(); })(this, function () { var n = 0; return { next: function () { return ++n; } }; });',
    },
  ],
  [
    'a package like webpack makes',
    `import c from './c.cjs'; ${R}() => 'n' + c.next();`,
    {
      'c.cjs':
        'module.exports = (function (modules) { var done = {}; function load(i) { if (done[i]) return done[i].exports; var m = done[i] = { exports: {} }; modules[i](m, m.exports, load); return m.exports; } return load(0); })([function (m, e, load) { var n = 0; e.next = function () { return ++n; }; }]);',
    },
  ],
  [
    'a module that a function loads',
    `${R}() => 'n' + require('./c.cjs').next();`,
    { 'c.cjs': 'var n = 0; exports.next = function () { return ++n; };' },
  ],
  [
    'a module that a function loads first',
    `let n = 0; globalThis.bump = () => n++; ${R}(u, q) => (q === 'select 2' ? 'x' + require('./c.cjs').n : 'n' + n);`,
    { 'c.cjs': 'globalThis.bump(); exports.n = 1;' },
  ],
  [
    'a forged helper',
    `var __getOwnPropNames = (cb) => Object.getOwnPropertyNames(cb); var __commonJS = (cb, mod) => function __require() { return cb.x(); }; var require_x = __commonJS({ "x"() { return ++s.n; } }); const s = { n: 0 }; ${R}() => 'n' + require_x();`,
  ],
  [
    'a forged parser',
    `var __commonJS = (list) => { const [f] = Object.values(list); return f; }; var n = 0; var require_p = __commonJS({ "../node_modules/pgsql-ast-parser/index.js"() { return ++n; } }); ${R}() => 'n' + require_p();`,
  ],
  // found by thinking about them
  [
    'a static field that is a function',
    `let n = 0; class C { static f = () => ++n; } ${R}() => 'n' + C.f();`,
  ],
  [
    'a static field that is a function, by this',
    `class C { static n = 0; static f = () => ++this.n; } ${R}() => 'n' + C.f();`,
  ],
  [
    'a function by another name of its object',
    `const api = {}; const a = api; a.make = () => { let n = 0; return () => ++n; }; const next = api.make(); ${R}() => 'n' + next();`,
  ],
  [
    'a function by another name of a part',
    `const other = {}; const api = { sub: other }; api.sub.make = () => { let n = 0; return () => ++n; }; const next = other.make(); ${R}() => 'n' + next();`,
  ],
  [
    'a function on another object',
    `const api = Object.assign({}, { make() { let n = 0; return () => ++n; } }); const next = api.make(); ${R}() => 'n' + next();`,
  ],
  [
    'a promise of the load',
    `const p = Promise.resolve({ n: 0 }); const box = { n: 0 }; const inc = (b) => { b.n++; }; ${R}() => { p.then(() => inc(box)); return 'n' + box.n; };`,
  ],
  [
    'a promise by another name',
    `const P = globalThis['Pro' + 'mise']; const p = P.resolve(0); const box = { n: 0 }; const inc = (b) => { b.n++; }; ${R}() => { p.then(() => inc(box)); return 'n' + box.n; };`,
  ],
  [
    'an error that replaces another',
    `const box = { n: 0 }; const fail = () => { throw new RangeError('x'); }; const inc = (b) => { try { b.n++; } finally { fail(); } }; ${R}() => { if (box.n > 2) return 'many'; inc(box); };`,
  ],
  [
    'an iterator that is closed by an error',
    `const box = { n: 0 }; const inc = (b) => { b.n++; }; const it = () => ({ [Symbol.iterator]() { return this; }, next: () => ({ value: 1 }), return() { inc(box); return {}; } }); ${R}() => { if (box.n > 2) return 'many'; for (const x of it()) throw new RangeError('x'); };`,
  ],
  [
    'an error that shows itself by a change',
    `const box = { n: 0 }; const inc = (b) => b.n++; ${R}() => { if (box.n > 2) return 'many'; throw { get message() { inc(box); return 'x'; } }; };`,
  ],
  [
    'the prototype of what Iterator.from makes',
    `${R}() => { const I = Object.getPrototypeOf(Object.getPrototypeOf([].values())).constructor; if (!I.from) return 'n0'; const p = Object.getPrototypeOf(I.from({ next() {} })); try { p.n = (p.n ?? 0) + 1; } catch { return 'no'; } return 'n' + p.n; };`,
  ],
];
