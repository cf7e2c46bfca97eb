/**
 * Foreign text made safe to show: names, errors and queries may contain anything. Control characters could move a terminal's
 * cursor or forge a line, and bidirectional ones show a text in a false order (CVE-2021-42574).
 */

/** C0, DEL, C1; the line and paragraph separators; Unicode's bidirectional marks, embeddings, overrides and isolates. */
const UNPRINTABLE =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
/** The same without tab and newline. */
const UNPRINTABLE_IN_LINES =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escape(char: string): string {
  const code = char.charCodeAt(0);
  return (
    SHORT[char] ??
    (code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`)
  );
}

/** The text on one line, with `\n`, `\x1b` or `\u202e` for characters that can't be shown. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escape);
}

/**
 * Text for a log record: as `printable`, cut after `limit` characters, with a note about the rest. With `lines` it keeps its
 * newlines and tabs.
 */
export function loggable(text: string, limit: number, as: 'line' | 'lines' = 'lines'): string {
  const isLong = text.length > limit;
  const unprintable = as === 'line' ? UNPRINTABLE : UNPRINTABLE_IN_LINES;
  const shown = (isLong ? text.slice(0, limit) : text).replace(unprintable, escape);
  if (!isLong && shown.length <= limit) return shown;
  return `${shown.slice(0, limit)}... (cut, of ${text.length} characters)`;
}
