/** Which tenants share a process. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { emptyPlaces, ownPlace, sharedPlace, type Place } from '../../src/functions/sandbox/placement.ts';

/** Places by their owners, each a letter. */
function places(...owners: string[]): Place[] {
  return owners.map((letters) => ({ owners: new Set(letters) }));
}

/** The number of the chosen place; null: a new one is needed. */
function chosen(all: readonly Place[], place: Place | null): number | null {
  return place === null ? null : all.indexOf(place);
}

for (const [what, owners, owner, expected] of [
  ['the first tenant needs a process', [], 'a', null],
  ['a tenant stays where it is', ['ab', 'c'], 'c', 1],
  ['a tenant stays in a full process', ['abc', 'd'], 'b', 0],
  ['a new tenant joins the first process with room', ['abc', 'd', 'e'], 'x', 1],
  ['an emptied process is used again', ['abc', '', 'd'], 'x', 1],
  ['when all processes are full, a new one is needed', ['abc', 'def'], 'x', null],
] as const) {
  test(`with three tenants in a process, ${what}`, () => {
    const all = places(...owners);
    assert.equal(chosen(all, sharedPlace(all, owner, 3)), expected);
  });
}

for (const [what, owners, expected] of [
  ['the first one gets a process of its own', [], null],
  ['the third one gets a process of its own', ['a', 'b'], null],
  ['the fourth one joins the first of those that are alone', ['a', 'b', 'c'], 0],
  ['the fifth one joins the process with the fewest', ['ad', 'b', 'c'], 1],
] as const) {
  test(`with three processes for separated tenants, ${what}`, () => {
    const all = places(...owners);
    assert.equal(chosen(all, ownPlace(all, 3)), expected);
  });
}

for (const [owners, kept, expected] of [
  [['a', '', 'b'], 1, [1]],
  [['', ''], 1, [0]],
  [[''], 1, []],
  [[''], 0, [0]],
  [['a'], 0, []],
] as const) {
  test(`of [${owners.join(', ')}], with ${kept} kept, [${expected.join()}] are ended`, () => {
    const all = places(...owners);
    assert.deepEqual(
      emptyPlaces(all, kept).map((place) => all.indexOf(place)),
      expected,
    );
  });
}
