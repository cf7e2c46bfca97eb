/** The reason why there is no bundle, in esbuild's words or our own: on one line, with the source lines in question. */
import { relative, resolve } from 'node:path';
import { formatMessages, type Message } from 'esbuild';
import { BUNDLE } from '../limits.ts';
import { placed, type Details, type Place } from './places.ts';
import { ENTRY } from './source-map.ts';

export interface Complaint {
  readonly message: string;
  readonly details: Details;
}

export function plain(message: string): Complaint {
  return { message, details: { place: null, frame: '' } };
}

/** One of esbuild's messages, made printable. */
type Shown = Pick<Message, 'text' | 'location' | 'notes'>;

/** @param folder that places are shown relative to */
export async function complaintOf(messages: readonly Message[], folder: string): Promise<Complaint> {
  const shown = messages.slice(0, BUNDLE.maxErrors).map(shortened);
  const rest = messages.length - shown.length;
  const more = rest > 0 ? [`(and ${rest} more errors)`] : [];
  const lines = shown.map(
    ({ text, location }) => `${placed(placeOf(location, folder))}${text.replaceAll(/\s*\n\s*/g, ' ')}`,
  );
  const frames = await Promise.all(shown.map(frameOf));
  return {
    message: [...lines, ...more].join('; '),
    details: {
      place: placeOf(shown[0]?.location ?? null, folder),
      frame: [...frames, ...more].join('\n\n'),
    },
  };
}

/** esbuild's columns begin with 0, those of editors and everything else with 1. */
function placeOf(location: Message['location'], folder: string): Place | null {
  if (location === null) return null;
  const { file, line, column } = location;
  return { file: relative(folder, resolve(folder, file)), line, column: column + 1 };
}

async function frameOf(message: Shown): Promise<string> {
  const [frame = ''] = await formatMessages([message], { kind: 'error' });
  if (message.location === null) return frame.trim();
  const { file, line, column } = message.location;
  return frame.trim().replace(`${file}:${line}:${column}:`, `${file}:${line}:${column + 1}:`);
}

function shortened({ text, location, notes }: Message): Shown {
  return {
    text: cut(inOurWords(text)),
    location: shortLocation(location),
    // without esbuild's advice to leave an import out
    notes: notes
      .filter((note) => !/ as external to exclude it /.test(note.text))
      .slice(0, 3)
      .map((note) => ({ text: cut(note.text), location: shortLocation(note.location) })),
  };
}

/** Leaves out lines of the entry, which the author has not written, and minified lines, which help no reader. */
function shortLocation(location: Message['location']): Message['location'] {
  if (location === null || location.file === ENTRY) return null;
  return location.lineText.length > BUNDLE.maxShown ? { ...location, lineText: '' } : location;
}

/** Rewords complaints about syntax that is refused on purpose: esbuild's own messages talk about its targets. */
function inOurWords(text: string): string {
  if (text.startsWith('Big integer literals are not available'))
    return "BigInt literals are not allowed in a user function: their arithmetic can't be interrupted";
  return text.replace(
    / (is|are) not available in the configured target environment.*$/s,
    ' $1 not allowed in a user function: it has to answer at once',
  );
}

function cut(text: string): string {
  return text.length > BUNDLE.maxShown ? `${text.slice(0, BUNDLE.maxShown)}…` : text;
}
