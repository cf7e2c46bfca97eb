/** The decisions about the writer, as tables: the facts about the nodes, and the result. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeFacts, Role } from '../../src/switchover/facts.ts';
import { judgeHolding, judgeServing, type HoldFacts } from '../../src/switchover/judgement.ts';

/** @param instance start of the server's postmaster: equal ones are two addresses of one server */
function node(key: string, role: Role, instance = key): NodeFacts {
  return { key, role, evidence: { instance, timeline: 1 } } as unknown as NodeFacts;
}

const A = node('a:1', 'writer');
const B = node('b:1', 'writer');
const OTHER_NAME_OF_A = node('alias:1', 'writer', 'a:1');
const DEMOTED = node('a:1', 'reader');

const NONE = { kind: 'nothing' };
const SERVING = [
  { name: 'no writer, no candidate', writer: null, best: null, expected: NONE },
  { name: 'no writer, a candidate', writer: null, best: B, expected: { kind: 'adopt', node: B } },
  { name: 'no writer, a fenced candidate', writer: null, best: B, mayAdopt: false, expected: NONE },
  { name: 'the writer is the best', writer: A, best: A, isAhead: true, expected: NONE },
  { name: 'no node claims to be the writer now', writer: A, best: null, expected: NONE },
  { name: 'another address of the writer', writer: A, best: OTHER_NAME_OF_A, isAhead: true, expected: NONE },
  { name: 'another writer of the same timeline', writer: A, best: B, expected: NONE },
  {
    name: 'another writer that was promoted later',
    writer: A,
    best: B,
    isAhead: true,
    expected: { kind: 'hold', reason: 'b:1 is the writer now' },
  },
  {
    name: 'the writer is in recovery',
    writer: DEMOTED,
    best: null,
    expected: { kind: 'hold', reason: 'a:1 is in recovery' },
  },
  {
    name: 'the writer is in recovery, and another was promoted',
    writer: DEMOTED,
    best: B,
    isAhead: true,
    expected: { kind: 'hold', reason: 'a:1 is in recovery' },
  },
];

for (const { name, writer, best, isAhead = false, mayAdopt = true, expected } of SERVING)
  test(`while clients are served: ${name}`, () => {
    assert.deepEqual(judgeServing({ writer, best, isAhead, mayAdopt }), expected);
  });

const CRASH: HoldFacts = { isPlanned: false, isDeployment: false, isFirst: false };
const PLANNED: HoldFacts = { ...CRASH, isPlanned: true };
const DEPLOYMENT: HoldFacts = { ...CRASH, isDeployment: true };
const FIRST: HoldFacts = { ...CRASH, isFirst: true };

const HOLDING = [
  { name: 'no candidate', hold: CRASH, writer: A, best: null, expected: NONE },
  { name: 'the old writer is back', hold: CRASH, writer: A, best: A, expected: { kind: 'release', node: A } },
  {
    name: 'another node is the writer',
    hold: CRASH,
    writer: A,
    best: B,
    expected: { kind: 'release', node: B },
  },
  {
    name: 'a fenced one is the writer',
    hold: CRASH,
    writer: A,
    best: B,
    mayAdopt: false,
    expected: { kind: 'release', node: B },
  },
  { name: 'SWITCHOVER, the old writer answers', hold: PLANNED, writer: A, best: A, expected: NONE },
  {
    name: 'SWITCHOVER, the target is the writer',
    hold: PLANNED,
    writer: A,
    best: B,
    expected: { kind: 'release', node: B },
  },
  { name: 'SWITCHOVER, no candidate', hold: PLANNED, writer: A, best: null, expected: NONE },
  { name: 'blue/green, the old writer answers', hold: DEPLOYMENT, writer: A, best: A, expected: NONE },
  { name: 'blue/green, the new one answers', hold: DEPLOYMENT, writer: A, best: B, expected: NONE },
  {
    name: 'first look, a writer',
    hold: FIRST,
    writer: null,
    best: B,
    expected: { kind: 'release', node: B },
  },
  {
    name: 'first look, a fenced writer',
    hold: FIRST,
    writer: null,
    best: B,
    mayAdopt: false,
    expected: NONE,
  },
];

for (const { name, hold, writer, best, mayAdopt = true, expected } of HOLDING)
  test(`while clients are held: ${name}`, () => {
    assert.deepEqual(judgeHolding({ writer, best, isAhead: false, mayAdopt }, hold), expected);
  });
