/**
 * More rules that keep nothing, and must be found pure without a promise: they catch errors, and use what others keep state
 * in.
 */
import { R, type Rule } from './rule.ts';

export const PURE_OTHERS: readonly Rule[] = [
  ['catch without a name', `${R}(u, q) => { try { JSON.parse(q); return 'a'; } catch { return 'b'; } };`],
  [
    'catch with a pattern',
    `${R}(u, q) => { try { JSON.parse(q); } catch ({ name, message: m = '' }) { return name + m.length; } return null; };`,
  ],
  ['finally alone', `${R}(u, q) => { let r = 'a'; try { r += q.length; } finally { r += 'z'; } return r; };`],
  ['finally that returns', `${R}(u, q) => { try { JSON.parse(q); } finally { return 'z'; } };`],
  [
    'catch and finally',
    `${R}(u, q) => { let r = ''; try { JSON.parse(q); } catch (e) { r += e.name; } finally { r += '.'; } return r; };`,
  ],
  [
    'nested try',
    `${R}(u, q) => { try { try { JSON.parse(q); } finally { u += 'x'; } } catch { try { return u; } catch { return 'no'; } } return 'b'; };`,
  ],
  [
    'try in a loop with labels',
    `${R}(u, q) => { let n = 0; out: for (const c of q) { try { if (c === ' ') continue; if (c === '1') break out; n++; } finally { n += 10; } } return 'n' + n; };`,
  ],
  [
    'a rethrown error',
    `${R}(u, q) => { try { try { JSON.parse(q); } catch (e) { throw new Error('x', { cause: e }); } } catch (e) { return e.cause.name; } return null; };`,
  ],
  [
    'try in a generator',
    `function* g(q) { try { yield q; yield u; } catch { yield 'c'; } finally { yield 'f'; } } ${R}(u, q) => [...g(q)].join('_');`,
  ],
  [
    'a generator that is closed',
    `function* g(q) { try { for (const c of q) yield c; } finally { q = ''; } } ${R}(u, q) => { for (const c of g(q)) return c; return null; };`,
  ],
  [
    'a variable and a function in catch',
    `${R}(u, q) => { try { JSON.parse(q); } catch (e) { var r = f(); function f() { return e.name; } } return r ?? null; };`,
  ],
  [
    'a class with toString',
    `class T { constructor(q) { this.q = q; } toString() { return this.q + '!'; } } ${R}(u, q) => \`\${new T(q)}\`;`,
  ],
  [
    'a class with a computed method',
    `const k = 'go'; class T { [k]() { return 'x'; } static [k] = () => 'y'; } ${R}() => new T().go() + T.go();`,
  ],
  [
    'an arrow function for a computed name',
    `const k = 'go'; const o = { [k]: (x) => ({ x }), ['n']: (x) => x.length }; ${R}(u, q) => o.go(u).x + o.n(q);`,
  ],
  [
    'an iterator that closes itself',
    `const of = (q) => { let i = 0; return { [Symbol.iterator]() { return this; }, next: () => ({ value: q[i++], done: false }), return: () => ({ done: true }) }; }; ${R}(u, q) => { for (const c of of(q)) if (c === 'l') return c; return null; };`,
  ],
  [
    'a name of an error',
    `class Bad extends Error { get name() { return 'Bad'; } } ${R}(u, q) => { try { throw new Bad(q); } catch (e) { return \`\${e}\`; } };`,
  ],
  [
    'an error whose name is assigned',
    `${R}(u, q) => { const e = new Error(q); e.name = 'Mine'; return String(e); };`,
  ],
  ['a Date of the call', `${R}() => new Date(0).toISOString();`],
  [
    'a typed array of the call',
    `${R}(u, q) => { const a = new Uint8Array(4); for (const c of q) a[c.length]++; return a.join('_'); };`,
  ],
  [
    'a DataView of the call',
    `${R}(u, q) => { const v = new DataView(new ArrayBuffer(8)); v.setUint16(0, q.length); return 'n' + v.getUint8(1); };`,
  ],
  [
    'a WeakMap of the call',
    `${R}(u, q) => { const w = new WeakMap(); const k = {}; w.set(k, q); return w.get(k); };`,
  ],
  [
    'a JSON reviver',
    `${R}(u) => JSON.parse('{"a":{"b":1}}', (k, v) => (typeof v === 'number' ? u + v : v)).a.b;`,
  ],
  ['toJSON', `${R}(u, q) => JSON.stringify({ at: { toJSON: () => q } });`],
  ['a comparator', `${R}(u, q) => q.split('').sort((a, b) => (a < b ? 1 : -1)).join('');`],
  [
    'groupBy',
    `${R}(u, q) => Object.entries(Object.groupBy(q, (c) => (c > 'm' ? 'x' : 'y'))).map(([k, v]) => k + v.length).join();`,
  ],
  [
    'call, apply and bind',
    `function join(a, b) { return this.s + a + b; } ${R}(u, q) => { const o = { s: u }; return join.call(o, 1, 2) + join.apply(o, [3, 4]) + join.bind(o, 5)(6); };`,
  ],
  ['Reflect.construct', `class T { constructor(x) { this.x = x; } } ${R}(u) => Reflect.construct(T, [u]).x;`],
  [
    'new.target',
    `class A { constructor() { this.t = new.target.name; } } class B extends A {} ${R}() => new B().t;`,
  ],
  ['a cycle', `${R}(u) => { const a = { u }; a.a = a; return a.a.a.u; };`],
  [
    'a lasting cycle that is read',
    `const a = { to: 'x' }; const b = { a }; a.b = b; ${R}() => a.b.a.b.a.to;`,
  ],
  ['a string object', `${R}(u) => { const s = new String(u); s.n = 1; return s + s.n; };`],
  [
    'a tag with raw text',
    `const tag = (parts, ...all) => parts.raw.join('|') + all.join(); ${R}(u, q) => tag\`a\${u}\\nb\${q}\`;`,
  ],
  [
    'a labelled block',
    `${R}(u, q) => { let r = 'a'; out: { if (u === 'a') break out; r = 'b'; } return r; };`,
  ],
  [
    'a table of getters',
    `const t = { get a() { return 'x'; }, get b() { return 'y'; } }; ${R}(u) => t[u] ?? null;`,
  ],
];
