/** The last lines of the log, kept for the web console. */
import type { Logger } from '../../telemetry/log.ts';

const MOST = 500;
/** Characters of a line that are kept. */
const LONGEST = 500;

export interface LogLine {
  readonly atMs: number;
  readonly level: string;
  readonly text: string;
}

export class LogTail {
  readonly #log: Logger;
  readonly #lines: LogLine[] = [];

  constructor(log: Logger) {
    this.#log = log;
    log.listen((atMs, level, message) => {
      this.#lines.push({ atMs, level, text: message.slice(0, LONGEST) });
      if (this.#lines.length > MOST) this.#lines.shift();
    });
  }

  /** The oldest first. */
  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  stop(): void {
    this.#log.listen(null);
  }
}
