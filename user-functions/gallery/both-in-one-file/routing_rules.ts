import type { RewriteQuery, RoutingRules } from 'pgswitchyard';

/**
 * Both functions in one file, with their shared code. The report is rewritten first, and routing sees the new text: the
 * table with the sums is on dev.2, all else on dev.
 */
const SUMS = 'store_sales';
const REPORT = 'select storename, sum(total) from sales join store using (storeid) group by storename';

export const rewrite_query: RewriteQuery = (_username, query) => {
  if (query.length > 1_000) return null;
  const shape = query.replace(/\s+/g, ' ').replace(/;\s*$/, '').trim().toLowerCase();
  return shape === REPORT ? `SELECT storename, total FROM ${SUMS}` : null;
};

export const routing_rules: RoutingRules = (_username, query, in_transaction) => {
  // A move inside a transaction would be refused.
  if (in_transaction) return null;
  return query.includes(SUMS) ? 'dev.2' : 'dev';
};
