import type { RoutingRules } from 'pgswitchyard';

/**
 * Picks the database, an entry of [databases] in pgbouncer.ini, for each query. Edit and save: the next query follows
 * the new rule.
 */
export const routing_rules: RoutingRules = (username, query, in_transaction) => {
  if (/\b(?:tablea|\w*sales)\b/.test(query)) return 'dev.1';
  if (/\btableb\b/.test(query)) return 'dev.2';
  return null; // stay where we are
};
