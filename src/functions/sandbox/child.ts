/** A sandbox process, and the pipes to it. docs/sandbox.md says what it is locked out of. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { forgetProcess, reapProcess } from '../../platform/reaper.ts';
import { encodeMessage, ReportReader, type Order, type Report } from './protocol.ts';
import { addonFile, childScript, preludeScript } from './programs.ts';
import { CHILD, MESSAGE } from '../limits.ts';

/**
 * No compiler, so no code from strings, no WebAssembly, and a data limit that works; a regex engine that does not backtrack
 * for ever; no files but isolated-vm's, no network, no processes.
 */
const NODE_FLAGS = [
  '--no-node-snapshot',
  '--jitless',
  '--enable-experimental-regexp-engine-on-excessive-backtracks',
  '--permission',
  '--allow-addons',
  '--no-warnings',
];
/** Reads the program from stdin, before the messages: int32 length, UTF-8 text. That keeps the command line short. */
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
/** The user `nobody`, which it becomes when the proxy runs as root. */
const UNPRIVILEGED = 65534;

/** Signals sent from outside: an operator, the kernel when it is out of memory. A crash of the code itself raises others. */
const OUTSIDE: ReadonlySet<NodeJS.Signals | null> = new Set([
  'SIGKILL',
  'SIGTERM',
  'SIGINT',
  'SIGHUP',
  'SIGQUIT',
] as const);

export interface ChildEvents {
  onReport(report: Report): void;
  /** The process has ended, for whatever reason. Called once. */
  onGone(): void;
}

export class SandboxChild {
  readonly #child: ChildProcess;
  readonly #reader = new ReportReader(MESSAGE.answersBytes);
  #gone = false;
  #events: ChildEvents | null = null;
  #isReady = false;
  #killed = false;
  #endedBy: NodeJS.Signals | null = null;
  /** the end of what it wrote to stderr, which says why it ended */
  complaint = '';

  constructor(memoryLimitMb: number) {
    const flags = [...NODE_FLAGS, `--allow-fs-read=${addonFile()}`];
    const limits = `ulimit -c 0; ulimit -d ${(CHILD.baseDataMb + memoryLimitMb) * 1024} 2>/dev/null; exec "$0" "$@"`;
    const user = process.getuid?.() === 0 ? String(UNPRIVILEGED) : '';
    this.#child = spawn(
      '/bin/sh',
      ['-c', limits, process.execPath, ...flags, '--eval', BOOT, addonFile(), user],
      { stdio: ['pipe', 'pipe', 'pipe'], env: {}, cwd: '/' },
    );
    // It ends when its pipe closes, unless something in it does not return at that time.
    if (this.#child.pid !== undefined) reapProcess(this.#child.pid);
    this.#child.on('error', (error) => {
      this.complaint ||= error.message;
      this.#end();
    });
    this.#child.on('exit', (_code, signal) => {
      if (!this.#killed && OUTSIDE.has(signal)) this.#endedBy = signal;
      this.#end();
    });
    // Without free descriptors there are no pipes; the error comes as an event.
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

  get isGone(): boolean {
    return this.#gone;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** The signal from outside that has ended it; null: the proxy, or code that ran in it, has ended it, or nobody has. */
  get endedBy(): NodeJS.Signals | null {
    return this.#endedBy;
  }

  /** Hands over its events. A child that has ended already says so in the next turn. */
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

  /** @param characters what a call of one of its versions may return */
  allowResult(characters: number): void {
    this.#reader.allow(MESSAGE.answersBytes + MESSAGE.bytesPerCharacter * characters);
  }

  kill(): void {
    this.#killed = true;
    this.#child.kill('SIGKILL');
  }

  /** Closes its input, after which it ends by itself; kills it when it does not. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#gone) return resolve();
      this.#child.once('exit', () => resolve());
      this.#child.stdin?.end();
      setTimeout(() => this.kill(), CHILD.closeMs).unref();
    });
  }

  /** CPU time that it has had, in ms; null: the kernel does not tell. */
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
      // Only code that has broken out of its isolate writes nonsense into the pipe.
      this.kill();
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
