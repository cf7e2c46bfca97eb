/** The scheduling priority of child processes. */
import { readdirSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';
import { loadLibc } from './libc.ts';

/** Linux's policy for work that runs when nothing else wants the processor (sched(7)). */
const SCHED_IDLE = 5;

/** undefined: not loaded yet; null: there is no node:ffi, or this is not Linux */
let libc: { sched_setscheduler: (pid: number, policy: number, param: Buffer) => number } | null | undefined;

/**
 * Makes a child come after this process when processors are scarce. Threads that it starts later have the same priority.
 * @param niceness relative to this process's
 */
export function lowerPriority(pid: number, niceness: number): void {
  for (const thread of threadsOf(pid)) lower(thread, niceness);
}

/**
 * Makes a child run only when no other process wants the processor: a niceness would give it a share, in turns of some
 * milliseconds. Where the system can't do that, it gets the lowest priority.
 */
export function runWhenIdle(pid: number): void {
  libc ??= loadLibc({
    sched_setscheduler: { arguments: ['i32', 'i32', 'pointer'], return: 'i32' },
  });
  // struct sched_param { int sched_priority; }: 0 for this policy
  const priority = Buffer.alloc(4);
  for (const thread of threadsOf(pid))
    if (libc?.sched_setscheduler(thread, SCHED_IDLE, priority) !== 0)
      lower(thread, constants.priority.PRIORITY_LOW);
}

/** The threads of a process. On Linux each has a priority of its own. */
function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    // not Linux, or it has ended
    return [pid];
  }
}

function lower(thread: number, niceness: number): void {
  try {
    setPriority(thread, Math.min(getPriority() + niceness, constants.priority.PRIORITY_LOW));
  } catch {
    // it has ended, or the system does not allow it: it runs nevertheless
  }
}
