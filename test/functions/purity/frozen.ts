/** Rules that keep no state, but would answer otherwise if what outlives their calls were frozen and nobody noticed. */
import { R, type Rule } from './rule.ts';

export const FROZEN: readonly Rule[] = [
  [
    'a property of a prototype, set on an object',
    `const p = { n: 0 }; ${R}() => { const o = Object.create(p); try { o.n = 1; } catch {} return 'n' + o.n; };`,
  ],
  [
    'a property of a prototype in a literal',
    `const p = { n: 0 }; ${R}() => { const o = { __proto__: p }; try { o.n = 1; } catch {} return 'n' + o.n; };`,
  ],
  [
    'a property of a prototype that is set later',
    `const p = { n: 0 }; ${R}() => { const o = JSON.parse('{}'); Object.setPrototypeOf(o, p); try { o.n = 1; } catch {} return 'n' + o.n; };`,
  ],
  [
    'a property of a prototype, by Reflect.set',
    `const p = { n: 0 }; ${R}() => { const o = Object.create(p); Reflect.set(o, 'n', 1); return 'n' + o.n; };`,
  ],
  [
    'a method that a constructor binds',
    `class P { constructor() { this.parse = this.parse.bind(this); } parse() { return 'ok'; } } ${R}() => { try { return new P().parse(); } catch { return 'no'; } };`,
  ],
  [
    'a property that a prototype was given',
    `class P { constructor() { try { this.x = 'b'; } catch {} } } P.prototype.x = 'a'; ${R}() => new P().x;`,
  ],
  [
    'a Proxy that answers for an object',
    `const s = { n: 0 }; ${R}() => { try { return 'n' + new Proxy(s, { get: () => 5 }).n; } catch { return 'no'; } };`,
  ],
  [
    'a Proxy that hides a property',
    `const s = { n: 0 }; ${R}() => { try { return 'n' + ('n' in Proxy.revocable(s, { has: () => false }).proxy); } catch { return 'no'; } };`,
  ],
];
