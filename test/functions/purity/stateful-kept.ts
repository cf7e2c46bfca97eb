/** Rules whose answers depend on earlier calls, by things of many kinds that are kept. */
import { R, type Rule } from './rule.ts';

export const KEPT: readonly Rule[] = [
  [
    'captureStackTrace of an object with getters',
    `const s = { n: 0 }; const inc = (o) => { o.n++; }; ${R}(u, q) => { const r = 'n' + s.n; const o = { get message() { inc(s); return 'x'; }, get name() { inc(s); return 'y'; }, toString() { inc(s); return 'z'; } }; Error.captureStackTrace(o); o.stack; return r; };`,
  ],
  [
    'closure over a parameter default',
    `const mk = (box = { n: 0 }, f = () => ++box.n) => f; const f = mk(); ${R}() => 'n' + f();`,
  ],
  [
    'tag cache by Map',
    `const seen = new Map(); const tag = (parts) => { const n = (seen.get(parts) ?? 0) + 1; seen.set(parts, n); return n; }; ${R}() => 'n' + tag\`x\`;`,
  ],
  [
    'Date in object',
    `const o = { at: new Date(0) }; ${R}() => { o.at.setDate(o.at.getDate() + 1); return 'n' + o.at.getDate(); };`,
  ],
  [
    'Date via call',
    `const d = new Date(0); const { setTime } = Date.prototype; ${R}() => { const n = d.getTime(); setTime.call(d, n + 1); return 'n' + n; };`,
  ],
  [
    'Date bound',
    `const d = new Date(0); const step = d.setTime.bind(d); ${R}() => { const n = +d; step(n + 1); return 'n' + n; };`,
  ],
  [
    'DataView in Map',
    `const m = new Map([['v', new DataView(new ArrayBuffer(8))]]); ${R}() => { const v = m.get('v'); v.setInt8(0, v.getInt8(0) + 1); return 'n' + v.getInt8(0); };`,
  ],
  ['Float64Array in closure', `const f = ((a) => () => a[0]++)(new Float64Array(1)); ${R}() => 'n' + f();`],
  [
    'structured cycle',
    `const a = { n: 0 }; const b = { a }; a.b = b; const inc = (o) => o.n++; ${R}() => 'n' + inc(a.b.a.b.a);`,
  ],
  [
    'cycle through Map',
    `const m = new Map(); m.set('m', m); m.set('o', { n: 0 }); const inc = (o) => o.n++; ${R}() => 'n' + inc(m.get('m').get('o'));`,
  ],
  [
    'property order',
    `const o = { a: 1, b: 2 }; const turn = (x) => { const { a } = x; delete x.a; x.a = a; }; ${R}() => { const r = Object.keys(o).join(''); turn(o); return r; };`,
  ],
  [
    'String object',
    `const s = new String('x'); const inc = (o) => { o.n = (o.n ?? 0) + 1; return o.n; }; ${R}() => 'n' + inc(s);`,
  ],
  [
    'Boolean object',
    `const s = Object(true); ${R}() => { const o = s; o.n = (o.n ?? 0) + 1; return 'n' + o.n; };`,
  ],
  [
    'property of a string is lost',
    `${R}(u) => { try { u.n = 1; } catch { return 'no'; } return 'n' + u.n; };`,
  ],
  [
    'Function.prototype.call indirect',
    `const s = { n: 0 }; function inc() { return this.n++; } const call = Function.prototype.call.call; ${R}() => 'n' + Function.prototype.call.call(inc, s);`,
  ],
  [
    'apply of apply',
    `const a = []; ${R}() => 'n' + Reflect.apply(Reflect.apply, null, [Array.prototype.push, a, [1]]);`,
  ],
  [
    'bound bind',
    `const s = { n: 0 }; const inc = function () { return this.n++; }; const bind = Function.prototype.bind; const f = bind.call(inc, s); ${R}() => 'n' + f();`,
  ],
  [
    'call bound by bind.bind',
    `const s = []; const uncurried = Function.prototype.bind.bind(Function.prototype.call); const push = uncurried([].push); ${R}() => 'n' + push(s, 1);`,
  ],
  [
    'Reflect.construct with a prototype',
    `class A { constructor() { A.all.push(1); } static all = []; } ${R}() => { Reflect.construct(A, []); return 'n' + A.all.length; };`,
  ],
  [
    'new.target in a function',
    `function A() { const t = new.target; t.n = (t.n ?? 0) + 1; this.r = t.n; } ${R}() => 'n' + new A().r;`,
  ],
  [
    'Proxy through Reflect',
    `const P = Reflect.get(globalThis, 'Proxy'); let n = 0; const p = new P({}, { get: () => n++ }); ${R}() => 'n' + p.x;`,
  ],
  [
    'Proxy made per call',
    `const s = { n: 0 }; ${R}() => { const p = new Proxy(s, { set(t, k, v) { try { t[k] = v; } catch {} return true; } }); p.n = p.n + 1; return 'n' + s.n; };`,
  ],
  [
    'Proxy.revocable kept',
    `const { proxy, revoke } = Proxy.revocable({}, {}); ${R}() => { let r = 'a'; try { proxy.x; } catch { r = 'b'; } revoke(); return r; };`,
  ],
  [
    'toJSON on a lasting object',
    `const s = { n: 0, toJSON() { return this.n++; } }; ${R}() => 'n' + JSON.stringify(s);`,
  ],
  [
    'reviver with this',
    `const s = { a: 1 }; ${R}() => { JSON.parse('{"x":{}}', function (k, v) { return k === 'x' ? s : v; }); const r = 'n' + s.a; JSON.parse('{"x":1,"y":1}', function (k, v) { if (k === 'x') this.y = s; if (k === 'a') return undefined; return v; }); return r + ('a' in s); };`,
  ],
  [
    'comparator kept',
    `const order = []; ${R}() => { [3, 1, 2].sort((a, b) => { order.push(a); return a - b; }); return 'n' + order.length; };`,
  ],
  [
    'labelled block leaves before the read',
    `const s = { n: 0 }; const inc = (o) => { out: { try { o.n++; } finally { break out; } } }; ${R}() => { inc(s); return 'n' + s.n; };`,
  ],
  [
    'labelled continue in finally',
    `const s = { n: 0 }; const inc = (o) => { out: for (let i = 0; i < 1; i++) { try { o.n++; } finally { continue out; } } }; ${R}() => { inc(s); return 'n' + s.n; };`,
  ],
  [
    'generator suspended in a Map',
    `const m = new Map([['g', (function* () { let n = 0; for (;;) yield n++; })()]]); ${R}() => 'n' + m.get('g').next().value;`,
  ],
  [
    'generator passed a value',
    `const g = (function* () { let s = ''; for (;;) s += yield s; })(); g.next(); ${R}(u) => g.next(u).value;`,
  ],
  [
    'async leftover',
    `let n = 0; const tick = async () => { await null; n++; }; ${R}() => { tick(); return 'n' + n; };`,
  ],
  [
    'async leftover on an object',
    `const s = { n: 0 }; const tick = async (o) => { await null; o.n++; }; ${R}() => { tick(s); return 'n' + s.n; };`,
  ],
  [
    'thenable',
    `const s = { n: 0 }; const inc = (o) => o.n++; ${R}() => { Promise.resolve({ then() { inc(s); } }); return 'n' + s.n; };`,
  ],
  [
    'write in a static block made per call',
    `const s = { n: 0 }; const inc = (o) => { class T { static { try { o.n++; } catch {} } } return T; }; ${R}() => { inc(s); return 'n' + s.n; };`,
  ],
  [
    'memoised package',
    `import memo from './memo.cjs'; const f = memo((k) => ({ hits: 0 })); ${R}(u) => 'n' + f(u).hits++;`,
    {
      'memo.cjs':
        'module.exports = function (fn) { var cache = Object.create(null); return function (k) { return k in cache ? cache[k] : (cache[k] = fn(k)); }; };',
    },
  ],
  [
    'event emitter of a package',
    `import E from './e.cjs'; const e = new E(); let n = 0; e.on('q', () => { n++; }); ${R}() => { e.emit('q'); return 'n' + n; };`,
    {
      'e.cjs':
        'function E() { this.l = {}; } E.prototype.on = function (k, f) { (this.l[k] = this.l[k] || []).push(f); }; E.prototype.emit = function (k) { (this.l[k] || []).forEach(function (f) { f(); }); }; module.exports = E;',
    },
  ],
  [
    'registry of a package',
    `import r from './r.cjs'; ${R}(u, q) => 'n' + r.register(u + q);`,
    {
      'r.cjs':
        'var all = {}; exports.register = function (k) { all[k] = true; return Object.keys(all).length; };',
    },
  ],
  [
    'LRU cache of a package',
    `import L from './l.cjs'; const l = new L(2); ${R}(u, q) => l.get(q) ?? (l.set(q, 'x' + q.slice(-1)), 'miss');`,
    {
      'l.cjs':
        'class L { constructor(n) { this.n = n; this.m = new Map(); } get(k) { return this.m.get(k); } set(k, v) { this.m.set(k, v); if (this.m.size > this.n) this.m.delete(this.m.keys().next().value); } } module.exports = L;',
    },
  ],
  [
    'getOrInsert',
    `const m = new Map(); ${R}(u, q) => { const n = m.size; const f = m.getOrInsert ?? m.set; f.call(m, u + q, 1); return 'n' + n; };`,
  ],
  [
    'Object.groupBy key order',
    `const kept = []; ${R}(u, q) => { Object.groupBy([q], (x) => { kept.push(x); return x; }); return 'n' + kept.length; };`,
  ],
  [
    'Symbol description registry',
    `const by = {}; ${R}(u, q) => { const k = Symbol(q); const n = Object.getOwnPropertySymbols(by).length; try { by[k] = 1; } catch {} return 'n' + n; };`,
  ],
  [
    'getter on Array subclass length',
    `class A extends Array { get n() { return this.push(1); } } const a = new A(); ${R}() => 'n' + a.n;`,
  ],
  [
    'Object.entries order of numbers',
    `const o = {}; let i = 10; ${R}(u, q) => { const r = Object.entries(o).map(([k]) => k).join(); const t = o; t[--i] = q; return 'n' + r; };`,
  ],
  [
    'tampering with the count',
    `const k = ['__pgswitchyard', 'caught'].join('_'); ${R}() => { const c = globalThis[k]; const r = 'n' + c?.count; if (c) { const o = c; o.count = 7; } return 'n'; };`,
  ],
];
