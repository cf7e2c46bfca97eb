import { dirname, relative, resolve } from 'node:path';
import type { CallFailure } from '../sandbox/host.ts';
import { ENTRY, findPlace, type MapIndex } from '../build/source-map.ts';

/** Where failures are in the source, and how their texts are shown. */

/** A place in an author's file. */
export interface Place {
  /** relative to the folder that the rule is in */
  readonly file: string;
  /** from 1 */
  readonly line: number;
  /** from 1 */
  readonly column: number;
}

/** Maps positions in a bundle to the author's files. */
export class Positions {
  readonly #map: MapIndex;
  readonly #folder: string;

  /** @param folder what the map's paths are relative to, and what they are shown relative to */
  constructor(map: MapIndex, folder: string) {
    this.#map = map;
    this.#folder = folder;
  }

  /** Of the innermost frame in the author's code, or null. */
  find(stack: string): Place | null {
    for (const [, line, column] of stack.matchAll(/bundle\.js:(\d+):(\d+)/g)) {
      const place = findPlace(this.#map, Number(line) - 1, Number(column) - 1);
      if (place === null || place.source.endsWith(ENTRY)) continue;
      const file = relative(this.#folder, resolve(this.#folder, place.source));
      return { file, line: place.line + 1, column: place.column + 1 };
    }
    return null;
  }
}

export function positionsOf(map: MapIndex, entryFile: string): Positions {
  return new Positions(map, dirname(entryFile));
}

/** Null: it is not known. */
export function where(positions: Positions, failure: CallFailure): Place | null {
  return failure.stack === '' ? null : positions.find(failure.stack);
}

/** `file:line:column: `, or '' when it is not known. */
export function placed(place: Place | null): string {
  return place === null ? '' : `${place.file}:${place.line}:${place.column}: `;
}

/** Text that a function made up, for a log: nothing in it moves somebody's cursor or looks like another line. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/g;
  return text.replace(controls, '\ufffd').replaceAll(/\n+/g, ' | ');
}
