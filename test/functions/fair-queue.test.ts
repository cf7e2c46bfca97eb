/** The order of jobs that wait for a child. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { FairQueue } from '../../src/functions/sandbox/fair-queue.ts';

interface Job {
  readonly key: number;
  readonly number: number;
}

const newQueue = (): FairQueue<Job> => new FairQueue(({ key }) => key);

test('jobs of a version come in order of arrival, and none is lost', () => {
  const operation = fc.oneof(
    fc.record({ add: fc.integer({ min: 0, max: 4 }) }),
    fc.record({ costMs: fc.double({ min: 0, max: 50, noNaN: true }) }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const queue = newQueue();
      const added: Job[] = [];
      const taken: Job[] = [];
      for (const each of operations) {
        if ('add' in each) {
          const job = { key: each.add, number: added.length };
          added.push(job);
          queue.add(job);
          continue;
        }
        const job = queue.take();
        if (job === undefined) continue;
        taken.push(job);
        queue.charge(job.key, each.costMs);
      }
      for (let job = queue.take(); job !== undefined; job = queue.take()) taken.push(job);
      assert.equal(queue.size, 0);
      for (let key = 0; key < 5; key++)
        assert.deepEqual(
          taken.filter((job) => job.key === key),
          added.filter((job) => job.key === key),
        );
    }),
  );
});

test('versions that always have a job get the same processor time, however long each job takes', () => {
  const queue = newQueue();
  const costs = [10, 1, 0.1];
  const usedMs = costs.map(() => 0);
  for (const key of costs.keys()) queue.add({ key, number: 0 });
  for (let i = 0; i < 5_000; i++) {
    const { key } = queue.take()!;
    queue.add({ key, number: i });
    usedMs[key]! += costs[key]!;
    queue.charge(key, costs[key]!);
  }
  for (const used of usedMs) assert.ok(Math.abs(used - usedMs[0]!) <= 10, usedMs.join());
});

test('a version that comes back does not make up for the time that it did not ask for', () => {
  const queue = newQueue();
  queue.add({ key: 1, number: 0 });
  queue.add({ key: 2, number: 0 });
  for (let i = 1; i < 100; i++) {
    const { key } = queue.take()!;
    if (key === 1) queue.add({ key, number: i });
    queue.charge(key, 1);
  }
  for (let i = 0; i < 10; i++) queue.add({ key: 2, number: i });
  const order = Array.from({ length: 10 }, () => {
    const { key } = queue.take()!;
    if (key === 1) queue.add({ key, number: 0 });
    queue.charge(key, 1);
    return key;
  });
  const first = order.filter((key) => key === 1).length;
  assert.ok(first === 4 || first === 5, order.join());
});

test('where nothing waits, time is not counted', () => {
  const queue = newQueue();
  for (let i = 0; i < 100; i++) queue.charge(1, 50);
  queue.add({ key: 1, number: 0 });
  queue.add({ key: 2, number: 0 });
  assert.equal(queue.take()!.key, 1);
});
