/** The errors of a configuration: collected over all files, reported together. */
import type { Settings } from './options.ts';

export interface Diagnostic {
  /** A file, or an environment variable. */
  readonly file: string;
  /** 1 is the first line; null: the file as a whole, or a variable. */
  readonly line: number | null;
  /** The option or key concerned, if there is one. */
  readonly option: string | null;
  readonly message: string;
  readonly hint: string | null;
  /** The step that fails because of it, in the words that logs are searched for; null: the line begins with the place. */
  readonly failure: string | null;
}

/** A configuration that can't be used; the message lists every problem, one per line. */
export class ConfigError extends Error {
  readonly diagnostics: readonly Diagnostic[];
  /** The valid options over the defaults: enough to open the log, which must report the problems, too. */
  readonly settings: Settings | null;

  constructor(diagnostics: readonly Diagnostic[], settings: Settings | null = null) {
    super(diagnostics.map(formatDiagnostic).join('\n'));
    this.name = 'ConfigError';
    this.diagnostics = diagnostics;
    this.settings = settings;
  }
}

/** `[FAILURE: ]FILE:LINE: OPTION: MESSAGE (HINT)`. */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const place = formatPlace(diagnostic);
  const option = diagnostic.option === null ? '' : `${diagnostic.option}: `;
  const hint = diagnostic.hint === null ? '' : ` (${diagnostic.hint})`;
  const failure = diagnostic.failure === null ? '' : `${diagnostic.failure}: `;
  return `${failure}${place}: ${option}${diagnostic.message}${hint}`;
}

/** The place of a problem: a line, or a file as a whole. */
export type Place = Pick<Diagnostic, 'file' | 'line'>;

/** `FILE:LINE`, or the file or variable alone. */
export function formatPlace({ file, line }: Place): string {
  return line === null ? file : `${file}:${line}`;
}

/** Collects problems until they are read. */
export class Diagnostics {
  readonly all: Diagnostic[] = [];

  add(
    place: Place,
    message: string,
    more: { option?: string; hint?: string | null; failure?: string } = {},
  ): void {
    this.all.push({
      file: place.file,
      line: place.line,
      option: more.option ?? null,
      message,
      hint: more.hint ?? null,
      failure: more.failure ?? null,
    });
  }

  /** @throws {ConfigError} if anything was added. */
  throwIfAny(settings: Settings | null = null): void {
    if (this.all.length > 0) throw new ConfigError(this.all, settings);
  }
}

/** `did you mean X?` for the nearest name; null: none is near. */
export function nearestHint(name: string, known: Iterable<string>): string | null {
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best === null ? null : `did you mean ${best}?`;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(previous[j]! + 1, row[j - 1]! + 1, substitution));
    }
    previous = row;
  }
  return previous[b.length]!;
}
