import type { RoutingRules } from 'pgswitchyard';

/** Tables live on different servers: `tablea` in the database dev.1, `tableb` in dev.2. */
export const routing_rules: RoutingRules = (username, query) => {
  if (/\btablea\b/.test(query)) return 'dev.1';
  if (/\btableb\b/.test(query)) return 'dev.2';
  return null; // stay where we are
};
