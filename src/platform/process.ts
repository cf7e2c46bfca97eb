/** A daemon's process: its pidfile, and the user that it runs as. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/** The operator must fix something before the process can run; the message is pgbouncer's. */
export class StartError extends Error {}

/**
 * Gives the process the command's name, for pgrep, killall and top, which would otherwise show Node's. Not process.title: that
 * would replace the arguments, too. Call this before the process changes its user.
 */
export function nameProcess(name: string): void {
  try {
    writeFileSync('/proc/self/comm', name);
  } catch {
    // not Linux
  }
}

/**
 * Writes the pidfile. A stale one is replaced.
 * @throws StartError if the process that it names is alive, if it names none, or if it can't be written
 */
export function writePidfile(file: string, onStale: (message: string) => void): void {
  checkPidfile(file, onStale);
  try {
    writeFileSync(file, `${process.pid}\n`, { mode: 0o644, flag: 'wx' });
  } catch (error) {
    throw new StartError(`could not write pidfile '${file}': ${reason(error)}`);
  }
}

/** Puts this process's ID into the pidfile of the replaced process; the file exists at every moment. */
export function replacePidfile(file: string): void {
  try {
    writeFileSync(`${file}.${process.pid}`, `${process.pid}\n`, { mode: 0o644 });
    renameSync(`${file}.${process.pid}`, file);
  } catch (error) {
    throw new StartError(`could not write pidfile '${file}': ${reason(error)}`);
  }
}

/** Removes a pidfile that a dead process has left. @throws StartError as `writePidfile` does */
export function checkPidfile(file: string, onStale: (message: string) => void): void {
  try {
    if (!existsSync(file)) return;
    const pid = Number(readFileSync(file, 'latin1').trim());
    // The file has our own number: a container's processes get the same ones each time.
    if (!(pid > 0) || (pid !== process.pid && isAlive(pid))) {
      throw new StartError(`pidfile '${file}' exists, another instance running?`);
    }
    onStale('stale pidfile, removing');
    rmSync(file, { force: true });
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(`could not remove stale pidfile '${file}': ${reason(error)}`);
  }
}

/** The system's error message, without Node's repetition of call and path. */
function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return /^[A-Z]+: ([^,]+)/.exec(message)?.[1] ?? message;
}

/** Removes the pidfile, if it still names this process. */
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
 * Exchanges root's rights for those of a user, all groups included.
 * @throws StartError if there is no such user, or the process is not root's
 */
export function becomeUser(name: string): void {
  if (process.getuid!() !== 0) {
    if (name === currentUser()) return;
    throw new StartError(
      `failed to assume identity of user '${name}': only a process that root started can do that`,
    );
  }
  if (name === 'root') return;
  let group: number;
  try {
    group = Number(
      execFileSync('id', ['-g', '--', name], { stdio: ['ignore', 'pipe', 'ignore'] }).toString(),
    );
  } catch {
    throw new StartError(`could not find user '${name}' to switch to`);
  }
  try {
    // @types/node does not know it.
    (process as unknown as { initgroups(user: string, group: number): void }).initgroups(name, group);
    process.setgid!(group);
    process.setuid!(name);
  } catch (error) {
    throw new StartError(`failed to assume identity of user '${name}': ${reason(error)}`);
  }
}

/** @throws StartError if there is no such group */
export function groupId(name: string): number {
  try {
    const line = execFileSync('getent', ['group', name], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
    return Number(line.split(':')[2]);
  } catch {
    throw new StartError(`could not find group '${name}'`);
  }
}

function currentUser(): string {
  return execFileSync('id', ['-un'], { stdio: ['ignore', 'pipe', 'ignore'] })
    .toString()
    .trim();
}
