import { reject, type RewriteQuery } from 'pgswitchyard';

/**
 * Lets only statements through that read. Set `rewrite_query_on_failure = error` with it, or a query that this function
 * fails on, or that is over user_function_max_query, passes unseen.
 *
 * It looks at words, so it is a guard rail and no substitute for GRANT: a function that is called in a SELECT may still
 * write. It looks at each character of a query a few times at most, however the query is made.
 */
const READS = new Set(
  'select values table with show explain begin start commit end rollback abort savepoint release declare fetch close'.split(
    ' ',
  ),
);
/** Also where a statement begins harmlessly: WITH x AS (DELETE ...), SELECT ... INTO, EXPLAIN ANALYZE UPDATE. */
const WRITES = /\b(?:insert|update|delete|merge|truncate|into|create|drop|alter|copy|call|do|write)\b/i;
/** Characters that PostgreSQL may read as an escape, or as one end of a dollar quote. */
const UNCLEAR = /\\|\$(?:[a-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/i;

export const rewrite_query: RewriteQuery = (username, query) => {
  if (UNCLEAR.test(query)) reject('backslashes and dollar quotes are not allowed here');
  for (const statement of withoutQuoted(query).split(';')) {
    const [first] = /[a-z]+/i.exec(statement) ?? [];
    if (first === undefined) continue;
    if (!READS.has(first.toLowerCase()) || WRITES.test(statement)) {
      reject('this database is read-only for clients of the proxy', {
        code: '25006', // read_only_sql_transaction
        hint: `${first.toUpperCase()} is not among the statements that may run here.`,
      });
    }
  }
  return null;
};

/** The query with a space in place of each comment, constant and quoted name. */
function withoutQuoted(query: string): string {
  // the beginnings of comments, constants and quoted names, whose words mean nothing
  const beginning = /--|\/\*|['"]/g;
  const parts: string[] = [];
  let at = 0;
  let nextComment = 0;
  for (let match = beginning.exec(query); match !== null; match = beginning.exec(query)) {
    const [opening] = match;
    const from = match.index + opening.length;
    const closing = opening === '/*' ? '*/' : opening;
    const end = opening === '--' ? endOfLine(query, from) : query.indexOf(closing, from);
    if (opening === '/*') {
      // found once for all comments before it
      if (nextComment >= 0 && nextComment < from) nextComment = query.indexOf('/*', from);
      if (nextComment >= 0 && (end < 0 || nextComment < end)) reject('nested comments are not allowed here');
    }
    parts.push(query.slice(at, match.index));
    at = end < 0 ? query.length : opening === '--' ? end : end + closing.length;
    beginning.lastIndex = at;
  }
  parts.push(query.slice(at));
  return parts.join(' ');
}

/** For PostgreSQL a carriage return ends a comment, too. */
function endOfLine(query: string, from: number): number {
  const lineEnd = /[\n\r]/g;
  lineEnd.lastIndex = from;
  return lineEnd.exec(query)?.index ?? -1;
}
