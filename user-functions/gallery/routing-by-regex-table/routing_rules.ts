import type { RoutingRules } from 'pgswitchyard';
import table from './routes.json' with { type: 'json' };

/**
 * The rules are data: to change a route, edit and save routes.json. The first line whose two
 * patterns are both found decides; an empty pattern is found everywhere.
 */
const routes = table.map(({ usernameRegex, queryRegex, dbkey }) => ({
  // compiled once, when the file is loaded: a mistake in a pattern is then an error in the log, not one of each query
  username: new RegExp(usernameRegex),
  query: new RegExp(queryRegex, 'i'),
  dbkey,
}));

export const routing_rules: RoutingRules = (username, query) =>
  routes.find((route) => route.username.test(username) && route.query.test(query))?.dbkey ?? null;
