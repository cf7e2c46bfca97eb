/** pgswitchyard as its users run it: a child process with a configuration file of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Client, type ClientConfig } from 'pg';
import {
  isReachableUnprivileged,
  removeFolder,
  temporaryFolder,
  unprivileged,
} from '../../src/demo/embedded-postgres.ts';
import { forgetProcess, reapProcess } from '../../src/platform/reaper.ts';
import { freePort } from './ports.ts';
import { RawClient } from './raw.ts';
import type { Scope } from './scope.ts';
import { until, within } from './wait.ts';
import type { Row } from './cluster.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const COMMAND = join(ROOT, 'bin', 'pgswitchyard');

/** pgbouncer's values: anything that has a text. */
export type Settings = Record<string, string | number | boolean>;

export interface BouncerOptions {
  /** [databases]: name -> connection string. */
  databases?: Record<string, string>;
  /** [users]: name -> settings. */
  users?: Record<string, string>;
  /** [pgbouncer]: overrides the harness's settings (see `settings`). */
  settings?: Settings;
  /** userlist.txt: name -> password or secret. It includes `postgres` and `pgbouncer` unless it names them. */
  userlist?: Record<string, string>;
  /** Files beside the configuration: path -> text. User functions are `user-functions/NAME.ts`. */
  files?: Record<string, string>;
  /** More text for the end of the file, verbatim: for %include, repeated sections and mistakes. */
  ini?: string;
  /** More arguments of the command line. */
  args?: string[];
  /** More environment variables. */
  env?: Record<string, string>;
  /** An executable other than this checkout's bin/pgswitchyard. */
  command?: string;
}

/** A running pgswitchyard. */
export class Bouncer {
  readonly host = '127.0.0.1';
  readonly port: number;
  /** Holds pgbouncer.ini, userlist.txt, user-functions/, the log and the Unix socket. */
  readonly folder: string;
  readonly databases: Record<string, string>;
  readonly users: Record<string, string>;
  readonly settings: Settings;
  readonly userlist: Record<string, string>;
  readonly #options: BouncerOptions;
  readonly #clients = new Set<Client>();
  #child: ChildProcess | undefined;
  #exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }> | undefined;
  #output = '';
  #logMark = 0;

  private constructor(folder: string, port: number, options: BouncerOptions) {
    this.folder = folder;
    this.port = port;
    this.#options = options;
    this.databases = { ...options.databases };
    this.users = { ...options.users };
    this.userlist = { postgres: '', pgbouncer: '', ...options.userlist };
    this.settings = {
      listen_addr: this.host,
      listen_port: port,
      unix_socket_dir: folder,
      logfile: join(folder, 'log'),
      auth_type: 'trust',
      auth_file: join(folder, 'userlist.txt'),
      admin_users: 'pgbouncer',
      ...options.settings,
    };
  }

  /** Starts a proxy and waits until it accepts connections; it is ended when the scope ends. */
  static async start(scope: Scope, options: BouncerOptions = {}): Promise<Bouncer> {
    const bouncer = await Bouncer.prepare(scope, options);
    await bouncer.start();
    return bouncer;
  }

  /** Writes the files without starting anything: for tests of the start itself. */
  static async prepare(scope: Scope, options: BouncerOptions = {}): Promise<Bouncer> {
    const bouncer = new Bouncer(await temporaryFolder('proxy'), await freePort(), options);
    scope.after(() => bouncer.remove());
    await chmod(bouncer.folder, 0o755);
    await bouncer.writeFiles();
    return bouncer;
  }

  /** Starts another process with the same files, address and folder, and these arguments. */
  async successor(scope: Scope, args: string[]): Promise<Bouncer> {
    const next = this.prepareSuccessor(scope, args);
    await next.start();
    return next;
  }

  /** The same, without starting it. */
  prepareSuccessor(scope: Scope, args: string[]): Bouncer {
    const next = new Bouncer(this.folder, this.port, { ...this.#options, args });
    scope.after(() => next.stop());
    return next;
  }

  get configFile(): string {
    return join(this.folder, 'pgbouncer.ini');
  }

  /** The proxy's own process. */
  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('the proxy is not running');
    return pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Writes pgbouncer.ini and the files that belong to it from the fields of this object. */
  async writeFiles(): Promise<void> {
    const section = (name: string, values: Settings): string =>
      `[${name}]\n${Object.entries(values)
        .map(([key, value]) => `${key} = ${value === true ? 1 : value === false ? 0 : value}\n`)
        .join('')}\n`;
    const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;
    await this.writeFile(
      'userlist.txt',
      Object.entries(this.userlist)
        .map(([name, secret]) => `${quoted(name)} ${quoted(secret)}\n`)
        .join(''),
    );
    for (const [path, text] of Object.entries(this.#options.files ?? {})) await this.writeFile(path, text);
    const ini =
      section('databases', this.databases) +
      section('users', this.users) +
      section('pgbouncer', this.settings);
    await this.writeFile('pgbouncer.ini', ini + (this.#options.ini ?? ''));
  }

  /** Writes one file beside the configuration, for example a user function. */
  async writeFile(path: string, text: string): Promise<void> {
    const file = join(this.folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
    if (unprivileged.uid !== undefined)
      await chown(file, unprivileged.uid, unprivileged.gid ?? unprivileged.uid);
  }

  /** Removes one file beside the configuration. */
  async removeFile(path: string): Promise<void> {
    await rm(join(this.folder, path));
  }

  /** Starts the process; resolves when it reports that it is up. @throws with its output if it ends instead. */
  async start(): Promise<void> {
    this.markLog();
    const mark = this.#logMark;
    const child = this.spawn();
    const ready = (): boolean => /process up/.test(this.log().slice(mark));
    await until('the proxy to start', () => ready() || this.#child !== child);
    if (this.#child === child) return;
    throw new Error(`the proxy did not start:\n${this.output || this.log().slice(mark)}`);
  }

  /** The executable that is started. */
  commandLine(): [string, ...string[]] {
    const { command = COMMAND, args = [] } = this.#options;
    return [process.execPath, command, ...this.#asUser(), ...args, this.configFile];
  }

  /** Starts the process and waits for nothing. */
  spawn(): ChildProcess {
    this.#output = '';
    const [program, ...args] = this.commandLine();
    const child = spawn(program, args, {
      cwd: this.folder,
      env: { ...process.env, ...this.#options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
    this.#exit = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        if (child.pid !== undefined) forgetProcess(child.pid);
        resolve({ code, signal });
      });
      // 'close' comes after the last output.
      child.once('close', () => {
        if (this.#child === child) this.#child = undefined;
      });
    });
    if (child.pid !== undefined) reapProcess(child.pid);
    return child;
  }

  /** It refuses to run as root. If only root can read the checkout, there is no choice. */
  #asUser(): string[] {
    if (unprivileged.uid === undefined) return [];
    return ['-u', isReachableUnprivileged(COMMAND) ? 'nobody' : 'root'];
  }

  /** Its output on stdout and stderr. */
  get output(): string {
    return this.#output;
  }

  /** Resolves with the exit code or signal when the process has ended. */
  async exited(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    if (this.#exit === undefined) throw new Error('the proxy was never started');
    return await within('the proxy to end', this.#exit);
  }

  /** Sends a signal and waits for the end. SIGQUIT ends it at once, SIGINT and SIGTERM as in pgbouncer. */
  async stop(signal: NodeJS.Signals = 'SIGQUIT'): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.kill(signal);
    try {
      await this.exited();
      await until('the last output', () => this.#child !== child);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  async remove(): Promise<void> {
    await Promise.all([...this.#clients].map((client) => client.end().catch(() => {})));
    try {
      await this.stop();
    } finally {
      await removeFolder(this.folder);
    }
  }

  /** The parameters that a `pg` client needs to connect: the first database, as postgres. */
  connection(more: ClientConfig = {}): ClientConfig {
    const [database = 'postgres'] = Object.keys(this.databases);
    return { host: this.host, port: this.port, user: 'postgres', database, ...more };
  }

  /** A connected `pg` client; closed with the proxy. Its 'error' event (a lost connection) may be listened to. */
  async connect(more: ClientConfig = {}): Promise<Client> {
    const client = new Client(this.connection(more));
    client.on('error', () => {});
    await client.connect();
    this.#clients.add(client);
    client.once('end', () => this.#clients.delete(client));
    return client;
  }

  /** A raw client that has logged in as postgres (or `more.user`), for as long as a test lasts. */
  login(scope: Scope, database: string, more: Record<string, string> = {}): Promise<RawClient> {
    return RawClient.session(scope, this, { user: 'postgres', database, ...more });
  }

  /** One query in a connection of its own; its rows. */
  async sql<T extends Row = Row>(text: string, more: ClientConfig = {}): Promise<T[]> {
    const client = await this.connect(more);
    try {
      return (await client.query<T>(text)).rows;
    } finally {
      await client.end().catch(() => {});
    }
  }

  /** A command of the admin console; its rows. */
  admin<T extends Row = Row>(text: string): Promise<T[]> {
    return this.sql<T>(text, { user: 'pgbouncer', database: 'pgbouncer' });
  }

  /** Changes settings (undefined: remove), writes the files and waits for RELOAD. @throws if it was refused. */
  async reload(changes: { [name: string]: Settings[string] | undefined } = {}): Promise<void> {
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined) delete this.settings[name];
      else this.settings[name] = value;
    }
    await this.writeFiles();
    await this.admin('RELOAD');
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** The whole log: each line is in the file before its effect can be seen. */
  log(): string {
    const file = this.settings['logfile'];
    if (typeof file !== 'string' || file === '') return this.#output;
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  /** From here on, `logContains`, `logCount` and `waitForLog` look at new lines only. */
  markLog(): void {
    this.#logMark = this.log().length;
  }

  logCount(pattern: RegExp): number {
    const all = new RegExp(pattern, `${pattern.flags.replace('g', '')}g`);
    return this.log().slice(this.#logMark).match(all)?.length ?? 0;
  }

  logContains(pattern: RegExp): boolean {
    return this.logCount(pattern) > 0;
  }

  async waitForLog(pattern: RegExp): Promise<void> {
    await until(`${String(pattern)} in the proxy's log`, () => this.logContains(pattern));
  }
}
