/** Rules that keep nothing, but whose answers depend on how much stack or memory a call happens to have. */
import { R, type Rule } from './rule.ts';

export const LACKING: readonly Rule[] = [
  [
    'the depth that recursion reaches',
    `${R}() => { const go = (n) => { try { return go(n + 1); } catch { return n; } }; return 'n' + go(0); };`,
  ],
  [
    'the depth, by an error that is caught above',
    `${R}() => { let n = 0; const go = () => { n++; go(); }; try { go(); } catch {} return 'n' + n; };`,
  ],
  [
    'the depth, by finally',
    `${R}() => { let n = 0; const go = () => { n++; go(); }; const f = () => { try { go(); } finally { return n; } }; return 'n' + f(); };`,
  ],
  [
    'the depth, by an error of catch',
    `${R}() => { let n = 0; const go = () => { n++; go(); }; const f = () => { try { throw 0; } catch { go(); } finally { return n; } }; return 'n' + f(); };`,
  ],
  [
    'the depth, by an iterator that closes',
    `${R}() => { let n = 0; const it = { [Symbol.iterator]: () => it, next: () => ({ value: 1 }), return() { n++; return it.return(); } }; try { for (const x of it) throw 0; } catch {} return 'n' + n; };`,
  ],
  [
    'the depth, by the name of an error',
    `${R}() => { let n = 0; class E extends Error { get name() { n++; return this.name; } } new E().stack; return 'n' + n; };`,
  ],
  [
    'a caught pattern of an error',
    `${R}() => { let n = 0; const go = () => { n++; go(); }; try { go(); } catch ({ message }) { return message + n; } };`,
  ],
  ['a buffer', `${R}() => { try { new ArrayBuffer(2 ** 33); return 'a'; } catch { return 'b'; } };`],
  ['a typed array', `${R}() => { try { new Uint8Array(2 ** 32); return 'a'; } catch { return 'b'; } };`],
  [
    'the depth while it is loaded',
    `const go = (n) => { try { return go(n + 1); } catch { return n; } }; const depth = go(0); ${R}() => 'n' + depth;`,
  ],
];
