/** Which decisions of the user functions count for the held message, and when they are void. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Question } from '../../src/session/state/question.ts';
import type { Decision } from '../../src/functions/functions.ts';

const first: Decision = { kind: 'go', query: 'select 1', dbkey: 'dev' };
const second: Decision = { kind: 'go', query: 'select 2', dbkey: null };

type Step = (question: Question) => void;
const askAtOrigin: Step = (question) => void question.ask(7, 'app');
const decideAtOrigin: Step = (question) => question.note(question.ask(7, 'app'), first);
const decideAtTarget: Step = (question) => question.note(question.ask(9, 'dev'), second);
const forget: Step = (question) => question.forget();
const drop: Step = (question) => question.drop();

/** The state after the steps: the decision at the origin, and at the target that is called dev. */
const cases: { name: string; steps: Step[]; origin: Decision | null; target: Decision | null }[] = [
  { name: 'nothing is known at first', steps: [], origin: null, target: null },
  { name: 'a question alone decides nothing', steps: [askAtOrigin], origin: null, target: null },
  { name: 'the first answer is the origin’s', steps: [decideAtOrigin], origin: first, target: null },
  {
    name: 'the second answer is the target’s',
    steps: [decideAtOrigin, decideAtTarget],
    origin: first,
    target: second,
  },
  {
    name: 'another decision at the origin makes the target’s void',
    steps: [decideAtOrigin, decideAtTarget, (question) => question.decideOrigin(second, 8)],
    origin: second,
    target: null,
  },
  {
    name: 'a message that was handled leaves no decision',
    steps: [decideAtOrigin, decideAtTarget, drop],
    origin: null,
    target: null,
  },
  {
    name: 'a target’s answer does not count when the origin’s decision was forgotten meanwhile',
    steps: [
      decideAtOrigin,
      (question) => {
        const asked = question.ask(9, 'dev');
        question.forget();
        question.note(asked, second);
      },
    ],
    origin: null,
    target: null,
  },
  {
    name: 'a target without functions of its own decides nothing',
    steps: [decideAtOrigin, decideAtTarget, (question) => question.decideTarget(null, 0, '')],
    origin: first,
    target: null,
  },
];

for (const { name, steps, origin, target } of cases) {
  test(name, () => {
    const question = new Question();
    for (const step of steps) step(question);
    assert.equal(question.origin, origin);
    assert.equal(question.isOpen, origin === null);
    assert.equal(question.targetFor('dev'), target);
  });
}

test('an answer counts once, and only while its question is the current one', () => {
  const question = new Question();
  const old = question.ask(1, 'app');
  const current = question.ask(2, 'app');
  assert.equal(question.answer(old), false, 'replaced by another question');
  assert.equal(question.answer(current), true);
  assert.equal(question.answer(current), false, 'answered already');
  const dropped = question.ask(3, 'app');
  drop(question);
  assert.equal(question.answer(dropped), false, 'its message is gone');
  const kept = question.ask(4, 'app');
  forget(question);
  assert.equal(question.answer(kept), true, 'forgetting a decision leaves the question');
});

test('a decision at the target counts only for the entry that was asked about', () => {
  const question = new Question();
  decideAtOrigin(question);
  decideAtTarget(question);
  assert.equal(question.targetFor('dev'), second);
  assert.equal(question.targetFor('prod'), null);
});

test('taking a decision gives the generations that made it, and leaves nothing', () => {
  const question = new Question();
  decideAtOrigin(question);
  decideAtTarget(question);
  assert.deepEqual(question.approve('SELECT 2'), {
    query: 'SELECT 2',
    originGeneration: 7,
    targetGeneration: 9,
    isProvisional: false,
  });
  assert.equal(question.isOpen, true);
});

test('a cancel request stays with the held message until it is answered', () => {
  const question = new Question();
  question.cancel();
  drop(question);
  assert.equal(question.isCanceled, true);
  question.takeCancel();
  assert.equal(question.isCanceled, false);
});
