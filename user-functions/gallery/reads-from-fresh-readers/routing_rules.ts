import type { RoutingRules } from 'pgswitchyard';

/**
 * For a database `dev` with a topology_query: reads go to a standby with a lag of at most five seconds,
 * all else to the writer. A SELECT may write too (a function), or have to see what its own session has just written:
 * where that matters, decide by the user, as in ../read-write-split.
 */
export const routing_rules: RoutingRules = (_username, query, in_transaction, ctx) => {
  if (in_transaction) return null;
  const reads = /^\s*select\b/i.test(query) && !/\bfor\s+(update|share|no\s+key|key)\b/i.test(query);
  const fresh = ctx.nodes.find((node) => node.role === 'reader' && (node.lag_seconds ?? Infinity) <= 5);
  return reads && fresh !== undefined ? fresh.name : 'dev@writer';
};
