/** The line of an author's file that a failure is about, with its neighbours. */
import type { Place, ShownFile } from '../../functions/functions.ts';

/** Lines before and after. */
const AROUND = 3;
/** Characters of a line: a file may have one line only. */
const LONGEST = 300;

export interface Excerpt {
  /** as log lines name it */
  readonly file: string;
  /** the number of the failing line, and its column, from 1 */
  readonly line: number;
  readonly column: number;
  /** the number of the first of `lines` */
  readonly from: number;
  readonly lines: readonly string[];
}

/** @returns null: the file is not kept, or does not have this line */
export function excerptOf(files: readonly ShownFile[], { file, line, column }: Place): Excerpt | null {
  const tail = `/${file.replace(/^(?:\.\.\/)+/, '')}`;
  const text = files.find(({ path }) => path.endsWith(tail))?.text ?? null;
  if (text === null) return null;
  const lines = text.split('\n');
  if (line < 1 || line > lines.length) return null;
  const from = Math.max(1, line - AROUND);
  const shown = lines.slice(from - 1, line + AROUND).map((each) => each.slice(0, LONGEST));
  return { file, line, column, from, lines: shown };
}
