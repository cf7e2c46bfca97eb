/** Starts processes. */
import { ChildProcess, spawn, type SpawnOptions } from 'node:child_process';

/** As `spawn`, but every error arrives as the event `error`: Node throws some, for example when there is no memory to fork. */
export function startProcess(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  try {
    return spawn(command, args, options);
  } catch (error) {
    const child = new ChildProcess();
    process.nextTick(() => child.emit('error', error));
    return child;
  }
}
