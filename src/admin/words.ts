/** The pieces of the console's language, as sources of regular expressions, and what they stand for. */

// No repetition is nested in another, so that no statement can make matching slow.

/** Letters, digits and underscores, or anything in double quotes. */
export const WORD = '("(?:[^"]|"")*"|[0-9a-z_]+)';
/** Anything in single quotes. */
export const TEXT = "('(?:[^']|'')*')";
export const BLANK = '[ \\t\\n\\r]';
export const END = `${BLANK}*(?:;${BLANK}*)?$`;

/** The name or text that a word stands for. */
export function unquote(word: string): string {
  const quote = word[0];
  if (quote !== '"' && quote !== "'") return word;
  return word.slice(1, -1).replaceAll(quote + quote, quote);
}
