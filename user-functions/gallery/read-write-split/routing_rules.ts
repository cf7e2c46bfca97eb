import type { RoutingRules } from 'pgswitchyard';

/**
 * The user decides where a client reads: users whose names end in `_ro` get the standby, all others the primary. By the
 * user and not by the query, because a SELECT may write (a function, FOR UPDATE) and may have to see what its own
 * session has just written.
 */
export const routing_rules: RoutingRules = (username, _query, in_transaction, ctx) => {
  // a move now would be refused: the transaction's server is the one that it began on
  if (in_transaction) return null;
  const wanted = username.endsWith('_ro') ? 'reader' : 'writer';
  return ctx.database === wanted ? null : wanted;
};
