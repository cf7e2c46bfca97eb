/** The scheduling priority of child processes. */
import { readdirSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';

/**
 * Makes a child come after this process when processors are scarce. On Linux each thread has a priority of its own: those that
 * the child starts later get the one of the thread that starts them.
 * @param niceness relative to this process's
 */
export function lowerPriority(pid: number, niceness: number): void {
  const priority = Math.min(getPriority() + niceness, constants.priority.PRIORITY_LOW);
  for (const thread of threadsOf(pid))
    try {
      setPriority(thread, priority);
    } catch {
      // it has ended, or the system does not allow it: it runs nevertheless
    }
}

function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    // not Linux, or it has ended
    return [pid];
  }
}
