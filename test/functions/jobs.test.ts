/** The fate of the job that was running when its child ended. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { HostCall } from '../../src/functions/sandbox/call.ts';
import type { VersionCode } from '../../src/functions/sandbox/host.ts';
import {
  fateOf,
  newBatch,
  newLoad,
  type Ending,
  type GiveBack,
  type Job,
} from '../../src/functions/sandbox/jobs.ts';

const version: VersionCode = {
  id: 1,
  code: '',
  databases: [],
  memoryLimitMb: 8,
  maxResult: 1,
  timeoutMs: 1,
};
const call: HostCall = { username: '', query: '', inTransaction: false, context: {} };
const batchOf = (calls: number, giveBack: GiveBack | null = null): Job =>
  newBatch(
    1,
    1,
    version,
    Array.from({ length: calls }, () => call),
    () => {},
    giveBack,
  );

const ENDINGS = {
  'by itself': { isAccident: false, isStalled: false, wasKilled: false },
  'killed at its deadline': { isAccident: false, isStalled: false, wasKilled: true },
  'killed from outside': { isAccident: true, isStalled: false, wasKilled: false },
  'killed without a processor': { isAccident: false, isStalled: true, wasKilled: true },
} satisfies Record<string, Ending>;

for (const [what, make, ending, fates] of [
  ['a call', () => batchOf(1), 'by itself', ['again', 'guilty']],
  ['a call', () => batchOf(1), 'killed at its deadline', ['guilty']],
  ['a call', () => batchOf(1), 'killed from outside', ['again', 'again', 'lost']],
  ['a call', () => batchOf(1), 'killed without a processor', ['again', 'again', 'starved']],
  ['a batch', () => batchOf(3), 'by itself', ['split']],
  ['a batch', () => batchOf(3), 'killed at its deadline', ['split']],
  ['a batch', () => batchOf(3), 'killed from outside', ['again', 'again', 'split']],
  ['a batch', () => batchOf(3), 'killed without a processor', ['again', 'again', 'starved']],
  ['a load', () => newLoad(version, null, false), 'by itself', ['again', 'guilty']],
  ['a load', () => newLoad(version, null, false), 'killed at its deadline', ['guilty']],
  ['a load', () => newLoad(version, null, false), 'killed from outside', ['again', 'again', 'guilty']],
  [
    'a load',
    () => newLoad(version, null, false),
    'killed without a processor',
    ['again', 'again', 'starved'],
  ],
  ['a batch in a shared child', () => batchOf(3, () => {}), 'by itself', ['elsewhere']],
  ['a call in a shared child', () => batchOf(1, () => {}), 'killed at its deadline', ['elsewhere']],
  [
    'a call in a shared child',
    () => batchOf(1, () => {}),
    'killed from outside',
    ['again', 'again', 'elsewhere'],
  ],
  [
    'a call in a shared child',
    () => batchOf(1, () => {}),
    'killed without a processor',
    ['again', 'again', 'elsewhere'],
  ],
  ['a load in a shared child', () => newLoad(version, null, true), 'by itself', ['guilty']],
] as const) {
  test(`${what} whose child ends ${ending}: ${fates.join(', then ')}`, () => {
    const job = make();
    assert.deepEqual(
      fates.map(() => fateOf(job, ENDINGS[ending])),
      fates,
    );
  });
}

test('a child that ended by itself counts apart from those that were ended from outside', () => {
  const job = batchOf(1);
  assert.equal(fateOf(job, ENDINGS['killed from outside']), 'again');
  assert.equal(fateOf(job, ENDINGS['by itself']), 'again');
  assert.equal(fateOf(job, ENDINGS['killed from outside']), 'again');
  assert.equal(fateOf(job, ENDINGS['by itself']), 'guilty');
});
