/** The priority of child processes, as the kernel sees it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import test, { type TestContext } from 'node:test';
import { loadLibc } from '../../src/platform/libc.ts';
import { lowerPriority, runWhenIdle } from '../../src/platform/priority.ts';

const SCHED_OTHER = 0;
const SCHED_IDLE = 5;
const hasFfi = loadLibc({ getpid: { arguments: [], return: 'i32' } }) !== null;

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

/** The niceness and policy of each thread (proc_pid_stat(5)). */
function priorities(pid: number): { nice: number; policy: number }[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const [, fields = ''] = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1').split(') ');
    const values = fields.split(' ').map(Number);
    return { nice: values[16]!, policy: values[38]! };
  });
}

test('all threads of a process get the lower priority', async (t) => {
  const pid = await threaded(t);
  lowerPriority(pid, 5);
  const expected = { nice: getPriority() + 5, policy: SCHED_OTHER };
  for (const each of priorities(pid)) assert.deepEqual(each, expected);
});

test('all threads of a process run only when no other process wants the processor', async (t) => {
  const pid = await threaded(t);
  runWhenIdle(pid);
  const expected = hasFfi ? { nice: getPriority(), policy: SCHED_IDLE } : { nice: 19, policy: SCHED_OTHER };
  for (const each of priorities(pid)) assert.deepEqual(each, expected);
});

test('the priority of a process that has ended does not matter', async () => {
  const child = spawn('/bin/true');
  await once(child, 'exit');
  lowerPriority(child.pid!, 5);
  runWhenIdle(child.pid!);
});
