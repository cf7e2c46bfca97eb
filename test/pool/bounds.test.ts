/** Lists that clients can make longer: each step takes constant time, and unused items are forgotten. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fifo } from '../../src/pool/fifo.ts';
import { FakePools } from './fakes.ts';

test('a queue returns the same items as a plain list, in any order of additions and removals', () => {
  const step = fc.tuple(fc.constantFrom('add', 'delete', 'first'), fc.nat({ max: 60 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const items = Array.from({ length: 61 }, (_, i) => ({ i }));
      const queue = new Fifo<{ i: number }>();
      let list: { i: number }[] = [];
      for (const [what, i] of steps) {
        const item = what === 'first' ? list[0] : items[i]!;
        if (what === 'add') {
          if (!list.includes(item!)) list.push(item!);
          queue.add(item!);
        } else if (item !== undefined) {
          assert.equal(queue.delete(item), list.includes(item));
          list = list.filter((each) => each !== item);
        }
        assert.equal(queue.first, list[0]);
        assert.equal(queue.size, list.length);
        assert.deepEqual([...queue], list);
      }
    }),
  );
});

function pools(): FakePools {
  return new FakePools('[databases]\n* = host=127.0.0.1\nown = host=127.0.0.1\n[pgbouncer]\n');
}

test('too many auto-databases that clients have only named are forgotten, used and paused ones are kept', () => {
  const { directory, pause } = pools();
  const used = directory.find('used')!;
  directory.pool(used, 'joe');
  pause.begin(directory.find('paused')!, []);
  for (let i = 0; i < 20_000; i++) directory.find(`made-up-${i}`);
  assert.ok(directory.databases.size < 1_100, String(directory.databases.size));
  for (const name of ['own', 'used', 'paused', 'made-up-19999'])
    assert.ok(directory.databases.has(name), name);
});

test('a database that is forgotten while its first client logs in comes back with its pool', () => {
  const { directory } = pools();
  const first = directory.find('first')!;
  for (let i = 0; i < 5_000; i++) directory.find(`made-up-${i}`);
  assert.ok(!directory.databases.has('first'));
  directory.pool(first, 'joe');
  assert.equal(directory.databases.get('first'), first);
});

test('a user without an entry and without a pool is forgotten when the last client leaves', () => {
  const { directory } = pools();
  const { users } = directory;
  for (let i = 0; i < 100; i++) {
    users.get(`u${i}`).enter();
    users.left(`u${i}`);
  }
  assert.equal(users.size, 0);
  users.get('joe').enter();
  directory.pool(directory.find('own')!, 'joe');
  users.left('joe');
  assert.equal(users.known('joe')?.clientCount, 0);
});
