/** The destinations of log lines: a descriptor written synchronously, or syslog. Neither ever throws into the caller. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';

/** Longest wait for a full pipe, in ms; then lines are dropped until one can be written again. */
const PATIENCE_MS = 50;
/**
 * This many lines of one turn of the event loop are written one by one, each before its effect can be seen. The rest of a
 * burst (thousands of clients that leave at once) is written in one piece at the end of the turn.
 */
const LINES_A_TURN = 32;
const BURST_BYTES = 64 * 1024;

/** Bytes that may wait for `logger` to read them. */
const SYSLOG_BACKLOG_BYTES = 1 << 20;

/** Builds the line that reports how many lines were lost, and why. */
type LostNotice = (lost: number, reason: string) => string;

/** Sinks with lines that wait for the end of the turn, which never comes if the process exits. */
const unwritten = new Set<DescriptorSink>();
process.on('exit', () => {
  for (const sink of unwritten) sink.flush();
});

/** A descriptor that lines are appended to. Lines that can't be written are dropped and counted. */
export class DescriptorSink {
  /** Lines dropped since the last one that was written. */
  lost = 0;
  #fd: number;
  #reason = '';
  /** A line was cut in the middle: the next one starts on a line of its own. */
  #torn = false;
  readonly #owned: boolean;
  /** lines in this turn of the event loop */
  #inTurn = 0;
  /** lines that wait for the end of the turn, and the builder of the notice about lost ones */
  #waiting: string[] = [];
  #waitingBytes = 0;
  #notice: LostNotice = () => '';

  /** `owned`: the descriptor is closed with the sink. */
  constructor(fd: number, owned: boolean) {
    this.#fd = fd;
    this.#owned = owned;
  }

  /** @throws if the file can't be opened for appending. */
  static open(file: string): DescriptorSink {
    return new DescriptorSink(openSync(file, 'a', 0o644), true);
  }

  /** @param notice builds the line about lost lines, which is written first as soon as writing works again */
  write(line: string, notice: LostNotice): void {
    if (this.#inTurn++ === 0) setImmediate(() => this.#endTurn());
    if (this.#inTurn <= LINES_A_TURN) return this.#write(line, 1, notice);
    this.#notice = notice;
    this.#waiting.push(line);
    this.#waitingBytes += line.length;
    unwritten.add(this);
    if (this.#waitingBytes > BURST_BYTES) this.flush();
  }

  /** Writes the lines that wait for the end of the turn. */
  flush(): void {
    unwritten.delete(this);
    const lines = this.#waiting;
    if (lines.length === 0) return;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#write(lines.join(''), lines.length, this.#notice);
  }

  #endTurn(): void {
    this.#inTurn = 0;
    this.flush();
  }

  #write(line: string, count: number, notice: LostNotice): void {
    const wasLosing = this.lost > 0;
    const first = wasLosing ? notice(this.lost, this.#reason) : '';
    const bytes = Buffer.from(`${this.#torn ? '\n' : ''}${first}${line}`);
    let done = 0;
    try {
      done = writeAll(this.#fd, bytes, wasLosing ? 0 : PATIENCE_MS);
    } catch (error) {
      done = error instanceof PartialWrite ? error.done : 0;
      const cause = error instanceof PartialWrite ? error.cause : error;
      this.#reason = cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : '';
      this.#torn ||= done > 0;
      this.lost += count;
      return;
    }
    this.lost = 0;
    this.#torn = false;
  }

  /** Continues in another file, as after a log rotation. @throws if it can't be opened; then nothing changes. */
  reopen(file: string): void {
    const fd = openSync(file, 'a', 0o644);
    this.flush();
    this.close();
    this.#fd = fd;
    this.#torn = false;
  }

  close(): void {
    this.flush();
    if (!this.#owned) return;
    try {
      closeSync(this.#fd);
    } catch {
      // a full disk may be reported only now; there is no place to report it
    }
  }
}

class PartialWrite extends Error {
  readonly done: number;

  constructor(done: number, cause: unknown) {
    super('write failed', { cause });
    this.done = done;
  }
}

function writeAll(fd: number, bytes: Buffer, patienceMs: number): number {
  let done = 0;
  let waited = 0;
  while (done < bytes.length) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EINTR') continue;
      if (code !== 'EAGAIN' || waited >= patienceMs) throw new PartialWrite(done, error);
      // A pipe that its reader left non-blocking and full: give the reader a moment.
      Atomics.wait(PAUSE, 0, 0, 5);
      waited += 5;
    }
  }
  return done;
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** syslog's severities for pino's levels. */
export const SEVERITY: Readonly<Record<string, number>> = {
  trace: 7,
  debug: 7,
  info: 6,
  warn: 4,
  error: 3,
  fatal: 2,
};

/**
 * Node has no Unix datagram sockets, so lines go through one `logger` child, started with the first line. If it can't be
 * started or ends, lines are dropped, and `onFailure` is called once.
 */
export class SyslogSink {
  readonly ident: string;
  readonly facility: string;
  #child: ChildProcess | null = null;
  #failed = false;
  readonly #onFailure: (reason: string) => void;

  constructor(ident: string, facility: string, onFailure: (reason: string) => void) {
    this.ident = ident;
    this.facility = facility;
    this.#onFailure = onFailure;
  }

  write(level: string, message: string): void {
    if (this.#failed) return;
    const stdin = (this.#child ??= this.#start()).stdin!;
    if (stdin.writableLength > SYSLOG_BACKLOG_BYTES || !stdin.writable) return;
    stdin.write(`<${SEVERITY[level] ?? 6}>${message.replaceAll('\n', ' ')}\n`);
  }

  #start(): ChildProcess {
    const args = ['-t', this.ident, '-p', `${this.facility}.info`, '--prio-prefix'];
    const child = spawn('logger', args, { stdio: ['pipe', 'ignore', 'ignore'] });
    const fail = (reason: string): void => {
      if (this.#failed) return;
      this.#failed = true;
      this.#onFailure(reason);
    };
    child.on('error', (error) => fail(error.message));
    child.on('exit', (code) => fail(`logger exited with status ${code ?? 'unknown'}`));
    child.stdin!.on('error', () => {});
    // The log must not keep the process alive.
    child.unref();
    (child.stdin as unknown as { unref?: () => void }).unref?.();
    return child;
  }

  close(): void {
    this.#failed = true;
    this.#child?.stdin?.end();
  }
}
