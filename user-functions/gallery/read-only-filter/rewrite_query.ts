import { reject, type RewriteQuery } from 'pgswitchyard';

/**
 * Lets only statements through that read. Set `rewrite_query_on_failure = error` with it, or a query that this function
 * fails on passes unseen.
 *
 * It looks at words, so it is a guard rail and no substitute for GRANT: a function that is called in a SELECT may still
 * write.
 */
const READS = new Set(
  'select values table with show explain begin start commit end rollback abort savepoint release declare fetch close'.split(
    ' ',
  ),
);
/** Also where a statement begins harmlessly: WITH x AS (DELETE ...), SELECT ... INTO, EXPLAIN ANALYZE UPDATE. */
const WRITES = /\b(?:insert|update|delete|merge|truncate|into|create|drop|alter|copy|call|do|write)\b/i;
/** Comments, constants and quoted names, whose words mean nothing. */
const NOT_SQL = /--[^\n]*|\/\*[^*]*(?:\*(?!\/)[^*]*)*\*\/|'[^']*'|"[^"]*"/g;
/** What that pattern reads otherwise than PostgreSQL does: escapes, dollar quotes, a comment in a comment. */
const UNCLEAR = /\\|\$[^\s$]*\$|\/\*(?:[^*/]|\*(?!\/)|\/(?!\*))*\/\*/;

export const rewrite_query: RewriteQuery = (username, query) => {
  if (UNCLEAR.test(query)) reject('backslashes, dollar quotes and nested comments are not allowed here');
  for (const statement of query.replace(NOT_SQL, ' ').split(';')) {
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
