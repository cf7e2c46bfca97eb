/** The list of the statements that a server has prepared. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PreparedStatements } from '../../src/pool/prepared.ts';

const [a, b, c] = ['a', 'b', 'c'].map((serverName) => ({ serverName })) as [
  { serverName: string },
  { serverName: string },
  { serverName: string },
];
const names = (list: PreparedStatements): string =>
  [...list.inOrderOfUse()].map((each) => each.serverName).join('');

test('the least recently used statement comes first', () => {
  const list = new PreparedStatements();
  list.add(a, 1);
  list.add(b, 2);
  list.add(c, 3);
  assert.equal(list.use(a), true);
  assert.equal(names(list), 'bca');
  list.remove(c);
  assert.equal(list.use(c), false, 'it is not there');
  assert.equal(names(list), 'ba');
});

/**
 * An action on a statement that was prepared at position 5 of the ledger, and whether the statement exists after DISCARD ALL.
 */
const fates: {
  name: string;
  steps: (list: PreparedStatements) => void;
  position: number;
  isLeft: boolean;
}[] = [
  { name: 'prepared after it', steps: () => {}, position: 5, isLeft: true },
  { name: 'prepared before it', steps: () => {}, position: 6, isLeft: false },
  { name: 'answered before it', steps: (list) => list.answered(a, 5), position: 2, isLeft: false },
  {
    name: 'an older Parse was answered',
    steps: (list) => list.answered(a, 4),
    position: 5,
    isLeft: true,
  },
  {
    name: 'a Close of it has failed',
    steps: (list) => {
      assert.equal(list.remove(a), 5);
      list.restore(a);
    },
    position: 2,
    isLeft: false,
  },
];

for (const { name, steps, position, isLeft } of fates) {
  test(`DISCARD ALL ${isLeft ? 'leaves' : 'drops'} a statement: ${name}`, () => {
    const list = new PreparedStatements();
    list.add(a, 5);
    steps(list);
    list.dropBefore(position);
    assert.equal(list.size, isLeft ? 1 : 0);
  });
}

test('the result columns are forgotten when the statement is prepared again', () => {
  const list = new PreparedStatements();
  list.add(a, 1);
  assert.equal(list.shapeOf(a), undefined);
  list.described(a, 'hash');
  list.remove(a);
  assert.equal(list.shapeOf(a), 'hash', 'a Close may fail');
  list.add(a, 9);
  assert.equal(list.shapeOf(a), undefined);
});
