import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

/** What a daemon does with its process: the pidfile, and who it runs as. */

/** Something is wrong that the operator has to mend before the process can run; the message is pgbouncer's. */
export class StartError extends Error {}

/**
 * Writes the pidfile. One that a process left behind is replaced.
 * @throws StartError when the process that it names is alive, or the file can't be written
 */
export function writePidfile(file: string, onStale: (message: string) => void): void {
  if (existsSync(file)) {
    const pid = Number(readFileSync(file, 'latin1').trim());
    if (pid > 0 && pid !== process.pid && isAlive(pid)) {
      throw new StartError(`pidfile '${file}' exists, another instance running?`);
    }
    onStale(`stale pidfile, removing`);
    rmSync(file, { force: true });
  }
  try {
    writeFileSync(file, `${process.pid}\n`, { mode: 0o644 });
  } catch (error) {
    throw new StartError(`${file}: ${(error as Error).message}`);
  }
}

/** Removes the pidfile, if it is still this process's. */
export function removePidfile(file: string): void {
  try {
    if (Number(readFileSync(file, 'latin1').trim()) === process.pid) rmSync(file);
  } catch {
    // gone already
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Gives up root's rights for those of a user, all groups included.
 * @throws StartError when there is no such user, or the process isn't root's
 */
export function becomeUser(name: string): void {
  if (process.getuid!() !== 0) {
    if (name === currentUser()) return;
    throw new StartError(`could not change user: the process does not run as root`);
  }
  if (name === 'root') return;
  try {
    const group = Number(
      execFileSync('id', ['-g', name], { stdio: ['ignore', 'pipe', 'ignore'] }).toString(),
    );
    (process as unknown as { initgroups(user: string, group: number): void }).initgroups(name, group);
    process.setgid!(group);
    process.setuid!(name);
  } catch {
    throw new StartError(`could not find user '${name}'`);
  }
}

function currentUser(): string {
  return execFileSync('id', ['-un'], { stdio: ['ignore', 'pipe', 'ignore'] })
    .toString()
    .trim();
}
