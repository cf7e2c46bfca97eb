/** The reason why a rule is not remembered names what is changed, and the place in the author's file. */
import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { R, type Rule } from './rule.ts';
import { answersOf, bundleOf, trialOf } from './trial.ts';

const FOUND: readonly (readonly [rule: Rule, reason: string])[] = [
  [
    ['a variable', `\nlet counter = 0;\n${R}() => {\n  counter++;\n  return null;\n};`],
    'counter is changed at rules.ts:4',
  ],
  [
    ['a property', `const s = { n: 0 };\n${R}() => {\n  s.n += 1;\n  return null;\n};`],
    's.n is changed at rules.ts:3',
  ],
  [
    ['a map', `const seen = new Map();\n${R}(u, q) => (seen.set(q, u), null);`],
    'seen is changed at rules.ts:2',
  ],
  [
    ['a pattern', `const re = /s/g;\n${R}(u, q) => (re.test(q) ? 'a' : null);`],
    're is a regular expression with g or y at rules.ts:1',
  ],
  [
    [
      'a file beside it',
      `import { next } from './c.ts';\n${R}() => next();`,
      { 'c.ts': '\n\nlet n = 0;\nexport const next = () => "n" + n++;' },
    ],
    'n is changed at c.ts:4',
  ],
  [
    [
      'an object of unknown age',
      `const inc = (o) => {\n  try {\n    o.n++;\n  } catch {}\n};\n${R}() => (inc({ n: 0 }), null);`,
    ],
    'o.n may be changed at rules.ts:3',
  ],
];

describe('found when the rule is bundled', () => {
  for (const [rule, reason] of FOUND)
    test(rule[0], async () => assert.deepEqual((await bundleOf(rule)).purity, { isPure: false, reason }));
});

test('found when the rule is loaded', async () => {
  const made = await bundleOf([
    'a date',
    `const started = new Date(0);\n${R}() => String(started.getTime());`,
  ]);
  assert.equal(made.purity.isPure, true);
  assert.equal(trialOf(made).why, 'started at rules.ts:1 is a Date');
});

test('found when a call tries it', async () => {
  const made = await bundleOf([
    'a parameter',
    `const s = { n: 0 };\nconst inc = (o) => ++o.n;\n${R}() => 'n' + inc(s);`,
  ]);
  assert.equal(made.purity.isPure, true);
  assert.match(
    trialOf(made).why,
    /^a call tried to change something that outlives it: Cannot assign to read only property 'n'/,
  );
});

test('each later answer brings the reason, so that one that is lost does no harm', async () => {
  const made = await bundleOf([
    'a parameter',
    `const s = { n: 0 };\nconst inc = (o) => ++o.n;\n${R}(u, q) => (q === 'x' ? 'n' : 'n' + inc(s));`,
  ]);
  const [first, ...rest] = answersOf(made, ['x', 'y', 'x', 'y']);
  assert.equal(first?.basis, 0);
  for (const { basis, changed } of rest) {
    assert.equal(basis, undefined);
    assert.match(changed ?? '', /something that outlives it/);
  }
});

for (const [name, text] of [
  ['objects', 'const table = Array.from({ length: 40_000 }, (_, i) => ({ i: [i] }));'],
  ['elements', 'const table = Array.from({ length: 100_000 }, (_, i) => i);'],
  ['functions', 'const table = []; for (let i = 0; i < 100_000; i++) table.push(() => i);'],
] as const)
  test(`a rule with very many ${name} is loaded as ever, and not remembered`, async () => {
    const made = await bundleOf([name, `${text}\n${R}() => String(table.length);`]);
    assert.match(trialOf(made).why, new RegExp(`too many ${name}`));
  });
