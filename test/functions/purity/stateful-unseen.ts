/**
 * Rules whose answers depend on earlier calls, by changes whose errors are easily hidden, or of objects that are easily
 * overlooked.
 */
import { R, type Rule } from './rule.ts';
const ITER = '{ [Symbol.iterator]() { return this; }, next: () => ({ value: 1, done: false })';

export const UNSEEN: readonly Rule[] = [
  [
    'computed return, assigned',
    `const k = ['re', 'turn'].join(''); const s = { n: 0 }; const inc = (o) => { o.n++; }; ${R}(u, q) => { if (q === 'select 2') { const it = { [Symbol.iterator]: () => it, next: () => ({ value: 1, done: false }) }; it[k] = () => inc(s); for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'computed return, value is a name',
    `const k = ['re', 'turn'].join(''); const s = { n: 0 }; const inc = (o) => { o.n++; }; const back = () => inc(s); ${R}(u, q) => { if (q === 'select 2') { const it = { [Symbol.iterator]: () => it, next: () => ({ value: 1, done: false }), [k]: back }; for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'return as a class field',
    `const s = { n: 0 }; const inc = (o) => { o.n++; }; class It { return = () => inc(s); next() { return { value: 1, done: false } } [Symbol.iterator]() { return this } } ${R}(u, q) => { if (q === 'select 2') { for (const x of new It()) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'return by fromEntries',
    `const k = ['re', 'turn'].join(''); const s = { n: 0 }; const inc = (o) => { o.n++; }; ${R}(u, q) => { if (q === 'select 2') { const it = Object.fromEntries([[k, () => inc(s)], ['next', () => ({ value: 1, done: false })], [Symbol.iterator, () => it]]); for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'return by defineProperty',
    `const k = ['re', 'turn'].join(''); const s = { n: 0 }; const inc = (o) => { o.n++; }; ${R}(u, q) => { if (q === 'select 2') { const it = [1, 2].values(); Object.defineProperty(it, k, { value: () => inc(s) }); for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'return by Reflect.set',
    `const k = ['re', 'turn'].join(''); const s = { n: 0 }; const inc = (o) => { o.n++; }; ${R}(u, q) => { if (q === 'select 2') { const it = [1, 2].values(); Reflect.set(it, k, () => inc(s)); for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'return by Object.assign',
    `const k = ['re', 'turn'].join(''); const s = { n: 0 }; const inc = (o) => { o.n++; }; ${R}(u, q) => { if (q === 'select 2') { const it = Object.assign([1, 2].values(), JSON.parse('{"' + k + '":1}', (key, v) => key === k ? () => inc(s) : v)); for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'a name that the stack of an error shows',
    `const s = { n: 0 }; const inc = (o) => { o.n++; }; class E extends Error { get name() { inc(s); return 'x'; } } ${R}(u, q) => { const r = 'n' + s.n; new E('x').stack; return r; };`,
  ],
  [
    'the getter that errors share',
    `const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; ${R}() => { const d = Object.getOwnPropertyDescriptor(new Error('x'), 'stack'); return 'n' + (d.get ? inc(d.get) : 'none'); };`,
  ],
  [
    'the setter that errors share',
    `const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; ${R}() => { const d = Object.getOwnPropertyDescriptor(new Error('x'), 'stack'); return 'n' + (d.set ? inc(d.set) : 'none'); };`,
  ],
  [
    'a subclass of RegExp in replace',
    `class P extends RegExp { get flags() { return 'g'; } exec() { return null; } } const re = new P('s'); re.lastIndex = 5; ${R}(u, q) => { const r = 'n' + re.lastIndex; try { q.replace(re, ''); } catch {} return r; };`,
  ],
  [
    'the prototype of a subclass of RegExp in replace',
    `class P extends RegExp { get flags() { return 'g'; } exec() { return null; } } ${R}(u, q) => { const r = 'n' + P.prototype.lastIndex; try { q.replace(P.prototype, ''); } catch {} return r; };`,
  ],
  [
    'an object made from RegExp.prototype',
    `const p = Object.create(RegExp.prototype, { flags: { value: 'g' }, exec: { value: () => null } }); ${R}(u, q) => { const r = 'n' + p.lastIndex; try { q.match(p); } catch {} return r; };`,
  ],
  [
    'a pattern with a lastIndex in search',
    `const re = /s/; re.lastIndex = 5; ${R}(u, q) => { try { return 'n' + q.search(re); } catch { return 'no'; } };`,
  ],
  [
    'species of matchAll',
    `const s = { exec: () => null, lastIndex: 7 }; ${R}(u, q) => { const r = 'n' + s.lastIndex; const re = /s/g; re.constructor = { [Symbol.species]: function () { return s; } }; try { q.matchAll(re); } catch {} return r; };`,
  ],
  [
    'species of split',
    `const s = { exec: () => null, lastIndex: 7 }; ${R}(u, q) => { const r = 'n' + s.lastIndex; const re = /s/; re.constructor = { [Symbol.species]: function () { return s; } }; try { q.split(re); } catch {} return r; };`,
  ],
  [
    'the setter of toStringTag',
    `const s = {}; ${R}() => { const r = 'n' + s[Symbol.toStringTag]; const d = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Object.getPrototypeOf([].values())), Symbol.toStringTag); try { d.set.call(s, 'x'); } catch {} return r; };`,
  ],
  [
    'the setter of the constructor of iterators',
    `const s = {}; ${R}() => { const r = 'n' + Object.keys(s); const d = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Object.getPrototypeOf([].values())), 'constructor'); try { d.set.call(s, 'x'); } catch {} return r; };`,
  ],
  [
    'the setter of toString',
    `const s = {}; ${R}() => { const r = 'n' + Object.keys(s); const d = Object.getOwnPropertyDescriptor(Object.prototype, 'toString'); try { d.set.call(s, 'x'); } catch {} return r; };`,
  ],
  [
    'the setter of valueOf, looked up',
    `const s = {}; ${R}() => { const r = 'n' + Object.keys(s); try { ({}).__lookupSetter__('valueOf').call(s, 'x'); } catch {} return r; };`,
  ],
  [
    'new.target in an arrow function',
    `const f = new (function () { return () => { const o = new.target; o.n = (o.n ?? 0) + 1; return o.n; }; })(); ${R}() => 'n' + f();`,
  ],
  [
    'the getter of a part of ctx',
    `const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; ${R}(u, q, t, ctx) => { const d = Object.getOwnPropertyDescriptor(ctx, 'database'); return 'n' + (d.get ? inc(d.get) : 'none'); };`,
  ],
  [
    'a change of ctx',
    `const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; ${R}(u, q, t, ctx) => 'n' + inc(Object.getPrototypeOf(ctx) ?? {});`,
  ],
  ['iterator kept in array', `const all = [[1, 2, 3, 4].entries()]; ${R}() => 'n' + all[0].next().value;`],
  [
    'Set iterator kept in class',
    `class K { static it = new Set([1, 2, 3]).values(); } ${R}() => 'n' + K.it.next().value;`,
  ],
  [
    'property order hidden',
    `const o = { a: 1, b: 2 }; const turn = (x) => { try { const { a } = x; delete x.a; x.a = a; } catch {} }; ${R}() => { const r = Object.keys(o).join(''); turn(o); return r; };`,
  ],
  [
    'Error.cause',
    `const e = new Error('x', { cause: { n: 0 } }); const inc = (o) => o.n++; ${R}() => 'n' + inc(e.cause);`,
  ],
  [
    'AggregateError.errors',
    `const e = new AggregateError([0]); const add = (a) => a.push(1); ${R}() => 'n' + add(e.errors);`,
  ],
  [
    'Number object hidden',
    `const s = new Number(1); const inc = (o) => { try { o.n = (o.n ?? 0) + 1; } catch {} return o.n; }; ${R}() => 'n' + inc(s);`,
  ],
  [
    'new.target two arrows deep',
    `const f = new (function () { return () => () => { const o = new.target; o.n = (o.n ?? 0) + 1; return o.n; }; })(); ${R}() => 'n' + f()();`,
  ],
  [
    'species of a subclass',
    `class A extends Array { static get [Symbol.species]() { return function () { return kept; }; } } const kept = [0]; ${R}() => { try { A.from([1]).map((x) => kept[0] + 1); } catch {} return 'n' + kept[0]; };`,
  ],
  [
    'species by constructor of concat',
    `const kept = []; ${R}() => { const a = [1]; a.constructor = { [Symbol.species]: function () { return kept; } }; try { a.concat([2]); } catch {} return 'n' + kept.length; };`,
  ],
  [
    'toJSON hidden',
    `const s = { n: 0 }; const inc = (o) => { try { o.n++; } catch {} }; ${R}() => { JSON.stringify({ toJSON: () => inc(s) }); return 'n' + s.n; };`,
  ],
  [
    'comparator on a lasting array, hidden',
    `const a = [3, 1, 2]; ${R}() => { const r = 'n' + a[0]; try { a.sort(); } catch {} return r; };`,
  ],
  [
    'return in a generator finally',
    `const s = { n: 0 }; function* g(o) { try { o.n++; yield 1; } finally { return 2; } } ${R}() => { g(s).next(); return 'n' + s.n; };`,
  ],
  [
    'native change in an executor',
    `const s = {}; const { set } = Object.getOwnPropertyDescriptor(Object.prototype, 'valueOf'); ${R}(u, q) => { if (q === 'select 2') new Promise(() => { set.call(s, 'x'); }); return 'n' + Object.keys(s); };`,
  ],
  [
    'native change in console',
    `const s = {}; const { set } = Object.getOwnPropertyDescriptor(Object.prototype, 'valueOf'); ${R}(u, q) => { if (q === 'select 2') console.log({ toJSON() { set.call(s, 'x'); } }, { toString() { set.call(s, 'x'); } }); return 'n' + Object.keys(s); };`,
  ],
  [
    'native change in an iterator that closes',
    `const s = {}; const { set } = Object.getOwnPropertyDescriptor(Object.prototype, 'valueOf'); ${R}(u, q) => { if (q === 'select 2') { const it = ${ITER}, return: set.bind(s, 'x') }; for (const x of it) throw new Error('x'); } return 'n' + Object.keys(s); };`,
  ],
  [
    'native change in an iterator that closes, as method',
    `const s = {}; const { set } = Object.getOwnPropertyDescriptor(Object.prototype, 'valueOf'); ${R}(u, q) => { if (q === 'select 2') { const it = ${ITER}, return() { set.call(s, 'x'); } }; for (const x of it) throw new Error('x'); } return 'n' + Object.keys(s); };`,
  ],
  [
    'write in a class field of a derived class, hidden by an iterator',
    `const s = {}; class A { constructor(o) { return o; } } class B extends A { n = 1; } ${R}(u, q) => { if (q === 'select 2') { const it = ${ITER}, return() { new B(s); } }; for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'write in a static block made per call, hidden by an iterator',
    `const s = { n: 0 }; const inc = (o) => { class T { static { o.n++; } } return T; }; ${R}(u, q) => { if (q === 'select 2') { const it = ${ITER}, return() { inc(s); } }; for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'write in a field initialiser, hidden by an iterator',
    `const s = { n: 0 }; class T { f = bump(this); constructor() {} } const bump = (t) => { const o = s; return o.n++; }; ${R}(u, q) => { if (q === 'select 2') { const it = ${ITER}, return() { new T(); } }; for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'arrow with parentheses',
    `const s = { n: 0 }; const inc = (o) => ({ n: o.n++ }); ${R}(u, q) => { if (q === 'select 2') { const it = ${ITER}, return: () => inc(s) }; for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'arrow in an arrow',
    `const s = { n: 0 }; const inc = (o) => () => o.n++; ${R}(u, q) => { if (q === 'select 2') { const it = ${ITER}, return: () => inc(s)() }; for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
  [
    'arrow field of a lasting instance',
    `class C { s = { n: 0 }; inc = (o) => o.n++; go = () => this.inc(this.s); } const c = new C(); ${R}(u, q) => { if (q === 'select 2') { const it = ${ITER}, return: () => c.go() }; for (const x of it) throw new Error('x'); } return 'n' + c.s.n; };`,
  ],
  [
    'memoised package hidden',
    `import memo from './memo.cjs'; const f = memo((k) => ({ k })); const all = []; ${R}(u) => { const o = f(u); const r = all.includes(o); try { all.push(o); } catch {} return 'n' + r; };`,
    {
      'memo.cjs':
        'module.exports = function (fn) { var cache = new Map(); return function (k) { if (!cache.has(k)) cache.set(k, fn(k)); return cache.get(k); }; };',
    },
  ],
  [
    'SuppressedError',
    `const s = { n: 0 }; const inc = (o) => o.n++; ${R}(u, q) => { if (q === 'select 2') { using a = { [Symbol.dispose]() { throw new RangeError('x'); } }; inc(s); } return 'n' + s.n; };`,
  ],
  [
    'using that changes',
    `const s = { n: 0 }; const inc = (o) => o.n++; ${R}(u, q) => { if (q === 'select 2') { using a = { [Symbol.dispose]() { inc(s); } }; throw new RangeError('x'); } return 'n' + s.n; };`,
  ],
  [
    'native iterator setter, hidden by an iterator',
    `const s = {}; const { set } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Object.getPrototypeOf([].values())), Symbol.toStringTag); ${R}(u, q) => { if (q === 'select 2') { const it = ${ITER}, return: set.bind(s, 'x') }; for (const x of it) throw new Error('x'); } return 'n' + s[Symbol.toStringTag]; };`,
  ],
];
