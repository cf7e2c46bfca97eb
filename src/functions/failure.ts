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

/** Of a longer query only this much is looked at, in characters. */
const MAX_SHAPE = 10_000;
/** A piece of SQL at a time: space, a comment to the end of its line, the start of one that is closed, a constant, a word. */
const PIECES =
  /(?<space>\s+|--[^\n]*)|(?<comment>\/\*)|(?<text>')|(?<number>\$\d+|\d+(?:\.\d+)?\b)|[\w\u0080-\uffff]+|[^]/gy;

/** Sixteen hex digits that are the same for queries that differ only in their constants, spaces, comments and case. */
export function fingerprint(query: string): string {
  return createHash('sha256')
    .update(shapeOf(query.slice(0, MAX_SHAPE)))
    .digest('hex')
    .slice(0, 16);
}

function shapeOf(sql: string): string {
  let shape = '';
  PIECES.lastIndex = 0;
  for (let piece = PIECES.exec(sql); piece !== null; piece = PIECES.exec(sql)) {
    const { space, comment, text, number } = piece.groups!;
    if (comment !== undefined) PIECES.lastIndex = endOf('*/', sql, PIECES.lastIndex);
    if (text !== undefined) PIECES.lastIndex = endOf("'", sql, PIECES.lastIndex);
    const isSpace = space !== undefined || comment !== undefined;
    const word = isSpace ? ' ' : text !== undefined || number !== undefined ? '?' : piece[0];
    // two pieces of one constant, with a quote in it, are one
    if (!((isSpace && shape.endsWith(' ')) || (text !== undefined && shape.endsWith('?')))) shape += word;
  }
  return shape.trim().toLowerCase();
}

/** What is not closed goes on to the end. */
function endOf(closing: string, sql: string, from: number): number {
  const at = sql.indexOf(closing, from);
  return at < 0 ? sql.length : at + closing.length;
}

/** Text that a function made up, for a log: nothing in it moves somebody's cursor or looks like another line. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/g;
  return text.replace(controls, '\ufffd').replaceAll('\n', ' | ');
}
