/**
 * Hostile user functions, each in a database of its own: each call ends with the outcome that its row states, another
 * database's calls are answered meanwhile, and the proxy's memory returns to its earlier size.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertOutcome, Rules } from '../support/rules.ts';
import { until, within } from '../support/wait.ts';

/** One of the expected outcomes (outcomeOf), and the body of `routing_rules(username, query, in_transaction, ctx)`. */
type Row = readonly [expected: string | readonly string[], body: string];

/** Its limits: which of them a function reaches first depends on the machine. */
const LIMITS = ['deadline', 'memory', 'killed'];

const ATTACKS: Record<string, Row> = {
  'an endless loop': ['deadline', 'for (;;);'],
  'deep recursion': ['threw', 'const f = () => f() + 1; return f();'],
  'endless microtasks': ['deadline', 'const f = () => { Promise.resolve().then(f); }; f(); return null;'],
  'an endless generator': [
    'deadline',
    'const g = function* () { for (;;) yield 1; }; for (const x of g()); return null;',
  ],
  'a memory hog': [LIMITS, 'const all = []; for (;;) all.push(new Array(1000).fill(String(all.length)));'],
  'a string that doubles': [[...LIMITS, 'threw'], "let s = 'x'; for (;;) s += s; "],
  'array buffers': [[...LIMITS, 'threw'], 'const all = []; for (;;) all.push(new ArrayBuffer(1e8));'],
  'typed arrays': [[...LIMITS, 'threw'], 'const all = []; for (;;) all.push(new Float64Array(1e7).fill(1));'],
  'a huge array filled': ['threw', 'return new Array(2e9).fill(0).join();'],
  'a huge sparse array searched': [
    'threw',
    'const a = []; a[4e9] = 1; a.length = 4294967295; return String(a.indexOf(2));',
  ],
  'an array-like of any length': [
    'threw',
    'return String(Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1));',
  ],
  'joining holes': ['threw', 'return new Array(1e8).join("x");'],
  'sorting holes': ['threw', 'return String(new Array(2 ** 32 - 1).sort().length);'],
  'a huge BigInt': [LIMITS, "return BigInt('9'.repeat(8000000)).toString().slice(0, 5);"],
  'powers of a BigInt': [
    LIMITS,
    'let n = BigInt(3); for (let i = 0; i < 40; i++) n = n * n; return String(n).slice(0, 3);',
  ],
  'a catastrophic regex': ['stay', "return /^(a+)+$/.test('a'.repeat(50) + 'b') ? 'b' : null;"],
  'a catastrophic regex with a back reference': [
    'deadline',
    "return /^(a+)+\\1$/.test('a'.repeat(50) + 'b') ? 'b' : null;",
  ],
  'a 200 MB result': ['threw', "return 'x'.repeat(10000000).concat('y'.repeat(10000000)).repeat(10);"],
  'a 15 MB result': ['too_large', "return 'x'.repeat(15000000);"],
  'a 200 MB error message': [
    [...LIMITS, 'threw'],
    "const s = 'x'.repeat(10000000); throw new Error(s + s + s + s + s + s + s + s + s + s + s + s + s);",
  ],
  'a message getter that never returns': ['deadline', 'throw { get message() { for (;;); } };'],
  'a stack getter that never returns': [
    'deadline',
    "const e = new Error('x'); Object.defineProperty(e, 'stack', { get() { for (;;); } }); throw e;",
  ],
  'a toString that never returns': ['bad_result', 'return { toString() { for (;;); } };'],
  'a thrown proxy': [
    'deadline',
    'throw new Proxy({}, { get() { for (;;); }, getPrototypeOf() { for (;;); } });',
  ],
  'a returned proxy': [
    'bad_result',
    'return new Proxy(function () {}, { get() { for (;;); }, apply() { for (;;); } });',
  ],
  'a revoked proxy': ['threw', 'const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); throw proxy;'],
  'a String object': ['bad_result', "return new String('b');"],
  prepareStackTrace: ['threw', "Error.prepareStackTrace = () => { for (;;); }; throw new Error('x');"],
  'a thenable': ['bad_result', 'return { then(f) { for (;;); } };'],
  'splitting as the prelude does': ['threw', "String.prototype.split = () => { for (;;); }; return 'b';"],
  'pushing as the prelude does': ['threw', "Array.prototype.push = function () { for (;;); }; return 'b';"],
  'JSON as the prelude does': ['threw', 'JSON.stringify = () => { for (;;); }; reject("x");'],
  'a setter on Object.prototype': [
    'threw',
    "Object.defineProperty(Object.prototype, 'database', { set() { for (;;); } }); return 'b';",
  ],
  'another slice': ['threw', "String.prototype.slice = () => 'evil'; return 'b';"],
  'a NUL in the result': ['bad_result', "return 'b\\0sfor-somebody-else';"],
  'a NUL in an error': ['threw', "throw new Error('a\\0b\\0c');"],
  'a NUL in a rejection': ['reject 42501', "reject('a\\0b', { hint: 'c\\0d' });"],
  "the prelude's separator in an error": ['threw', "throw new Error('a\\u0001b\\u0001c');"],
  'a rejection with getters': ['deadline', "reject('x', { get code() { for (;;); } });"],
  'a rejection that is caught': ['go b', "try { reject('x'); } catch { return 'b'; }"],
  'changing the context': ['threw', "'use strict'; ctx.database = 'x'; return 'b';"],
  'changing an intrinsic': ['threw', "'use strict'; Array.prototype.mine = 1; return 'b';"],
  'console floods': [
    ['stay', 'deadline'],
    "for (let i = 0; i < 100000; i++) console.log('x'.repeat(10000)); return null;",
  ],
};

/** Ways to code made from strings, to the process around the isolate, and to globals that were removed. */
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
  Function: 'return new Function(\'return "b"\')();',
  'Function without new': 'return Function(\'return "b"\')();',
  'globals that are gone':
    "for (const name of ['process', 'require', 'module', 'fetch', 'setTimeout', 'WebAssembly', 'SharedArrayBuffer', 'Atomics', 'eval', 'Intl', 'WeakRef']) if (name in globalThis) return 'b'; throw new Error('nothing there');",
};

/** An escape throws. The bundler refuses import() when the version is loaded. */
const ROWS: Record<string, Row> = {
  ...ATTACKS,
  ...Object.fromEntries(
    Object.entries(ESCAPES).map(([name, body]): [string, Row] => [name, ['threw', body]]),
  ),
  'import()': ['no_version', "return import('node:fs') ? 'b' : null;"],
};
const names = Object.keys(ROWS);
const folderOf = (index: number): string => `t${index}`;

function rule(body: string): string {
  // The trial call is answered; otherwise the version would never serve.
  return `export function routing_rules(username, query, in_transaction, ctx) { if (query === 'SELECT 1') return null; ${body} }`;
}

test(
  'each hostile function ends as its row says, and others are answered',
  { timeout: 300_000 },
  async (t) => {
    const files: Record<string, string> = {
      'good/routing_rules.js': "export const routing_rules = (u, q) => (q === 'to b' ? 'b' : null);",
    };
    names.forEach((name, i) => {
      files[`${folderOf(i)}/routing_rules.js`] = rule(ROWS[name]![1]);
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
        );
        assert.deepEqual(other, { kind: 'go', query: null, dbkey: 'b' }, 'another set is answered');
        assertOutcome(decision, ROWS[name]![0]);
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
  },
);

test('inline, an endless loop is ended at its deadline', async (t) => {
  const loop = rule('for (;;);');
  const rules = await Rules.start(t, {
    files: { 'a/routing_rules.js': loop, 'b/routing_rules.js': "export const routing_rules = () => 'b';" },
    settings: { user_function_isolation: 'inline' },
  });
  const [attack, other] = await Promise.all([rules.ask('attack', 'a'), rules.ask('x', 'b')]);
  assertOutcome(attack, 'deadline');
  assert.deepEqual(other, { kind: 'go', query: null, dbkey: 'b' });
});
