/** Rules whose answers depend on earlier calls, by functions that run while the rule is loaded under another name. */
import { R, type Rule } from './rule.ts';

const MAKE = '{ let n = 0; return () => ++n; }';

export const CALLS: readonly Rule[] = [
  [
    'a static field that calls by this',
    `class A { static f = this.mk(); static mk() ${MAKE} } ${R}() => 'n' + A.f();`,
  ],
  [
    'a static block that calls by this',
    `class A { static { this.f = this.mk(); } static mk() ${MAKE} } ${R}() => 'n' + A.f();`,
  ],
  [
    'a static field that calls by super',
    `class B { static go() { return this.mk(); } } class A extends B { static f = super.go(); static mk() ${MAKE} } ${R}() => 'n' + A.f();`,
  ],
  ['an assignment in an assignment', `let a, b; a = b = () => ${MAKE}; const f = a(); ${R}() => 'n' + f();`],
  ['an assignment that is called', `let b; const f = (b = () => ${MAKE})(); ${R}() => 'n' + f();`],
  [
    'an assignment to a property that is called',
    `const o = {}; const f = (o.b = () => ${MAKE})(); ${R}() => 'n' + f();`,
  ],
  ['an assignment as an argument', `let b; const [f] = [0].map((b = () => ${MAKE})); ${R}() => 'n' + f();`],
  ['an assigned object', `let b; const f = (b = { mk() ${MAKE} }).mk(); ${R}() => 'n' + f();`],
  ['an assigned class', `let b; const f = (b = class { static mk() ${MAKE} }).mk(); ${R}() => 'n' + f();`],
  ['an assigned name', `let b; const c = () => ${MAKE}; const f = (b = c)(); ${R}() => 'n' + f();`],
  [
    'exports and module.exports',
    `import mk from './m.cjs'; const f = mk(); ${R}() => 'n' + f();`,
    { 'm.cjs': `exports = module.exports = function () ${MAKE};` },
  ],
  [
    'the stack of an error',
    `const e = new Error('x'); const add = (o) => { o.stack += 'x'; }; ${R}() => { add(e); return 'n' + e.stack.length; };`,
  ],
  [
    'an iterator with a computed method that closes it',
    `const k = ['re', 'turn'].join(''); const s = { n: 0 }; const inc = (o) => { o.n++; }; ${R}(u, q) => { if (q === 'select 2') { const it = { [Symbol.iterator]: () => it, next: () => ({ value: 1, done: false }), [k]() { inc(s); } }; for (const x of it) throw new Error('x'); } return 'n' + s.n; };`,
  ],
];
