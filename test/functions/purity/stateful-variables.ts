/** Rules whose answers depend on earlier calls, by variables. */
import { R, type Rule } from './rule.ts';

const alternate = (n: string): string => `(${n} % 2 ? 'a' : 'b')`;

export const VARIABLES: readonly Rule[] = [
  ['a counter', `let n = 0; ${R}() => ${alternate('n++')};`],
  ['a var', `var n = 0; ${R}() => ${alternate('++n')};`],
  ['an assignment', `let last = ''; ${R}(u, q) => { const r = last; last = q; return r; };`],
  ['a compound assignment', `let s = ''; ${R}(u, q) => { s += 'x'; return s; };`],
  ['a logical assignment', `let first; ${R}(u, q) => { first ??= q; return first; };`],
  ['a destructuring assignment', `let n = 0; ${R}() => { [n] = [n + 1]; return 'n' + n; };`],
  ['an object pattern', `let n = 0; ${R}() => { ({ n } = { n: n + 1 }); return 'n' + n; };`],
  ['a default in a pattern', `let n = 0; ${R}() => { let x; [x = (n += 1)] = []; return 'n' + n; };`],
  [
    'a rest pattern',
    `let rest = []; ${R}(u, q) => { const r = 'n' + rest.length; [, ...rest] = [0, ...rest, q]; return r; };`,
  ],
  ['a for-of target', `let last = 'z'; ${R}(u, q) => { const r = last; for (last of [q]) ; return r; };`],
  [
    'a for-in target',
    `let last = 'z'; ${R}(u, q) => { const r = last; for (last in { [q]: 1 }) ; return r; };`,
  ],
  [
    'a closure made while loading',
    `const next = (() => { let n = 0; return () => n++; })(); ${R}() => ${alternate('next()')};`,
  ],
  [
    'a factory',
    `function counter() { let n = 0; return () => ++n; } const next = counter(); ${R}() => 'n' + next();`,
  ],
  [
    'a factory of factories',
    `const make = () => () => { let n = 0; return () => ++n; }; const next = make()(); ${R}() => 'n' + next();`,
  ],
  [
    'an arrow factory with a parameter',
    `const make = (n) => () => ++n; const next = make(0); ${R}() => 'n' + next();`,
  ],
  [
    'a default parameter as state',
    `const make = (n = 0) => () => ++n; const next = make(); ${R}() => 'n' + next();`,
  ],
  [
    'a factory in an object',
    `const f = { make() { let n = 0; return { next: () => ++n }; } }; const c = f.make(); ${R}() => 'n' + c.next();`,
  ],
  ['a factory by map', `const [next] = [0].map((n) => () => ++n); ${R}() => 'n' + next();`],
  [
    'a factory by call',
    `const next = (function () { let n = 0; return () => ++n; }).call(null); ${R}() => 'n' + next();`,
  ],
  [
    'a factory in a class',
    `class C { static make() { let n = 0; return () => ++n; } } const next = C.make(); ${R}() => 'n' + next();`,
  ],
  ['a static block', `let next; class C { static { let n = 0; next = () => ++n; } } ${R}() => 'n' + next();`],
  ['a block of the top level', `let next; { let n = 0; next = () => ++n; } ${R}() => 'n' + next();`],
  [
    'a loop of the top level',
    `const all = []; for (let i = 0; i < 2; i++) all.push(() => ++i); ${R}() => 'n' + all[0]();`,
  ],
  ['a catch clause', `let next; try { throw 0; } catch (n) { next = () => ++n; } ${R}() => 'n' + next();`],
  ['a switch', `let next; switch (1) { case 1: let n = 0; next = () => ++n; } ${R}() => 'n' + next();`],
  [
    'a write, then a throw',
    `let n = 0; ${R}() => { const r = n; try { n++; throw new Error('x'); } catch { return 'n' + r; } };`,
  ],
  ['a write in finally', `let n = 0; ${R}() => { try { return 'n' + n; } finally { n++; } };`],
  [
    'a write in a callback',
    `let n = 0; ${R}(u, q) => { q.replace(/s/, () => { n++; return ''; }); return 'n' + n; };`,
  ],
  ['a write in toString', `let n = 0; ${R}() => \`\${{ toString: () => 'n' + n++ }}\`;`],
  ['a write in valueOf', `let n = 0; const o = { valueOf: () => n++ }; ${R}() => 'n' + (+o);`],
  [
    'a write in Symbol.toPrimitive',
    `let n = 0; const o = { [Symbol.toPrimitive]: () => n++ }; ${R}() => 'n' + o;`,
  ],
  ['a write in toJSON', `let n = 0; ${R}() => JSON.stringify({ toJSON: () => 'n' + n++ });`],
  ['a write in a getter', `let n = 0; const o = { get n() { return n++; } }; ${R}() => 'n' + o.n;`],
  [
    'a write in a setter',
    `let n = 0; const o = { set n(x) { n += x; } }; ${R}() => { o.n = 1; return 'n' + n; };`,
  ],
  [
    'a write in hasInstance',
    `let n = 0; const T = { [Symbol.hasInstance]() { n++; return true; } }; ${R}() => { ({}) instanceof T; return 'n' + n; };`,
  ],
  ['a write in a tag', `let n = 0; const tag = () => 'n' + n++; ${R}() => tag\`x\`;`],
  [
    'a write in an iterator',
    `let n = 0; const it = { *[Symbol.iterator]() { yield n++; } }; ${R}() => 'n' + [...it][0];`,
  ],
  [
    'a write in a comparator',
    `let n = 0; ${R}() => { [2, 1].sort((a, b) => { n++; return a - b; }); return 'n' + n; };`,
  ],
  ['a write in a default argument', `let n = 0; const f = (x = n++) => x; ${R}() => 'n' + f();`],
  ['a write in a computed key', `let n = 0; ${R}() => Object.keys({ ['n' + n++]: 1 })[0];`],
  ['a write in a class field', `let n = 0; class C { x = n++; } ${R}() => 'n' + new C().x;`],
  [
    'a write in a constructor',
    `let n = 0; class C { constructor() { this.x = n++; } } ${R}() => 'n' + new C().x;`,
  ],
  [
    'a write in new.target code',
    `let n = 0; function F() { if (new.target) n++; } ${R}() => { new F(); return 'n' + n; };`,
  ],
  [
    'a write in a promise',
    `let n = 0; ${R}() => { Promise.resolve().then(() => { n++; }); return 'n' + n; };`,
  ],
  ['memoised by too little', `let memo; const f = (u) => (memo ??= u); ${R}(u) => f(u);`],
  [
    'a lazy value of an argument',
    `let v; function get(q) { if (!v) v = q; return v; } ${R}(u, q) => get(q);`,
  ],
  [
    'a class that is replaced',
    `let C = class { static x = 0; }; ${R}() => { const r = 'n' + C.x; C = class { static x = 1; }; return r; };`,
  ],
  [
    'a function that is replaced',
    `let f = () => 'a'; ${R}() => { const r = f(); f = () => 'b'; return r; };`,
  ],
  [
    'both functions',
    `let n = 0; export const rewrite_query = (u, q) => { n++; return null; }; ${R}() => 'n' + n;`,
  ],
];
