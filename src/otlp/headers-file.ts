/** The headers of otlp_headers_file, such as a collector's token. */
import { readFileSync, statSync } from 'node:fs';
import type { Logger } from '../telemetry/log.ts';

/** Longer files are a mistake. */
const MAX_BYTES = 64 * 1024;

export class HeadersFile {
  readonly #file: string | null;
  readonly #log: Logger;
  #key = '';
  #headers: Readonly<Record<string, string>> = {};

  /** @param file null: there are no headers */
  constructor(file: string | null, log: Logger) {
    this.#file = file === '' ? null : file;
    this.#log = log;
  }

  /** A new object for each request. Reads the file again whenever it has changed; a problem is logged once. */
  read(): Record<string, string> {
    const file = this.#file;
    if (file === null) return {};
    const key = keyOf(file);
    if (key !== this.#key) {
      this.#key = key;
      this.#headers = this.#parse(file);
    }
    return { ...this.#headers };
  }

  #parse(file: string): Record<string, string> {
    const headers: Record<string, string> = {};
    try {
      if (statSync(file).size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`);
      readFileSync(file, 'utf8')
        .split(/\r?\n/)
        .forEach((text, at) => {
          const line = text.trim();
          if (line === '' || line.startsWith('#')) return;
          const [, name, value] = /^([!#$%&'*+.^`|~\w-]+)\s*[:=]\s*([!-~][ -~]*)$/.exec(line) ?? [];
          if (name !== undefined && value !== undefined) headers[name] = value;
          // the line may be a secret
          else this.#complain(`"${file}", line ${at + 1}: not "NAME: VALUE"`);
        });
    } catch (error) {
      this.#complain(`"${file}" can't be read: ${(error as Error).message}`);
    }
    return headers;
  }

  #complain(problem: string): void {
    this.#log.error({ event: 'otlp' }, `otlp_headers_file: ${problem}`);
  }
}

/** Changes with the file. */
function keyOf(file: string): string {
  try {
    const { ino, mtimeMs, size } = statSync(file);
    return `${ino} ${mtimeMs} ${size}`;
  } catch {
    return 'missing';
  }
}
