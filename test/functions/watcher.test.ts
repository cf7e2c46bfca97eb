/** When changes of folders are reported, and which. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { SourceWatcher, type WatchEvents } from '../../src/functions/build/watch.ts';
import { until } from '../support/wait.ts';

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pgswitchyard-watch-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function eventsTo(told: Set<string>, more: Partial<WatchEvents> = {}): WatchEvents {
  return {
    onChange: (paths) => paths.forEach((path) => told.add(path)),
    onPoll() {},
    onBlind() {},
    ...more,
  };
}

test('a file that is written without a pause is told of, and keeps no other folder waiting', async (t) => {
  const folder = await folderOf(t);
  await Promise.all(['busy', 'calm'].map((name) => mkdir(join(folder, name))));
  const told = new Set<string>();
  const watcher = new SourceWatcher(eventsTo(told));
  t.after(() => watcher.close());
  const [busy, calm] = [join(folder, 'busy', 'rule.ts'), join(folder, 'calm', 'rule.ts')];
  watcher.watch('owner', [busy, calm]);
  let isDone = false;
  const writing = (async (): Promise<void> => {
    while (!isDone) await writeFile(busy, 'x');
  })();
  await until('the busy one', () => told.has(busy));
  await writeFile(calm, 'x');
  await until('the calm one', () => told.has(calm));
  told.clear();
  await until('the busy one again', () => told.has(busy));
  isDone = true;
  await writing;
});

test('changes of files beside those that are watched are not reported', async (t) => {
  const folder = await folderOf(t);
  const told = new Set<string>();
  const watcher = new SourceWatcher(eventsTo(told));
  t.after(() => watcher.close());
  const rule = join(folder, 'rule.ts');
  watcher.watch('owner', [rule]);
  for (let i = 0; i < 50; i++) await writeFile(join(folder, 'proxy.log'), 'x'.repeat(i));
  await writeFile(rule, 'x');
  await until('the rule', () => told.has(rule));
  assert.deepEqual([...told], [rule]);
});

test('a folder that is exchanged for another one is watched under its name', async (t) => {
  const folder = await folderOf(t);
  await Promise.all(['now', 'next'].map((name) => mkdir(join(folder, name))));
  const told = new Set<string>();
  const watcher = new SourceWatcher(eventsTo(told));
  t.after(() => watcher.close());
  const [now, rule] = [join(folder, 'now'), join(folder, 'now', 'rule.ts')];
  watcher.watch('owner', [now, rule]);
  await rename(now, join(folder, 'before'));
  await rename(join(folder, 'next'), now);
  await until('the folder', () => told.has(now));
  await writeFile(rule, 'x');
  await until('the rule in it', () => told.has(rule));
});

test('folders that the kernel refuses to watch are named once, and looked at all the same', async (t) => {
  const said: string[] = [];
  let polls = 0;
  const refuse = (): never => {
    throw Object.assign(new Error('ENOSPC: System limit for number of file watchers reached'), {
      code: 'ENOSPC',
    });
  };
  const events = eventsTo(new Set(), {
    onBlind: (folder) => said.push(folder),
    onPoll: () => polls++,
  });
  const watcher = new SourceWatcher(events, refuse);
  t.after(() => watcher.close());
  watcher.watch('owner', ['/a/x', '/b/y']);
  watcher.watch('owner', ['/c/z']);
  await until('a look', () => polls > 0);
  assert.deepEqual(said, ['/a']);
});
