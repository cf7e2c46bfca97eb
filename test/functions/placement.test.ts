/** Which tenants share a process, which leave, and when they come back. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Conduct, delayOf } from '../../src/functions/sandbox/conduct.ts';
import {
  isCostly,
  leaverOf,
  probationMs,
  roomFor,
  type Bounds,
  type Kind,
  type Room,
} from '../../src/functions/sandbox/placement.ts';

const MB = 1024 * 1024;
const BOUNDS: Bounds = { hosts: 4, tenants: 3, crowdedBytes: 160 * MB };

/** Rooms as `s3`, a shared one with three tenants, or `o1`, one for a tenant of its own. */
function rooms(...words: string[]): Room[] {
  return words.map((word) => ({
    kind: word[0] === 's' ? 'shared' : 'own',
    tenants: { size: Number(word[1]) },
  }));
}

for (const [what, words, kind, expected] of [
  ['the first tenant needs a process', [], 'shared', null],
  ['a tenant joins the shared process with room', ['s3', 's1', 'o1'], 'shared', 1],
  ['a tenant joins the one with the fewest', ['s2', 's1'], 'shared', 1],
  ['when all shared ones are full, a new one is needed', ['s3', 'o1'], 'shared', null],
  ['when there are no more processes, it joins the fewest', ['s3', 's4', 'o1', 'o1'], 'shared', 0],
  ['the last process is left for tenants that leave', ['s3', 's3', 's3'], 'shared', 0],
  ['the first that leaves gets one of its own', ['s3'], 'own', null],
  ['an emptied one is used again', ['s3', 'o1', 'o0'], 'own', 2],
  ['the next one too', ['s3', 's3', 'o1'], 'own', null],
  ['further ones join those that have left before', ['s3', 's3', 'o2', 'o1'], 'own', 3],
  ['the last process is left for tenants that behave', ['o1', 'o1', 'o1'], 'own', 0],
  ['and those get it', ['o1', 'o1', 'o1'], 'shared', null],
] satisfies [string, string[], Kind, number | null][]) {
  test(`with four processes of three tenants, ${what}`, () => {
    const all = rooms(...words);
    const room = roomFor(all, kind, BOUNDS);
    assert.equal(room === null ? null : all.indexOf(room), expected);
  });
}

interface Tenant {
  readonly name: string;
  readonly conduct: Conduct;
}

/** A shared process. */
class Shared {
  readonly tenants: Tenant[];
  readonly all = new Conduct();
  now = 0;

  constructor(names: string) {
    this.tenants = [...names].map((name) => ({ name, conduct: new Conduct() }));
  }

  /** A job of a tenant ends, which then holds so much memory. @returns what leaves, and why; '': nothing */
  run(name: string, cpuMs: number, bytes = MB, isOwn = true): string {
    const tenant = this.tenants.find((each) => each.name === name)!;
    const change = bytes - tenant.conduct.heapBytes;
    for (const conduct of [tenant.conduct, this.all])
      conduct.note(cpuMs, delayOf(cpuMs, isOwn), change, this.now);
    const found = leaverOf(tenant, this.tenants, this.all.observe(this.now), BOUNDS, this.now);
    return found === null ? '' : `${found.sharer.name} ${found.cause}`;
  }

  /** Several jobs, one each `everyMs`. @returns what the first of them makes leave, with its number; '': nothing */
  runMany(name: string, times: number, cpuMs: number, everyMs: number): string {
    for (let i = 1; i <= times; i++) {
      this.now += everyMs;
      const left = this.run(name, cpuMs);
      if (left !== '') return `${left} ${i}`;
    }
    return '';
  }
}

for (const [what, cpuMs, everyMs, expected] of [
  ['one call that takes 60 ms', 60, 1, 'a time 1'],
  ['calls of 12 ms', 12, 100, 'a time 6'],
  ['calls of 4 ms that take 1.6 % of the time', 4, 250, 'a time 39'],
  ['calls of 4 ms that take 0.8 % of the time', 4, 500, ''],
  ['calls of 1 ms that take half of the time', 1, 2, 'a time 458'],
  ['calls of 1 ms that take a quarter of the time', 1, 4, ''],
] as const) {
  test(`${what}: ${expected === '' ? 'the tenant stays' : `it leaves after ${expected.split(' ')[2]}`}`, () => {
    assert.equal(new Shared('ab').runMany('a', 2_000, cpuMs, everyMs), expected);
  });
}

test('many tenants that delay a little make the one leave that has caused most', () => {
  const shared = new Shared('abcdefgh');
  let left = '';
  for (let i = 0; left === '' && i < 100; i++) {
    for (const name of 'abcdefgh') left ||= shared.run(name, name === 'e' ? 6 : 3);
    shared.now += 1_000;
  }
  assert.equal(left, 'e time');
});

test('collecting garbage now and then makes no tenant leave', () => {
  const shared = new Shared('abcdefghijklmnopqrstuvwxyz');
  for (let i = 0; i < 1_000; i++) {
    shared.now += 20;
    assert.equal(shared.run('abcdefghijklmnopqrstuvwxyz'[i % 26]!, i % 26 < 20 ? 0.1 : 3), '');
  }
});

test('isolates that are built because a process is new are not held against their tenants', () => {
  const shared = new Shared('abcdefgh');
  for (const name of 'abcdefgh') assert.equal(shared.run(name, 18, MB, false), '');
  assert.equal(shared.run('b', 90, MB, false), 'b time', 'but a slow top level is');
});

test('in a busy process, the tenant that takes most leaves, unless each has little', () => {
  const busy = new Shared('ab');
  for (let i = 0; i < 150; i++) assert.equal(busy.run('a', 1), '');
  for (let i = 0; i < 250; i++) assert.equal(busy.run('b', 1), '');
  const names = Array.from({ length: 400 }, (_, i) => String.fromCodePoint(0x4e00 + (i % 40)));
  const many = new Shared([...new Set(names)].join(''));
  for (let turn = 0; turn < 5; turn++) for (const name of names) assert.equal(many.run(name, 0.4), '');
});

test('the tenant that holds most memory leaves, whichever grew', () => {
  const shared = new Shared('abc');
  assert.equal(shared.run('a', 1, 60 * MB), '');
  assert.equal(shared.run('b', 1, 70 * MB), '');
  assert.equal(shared.run('c', 1, 40 * MB), 'b memory');
});

test('memory that a tenant has freed does not count', () => {
  const shared = new Shared('ab');
  for (let i = 0; i < 100; i++) assert.equal(shared.run('a', 0.1, (i % 2) * 100 * MB), '');
});

test('many tenants that hold little memory each may stay', () => {
  const names = Array.from({ length: 64 }, (_, i) => String.fromCodePoint(0x4e00 + i)).join('');
  const shared = new Shared(names);
  for (const name of names) assert.equal(shared.run(name, 0.1, 3 * MB), '');
});

for (const [what, { cpuMs, times, everyMs, bytes }, expected] of [
  ['a call that takes long', { cpuMs: 8, times: 1, everyMs: 1, bytes: MB }, true],
  ['short calls', { cpuMs: 1, times: 100, everyMs: 20, bytes: MB }, false],
  ['calls of a moderate length', { cpuMs: 5, times: 100, everyMs: 20, bytes: MB }, true],
  ['short calls all the time', { cpuMs: 1, times: 1_000, everyMs: 2, bytes: MB }, true],
  ['much memory', { cpuMs: 1, times: 1, everyMs: 1, bytes: 100 * MB }, true],
] as const) {
  test(`a tenant on probation that has ${what} ${expected ? 'begins it again' : 'behaves'}`, () => {
    const conduct = new Conduct();
    const delayMs = delayOf(cpuMs, true);
    for (let i = 0; i < times; i++) conduct.note(cpuMs, delayMs, bytes - conduct.heapBytes, i * everyMs);
    assert.equal(isCostly(delayMs, conduct.observe(times * everyMs), BOUNDS), expected);
  });
}

test('probation is longer each time, up to an hour', () => {
  assert.deepEqual(
    [1, 2, 3, 7, 8, 100].map(probationMs),
    [30_000, 60_000, 120_000, 1_920_000, 3_600_000, 3_600_000],
  );
});
