import { createHash } from 'node:crypto';
import { SourceMap } from 'node:module';
import { dirname, relative, resolve } from 'node:path';
import { ENTRY } from './bundle.ts';
import type { CallFailure } from './host.ts';

/** Where failures are in the source, and which query they were about, without showing the query. */

/** Maps positions in a bundle to the author's files. */
export class Positions {
  readonly #map: SourceMap;
  readonly #folder: string;

  /** @param folder what the map's paths are relative to, and what they are shown relative to */
  constructor(map: string, folder: string) {
    this.#map = new SourceMap(JSON.parse(map) as ConstructorParameters<typeof SourceMap>[0]);
    this.#folder = folder;
  }

  /** `routing_rules.ts:12:5` of the innermost frame in the author's code, or null. */
  find(stack: string): string | null {
    for (const [, line, column] of stack.matchAll(/bundle\.js:(\d+):(\d+)/g)) {
      const entry = this.#map.findEntry(Number(line) - 1, Number(column) - 1);
      if (!('originalSource' in entry) || entry.originalSource === undefined) continue;
      if (entry.originalSource.endsWith(ENTRY)) continue;
      const file = relative(this.#folder, resolve(this.#folder, entry.originalSource));
      return `${file}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
    }
    return null;
  }
}

export function positionsOf(map: string, entryFile: string): Positions {
  return new Positions(map, dirname(entryFile));
}

/** `file:line:column: `, or '' when it is not known. */
export function where(positions: Positions, failure: CallFailure): string {
  const position = failure.stack === '' ? null : positions.find(failure.stack);
  return position === null ? '' : `${position}: `;
}

/** Sixteen hex digits that are the same for queries that differ only in their constants, spaces and case. */
export function fingerprint(query: string): string {
  const shape = query
    .slice(0, 10_000)
    // what has no end goes to the end, so that the rest is not looked at again from each of its beginnings
    .replace(/\/\*(?:[^*]|\*(?!\/))*(?:\*\/|$)|--[^\n]*/g, ' ')
    .replace(/'(?:[^']|'')*(?:'|$)/g, '?')
    .replace(/\$\d+|\b\d+(?:\.\d+)?\b/g, '?')
    .replace(/\s+/g, ' ')
    .trim()
    .toLowerCase();
  return createHash('sha256').update(shape).digest('hex').slice(0, 16);
}

/** Text that a function made up, for a log: nothing in it moves somebody's cursor or looks like another line. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/g;
  return text.replace(controls, '\ufffd').replaceAll('\n', ' | ');
}
