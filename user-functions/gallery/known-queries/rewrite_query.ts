import { reject, type RewriteQuery, type RuleOptions } from 'pgswitchyard';
import queries from './queries.json' with { type: 'json' };

/**
 * Only the queries of this application, whatever their constants are, and a better query for some of them. The rule sees
 * shapes: `$1`, `$2` … stand for constants as well as for parameters, and the proxy puts the constants back. The last two
 * queries use sums instead of rows, and add a condition so that only some partitions are read.
 */
export const options: RuleOptions = { sees: 'shape' };

const known = new Map<string, string | null>(Object.entries(queries));

export const rewrite_query: RewriteQuery = (_username, query) => {
  const shape = (query.endsWith(';') ? query.slice(0, -1) : query).trimEnd().toLowerCase();
  const better = known.get(shape);
  if (better !== undefined) return better;
  return reject('this query is not one of the application', { hint: `Its shape is: ${query.slice(0, 400)}` });
};
