/**
 * More hostile functions: built-ins that run or allocate without end, intrinsics replaced under the prelude, versions that are
 * hostile when they are loaded, and the rights of a sandbox process after an escape from its isolate.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import test from 'node:test';
import { assertOutcome, Rules } from '../support/rules.ts';
import { until, within } from '../support/wait.ts';

const GOOD = "export const routing_rules = (u, q) => (q === 'to b' ? 'b' : null);";
const TO_B = { kind: 'go', query: null, dbkey: 'b' };
/** Covers a call's deadline, killing, and the start of a process on a busy machine. */
const PATIENCE_MS = 10_000;

/** One of the expected outcomes (outcomeOf), and the body of `routing_rules(username, query)`. */
type Row = readonly [expected: string | readonly string[], body: string];

/** Its limits: which of them a function reaches first depends on the machine. */
const LIMITS = ['deadline', 'memory', 'killed'];

const BODIES: Record<string, Row> = {
  'finally after a deadline': ['deadline', 'try { for (;;); } finally { for (;;); }'],
  'catch in a loop': ['deadline', 'for (;;) try { f(); } catch {}'],
  'a generator that does not return': [
    'deadline',
    'const g = (function* () { try { yield 1; } finally { for (;;); } })(); for (const x of g) break; return null;',
  ],
  'an async generator': [
    'deadline',
    'const g = (async function* () { for (;;) yield 1; })(); (async () => { for await (const x of g); })(); return null;',
  ],
  'Math.max of very many': [['threw', 'deadline'], 'return String(Math.max(...new Array(5000000).fill(1)));'],
  'Array.from of any length': ['threw', 'return String(Array.from({ length: 4e9 }).length);'],
  'concat of holes': [LIMITS, 'let a = new Array(4e6); for (;;) a = a.concat(a);'],
  'a typed array sorted': [
    [...LIMITS, 'threw'],
    'return String(new Float64Array(3e7).map((_, i) => -i).sort()[0]);',
  ],
  'a map that grows': [LIMITS, 'const m = new Map(); for (let i = 0; ; i++) m.set(i, String(i).repeat(10));'],
  'a weak map that grows': [
    LIMITS,
    'const m = new WeakMap(), all = []; for (;;) { const k = {}; all.push(k); m.set(k, [k]); }',
  ],
  'a regex of ten million characters': [
    [...LIMITS, 'threw'],
    "return String(new RegExp('a?'.repeat(5000000)).test('b'));",
  ],
  'a regex with back references': [LIMITS, "return String(/(x+x+)+\\1y/.test('x'.repeat(5000)));"],
  'JSON nested ten million deep': [[...LIMITS, 'threw'], "return String(JSON.parse('['.repeat(10000000)));"],
  'JSON that doubles': [[...LIMITS, 'threw'], "let v = 'x'; for (;;) v = JSON.stringify([v, v]);"],
  normalization: [
    [...LIMITS, 'threw'],
    "let s = '\\u1e9b\\u0323'.repeat(4e6); for (;;) s.normalize('NFKD');",
  ],
  decoding: [[...LIMITS, 'unknown_dbkey'], "return decodeURIComponent('%41'.repeat(5e6)).slice(0, 1);"],
  'String.raw': [[...LIMITS, 'threw'], 'return String.raw({ raw: { length: 2 ** 40 } });'],
  'an aggregate of errors': [
    [...LIMITS, 'threw'],
    "throw new AggregateError(Array.from({ length: 1e6 }, () => new Error('x')), 'many');",
  ],
  'causes in a circle': ['threw', "const e = new Error('x'); e.cause = e; throw e;"],
  'toPrimitive that does not return': ['deadline', 'return `${{ [Symbol.toPrimitive]() { for (;;); } }}`;'],
  'console with hostile values': ['deadline', 'console.log({ toJSON() { for (;;); } }); return null;'],
  'console with a proxy': [
    'deadline',
    'console.log(new Proxy({}, { ownKeys() { for (;;); } })); return null;',
  ],
  'a stack trace that was captured': [
    'threw',
    'const o = {}; Error.captureStackTrace(o); Object.defineProperty(o, "message", { get() { throw o; } }); throw o;',
  ],
  'overflow in an error': ['threw', 'const f = () => { throw { get message() { return f(); } }; }; f();'],
  'overflow just before reject': [
    'reject 42501',
    "const f = () => { try { f(); } finally { reject('deep'); } }; f();",
  ],
  'many microtasks at once': [
    LIMITS,
    'for (let i = 0; i < 3e6; i++) Promise.resolve().then(() => {}); return null;',
  ],
  'a thrown symbol': ['threw', 'throw Symbol("x");'],
  'a thrown function': ['threw', 'throw () => {};'],
  'a thrown BigInt': [['threw', 'deadline'], 'throw BigInt(2) ** BigInt(1000000);'],
};

/** Statements that try to replace the prelude's built-ins. The function routes to b nevertheless. */
const REPLACEMENTS: Record<string, string> = {
  'Reflect.apply': 'Reflect.apply = () => "evil"',
  'Array[Symbol.species]': 'Object.defineProperty(Array, Symbol.species, { get() { return Object; } })',
  'an index of Array.prototype':
    'Object.defineProperty(Array.prototype, "0", { set() { throw 1; }, configurable: true })',
  'the iterator of arrays': 'Array.prototype[Symbol.iterator] = function* () { yield "evil"; }',
  'next() of array iterators': 'Object.getPrototypeOf([][Symbol.iterator]()).next = () => ({ done: true })',
  join: 'Array.prototype.join = () => "sevil\\0sevil"',
  'String.prototype[Symbol.iterator]': 'String.prototype[Symbol.iterator] = function* () {}',
  'RegExp.prototype.test': 'RegExp.prototype.test = () => true',
  'RegExp.prototype.exec': 'RegExp.prototype.exec = () => { for (;;); }',
  'Date.now': 'Date.now = () => NaN',
  'toJSON on Object.prototype': 'Object.prototype.toJSON = () => "evil"',
  'then on Object.prototype': 'Object.prototype.then = (f) => { for (;;); }',
  'get on Object.prototype': 'Object.prototype.get = () => { for (;;); }',
  'Promise.prototype.then': 'Promise.prototype.then = () => { for (;;); }',
  'Object.freeze': 'Object.freeze = (o) => o',
  'the prototype of globalThis': 'Object.setPrototypeOf(globalThis, { get reject() { for (;;); } })',
  'the prototype of arrays': 'Object.setPrototypeOf(Array.prototype, { push() {} })',
  reject: 'globalThis.reject = () => null',
  console: 'globalThis.console = null',
  String: 'globalThis.String = () => "evil"',
  undefined: 'globalThis.undefined = 5',
  'the stack trace limit': 'Error.stackTraceLimit = 1e9',
  'the bundle': 'globalThis.__pgswitchyard = { routing_rules: () => "evil" }',
  'toString of objects': 'Object.prototype.toString = () => "evil"',
  'a setter that was inherited':
    'Object.getOwnPropertyDescriptor(Object.prototype, "toString").set.call(Array.prototype, 1)',
};

/** Makes use of built-ins that may have been replaced. */
const USES = "[].concat(1); 'a,b'.split(',');";
const ROWS: Record<string, Row> = {
  ...BODIES,
  ...Object.fromEntries(
    Object.entries(REPLACEMENTS).map(([name, replacement]): [string, Row] => [
      name,
      ['go b', `try { ${replacement}; } catch {} ${USES} return 'b';`],
    ]),
  ),
};
const names = Object.keys(ROWS);

test(
  'each hostile built-in ends as its row says, and replaced intrinsics change nothing',
  { timeout: 300_000 },
  async (t) => {
    const files: Record<string, string> = { 'good/routing_rules.js': GOOD };
    names.forEach((name, i) => {
      const [, body] = ROWS[name]!;
      files[`t${i}/routing_rules.js`] =
        `export function routing_rules(username, query) { if (query === 'SELECT 1') return null; ${body} }`;
    });
    const rules = await Rules.start(t, {
      files,
      databases: ['good', 'b', ...names.map((_, i) => `t${i}`)],
    });
    const before = process.memoryUsage().rss;
    for (const [i, name] of names.entries()) {
      await t.test(name, async () => {
        const both = Promise.all([rules.ask('attack', `t${i}`), rules.ask('to b', 'good')]);
        const [decision, other] = await within(name, both, PATIENCE_MS);
        assert.deepEqual(other, TO_B, 'another set is answered');
        assert.ok(JSON.stringify(decision).length < 5_000, 'nothing large comes out');
        assertOutcome(decision, ROWS[name]![0]);
        if (name in REPLACEMENTS)
          assert.deepEqual(await rules.ask('again', `t${i}`), TO_B, 'the next call is answered as well');
      });
    }
    await until('the memory to come back', () => {
      global.gc?.();
      return process.memoryUsage().rss < before + 100_000_000;
    });
  },
);

const LOADS: Record<string, string> = {
  'an endless top level': 'for (;;);',
  'a top level that is stuck in a built-in': "for (;;) BigInt('9'.repeat(15000000));",
  'a top level that eats memory': 'const all = []; for (;;) all.push(new Array(1000).fill(all.length));',
  'a top level whose error does not describe itself': 'throw { get message() { for (;;); } };',
  'a bundle that is a proxy': 'export const routing_rules = new Proxy(() => "b", { apply() { for (;;); } });',
};

test(
  'versions that are hostile while they are loaded are refused, and the last good one serves',
  { timeout: 300_000 },
  async (t) => {
    const rules = await Rules.start(t, {
      files: { 'good/routing_rules.js': GOOD, 'a/routing_rules.js': GOOD },
      databases: ['good', 'a', 'b'],
    });
    for (const [name, top] of Object.entries(LOADS)) {
      await t.test(name, async () => {
        rules.lines.length = 0;
        await rules.write(
          'a/routing_rules.js',
          `${GOOD.replace('routing_rules', name.includes('proxy') ? 'unused' : 'routing_rules')}\n${top}`,
        );
        let slowest = 0;
        await until(
          'the refusal',
          async () => {
            const start = performance.now();
            assert.deepEqual(await rules.ask('to b', 'good'), TO_B);
            assert.deepEqual(await rules.ask('to b', 'a'), TO_B, 'the last good version serves');
            slowest = Math.max(slowest, performance.now() - start);
            return rules.lines.some((line) => line.includes('not loaded'));
          },
          20_000,
        );
        assert.ok(slowest < 1_500, `calls waited ${slowest} ms for somebody's loading`);
      });
    }
  },
);

test('a sandbox process has no rights, no environment and no files', async (t) => {
  if (process.platform !== 'linux') return t.skip('reads /proc');
  const rules = await Rules.start(t, { files: { 'a/routing_rules.js': GOOD }, databases: ['a', 'b'] });
  assert.deepEqual(await rules.ask('to b', 'a'), TO_B);
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'latin1')
    .trim()
    .split(' ');
  const hosts = children.filter((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('--jitless'),
  );
  assert.ok(hosts.length > 0);
  for (const pid of hosts) {
    const read = (file: string): string => readFileSync(`/proc/${pid}/${file}`, 'latin1');
    // The warm one loads isolated-vm before it gives up its rights.
    await until('it to be nobody', () => !/^Uid:\t0\t/m.test(read('status')));
    assert.match(read('status'), /^CapEff:\t0+$/m);
    assert.match(read('limits'), /Max core file size +0 /);
    assert.match(read('limits'), /Max data size +4\d{8} /);
    if (process.getuid?.() === 0) continue; // the rest then runs as another user
    assert.equal(read('environ'), '');
    for (const fd of readdirSync(`/proc/${pid}/fd`))
      assert.doesNotMatch(readlinkSync(`/proc/${pid}/fd/${fd}`), /\.(?:ini|txt|log)$/);
  }
});
