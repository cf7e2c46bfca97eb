import type { RoutingRules } from 'pgswitchyard';

/** Leaves every query in the database that its client has logged in to. Replace it with rules of your own. */
export const routing_rules: RoutingRules = () => null;
