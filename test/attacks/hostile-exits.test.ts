/**
 * An exception that leaves an isolate is copied outside, after the deadline and by reading its properties. So no object
 * that a rule has made may leave an isolate, from any place where something outside reads what a rule could have replaced.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Rules } from '../support/rules.ts';
import { until, within } from '../support/wait.ts';

/** An object whose getters never return. */
const GETTERS =
  'const evil = () => ({ get name() { for (;;); }, get message() { for (;;); }, get stack() { for (;;); }, toString() { for (;;); } });';
/** An object whose getters throw another one. */
const NESTED =
  'const evil = () => ({ get message() { throw evil(); }, get stack() { throw evil(); }, get name() { throw evil(); } });';
/** The objects that each isolation is tried with. Getters that never return cost two seconds for each load. */
const KINDS = { inline: { GETTERS, NESTED }, process: { NESTED } } as const;

const NAMES = ['__pgswitchyard_failed', '__pgswitchyard'];
const onGlobal = (property: string): Record<string, string> =>
  Object.fromEntries(
    NAMES.map((name) => [
      `${name}: ${property}`,
      `try { Object.defineProperty(globalThis, '${name}', { ${property}, configurable: true }); } catch {}`,
    ]),
  );

/** Top levels of rules. */
const TOPS: Record<string, string> = {
  ...onGlobal('get() { throw evil(); }'),
  ...onGlobal('set() { throw evil(); }'),
  ...onGlobal('value: evil(), writable: true'),
  ...onGlobal('value: { get 0() { throw evil(); } }, writable: true'),
  ...onGlobal('value: null, writable: false'),
  'the failure assigned': 'globalThis.__pgswitchyard_failed = evil();',
  'the failure a list': 'globalThis.__pgswitchyard_failed = [evil()];',
  'the failure a list with a getter':
    'globalThis.__pgswitchyard_failed = Object.defineProperty([], 0, { get() { throw evil(); } });',
  'all of the globals frozen': 'Object.freeze(globalThis);',
  'another prototype of globals': 'Object.setPrototypeOf(globalThis, evil());',
  'a rejected promise': 'Promise.reject(evil());',
  'a promise that throws later': 'Promise.resolve().then(() => { throw evil(); });',
  'a rejection that is handled, and one that is not':
    'const p = Promise.reject(evil()); p.catch(() => { throw evil(); });',
  'a promise without a constructor':
    'const p = Promise.resolve(); p.constructor = undefined; p.then(() => { throw evil(); }).then();',
  'a promise of another class':
    'class Mine extends Promise { static get [Symbol.species]() { return undefined; } } new Mine((_, no) => no(evil())).then();',
  'a promise with a hostile constructor':
    "const p = Promise.resolve(); Object.defineProperty(p, 'constructor', { get() { throw evil(); } }); try { p.then(); } catch {}",
  'all kinds of promises':
    "for (const kind of ['all', 'race', 'any', 'allSettled']) Promise[kind]([Promise.reject(evil()), evil]).then(() => { throw evil(); }); Promise.withResolvers?.().reject(evil()); Promise.try?.(() => { throw evil(); });",
  finally:
    'Promise.resolve().finally(() => { throw evil(); }); Promise.resolve().finally(() => Promise.reject(evil()));',
  'an async generator': '(async function* () { throw evil(); })().next();',
  'awaiting it':
    '(async () => { for await (const x of [Promise.reject(evil())]); })(); (async () => { await { get then() { throw evil(); } }; })();',
  'importing it': 'import({ toString() { throw evil(); } });',
  'an array of it': 'try { Array.fromAsync({ get [Symbol.asyncIterator]() { throw evil(); } }); } catch {}',
  'disposing of it':
    '(async () => { await using x = { async [Symbol.asyncDispose ?? Symbol.dispose]() { throw evil(); } }; })();',
  'microtasks without end': 'const f = () => Promise.resolve().then(f); f();',
  'a thenable': 'Promise.resolve({ get then() { throw evil(); } });',
  'an async function': '(async () => { throw evil(); })();',
  'a top level that throws': 'throw evil();',
  'deep, a top level that throws': 'const f = () => { try { f(); } finally { throw evil(); } }; f();',
};
/** Definitions of routing_rules. */
const RULES: Record<string, string> = {
  'a function that throws': 'export const routing_rules = () => { throw evil(); };',
  'a function that throws deep down':
    'const f = () => { try { f(); } finally { throw evil(); } }; export const routing_rules = f;',
  'a function that returns it': 'export const routing_rules = () => evil();',
  'a function with a hostile prototype':
    'export const routing_rules = new Proxy(() => null, { getPrototypeOf() { throw evil(); }, apply() { throw evil(); } });',
  'no function': 'export const routing_rules = evil();',
  'a rejection of it': 'export const routing_rules = () => { reject(evil(), evil()); };',
  'printing it': 'export const routing_rules = () => { console.log(evil(), [evil()]); };',
  'a promise of it': 'export const routing_rules = () => Promise.reject(evil());',
};
const GOOD = "export const routing_rules = (u, q) => (q === 'to b' ? 'b' : null);";
const TO_B = { kind: 'go', query: null, dbkey: 'b' };

for (const isolation of ['inline', 'process'] as const) {
  test(`${isolation}: nothing hostile leaves an isolate`, { timeout: 240_000 }, async (t) => {
    const rows: [string, string][] = [];
    for (const [kind, evil] of Object.entries(KINDS[isolation])) {
      for (const [name, top] of Object.entries(TOPS))
        rows.push([`${kind}, ${name}`, `${evil}\n${top}\n${GOOD}`]);
      for (const [name, rule] of Object.entries(RULES)) rows.push([`${kind}, ${name}`, `${evil}\n${rule}`]);
    }
    const files = Object.fromEntries(
      rows.map(([, text], i) => [
        `t${i}/routing_rules.js`,
        `import { reject } from 'pgswitchyard';\nexport const used = reject;\n${text}`,
      ]),
    );
    const rules = await Rules.start(t, {
      files: { 'good/routing_rules.js': GOOD, ...files },
      databases: ['good', 'b', ...rows.map((_, i) => `t${i}`)],
      settings: { user_function_isolation: isolation, user_function_timeout: 20 },
    });
    for (const [i, [name]] of rows.entries()) {
      const both = Promise.all([rules.ask('x', `t${i}`), rules.ask('to b', 'good')]);
      const [decision, other] = await within(name, both, 20_000);
      assert.deepEqual(other, TO_B, name);
      assert.ok(JSON.stringify(decision).length < 1_000, name);
    }
    await until('no line to be long', () => rules.lines.every((line) => line.length < 20_000));
  });
}
