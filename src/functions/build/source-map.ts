/**
 * Source maps of bundles. A map of several MB is decoded once, by the bundling process. The proxy keeps it as text with an
 * index, and decodes a small piece of it to locate a failure.
 */
import { BUNDLE } from '../limits.ts';

/** Name of the module that imports a tenant's files and exports their functions. The author has not written it. */
export const ENTRY = 'pgswitchyard-entry.js';

export interface MapIndex {
  readonly sources: readonly string[];
  /** as in the source map (ECMA-426) */
  readonly mappings: string;
  /** The decoder's state at every checkpoint: FIELDS numbers each. */
  readonly checkpoints: Int32Array;
}

export interface Place {
  readonly source: string;
  /** both from 0 */
  readonly line: number;
  readonly column: number;
}

const FIELDS = 6;
const SEMICOLON = 59;
const COMMA = 44;

const DIGITS = new Int8Array(128).fill(-1);
for (const [value, digit] of [
  ...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
].entries())
  DIGITS[digit.charCodeAt(0)] = value;

/** Reads segments one after the other. Between two of them its fields describe the last one. */
class Decoder {
  readonly #text: string;
  at = 0;
  line = 0;
  column = 0;
  source = 0;
  sourceLine = 0;
  sourceColumn = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Moves to the start of the next segment. @returns false: none */
  seek(): boolean {
    for (; this.at < this.#text.length; this.at++) {
      const code = this.#text.charCodeAt(this.at);
      if (code === SEMICOLON) {
        this.line++;
        this.column = 0;
      } else if (code !== COMMA) return true;
    }
    return false;
  }

  read(): void {
    this.column += this.#number();
    if (this.#isEnd()) return;
    this.source += this.#number();
    this.sourceLine += this.#number();
    this.sourceColumn += this.#number();
    if (!this.#isEnd()) this.#number();
  }

  #isEnd(): boolean {
    const code = this.#text.charCodeAt(this.at);
    return Number.isNaN(code) || code === SEMICOLON || code === COMMA;
  }

  #number(): number {
    let value = 0;
    for (let shift = 0; ; shift += 5) {
      const digit = DIGITS[this.#text.charCodeAt(this.at++)] ?? -1;
      if (digit < 0) throw new Error('not a source map');
      value |= (digit & 31) << shift;
      if ((digit & 32) === 0) break;
    }
    return value & 1 ? -(value >> 1) : value >> 1;
  }
}

/** @param json a source map */
export function indexMap(json: string): MapIndex {
  const { sources, mappings } = JSON.parse(json) as { sources: string[]; mappings: string };
  return indexMappings(sources, mappings);
}

/** @throws Error if these are no mappings of a source map */
export function indexMappings(sources: readonly string[], mappings: string): MapIndex {
  const checkpoints: number[] = [];
  const decoder = new Decoder(mappings);
  for (let count = 0; decoder.seek(); count++) {
    if (count % BUNDLE.checkpointSegments === 0) {
      const { at, line, column, source, sourceLine, sourceColumn } = decoder;
      checkpoints.push(at, line, column, source, sourceLine, sourceColumn);
    }
    decoder.read();
  }
  return { sources, mappings, checkpoints: Int32Array.from(checkpoints) };
}

/**
 * The source of a place in a bundle, by the last segment that begins there or before; null: unknown.
 * @param line from 0
 * @param column from 0
 */
export function findPlace(index: MapIndex, line: number, column: number): Place | null {
  const { checkpoints } = index;
  const isAfter = (otherLine: number, otherColumn: number): boolean =>
    otherLine > line || (otherLine === line && otherColumn > column);
  let low = 0;
  let high = checkpoints.length / FIELDS;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isAfter(checkpoints[middle * FIELDS + 1]!, checkpoints[middle * FIELDS + 2]!)) high = middle;
    else low = middle + 1;
  }
  if (low === 0) return null;
  const from = (low - 1) * FIELDS;
  const decoder = new Decoder(index.mappings);
  [decoder.at, decoder.line, decoder.column, decoder.source, decoder.sourceLine, decoder.sourceColumn] =
    checkpoints.subarray(from, from + FIELDS) as unknown as [number, number, number, number, number, number];
  let found = from > 0 ? placeOf(index, decoder) : null;
  for (let left = BUNDLE.checkpointSegments; left > 0 && decoder.seek(); left--) {
    decoder.read();
    if (isAfter(decoder.line, decoder.column)) break;
    found = placeOf(index, decoder);
  }
  return found;
}

function placeOf(index: MapIndex, { source, sourceLine, sourceColumn }: Decoder): Place | null {
  const name = index.sources[source];
  return name === undefined ? null : { source: name, line: sourceLine, column: sourceColumn };
}
