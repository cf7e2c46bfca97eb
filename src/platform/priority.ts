/** The scheduling priority of child processes. */
import { constants, getPriority, setPriority } from 'node:os';

/**
 * Makes a child come after this process when processors are scarce. Threads that it has started already keep their priority.
 * @param niceness relative to this process's
 */
export function lowerPriority(pid: number, niceness: number): void {
  try {
    setPriority(pid, Math.min(getPriority() + niceness, constants.priority.PRIORITY_LOW));
  } catch {
    // it has ended, or the system does not allow it: it runs nevertheless
  }
}
