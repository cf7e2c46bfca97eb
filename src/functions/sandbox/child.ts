/** A sandbox process, and the pipes to it. docs/sandbox.md lists the things that it can't do. */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { lowerPriority } from '../../platform/priority.ts';
import { forgetProcess, reapProcess } from '../../platform/reaper.ts';
import { startProcess } from '../../platform/start-process.ts';
import { encodeMessage, ReportReader, type Order, type Report } from './protocol.ts';
import { addonFile, childScript, preludeScript } from './programs.ts';
import { CHILD, MESSAGE } from '../limits.ts';

/**
 * No compiler, hence no code from strings and no WebAssembly, and a data limit that works; a regex engine that can't backtrack
 * without end; no files but isolated-vm's, no network, no processes.
 */
const NODE_FLAGS = [
  '--no-node-snapshot',
  '--jitless',
  '--enable-experimental-regexp-engine-on-excessive-backtracks',
  '--permission',
  '--allow-addons',
  '--no-warnings',
];
/** Reads the program from stdin, before the messages: int32 length, UTF-8 text. This keeps the command line short. */
const BOOT = `const { readSync } = require('node:fs');
const read = (size) => {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size;) {
    const count = readSync(0, bytes, { offset: at });
    if (count === 0) process.exit(1);
    at += count;
  }
  return bytes;
};
new Function('require', read(read(4).readInt32BE(0)).toString())(require);`;
/** The user `nobody`, which the process becomes if the proxy runs as root. */
const UNPRIVILEGED = 65534;

/**
 * Signals sent from outside: by an operator, or by the kernel when it is out of memory. A crash of the code itself raises
 * others.
 */
const OUTSIDE: ReadonlySet<NodeJS.Signals | null> = new Set([
  'SIGKILL',
  'SIGTERM',
  'SIGINT',
  'SIGHUP',
  'SIGQUIT',
] as const);

export interface ChildEvents {
  onReport(report: Report): void;
  /** The process has ended, for any reason. Called once. */
  onGone(): void;
}

export class SandboxChild {
  readonly #child: ChildProcess;
  readonly #reader = new ReportReader(MESSAGE.answersBytes);
  #gone = false;
  #events: ChildEvents | null = null;
  #isReady = false;
  #killed = false;
  #isCondemned = false;
  #endedBy: NodeJS.Signals | null = null;
  /** the end of its stderr, which explains why it ended */
  complaint = '';

  /** @param memoryMb of its data, which the kernel enforces */
  constructor(memoryMb: number) {
    const flags = [...NODE_FLAGS, `--allow-fs-read=${addonFile()}`];
    const limits = `ulimit -c 0; ulimit -d ${memoryMb * 1024} 2>/dev/null; exec "$0" "$@"`;
    const user = process.getuid?.() === 0 ? String(UNPRIVILEGED) : '';
    this.#child = startProcess(
      '/bin/sh',
      ['-c', limits, process.execPath, ...flags, '--eval', BOOT, addonFile(), user],
      { stdio: ['pipe', 'pipe', 'pipe'], env: {}, cwd: '/' },
    );
    // It ends when its pipe closes, unless code in it is stuck at that time.
    if (this.#child.pid !== undefined) reapProcess(this.#child.pid);
    this.lowerPriority(CHILD.niceness);
    this.#child.on('error', (error) => {
      this.complaint ||= error.message;
      this.#end();
    });
    this.#child.on('exit', (_code, signal) => {
      if (!this.#killed && !this.#isCondemned && OUTSIDE.has(signal)) this.#endedBy = signal;
      this.#end();
    });
    // A process that could not be started has no pipes; the error arrives as an event.
    this.#child.stdin?.on('error', () => {});
    this.#child.stdout?.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.complaint = (this.complaint + chunk.toString()).slice(-CHILD.maxComplaint);
    });
    const script = Buffer.from(childScript());
    const length = Buffer.alloc(4);
    length.writeInt32BE(script.length);
    this.#child.stdin?.write(Buffer.concat([length, script]));
    this.send({ kind: 'hello', prelude: preludeScript() });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** @param niceness relative to the proxy's */
  lowerPriority(niceness: number): void {
    if (this.#child.pid !== undefined) lowerPriority(this.#child.pid, niceness);
  }

  get isGone(): boolean {
    return this.#gone;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** The outside signal that ended it; null: the proxy or the code in it has ended it, or it has not ended. */
  get endedBy(): NodeJS.Signals | null {
    return this.#endedBy;
  }

  /** Passes on its events. A child that has ended already reports that in the next turn. */
  attach(events: ChildEvents): void {
    this.#events = events;
    if (this.#gone) process.nextTick(() => events.onGone());
  }

  send(order: Order): void {
    if (!this.#gone) this.#child.stdin?.write(encodeMessage(order));
  }

  /** Whether the proxy has ended it. */
  get wasKilled(): boolean {
    return this.#killed;
  }

  /** @param characters the longest result of a call of one of its versions */
  allowResult(characters: number): void {
    this.#reader.allow(MESSAGE.answersBytes + MESSAGE.bytesPerCharacter * characters);
  }

  kill(): void {
    this.#killed = true;
    this.#child.kill('SIGKILL');
  }

  /**
   * Ends it because code in it has broken out of its isolate and writes nonsense. Nothing tells which tenant's code that is, so
   * this counts as if it had ended by itself.
   */
  condemn(): void {
    this.#isCondemned = true;
    this.#child.kill('SIGKILL');
  }

  /** Closes its input, after which it ends by itself; kills it if it does not. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#gone) return resolve();
      this.#child.once('exit', () => resolve());
      this.#child.stdin?.end();
      setTimeout(() => this.kill(), CHILD.closeMs).unref();
    });
  }

  /** CPU time used so far, in ms; null: the kernel does not tell. */
  cpuMs(): number | null {
    try {
      return Number(readFileSync(`/proc/${this.#child.pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6;
    } catch {
      return null;
    }
  }

  #read(chunk: Buffer): void {
    let reports: Report[];
    try {
      reports = this.#reader.push(chunk);
    } catch {
      this.condemn();
      return;
    }
    for (const report of reports) {
      if (report.kind === 'ready') this.#isReady = true;
      this.#events?.onReport(report);
    }
  }

  #end(): void {
    if (this.#gone) return;
    this.#gone = true;
    if (this.#child.pid !== undefined) forgetProcess(this.#child.pid);
    this.#events?.onGone();
  }
}
