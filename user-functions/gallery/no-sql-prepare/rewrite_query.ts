import { reject, type RewriteQuery } from 'pgswitchyard';

/**
 * Forbids SQL's own PREPARE and EXECUTE. `EXECUTE name` shows a rule nothing of the text that it runs, which may have been
 * prepared before the rule was tightened, or by another client of the same server. Statements that a driver prepares by the
 * protocol are not meant: the rules see their text.
 *
 * Set `rewrite_query_on_failure = error` with it. It refuses DO as well, whose body may hold anything, and text of which it
 * is not clear where its constants end. A function on the server can still run EXECUTE: that is up to who may create one.
 */
export const rewrite_query: RewriteQuery = (_username, query) => {
  // an escaped quote, or the end of a constant: that depends on standard_conforming_strings
  if (query.includes("\\'")) reject('a backslash before a quote is not allowed here');
  for (const words of scan(query).statements) {
    const [first, second] = words;
    if (first === 'DO' || (first === 'PREPARE' && second !== 'TRANSACTION') || runsPrepared(words))
      reject('PREPARE and EXECUTE are not allowed here', {
        code: '0A000', // feature_not_supported
        hint: "Use your driver's prepared statements.",
      });
  }
  return null;
};

/** Whether EXECUTE in it is the statement, and neither a right nor what a trigger does. */
function runsPrepared(words: readonly string[]): boolean {
  if (!words.includes('EXECUTE')) return false;
  if (words[0] === 'GRANT' || words[0] === 'REVOKE') return false;
  if (words[0] === 'ALTER' && words[1] === 'DEFAULT') return false;
  const kind = words.find((word) => !['CREATE', 'OR', 'REPLACE', 'CONSTRAINT'].includes(word));
  return !(words[0] === 'CREATE' && kind === 'TRIGGER');
}

export interface Scanned {
  /** of each statement the words outside of constants, quoted names and comments, in upper case */
  readonly statements: readonly (readonly string[])[];
  /** how many characters were looked at */
  readonly looked: number;
}

/** Reads a text once, from its beginning to its end. */
export function scan(query: string): Scanned {
  // a word, a constant, a quoted name, the beginning of something longer, or a run of all else
  const pattern =
    /([a-z_\u0080-\uffff][\w$\u0080-\uffff]*)|'[^']*(?:''[^']*)*(?:'|$)|"[^"]*(?:""[^"]*)*(?:"|$)|--[^\n\r]*|\/\*|\$(?:[a-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$|;+|\d+|(?:-(?!-)|\/(?!\*)|[^\w'"$;\-/\u0080-\uffff])+|\$/giy;
  const statements: string[][] = [[]];
  let looked = 0;
  let at = 0;
  while (at < query.length) {
    pattern.lastIndex = at;
    const [token, word] = pattern.exec(query) ?? [query.slice(at, at + 1)];
    let end = at + token.length;
    if (word !== undefined) statements.at(-1)!.push(word.length > 63 ? '' : word.toUpperCase());
    else if (token.startsWith(';')) statements.push([]);
    else if (token === '/*') end = endOfComment(query, end);
    else if (token.length > 1 && token.startsWith('$') && token.endsWith('$')) {
      const close = query.indexOf(token, end);
      end = close < 0 ? query.length : close + token.length;
    }
    looked += end - at;
    at = end;
  }
  return { statements, looked };
}

/** Comments may hold others. */
function endOfComment(query: string, from: number): number {
  const comment = /\/\*|\*\//g;
  comment.lastIndex = from;
  for (let depth = 1; depth > 0;) {
    const found = comment.exec(query);
    if (found === null) return query.length;
    depth += found[0] === '/*' ? 1 : -1;
  }
  return comment.lastIndex;
}
