/** Rules whose answers depend on earlier calls, by ways to run or reach something that are easily overlooked. */
import { R, type Rule } from './rule.ts';

export const HIDDEN: readonly Rule[] = [
  [
    'hoisted function reassigned',
    `function f(){return 'a'} ${R}() => { const r=f(); f = () => 'b'; return r };`,
  ],
  [
    'generator method',
    `class C { *g() { let n=0; for(;;) yield n++; } } const it = new C().g(); ${R}() => 'n'+it.next().value;`,
  ],
  [
    'lazy getter',
    `const o = { get x() { Object.defineProperty(this, 'x', {value: 'b'}); return 'a'; } }; ${R}() => o.x;`,
  ],
  [
    'call.bind push',
    `const s=[]; const push = (()=>{}).call.bind([].push); ${R}() => { try { push(s,1) } catch {} return 'n'+s.length };`,
  ],
  ['new function expr', `let f; new (function(){ this.n=0; f = () => ++this.n })(); ${R}() => 'n'+f();`],
  ['IIFE default param', `let f; (function(n = 0, next = () => n++) { f = next })(); ${R}() => 'n'+f();`],
  [
    'map value closure',
    `const m = new Map([['f', (() => { let n = 0; return () => ++n })()]]); ${R}() => 'n'+m.get('f')();`,
  ],
  [
    'object literal closure',
    `const o = { f: (() => { const s = [0]; const inc = (x) => x[0]++; return () => inc(s) })() }; ${R}() => 'n'+o.f();`,
  ],
  [
    'set subclass w/ super',
    `class S extends Set { add(x) { return super.add(x) } } const s = new S(); ${R}(u,q) => { const r='n'+s.size; s.add(u+q); return r };`,
  ],
  ['array subclass', `class A extends Array {} const a = new A(); ${R}() => 'n'+a.push(1);`],
  [
    'error subclass field',
    `class E extends Error { n = 0 } const e = new E(); const inc = (o) => ++o.n; ${R}() => 'n'+inc(e);`,
  ],
  [
    'boxed',
    `const b = Object(1); const inc = (o) => { o.n = (o.n ?? 0)+1; return o.n }; ${R}() => 'n'+inc(b);`,
  ],
  [
    'symbol boxed',
    `const b = Object(Symbol()); const inc = (o) => { o.n = (o.n ?? 0)+1; return o.n }; ${R}() => 'n'+inc(b);`,
  ],
  [
    'arguments object',
    `const a = (function(){ return arguments })(1); const inc = (o) => ++o[0]; ${R}() => 'n'+inc(a);`,
  ],
  [
    'accessor global',
    `let n = 0; Object.defineProperty(globalThis, 'zz', { get() { return n++ } }); ${R}() => 'n'+globalThis.zz;`,
  ],
  [
    'Object.defineProperties getter',
    `const o = Object.defineProperties({}, { x: { get: (() => { let n=0; return () => n++ })() } }); ${R}() => 'n'+o.x;`,
  ],
  [
    'function in array held',
    `const fs = [function f() { f.n = (f.n ?? 0) + 1; return f.n }]; ${R}() => 'n'+fs[0]();`,
  ],
  [
    'class expr in object',
    `const o = { C: class { static n = 0; static inc() { return ++this.n } } }; ${R}() => 'n'+o.C.inc();`,
  ],
  [
    'class in a Map',
    `const m = new Map([['C', class { static n = 0; static inc() { return ++this.n } }]]); ${R}() => 'n'+m.get('C').inc();`,
  ],
  ['static getter', `class C { static #n = 0; static get n() { return C.#n++ } } ${R}() => 'n'+C.n;`],
  ['accessor keyword-like', `class C { static _n = 0; static get n() { return C._n++ } } ${R}() => 'n'+C.n;`],
  [
    'private method state',
    `class C { #s = [0]; #inc() { return this.#s[0]++ } f() { return this.#inc() } } const c = new C(); ${R}() => 'n'+c.f();`,
  ],
  [
    'closure via reduce',
    `const f = [1].reduce((acc) => acc, (() => { let n=0; return () => ++n })()); ${R}() => 'n'+f();`,
  ],
  [
    'closure via JSON reviver',
    `let f; JSON.parse('[1]', (k,v) => { let n = 0; f ??= () => ++n; return v }); ${R}() => 'n'+f();`,
  ],
  [
    'closure via replace',
    `let f; 'x'.replace('x', () => { let n = 0; f = () => ++n; return '' }); ${R}() => 'n'+f();`,
  ],
  [
    'closure via getter at load',
    `const o = { get f() { let n = 0; return () => ++n } }; const f = o.f; ${R}() => 'n'+f();`,
  ],
  [
    'closure via toString',
    `let f; const o = { toString() { let n = 0; f = () => ++n; return '' } }; \`\${o}\`; ${R}() => 'n'+f();`,
  ],
  [
    'closure via iterator',
    `let f; for (const x of { *[Symbol.iterator]() { let n = 0; yield () => ++n } }) f = x; ${R}() => 'n'+f();`,
  ],
  [
    'closure via spread',
    `const mk = { [Symbol.iterator]() { let n = 0; let done = false; return { next() { const r = { value: () => ++n, done }; done = true; return r } } } }; const [f] = mk; ${R}() => 'n'+f();`,
  ],
  [
    'closure via tag',
    `const mk = () => { let n = 0; return () => ++n }; const f = mk\`x\`; ${R}() => 'n'+f();`,
  ],
  [
    'closure via new',
    `function Mk() { let n = 0; this.f = () => ++n } const { f } = new Mk(); ${R}() => 'n'+f();`,
  ],
  [
    'closure via class ctor',
    `class Mk { constructor() { let n = 0; this.f = () => ++n } } const { f } = new Mk(); ${R}() => 'n'+f();`,
  ],
  [
    'closure via superclass',
    `class A { constructor() { let n = 0; this.f = () => ++n } } class B extends A {} const { f } = new B(); ${R}() => 'n'+f();`,
  ],
  [
    'closure via instanceof',
    `let f; class T { static [Symbol.hasInstance]() { let n = 0; f = () => ++n; return true } } ({}) instanceof T; ${R}() => 'n'+f();`,
  ],
  [
    'closure via valueOf',
    `const o = { valueOf() { let n = 0; g.f = () => ++n; return 1 } }; const g = {}; +o; ${R}() => 'n'+g.f();`,
  ],
  [
    'closure via Reflect.construct',
    `function Mk() { let n = 0; this.f = () => ++n } const { f } = Reflect.construct(Mk, []); ${R}() => 'n'+f();`,
  ],
  [
    'closure via conditional',
    `const a = () => { let n = 0; return () => ++n }; const b = a; const c = true ? b : null; const f = c(); ${R}() => 'n'+f();`,
  ],
  [
    'closure via array element',
    `const mks = [() => { let n = 0; return () => ++n }]; const f = mks[0](); ${R}() => 'n'+f();`,
  ],
  [
    'closure via nested object',
    `const api = { deep: { mk: () => { let n = 0; return () => ++n } } }; const { deep: { mk } } = api; const f = mk(); ${R}() => 'n'+f();`,
  ],
  [
    'closure via method shorthand this',
    `const api = { mk() { let n = 0; return () => ++n }, go() { return this.mk() } }; const f = api.go(); ${R}() => 'n'+f();`,
  ],
  [
    'closure via prototype assigned',
    `function K() {} K.prototype.mk = function() { let n = 0; return () => ++n }; const f = new K().mk(); ${R}() => 'n'+f();`,
  ],
  [
    'closure via prototype alias',
    `function K() {} const p = K.prototype; p.mk = function() { let n = 0; return () => ++n }; const f = new K().mk(); ${R}() => 'n'+f();`,
  ],
  [
    'closure via Object.assign proto',
    `class K {} Object.assign(K.prototype, { mk() { let n = 0; return () => ++n } }); const f = new K().mk(); ${R}() => 'n'+f();`,
  ],
  [
    'closure via default import',
    `import mk from './m.ts'; const f = mk(); ${R}() => 'n'+f();`,
    { 'm.ts': 'export default () => { let n = 0; return () => ++n };' },
  ],
  [
    'closure via export star',
    `import { mk } from './m.ts'; const f = mk(); ${R}() => 'n'+f();`,
    { 'm.ts': `export * from './k.ts';`, 'k.ts': 'export const mk = () => { let n = 0; return () => ++n };' },
  ],
  [
    'closure via ns object',
    `import * as m from './m.ts'; const pick = (o, k) => o[k]; const f = pick(m, 'mk')(); ${R}() => 'n'+f();`,
    { 'm.ts': 'export const mk = () => { let n = 0; return () => ++n };' },
  ],
  [
    'closure via re-exported ns',
    `import { m } from './k.ts'; const pick = (o, k) => o[k]; const f = pick(m, 'mk')(); ${R}() => 'n'+f();`,
    {
      'k.ts': `export * as m from './m.ts';`,
      'm.ts': 'export const mk = () => { let n = 0; return () => ++n };',
    },
  ],
  [
    'esm required',
    `const m = require('./m.ts'); const f = m.mk(); ${R}() => 'n'+f();`,
    { 'm.ts': 'export const mk = () => { let n = 0; return () => ++n };' },
  ],
  [
    'esm required state',
    `const m = require('./m.ts'); ${R}() => 'n'+m.next();`,
    { 'm.ts': 'let n = 0; export const next = () => ++n;' },
  ],
  [
    'esm required late',
    `${R}() => 'n'+require('./m.ts').next();`,
    { 'm.ts': 'let n = 0; export const next = () => ++n;' },
  ],
  [
    'cjs obj method this',
    `import c from './c.cjs'; ${R}() => 'n'+c.next();`,
    { 'c.cjs': 'module.exports = { n: 0, next: function () { this.n = this.n + 1; return this.n } };' },
  ],
  [
    'cjs hidden by try',
    `import c from './c.cjs'; ${R}() => 'n'+c.next();`,
    {
      'c.cjs':
        'var s = { n: 0 }; function inc(o) { try { o.n++ } catch (e) {} } exports.next = function () { inc(s); return s.n };',
    },
  ],
  [
    'cjs exports getter',
    `import c from './c.cjs'; ${R}() => 'n'+c.next;`,
    { 'c.cjs': 'var n = 0; Object.defineProperty(exports, "next", { get: function () { return n++ } });' },
  ],
  [
    'delete via Reflect on array',
    `const a = [1]; ${R}() => { const r = 'n'+(0 in a); Reflect.deleteProperty(a, 0); return r };`,
  ],
  [
    'Array.from.call',
    `const s = [0]; ${R}() => { try { Array.from.call(function(){ return s }, [s[0]+1]) } catch {} return 'n'+s[0] };`,
  ],
  [
    'regex Symbol.replace on obj',
    `const s = { lastIndex: 5, flags: 'g', global: true, exec() { return null } }; ${R}() => { const r = 'n'+s.lastIndex; try { RegExp.prototype[Symbol.replace].call(s, 'x', '') } catch {} return r };`,
  ],
  [
    'regex Symbol.match on obj',
    `const s = { lastIndex: 5, flags: 'g', global: true, exec() { return null } }; ${R}() => { const r = 'n'+s.lastIndex; try { RegExp.prototype[Symbol.match].call(s, 'x') } catch {} return r };`,
  ],
  [
    'regex Symbol.search on obj',
    `const s = { lastIndex: 5, exec() { throw 1 } }; ${R}() => { const r = 'n'+s.lastIndex; try { RegExp.prototype[Symbol.search].call(s, 'x') } catch {} return r };`,
  ],
  [
    'Array.prototype.concat species',
    `const s = []; class A extends Array { static get [Symbol.species]() { return function () { return s } } } ${R}() => { try { new A().concat([1]) } catch {} return 'n'+s.length };`,
  ],
  [
    'promise subclass',
    `const s = { n: 0 }; class P extends Promise {} ${R}() => { P.resolve().then(() => { s.n++ }); return 'n'+s.n };`,
  ],
  [
    'TypedArray from',
    `const s = new Uint8Array(2); ${R}() => { const r = 'n'+s[0]; try { Uint8Array.from.call(function () { return s }, [s[0]+1]) } catch {} return r };`,
  ],
  [
    'ArrayBuffer detached transfer',
    `const s = new ArrayBuffer(2); ${R}() => { const r = 'n'+s.byteLength; try { (s).transfer() } catch {} return r };`,
  ],
];
