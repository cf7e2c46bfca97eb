/** Which changes of folders are reported, and when. */
import assert from 'node:assert/strict';
import type { FSWatcher } from 'node:fs';
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

function eventsTo(reported: Set<string>, more: Partial<WatchEvents> = {}): WatchEvents {
  return {
    onChange: (paths) => paths.forEach((path) => reported.add(path)),
    onPoll() {},
    onBlind() {},
    ...more,
  };
}

test('a file that is written without a pause is reported, and delays no other folder', async (t) => {
  const folder = await folderOf(t);
  await Promise.all(['busy', 'calm'].map((name) => mkdir(join(folder, name))));
  const reported = new Set<string>();
  const watcher = new SourceWatcher(eventsTo(reported));
  t.after(() => watcher.close());
  const [busy, calm] = [join(folder, 'busy', 'rule.ts'), join(folder, 'calm', 'rule.ts')];
  watcher.watch('owner', [busy, calm]);
  let isDone = false;
  const writing = (async (): Promise<void> => {
    while (!isDone) await writeFile(busy, 'x');
  })();
  await until('the busy one', () => reported.has(busy));
  await writeFile(calm, 'x');
  await until('the calm one', () => reported.has(calm));
  reported.clear();
  await until('the busy one again', () => reported.has(busy));
  isDone = true;
  await writing;
});

test('changes of files next to watched ones are not reported', async (t) => {
  const folder = await folderOf(t);
  const reported = new Set<string>();
  const watcher = new SourceWatcher(eventsTo(reported));
  t.after(() => watcher.close());
  const rule = join(folder, 'rule.ts');
  watcher.watch('owner', [rule]);
  for (let i = 0; i < 50; i++) await writeFile(join(folder, 'proxy.log'), 'x'.repeat(i));
  await writeFile(rule, 'x');
  await until('the rule', () => reported.has(rule));
  assert.deepEqual([...reported], [rule]);
});

test('a folder that is replaced by another one is watched by its name', async (t) => {
  const folder = await folderOf(t);
  await Promise.all(['now', 'next'].map((name) => mkdir(join(folder, name))));
  const reported = new Set<string>();
  const watcher = new SourceWatcher(eventsTo(reported));
  t.after(() => watcher.close());
  const [now, rule] = [join(folder, 'now'), join(folder, 'now', 'rule.ts')];
  watcher.watch('owner', [now, rule]);
  await rename(now, join(folder, 'before'));
  await rename(join(folder, 'next'), now);
  await until('the folder', () => reported.has(now));
  await writeFile(rule, 'x');
  await until('the rule in it', () => reported.has(rule));
});

test('folders that the kernel refuses to watch are named once, and polled', async (t) => {
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

test('changes in many folders at once are reported together, and folders below a changed path are watched again', async (t) => {
  const opened: string[] = [];
  const listeners = new Map<string, (isNew: boolean, name: string) => void>();
  const reports: ReadonlySet<string>[] = [];
  const watcher = new SourceWatcher(
    eventsTo(new Set(), { onChange: (paths) => reports.push(paths) }),
    (folder, onEvent) => {
      opened.push(folder);
      listeners.set(folder, onEvent);
      return { on() {}, close() {} } as unknown as FSWatcher;
    },
  );
  t.after(() => watcher.close());
  const folders = Array.from({ length: 200 }, (_, i) => `/rules/${i}/lib`);
  watcher.watch(
    'one',
    folders.flatMap((folder) => [folder.slice(0, -'/lib'.length), `${folder}/rule.ts`]),
  );
  watcher.watch('other', ['/rules/7/lib/other.ts']);
  watcher.forget('other');
  opened.length = 0;
  for (const folder of folders) listeners.get(folder)!(false, 'rule.ts');
  listeners.get('/rules')!(true, '7');
  await until('the reports', () => reports.reduce((sum, paths) => sum + paths.size, 0) === 201);
  assert.ok(reports.length < 20, `${reports.length} reports`);
  assert.deepEqual(opened, ['/rules/7/lib']);
});
