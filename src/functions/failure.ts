import { createHash } from 'node:crypto';
import { dirname, relative, resolve } from 'node:path';
import type { CallFailure } from './host.ts';
import { ENTRY, findPlace, type MapIndex } from './source-map.ts';

/** Where failures are in the source, and which query they were about, without showing the query. */

/** Maps positions in a bundle to the author's files. */
export class Positions {
  readonly #map: MapIndex;
  readonly #folder: string;

  /** @param folder what the map's paths are relative to, and what they are shown relative to */
  constructor(map: MapIndex, folder: string) {
    this.#map = map;
    this.#folder = folder;
  }

  /** `routing_rules.ts:12:5` of the innermost frame in the author's code, or null. */
  find(stack: string): string | null {
    for (const [, line, column] of stack.matchAll(/bundle\.js:(\d+):(\d+)/g)) {
      const place = findPlace(this.#map, Number(line) - 1, Number(column) - 1);
      if (place === null || place.source.endsWith(ENTRY)) continue;
      const file = relative(this.#folder, resolve(this.#folder, place.source));
      return `${file}:${place.line + 1}:${place.column + 1}`;
    }
    return null;
  }
}

export function positionsOf(map: MapIndex, entryFile: string): Positions {
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
    .replace(/\/\*.*?\*\/|--[^\n]*/gs, ' ')
    .replace(/'(?:[^']|'')*'/g, '?')
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
