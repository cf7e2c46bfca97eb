/**
 * pgbouncer's file syntax (lib/usual/cfparser.c): comments only at a line's start, values verbatim to the line's end,
 * keys in single quotes, %include. Sections and keys may occur again.
 */
import { readFileSync } from 'node:fs';
import type { Diagnostics, Place } from './diagnostics.ts';

/** `NAME = VALUE` in a section. */
export interface IniEntry extends Place {
  readonly kind: 'entry';
  readonly section: string;
  readonly key: string;
  readonly value: string;
}

/** A line with content. */
export type IniEvent = ({ readonly kind: 'section'; readonly name: string } & Place) | IniEntry;

/** How deep %include may nest. */
const MAX_DEPTH = 10;

const SECTION = /^\s*\[([^\]\r\n]*)\]/;
const INCLUDE = /^\s*%include\s+(.*?)\s*$/;
const ENTRY = /^\s*(?:'((?:[^']|'')*)'|([A-Za-z0-9_.*-]+))\s*=[^\S\n]*(.*)$/s;

interface Reader {
  readonly diagnostics: Diagnostics;
  readonly events: IniEvent[];
  section: string | null;
}

/** Reads a file and what it includes (relative to the working directory). Problems go to `diagnostics`. */
export function readIni(file: string, diagnostics: Diagnostics): readonly IniEvent[] {
  const reader: Reader = { diagnostics, events: [], section: null };
  readInto(reader, file, 0, { file, line: null });
  return reader.events;
}

/** The same for a text; `file` is its name in problems. */
export function parseIni(text: string, file: string, diagnostics: Diagnostics): readonly IniEvent[] {
  const reader: Reader = { diagnostics, events: [], section: null };
  parseInto(reader, text, file, 0);
  return reader.events;
}

function readInto(
  reader: Reader,
  file: string,
  depth: number,
  from: { file: string; line: number | null },
): void {
  if (depth > MAX_DEPTH) {
    reader.diagnostics.add(from, `include nesting level too deep (${file}, maximum depth ${MAX_DEPTH})`);
    return;
  }
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    reader.diagnostics.add(from, `could not read "${file}": ${reasonOf(error)}`);
    return;
  }
  parseInto(reader, text, file, depth);
}

function parseInto(reader: Reader, text: string, file: string, depth: number): void {
  let number = 0;
  for (const raw of text.replace(/^\uFEFF/, '').split('\n')) {
    number += 1;
    parseLine(reader, raw.trimEnd(), { file, line: number }, depth);
  }
}

function parseLine(reader: Reader, line: string, place: { file: string; line: number }, depth: number): void {
  const start = line.trimStart();
  if (start === '' || start.startsWith(';') || start.startsWith('#')) return;

  if (start.startsWith('%')) {
    const include = INCLUDE.exec(line);
    if (include === null || include[1] === '') reader.diagnostics.add(place, `syntax error: "${cut(start)}"`);
    else readInto(reader, include[1]!, depth + 1, place);
  } else if (start.startsWith('[')) {
    const section = SECTION.exec(line);
    if (section === null) {
      reader.diagnostics.add(place, `syntax error in a section's name: "${cut(start)}"`);
      return;
    }
    reader.section = section[1]!;
    reader.events.push({ kind: 'section', name: reader.section, ...place });
    // the rest is read like a line of its own: a comment, or even an entry
    parseLine(reader, line.slice(section[0].length), place, depth);
  } else {
    const { section, diagnostics } = reader;
    const entry = parseEntry({ section, place, diagnostics }, line);
    if (entry !== null) reader.events.push(entry);
  }
}

/** Where an entry stands. */
export interface EntryPlace {
  /** null: before the first section */
  readonly section: string | null;
  readonly place: Place;
  readonly diagnostics: Diagnostics;
}

/** One entry; null: it is none, and `diagnostics` has the reason. */
export function parseEntry({ section, place, diagnostics }: EntryPlace, line: string): IniEntry | null {
  const entry = ENTRY.exec(line);
  if (entry === null) {
    const hint = line.trimStart().startsWith('"')
      ? "names with special characters go in single quotes: 'my name' = ..."
      : 'expected NAME = VALUE';
    // The line may hold a password: only its first word is shown.
    diagnostics.add(place, `syntax error near "${cut(line.trim().split(/[\s=]/)[0]!)}"`, { hint });
    return null;
  }
  const key = entry[1] === undefined ? entry[2]! : entry[1].replaceAll("''", "'");
  if (section === null) {
    diagnostics.add(place, 'value without a section', { option: key });
    return null;
  }
  return { kind: 'entry', section, key, value: entry[3]!, ...place };
}

function cut(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 60)}...`;
}

/** The system's error message, without the path that Node appends. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message.replace(/^[A-Z0-9]+: /, '').replace(/, \w+( '.*')?$/s, '');
}
