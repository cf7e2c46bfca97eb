/** Rules that keep nothing, and must be found pure without a promise. */
import { R, type Rule } from './rule.ts';

export const PURE: readonly Rule[] = [
  ['null', `${R}() => null;`],
  ['a function', `export function routing_rules(u, q) { return q; }`],
  ['a pattern', `${R}(u, q) => (/\\bx\\b/.test(q) ? 'a' : null);`],
  ['a pattern of the top level', `const re = /select (\\d)/; ${R}(u, q) => re.exec(q)?.[1] ?? null;`],
  ['replace with a pattern', `const re = /\\d/; ${R}(u, q) => q.replace(re, 'x');`],
  ['a pattern with g in the function', `${R}(u, q) => q.replace(/\\s+/g, '_');`],
  ['matchAll in the function', `${R}(u, q) => [...q.matchAll(/\\d/g)].map((m) => m[0]).join();`],
  [
    'exec with g in the function',
    `${R}(u, q) => { const re = /\\w+/g; let n = 0; while (re.exec(q) !== null) n++; return 'n' + n; };`,
  ],
  ['a table', `const t = { a: 'x', b: 'y' }; ${R}(u) => t[u] ?? null;`],
  ['a table of tables', `const t = { a: { to: 'x' } }; ${R}(u) => t[u]?.to ?? null;`],
  ['a Map', `const m = new Map([['a', 'x']]); ${R}(u) => m.get(u) ?? null;`],
  ['a Set', `const s = new Set(['a']); ${R}(u) => (s.has(u) ? 'x' : null);`],
  ['an array', `const a = ['a', 'b']; ${R}(u) => (a.includes(u) ? 'x' : null);`],
  [
    'an array of rules',
    `const rules = [{ re: /1/, to: 'x' }]; ${R}(u, q) => rules.find((r) => r.re.test(q))?.to ?? null;`,
  ],
  [
    'compiled rules',
    `const rules = ['1', '2'].map((p) => ({ re: new RegExp(p), to: 'n' + p })); ${R}(u, q) => rules.find((r) => r.re.test(q))?.to ?? null;`,
  ],
  [
    'a table made by a loop',
    `const t = {}; for (const k of ['a', 'b']) t[k] = k + k; ${R}(u) => t[u] ?? null;`,
  ],
  [
    'a table made by reduce',
    `const t = ['a', 'b'].reduce((all, k) => ({ ...all, [k]: k }), {}); ${R}(u) => t[u] ?? null;`,
  ],
  [
    'a Map made by a loop',
    `const m = new Map(); for (const k of ['a']) m.set(k, 'x'); ${R}(u) => m.get(u) ?? null;`,
  ],
  ['Object.freeze', `const t = Object.freeze({ a: 'x' }); ${R}(u) => t[u] ?? null;`],
  ['Object.fromEntries', `const t = Object.fromEntries([['a', 'x']]); ${R}(u) => t[u] ?? null;`],
  ['a local counter', `${R}(u, q) => { let n = 0; for (const c of q) if (c === 's') n++; return 'n' + n; };`],
  [
    'a counter that a callback changes',
    `${R}(u, q) => { let n = 0; [...q].forEach(() => { n++; }); return 'n' + n; };`,
  ],
  [
    'a counter that a replacer changes',
    `${R}(u, q) => { let n = 0; return q.replace(/\\w/g, () => String(n++)); };`,
  ],
  ['a local closure', `${R}(u, q) => { let n = 0; const next = () => n++; next(); return 'n' + next(); };`],
  [
    'a local factory',
    `const counter = () => { let n = 0; return () => n++; }; ${R}() => { const c = counter(); c(); return 'n' + c(); };`,
  ],
  [
    'a local array',
    `${R}(u, q) => { const a = []; for (const w of q.split(' ')) a.push(w); return a.join('_'); };`,
  ],
  [
    'a local object',
    `${R}(u, q) => { const o = {}; for (const w of q.split(' ')) o[w] = 1; return Object.keys(o).join('_'); };`,
  ],
  [
    'a local Map',
    `${R}(u, q) => { const m = new Map(); for (const w of q.split(' ')) m.set(w, 1); return 'n' + m.size; };`,
  ],
  ['a local Set', `${R}(u, q) => 'n' + new Set(q).size;`],
  ['sorting a copy', `const a = ['b', 'a']; ${R}() => [...a].sort()[0];`],
  ['toSorted', `const a = ['b', 'a']; ${R}() => a.toSorted()[0];`],
  [
    'pushing onto a parameter',
    `const add = (list, x) => list.push(x); ${R}(u, q) => { const l = []; add(l, q); return l[0]; };`,
  ],
  [
    'writing to a parameter',
    `const put = (o, k) => { o[k] = 1; }; ${R}(u, q) => { const o = {}; put(o, q); return Object.keys(o)[0]; };`,
  ],
  [
    'a class',
    `class T { constructor(q) { this.q = q; this.at = 0; } next() { return this.q[this.at++]; } } ${R}(u, q) => { const t = new T(q); t.next(); return t.next(); };`,
  ],
  [
    'a class with fields',
    `class T { words = []; add(w) { this.words.push(w); } } ${R}(u, q) => { const t = new T(); t.add(q); return t.words.join(); };`,
  ],
  [
    'a class with private fields',
    `class T { #n = 0; next() { return ++this.#n; } } ${R}() => { const t = new T(); t.next(); return 'n' + t.next(); };`,
  ],
  [
    'a subclass',
    `class A { who() { return 'a'; } } class B extends A { who() { return super.who() + 'b'; } } ${R}() => new B().who();`,
  ],
  [
    'an instance that is only read',
    `class T { constructor(x) { this.x = x; } get() { return this.x; } } const t = new T('x'); ${R}() => t.get();`,
  ],
  [
    'a static table',
    `class T { static to = { a: 'x' }; static find(u) { return T.to[u] ?? null; } } ${R}(u) => T.find(u);`,
  ],
  [
    'a generator',
    `function* words(q) { for (const w of q.split(' ')) yield w; } ${R}(u, q) => [...words(q)].join('_');`,
  ],
  ['recursion', `const count = (q) => (q === '' ? 0 : 1 + count(q.slice(1))); ${R}(u, q) => 'n' + count(q);`],
  ['a caught error', `${R}(u, q) => { try { return JSON.parse(q); } catch { return 'no'; } };`],
  [
    'a caught error with local state',
    `${R}(u, q) => { let r = ''; const o = {}; try { o.x = q; r = o.x; JSON.parse(q); } catch { r += '!'; } return r; };`,
  ],
  [
    'a thrown error',
    `class Bad extends Error {} ${R}(u, q) => { if (q === 'select 2') throw new Bad('x'); return 'a'; };`,
  ],
  [
    'reject',
    `import { reject } from 'pgswitchyard'; ${R}(u, q) => { if (q === 'select 2') reject('no'); return 'a'; };`,
  ],
  [
    'default arguments',
    `const f = (x, seen = []) => { seen.push(x); return seen.length; }; ${R}() => 'n' + f(1);`,
  ],
  ['rest arguments', `const f = (...all) => { all.push(1); return all.length; }; ${R}() => 'n' + f(1);`],
  [
    'spread',
    `const base = { a: 1 }; ${R}(u) => { const o = { ...base, [u]: 2 }; o.c = 3; return Object.keys(o).join(); };`,
  ],
  ['a destructured argument', `${R}(u, q, t, { database }) => database || null;`],
  ['a switch', `${R}(u) => { switch (u) { case 'a': return 'x'; default: return null; } };`],
  [
    'a labelled loop',
    `${R}(u, q) => { outer: for (const a of q) for (const b of u) if (a === b) break outer; return 'x'; };`,
  ],
  ['tagged templates', `const tag = (s, x) => s[0] + x; ${R}(u) => tag\`n\${u}\`;`],
  [
    'a bound function',
    `const has = Function.prototype.call ? 'a'.includes.bind('abc') : null; ${R}(u) => 'n' + has(u);`.replace(
      "Function.prototype.call ? 'a'.includes.bind('abc') : null",
      "'a'.includes.bind('abc')",
    ),
  ],
  ['a getter', `const o = { get x() { return 'x'; } }; ${R}() => o.x;`],
  ['a symbol', `const k = Symbol('k'); const o = { [k]: 'x' }; ${R}() => o[k];`],
  [
    'a helper that is curried',
    `const is = (name) => (u) => u === name; const isA = is('a'); ${R}(u) => 'n' + isA(u);`,
  ],
  [
    'a helper with a table in a closure',
    `const lookup = ((t) => (u) => t[u])({ a: 'x' }); ${R}(u) => lookup(u) ?? null;`,
  ],
  ['an enum of TypeScript', `enum E { A = 'x', B = 'y' } ${R}(u) => (u === 'a' ? E.A : E.B);`],
  [
    'types of TypeScript',
    `interface T { readonly to: string } const t: T = { to: 'x' }; ${R}(u: string): string | null => t.to;`,
  ],
  [
    'an import',
    `import { to } from './to.ts'; ${R}(u) => to(u);`,
    { 'to.ts': 'const t = { a: "x" }; export const to = (u) => t[u] ?? null;' },
  ],
  ['JSON', `import t from './t.json'; ${R}(u) => t[u] ?? null;`, { 't.json': '{ "a": "x" }' }],
  [
    'a namespace import',
    `import * as to from './to.ts'; ${R}(u) => to.find(u);`,
    { 'to.ts': 'export const find = (u) => u + u;' },
  ],
  [
    'CommonJS',
    `import c from './c.cjs'; ${R}(u) => c.find(u);`,
    { 'c.cjs': 'var t = { a: "x" }; exports.find = function (u) { return t[u] || "none"; };' },
  ],
  [
    'CommonJS with module.exports',
    `import find from './c.cjs'; ${R}(u) => find(u);`,
    { 'c.cjs': 'module.exports = function (u) { return u + u; };' },
  ],
  [
    'CommonJS that requires',
    `import c from './c.cjs'; ${R}(u) => c.find(u);`,
    {
      'c.cjs': 'var d = require("./d.cjs"); exports.find = function (u) { return d.t[u] || "none"; };',
      'd.cjs': 'exports.t = { a: "x" };',
    },
  ],
  [
    'both functions',
    `export const rewrite_query = (u, q) => (q === 'select 2' ? 'select 3' : null); ${R}(u, q) => (q === 'select 3' ? 'a' : null);`,
  ],
  [
    'names of built-in methods',
    `const toString = (x) => 's' + x; const constructor = toString; ${R}(u) => constructor(u);`,
  ],
  ['a reassigned parameter', `${R}(u, q) => { q = q.trim(); q += 'x'; return q; };`],
  ['swapping', `${R}(u, q) => { let a = u; let b = q; [a, b] = [b, a]; return a; };`],
  [
    'a memory of one call',
    `${R}(u, q) => { const memo = new Map(); const f = (n) => { if (n < 2) return n; const k = memo.get(n); if (k !== undefined) return k; const r = f(n - 1) + f(n - 2); memo.set(n, r); return r; }; return 'n' + f(q.length); };`,
  ],
];
