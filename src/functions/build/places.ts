/** Places in an author's source files, and the author's text made printable. */
import { dirname, relative, resolve } from 'node:path';
import { ENTRY, findPlace, type MapIndex } from './source-map.ts';

/** A place in an author's file. */
export interface Place {
  /** relative to the rule's folder */
  readonly file: string;
  /** from 1 */
  readonly line: number;
  /** from 1 */
  readonly column: number;
}

/** Details of a complaint about a source file, besides its text. */
export interface Details {
  /** null: not known */
  readonly place: Place | null;
  /** the source lines in question, formatted for a terminal; '': none */
  readonly frame: string;
}

/** Maps positions in a bundle to the author's files. */
export class Positions {
  readonly #map: MapIndex;
  readonly #folder: string;

  /** @param folder the base of the map's paths and of the shown ones */
  constructor(map: MapIndex, folder: string) {
    this.#map = map;
    this.#folder = folder;
  }

  /** The innermost frame of a stack that is in the author's code; null: none. */
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

/** `file:line:column: `; '': not known. */
export function placed(place: Place | null): string {
  return place === null ? '' : `${place.file}:${place.line}:${place.column}: `;
}

/** A text that a function made, for a log: nothing in it can move a terminal's cursor or look like another line. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/g;
  return text.replace(controls, '\ufffd').replaceAll(/\n+/g, ' | ');
}
