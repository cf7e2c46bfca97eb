import type { RoutingRules } from 'pgswitchyard';

/** Tables live on different servers: `tablea` behind the database dev.1, `tableb` behind dev.2. */
export const routing_rules: RoutingRules = (username, query) => {
  if (/\btablea\b/.test(query)) return 'dev.1';
  if (/\btableb\b/.test(query)) return 'dev.2';
  return null; // stay where we are
};
