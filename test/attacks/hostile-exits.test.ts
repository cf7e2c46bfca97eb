/**
 * An exception that leaves an isolate is copied outside, after the deadline and by reading its properties. So no object that a
 * rule has made may leave an isolate, from any place where outside code reads something that a rule could have replaced.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { assertOutcome, Rules } from '../support/rules.ts';
import { until, within } from '../support/wait.ts';

/** An object whose getters never return. */
const GETTERS =
  'const evil = () => ({ get name() { for (;;); }, get message() { for (;;); }, get stack() { for (;;); }, toString() { for (;;); } });';
/** An object whose getters throw another one. */
const NESTED =
  'const evil = () => ({ get message() { throw evil(); }, get stack() { throw evil(); }, get name() { throw evil(); } });';
/** The objects that are tried with each isolation. Getters that never return cost two seconds for each load. */
const KINDS = { inline: { GETTERS, NESTED }, process: { NESTED } } as const;

/**
 * The expected outcomes (outcomeOf), one of which must occur, and the code. `no_version`: the version is refused. `stay`: it
 * serves.
 */
type Row = readonly [expected: string | readonly string[], code: string];

const NAMES = ['__pgswitchyard_failed', '__pgswitchyard'];
const onGlobal = (property: string): Record<string, Row> =>
  Object.fromEntries(
    NAMES.map((name): [string, Row] => [
      `${name}: ${property}`,
      [
        'stay',
        `try { Object.defineProperty(globalThis, '${name}', { ${property}, configurable: true }); } catch {}`,
      ],
    ]),
  );

/** Top levels of rules. */
const TOPS: Record<string, Row> = {
  ...onGlobal('get() { throw evil(); }'),
  ...onGlobal('set() { throw evil(); }'),
  ...onGlobal('value: evil(), writable: true'),
  ...onGlobal('value: { get 0() { throw evil(); } }, writable: true'),
  ...onGlobal('value: null, writable: false'),
  'the failure assigned': ['no_version', 'globalThis.__pgswitchyard_failed = evil();'],
  'the failure a list': ['no_version', 'globalThis.__pgswitchyard_failed = [evil()];'],
  'the failure a list with a getter': [
    'no_version',
    'globalThis.__pgswitchyard_failed = Object.defineProperty([], 0, { get() { throw evil(); } });',
  ],
  'all of the globals frozen': ['no_version', 'Object.freeze(globalThis);'],
  'another prototype of globals': ['stay', 'Object.setPrototypeOf(globalThis, evil());'],
  'a rejected promise': ['stay', 'Promise.reject(evil());'],
  'a promise that throws later': ['stay', 'Promise.resolve().then(() => { throw evil(); });'],
  'a rejection that is handled, and one that is not': [
    'stay',
    'const p = Promise.reject(evil()); p.catch(() => { throw evil(); });',
  ],
  'a promise without a constructor': [
    'stay',
    'const p = Promise.resolve(); p.constructor = undefined; p.then(() => { throw evil(); }).then();',
  ],
  'a promise of another class': [
    'stay',
    'class Mine extends Promise { static get [Symbol.species]() { return undefined; } } new Mine((_, no) => no(evil())).then();',
  ],
  'a promise with a hostile constructor': [
    'stay',
    "const p = Promise.resolve(); Object.defineProperty(p, 'constructor', { get() { throw evil(); } }); try { p.then(); } catch {}",
  ],
  'all kinds of promises': [
    'stay',
    "for (const kind of ['all', 'race', 'any', 'allSettled']) Promise[kind]([Promise.reject(evil()), evil]).then(() => { throw evil(); }); Promise.withResolvers?.().reject(evil()); Promise.try?.(() => { throw evil(); });",
  ],
  finally: [
    'stay',
    'Promise.resolve().finally(() => { throw evil(); }); Promise.resolve().finally(() => Promise.reject(evil()));',
  ],
  'an async generator': ['stay', '(async function* () { throw evil(); })().next();'],
  'awaiting it': [
    'stay',
    '(async () => { for await (const x of [Promise.reject(evil())]); })(); (async () => { await { get then() { throw evil(); } }; })();',
  ],
  'importing it': ['stay', 'import({ toString() { throw evil(); } });'],
  'an array of it': [
    'stay',
    'try { Array.fromAsync({ get [Symbol.asyncIterator]() { throw evil(); } }); } catch {}',
  ],
  'disposing of it': [
    'stay',
    '(async () => { await using x = { async [Symbol.asyncDispose ?? Symbol.dispose]() { throw evil(); } }; })();',
  ],
  'microtasks without end': ['no_version', 'const f = () => Promise.resolve().then(f); f();'],
  'a thenable': ['stay', 'Promise.resolve({ get then() { throw evil(); } });'],
  'an async function': ['stay', '(async () => { throw evil(); })();'],
  'a top level that throws': ['no_version', 'throw evil();'],
  'deep, a top level that throws': [
    'no_version',
    'const f = () => { try { f(); } finally { throw evil(); } }; f();',
  ],
};
/** Definitions of routing_rules. */
const RULES: Record<string, Row> = {
  'a function that throws': ['no_version', 'export const routing_rules = () => { throw evil(); };'],
  'a function that throws deep down': [
    'no_version',
    'const f = () => { try { f(); } finally { throw evil(); } }; export const routing_rules = f;',
  ],
  'a function that returns it': ['no_version', 'export const routing_rules = () => evil();'],
  'a function with a hostile prototype': [
    'no_version',
    'export const routing_rules = new Proxy(() => null, { getPrototypeOf() { throw evil(); }, apply() { throw evil(); } });',
  ],
  'no function': ['no_version', 'export const routing_rules = evil();'],
  'a rejection of it': ['reject 42501', 'export const routing_rules = () => { reject(evil(), evil()); };'],
  // A getter that never returns ends the trial call at its deadline.
  'printing it': [
    ['stay', 'no_version'],
    'export const routing_rules = () => { console.log(evil(), [evil()]); };',
  ],
  'a promise of it': ['no_version', 'export const routing_rules = () => Promise.reject(evil());'],
};
const GOOD = "export const routing_rules = (u, q) => (q === 'to b' ? 'b' : null);";
const TO_B = { kind: 'go', query: null, dbkey: 'b' };

for (const isolation of ['inline', 'process'] as const) {
  test(`${isolation}: nothing hostile leaves an isolate`, { timeout: 240_000 }, async (t) => {
    const rows = Object.entries(KINDS[isolation]).flatMap(([kind, evil]) => [
      ...Object.entries(TOPS).map(([name, [expected, top]]) => ({
        name: `${kind}, ${name}`,
        expected,
        text: `${evil}\n${top}\n${GOOD}`,
      })),
      ...Object.entries(RULES).map(([name, [expected, rule]]) => ({
        name: `${kind}, ${name}`,
        expected,
        text: `${evil}\n${rule}`,
      })),
    ]);
    const files = Object.fromEntries(
      rows.map(({ text }, i) => [
        `t${i}/routing_rules.js`,
        `import { reject } from 'pgswitchyard';\nexport const used = reject;\n${text}`,
      ]),
    );
    const rules = await Rules.start(t, {
      files: { 'good/routing_rules.js': GOOD, ...files },
      databases: ['good', 'b', ...rows.map((_, i) => `t${i}`)],
      settings: { user_function_isolation: isolation, user_function_timeout: 20 },
    });
    for (const [i, { name, expected }] of rows.entries()) {
      const both = Promise.all([rules.ask('x', `t${i}`), rules.ask('to b', 'good')]);
      const [decision, other] = await within(name, both);
      assert.deepEqual(other, TO_B, name);
      assertOutcome(decision, expected, name);
      assert.ok(JSON.stringify(decision).length < 1_000, name);
    }
    await until('no line to be long', () => rules.lines.every((line) => line.length < 20_000));
  });
}
