/** The priority of child processes, as the kernel sees it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import test, { type TestContext } from 'node:test';
import { lowerPriority } from '../../src/platform/priority.ts';

/** Starts a process with several threads. @returns its ID */
async function threaded(t: TestContext): Promise<number> {
  const child = spawn(process.execPath, ['-e', 'console.log(1); setInterval(() => {}, 1000)'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  assert.ok(readdirSync(`/proc/${child.pid}/task`).length > 1);
  return child.pid!;
}

/** The niceness of each thread (proc_pid_stat(5)). */
function nicenesses(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const [, fields = ''] = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1').split(') ');
    return Number(fields.split(' ')[16]);
  });
}

test('all threads of a process get the lower priority', async (t) => {
  const pid = await threaded(t);
  lowerPriority(pid, 5);
  for (const niceness of nicenesses(pid)) assert.equal(niceness, getPriority() + 5);
});

test('the priority of a process that has ended does not matter', async () => {
  const child = spawn('/bin/true');
  await once(child, 'exit');
  lowerPriority(child.pid!, 5);
});
