/** Rules that keep state are never remembered, and rules that keep none are: by analysis, freezing and what calls do. */
import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { FROZEN } from './frozen.ts';
import { LACKING } from './lacking.ts';
import { PURE_OTHERS } from './pure-others.ts';
import { PURE } from './pure.ts';
import { CALLS } from './stateful-calls.ts';
import { HIDDEN } from './stateful-hidden.ts';
import { KEPT } from './stateful-kept.ts';
import { OBJECTS } from './stateful-objects.ts';
import { OTHERS } from './stateful-others.ts';
import { COMPARED, PATTERNS } from './stateful-patterns.ts';
import { UNSEEN } from './stateful-unseen.ts';
import { VARIABLES } from './stateful-variables.ts';
import { answersOf, bundleOf, trialOf } from './trial.ts';

describe('a rule that keeps state is not remembered, and answers as if nothing was', () => {
  for (const rule of [
    ...VARIABLES,
    ...OBJECTS,
    ...OTHERS,
    ...HIDDEN,
    ...CALLS,
    ...PATTERNS,
    ...UNSEEN,
    ...KEPT,
  ])
    test(rule[0], async () => {
      const { asking, remembering, why } = trialOf(await bundleOf(rule));
      assert.deepEqual(remembering, asking);
      assert.notEqual(why, '');
    });
});

describe('a rule that changes a pattern is found by its calls', () => {
  for (const rule of COMPARED)
    test(rule[0], async () => {
      const made = await bundleOf(rule);
      assert.deepEqual(made.purity, { isPure: true, reason: '' });
      const { asking, remembering, why } = trialOf(made);
      assert.deepEqual(remembering, asking);
      assert.match(why, /^(?:a call |it uses |patterns|RegExp)/);
    });
});

describe('a rule that freezing would change is not remembered, and answers as if nothing was frozen', () => {
  for (const rule of FROZEN)
    test(rule[0], async () => {
      const { asking, remembering, why } = trialOf(await bundleOf(rule));
      assert.deepEqual(remembering, asking);
      assert.notEqual(why, '');
    });
});

describe('an answer that depends on how much stack or memory there is is not kept', () => {
  for (const rule of LACKING)
    test(rule[0], async () => {
      for (const { basis } of answersOf(await bundleOf(rule), ['a', 'b'])) assert.equal(basis, undefined);
    });
});

describe('a rule that keeps no state is remembered', () => {
  for (const rule of [...PURE, ...PURE_OTHERS])
    test(rule[0], async () => {
      const made = await bundleOf(rule);
      assert.deepEqual(made.purity, { isPure: true, reason: '' });
      const { asking, remembering, why } = trialOf(made);
      assert.deepEqual(remembering, asking);
      assert.equal(why, '');
    });
});
