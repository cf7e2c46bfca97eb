/** Generated rules that keep state: each combines a thing that is kept, its hiding place, the way to it, and a change. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { bundleOf, trialOf } from './trial.ts';

/** An expression that makes a thing, one that changes `o`, and one that shows it. */
const THINGS: readonly (readonly [make: string, change: string, show: string])[] = [
  ['{ n: 0 }', 'o.n++', 'o.n'],
  ['{ a: { n: 0 } }', 'o.a.n++', 'o.a.n'],
  ['{}', 'o[q] = 1', 'Object.keys(o).length'],
  ['{ x: 1 }', 'delete o.x', "'x' in o"],
  ['[]', 'o.push(1)', 'o.length'],
  ['[]', 'o[o.length] = 1', 'o.length'],
  ['[3, 2, 1]', 'o.length && o.splice(0, 1)', 'o.length'],
  ['[0]', 'Reflect.set(o, 0, o[0] + 1)', 'o[0]'],
  ['{ n: 0 }', 'Object.assign(o, { n: o.n + 1 })', 'o.n'],
  ['{ n: 0 }', "Object.defineProperty(o, 'n', { value: o.n + 1 })", 'o.n'],
  ['{ n: 0 }', '({ n: o.n } = { n: o.n + 1 })', 'o.n'],
  ['{ n: 0 }', 'for (o.n of [o.n + 1]) ;', 'o.n'],
  ['new Map()', 'o.set(u + q, 1)', 'o.size'],
  ['new Map([[1, { n: 0 }]])', 'o.get(1).n++', 'o.get(1).n'],
  ['new Set()', 'o.add(u + q)', 'o.size'],
  ['new WeakMap()', 'o.set(routing_rules, (o.get(routing_rules) ?? 0) + 1)', 'o.get(routing_rules)'],
  ['new Uint8Array(1)', 'o[0]++', 'o[0]'],
  ['new Date(0)', 'o.setTime(o.getTime() + 1)', 'o.getTime()'],
  ['/s/g', 'o.exec(q)', 'o.lastIndex'],
  ['[1, 2, 3, 4][Symbol.iterator]()', 'x = o.next().value', 'x'],
  ['(() => {})', 'o.n = (o.n ?? 0) + 1', 'o.n'],
  ['new (class { n = 0; inc() { this.n++; } })()', 'o.inc()', 'o.n'],
  ['new (class { #n = 0; inc() { this.#n++; } get n() { return this.#n; } })()', 'o.inc()', 'o.n'],
  ['((n) => ({ inc: () => n++, get n() { return n; } }))(0)', 'o.inc()', 'o.n'],
];

/** Where it is kept, as a declaration of `get`, which gives it. */
const PLACES: readonly ((make: string) => string)[] = [
  (make) => `const kept = ${make}; const get = () => kept;`,
  (make) => `const box = { kept: ${make} }; const get = () => box.kept;`,
  (make) => `const get = ((kept) => () => kept)(${make});`,
  (make) => `function hide(kept) { return { get: () => kept }; } const { get } = hide(${make});`,
  (make) => `const get = (() => { const kept = ${make}; return () => kept; })();`,
  (make) => `const get = (() => { let f; for (const kept of [${make}]) f = () => kept; return f; })();`,
  (make) => `const get = ((x) => x).bind(null, ${make});`,
  (make) => `const get = (function () { return this; }).bind(${make});`,
  (make) => `class K { static kept = ${make}; static get() { return K.kept; } } const get = () => K.get();`,
  (make) =>
    `class K { constructor() { this.kept = ${make}; this.get = () => this.kept; } } const { get } = new K();`,
  (make) => `class K { kept = ${make}; get = () => this.kept; } const { get } = new K();`,
  (make) =>
    `class K { #kept = ${make}; get() { return this.#kept; } } const k = new K(); const get = () => k.get();`,
  (make) => `const table = new Map([['k', ${make}]]); const get = () => table.get('k');`,
  (make) => `const table = [[${make}]]; const get = () => table[0][0];`,
  (make) => `function get() { return get.kept; } get.kept = ${make};`,
  (make) => `const get = function () { return arguments.callee; } && ((...all) => () => all[0])(${make});`,
  (make) => `let get; try { throw ${make}; } catch (kept) { get = () => kept; }`,
  (make) => `globalThis.kept = ${make}; const get = () => globalThis.kept;`,
  (make) => `const proto = Object.create({ kept: ${make} }); const get = () => proto.kept;`,
  (make) => `const get = ({ __proto__: { kept: ${make} }, get() { return super.kept; } }).get;`,
];

/** How it is changed: with errors seen or not, directly or through a function. */
const WAYS: readonly ((change: string) => string)[] = [
  (change) => `const o = get(); ${change};`,
  (change) => `const o = get(); try { ${change}; } catch {}`,
  (change) => `const o = get(); for (;;) { try { ${change}; } finally { break; } }`,
  (change) => `((o) => { ${change}; })(get());`,
  (change) => `[get()].forEach((o) => { try { ${change}; } catch {} });`,
  (change) => `const o = get(); \`\${{ toString: () => { try { ${change}; } catch {} return ''; } }}\`;`,
  (change) => `const o = get(); const f = () => { ${change}; }; try { Reflect.apply(f, null, []); } catch {}`,
];

const rule = fc
  .tuple(fc.constantFrom(...THINGS), fc.constantFrom(...PLACES), fc.constantFrom(...WAYS), fc.boolean())
  .map(([[make, change, show], place, way, isModule]) => {
    const body = `let x = 0; { ${way(change)} } { const o = get(); return 'n' + (${show}); }`;
    return isModule
      ? {
          text: `import { get } from './kept.cjs'; export const routing_rules = (u, q) => { ${body} };`,
          files: { 'kept.cjs': `const routing_rules = {}; ${place(make)}\nexports.get = get;` },
        }
      : { text: `${place(make)}\nexport const routing_rules = (u, q) => { ${body} };`, files: {} };
  });

test('no generated rule is answered from memory otherwise than it would answer', async () => {
  await fc.assert(
    fc.asyncProperty(rule, async ({ text, files }) => {
      const { asking, remembering } = trialOf(await bundleOf(['generated', text, files]));
      assert.deepEqual(remembering, asking, text);
    }),
    { numRuns: Number(process.env['PURITY_RUNS'] ?? 40) },
  );
});
