/**
 * Hostile user functions, each in a database of its own: whatever they do, their call ends as a failure or as a plain
 * answer, another database's calls go on meanwhile, and the proxy's memory returns to where it was.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rules } from '../support/rules.ts';
import { until, within } from '../support/wait.ts';

/** Name of the attack, and the body of `routing_rules(username, query, in_transaction, ctx)`. */
const ATTACKS: Record<string, string> = {
  'an endless loop': 'for (;;);',
  'deep recursion': 'const f = () => f() + 1; return f();',
  'endless microtasks': 'const f = () => { Promise.resolve().then(f); }; f(); return null;',
  'an endless generator': 'const g = function* () { for (;;) yield 1; }; for (const x of g()); return null;',
  'a memory hog': 'const all = []; for (;;) all.push(new Array(1000).fill(String(all.length)));',
  'a string that doubles': "let s = 'x'; for (;;) s += s; ",
  'array buffers': 'const all = []; for (;;) all.push(new ArrayBuffer(1e8));',
  'typed arrays': 'const all = []; for (;;) all.push(new Float64Array(1e7).fill(1));',
  'a huge array filled': 'return new Array(2e9).fill(0).join();',
  'a huge sparse array searched':
    'const a = []; a[4e9] = 1; a.length = 4294967295; return String(a.indexOf(2));',
  'an array-like of any length': 'return String(Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1));',
  'joining holes': 'return new Array(1e8).join("x");',
  'sorting holes': 'return String(new Array(2 ** 32 - 1).sort().length);',
  'a huge BigInt': "return BigInt('9'.repeat(8000000)).toString().slice(0, 5);",
  'powers of a BigInt':
    'let n = BigInt(3); for (let i = 0; i < 40; i++) n = n * n; return String(n).slice(0, 3);',
  'a catastrophic regex': "return /^(a+)+$/.test('a'.repeat(50) + 'b') ? 'b' : null;",
  'a catastrophic regex with a back reference':
    "return /^(a+)+\\\\1$/.test('a'.repeat(50) + 'b') ? 'b' : null;",
  'a 200 MB result': "return 'x'.repeat(10000000).concat('y'.repeat(10000000)).repeat(10);",
  'a 15 MB result': "return 'x'.repeat(15000000);",
  'a 200 MB error message':
    "const s = 'x'.repeat(10000000); throw new Error(s + s + s + s + s + s + s + s + s + s + s + s + s);",
  'a message getter that never returns': 'throw { get message() { for (;;); } };',
  'a stack getter that never returns':
    "const e = new Error('x'); Object.defineProperty(e, 'stack', { get() { for (;;); } }); throw e;",
  'a toString that never returns': 'return { toString() { for (;;); } };',
  'a thrown proxy': 'throw new Proxy({}, { get() { for (;;); }, getPrototypeOf() { for (;;); } });',
  'a returned proxy': 'return new Proxy(function () {}, { get() { for (;;); }, apply() { for (;;); } });',
  'a revoked proxy': 'const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); throw proxy;',
  'a String object': "return new String('b');",
  prepareStackTrace: "Error.prepareStackTrace = () => { for (;;); }; throw new Error('x');",
  'a thenable': 'return { then(f) { for (;;); } };',
  'splitting as the prelude does': "String.prototype.split = () => { for (;;); }; return 'b';",
  'pushing as the prelude does': "Array.prototype.push = function () { for (;;); }; return 'b';",
  'JSON as the prelude does': 'JSON.stringify = () => { for (;;); }; reject("x");',
  'a setter on Object.prototype':
    "Object.defineProperty(Object.prototype, 'database', { set() { for (;;); } }); return 'b';",
  'another slice': "String.prototype.slice = () => 'evil'; return 'b';",
  'a NUL in the result': "return 'b\\\\0sfor-somebody-else';",
  'a NUL in an error': "throw new Error('a\\\\0b\\\\0c');",
  'a NUL in a rejection': "reject('a\\\\0b', { hint: 'c\\\\0d' });",
  "the prelude's separator in an error": "throw new Error('a\\\\u0001b\\\\u0001c');",
  'a rejection with getters': "reject('x', { get code() { for (;;); } });",
  'a rejection that is caught': "try { reject('x'); } catch { return 'b'; }",
  'changing the context': "'use strict'; ctx.database = 'x'; return 'b';",
  'changing an intrinsic': "'use strict'; Array.prototype.mine = 1; return 'b';",
  'console floods': "for (let i = 0; i < 100000; i++) console.log('x'.repeat(10000)); return null;",
};

/** Ways to code, to the host or to what was taken away. Each must throw or find nothing. */
const ESCAPES: Record<string, string> = {
  'Function by a function': "return (() => {}).constructor('return 1')() ? 'b' : null;",
  'Function by an async function': "return (async () => {}).constructor('return 1') ? 'b' : null;",
  'Function by a generator': "return (function* () {}).constructor('yield 1') ? 'b' : null;",
  'Function by reject': "return reject.constructor('return 1')() ? 'b' : null;",
  'Function by console': "return console.log.constructor('return process')() ? 'b' : null;",
  'Function by the context': "return ctx.constructor.constructor('return process')() ? 'b' : null;",
  'Function by the query': "return query.constructor.constructor('return process')() ? 'b' : null;",
  'Function by an error':
    "try { null.x; } catch (e) { return e.constructor.constructor('return process')() ? 'b' : null; }",
  'Function by the rejection':
    "try { reject('x'); } catch (e) { return e.constructor.constructor('return 1')() ? 'b' : null; }",
  'Function by a stack overflow':
    "const f = () => f(); try { f(); } catch (e) { return e.constructor.constructor('return 1')() ? 'b' : null; }",
  'a buffer that can be resized': "return new ArrayBuffer(8, { maxByteLength: 1e9 }) ? 'b' : null;",
  'a buffer that can be resized, by another':
    "return new new Uint8Array(8).buffer.constructor(8, { maxByteLength: 1e9 }) ? 'b' : null;",
  'a buffer that can be resized, by a class':
    "class Mine extends ArrayBuffer {} return new Mine(8, { maxByteLength: 1e9 }) ? 'b' : null;",
  'globals that are gone':
    "for (const name of ['process', 'require', 'module', 'fetch', 'setTimeout', 'WebAssembly', 'SharedArrayBuffer', 'Atomics', 'eval', 'Function', 'Intl', 'WeakRef']) if (name in globalThis) return 'b'; throw new Error('nothing there');",
  'import()': "return import('node:fs') ? 'b' : null;",
};

const names = [...Object.keys(ATTACKS), ...Object.keys(ESCAPES)];
const folderOf = (index: number): string => `t${index}`;

function rule(body: string): string {
  // a trial call must be answered, or the version would never serve
  return `export function routing_rules(username, query, in_transaction, ctx) { if (query === 'SELECT 1') return null; ${body.replaceAll('\\\\', '\\')} }`;
}

test('hostile functions fail, and nobody else notices', { timeout: 120_000 }, async (t) => {
  const files: Record<string, string> = {
    'good/routing_rules.js': "export const routing_rules = (u, q) => (q === 'to b' ? 'b' : null);",
  };
  names.forEach((name, i) => {
    files[`${folderOf(i)}/routing_rules.js`] = rule(ATTACKS[name] ?? ESCAPES[name]!);
  });
  const rules = await Rules.start(t, {
    files,
    databases: ['good', 'b', ...names.map((_name, i) => folderOf(i))],
  });
  const memoryBefore = process.memoryUsage().rss;

  for (const [i, name] of names.entries()) {
    await t.test(name, async () => {
      const [decision, other] = await within(
        name,
        Promise.all([rules.ask('attack', folderOf(i)), rules.ask('to b', 'good')]),
        10_000,
      );
      assert.deepEqual(other, { kind: 'go', query: null, dbkey: 'b' }, 'another set is answered');
      if (name in ESCAPES) {
        assert.equal(decision.kind, 'reject', `an escape was not stopped: ${JSON.stringify(decision)}`);
      } else if (decision.kind === 'go') {
        assert.ok(decision.dbkey === null || decision.dbkey === 'b');
      }
      const serialized = JSON.stringify(decision);
      assert.ok(serialized.length < 5_000, 'nothing large comes out');
    });
  }
  await until('the memory to come back', () => {
    global.gc?.();
    return process.memoryUsage().rss < memoryBefore + 100_000_000;
  });
  const longest = rules.lines.toSorted((a, b) => b.length - a.length)[0]!;
  assert.ok(longest.length < 20_000, `a line of the log is large: ${longest.slice(0, 100)}`);
});

test('inline, the limits of an isolate stop what runs JavaScript', async (t) => {
  const loop = rule('for (;;);');
  const rules = await Rules.start(t, {
    files: { 'a/routing_rules.js': loop, 'b/routing_rules.js': "export const routing_rules = () => 'b';" },
    settings: { user_function_isolation: 'inline' },
  });
  const [attack, other] = await Promise.all([rules.ask('attack', 'a'), rules.ask('x', 'b')]);
  assert.equal(attack.kind, 'reject');
  assert.deepEqual(other, { kind: 'go', query: null, dbkey: 'b' });
});
