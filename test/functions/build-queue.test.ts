/** One build at a time, and one more for all requests in the meantime. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BuildQueue } from '../../src/functions/tenants/build-queue.ts';

/** A queue whose builds end on the test's command. */
class Setup {
  readonly begun: PromiseWithResolvers<void>[] = [];
  ended = 0;
  readonly queue = new BuildQueue(
    () => {
      const build = Promise.withResolvers<void>();
      this.begun.push(build);
      return build.promise;
    },
    () => this.ended++,
  );

  async end(): Promise<void> {
    this.begun.at(-1)!.resolve();
    await nextTurn();
  }
}

test('a build begins at once, and another one after it only when it was asked for', async () => {
  const setup = new Setup();
  void setup.queue.add();
  assert.deepEqual([setup.begun.length, setup.queue.isBusy, setup.queue.hasNext], [1, true, false]);
  await setup.end();
  assert.deepEqual([setup.begun.length, setup.queue.isBusy, setup.ended], [1, false, 1]);
});

test('builds that are asked for during one are one build, after it', async () => {
  const setup = new Setup();
  void setup.queue.add();
  const later = [setup.queue.add(), setup.queue.add(), setup.queue.add()];
  assert.equal(setup.queue.hasNext, true);
  await setup.end();
  assert.deepEqual([setup.begun.length, setup.queue.hasNext], [2, false]);
  await setup.end();
  await Promise.all(later);
  assert.deepEqual([setup.begun.length, setup.ended], [2, 2]);
});

test('idle() waits for the build that follows too', async () => {
  const setup = new Setup();
  void setup.queue.add();
  void setup.queue.add();
  let isIdle = false;
  void setup.queue.idle().then(() => (isIdle = true));
  await setup.end();
  assert.equal(isIdle, false);
  await setup.end();
  assert.equal(isIdle, true);
});

test('a closed queue begins nothing more and reports nothing', async () => {
  const setup = new Setup();
  void setup.queue.add();
  const later = setup.queue.add();
  setup.queue.close();
  await setup.end();
  await later;
  await setup.queue.add();
  assert.deepEqual([setup.begun.length, setup.ended], [1, 0]);
});
