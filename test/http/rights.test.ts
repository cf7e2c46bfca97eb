/** Every address of the HTTP server with each kind of user, and without one. A new route must get a row here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { routes, type RouteParts } from '../../src/http/routes.ts';
import { until } from '../support/wait.ts';
import { start, type Browser } from './console.ts';

const USERS = ['nobody', 'boss', 'watch', 'ops', 'other'] as const;
type User = (typeof USERS)[number];

interface Row {
  /** as the router has it */
  readonly route: `${'GET' | 'POST'} /${string}`;
  /** with its parameters; otherwise that of the route */
  readonly path?: string;
  readonly body?: object;
  /** the status for each user; one number: the same for all */
  readonly answers: number | Readonly<Record<User, number>>;
}

/** stranger, administrator, stats_users, the tenant's administrator, that of another tenant */
const for_ = (
  nobody: number,
  boss: number,
  watch: number,
  ops: number,
  other: number,
): Record<User, number> => ({
  nobody,
  boss,
  watch,
  ops,
  other,
});

const ROWS: readonly Row[] = [
  { route: 'GET /livez', answers: 200 },
  { route: 'GET /startupz', answers: 200 },
  { route: 'GET /readyz', answers: 200 },
  { route: 'GET /metrics', answers: 200 },
  { route: 'GET /', answers: 200 },
  { route: 'GET /main.js', answers: 200 },
  { route: 'GET /style.css', answers: 200 },
  { route: 'POST /api/login', body: { user: 'boss' }, answers: 400 },
  { route: 'GET /api/session', answers: for_(401, 200, 200, 200, 200) },
  { route: 'GET /api/history', answers: for_(401, 200, 200, 403, 403) },
  // what a statement may do, the console checks itself
  {
    route: 'POST /api/statement',
    body: { statement: 'SHOW TENANTS' },
    answers: for_(401, 200, 200, 200, 200),
  },
  { route: 'GET /api/live', path: '/api/live?topic=SHOW%20TENANTS', answers: for_(401, 200, 200, 200, 200) },
  { route: 'GET /api/live', path: '/api/live?topic=point', answers: for_(401, 200, 200, 403, 403) },
  { route: 'GET /api/live', path: '/api/live?topic=configuration', answers: for_(401, 200, 200, 403, 403) },
  { route: 'GET /api/live', path: '/api/live?topic=log', answers: for_(401, 200, 403, 403, 403) },
  { route: 'GET /api/live', path: '/api/live?topic=audit', answers: for_(401, 200, 403, 403, 403) },
  { route: 'GET /api/tenants/decisions', answers: for_(401, 200, 200, 200, 200) },
  {
    route: 'GET /api/tenants/:tenant/versions/:number/source',
    path: '/api/tenants/acme/versions/1/source',
    answers: for_(401, 200, 403, 200, 404),
  },
  {
    route: 'GET /api/tenants/:tenant/failures',
    path: '/api/tenants/acme/failures',
    answers: for_(401, 200, 200, 200, 404),
  },
  { route: 'POST /api/logout', body: {}, answers: for_(401, 200, 200, 200, 200) },
];

test('each route answers each kind of user as its row says', async (t) => {
  const { as, browser, base, bouncer } = await start(t, {
    userlist: { boss: 'b', watch: 'w', ops: 'o', other: 'o' },
    files: {
      'user-functions/acme/routing_rules.ts': 'export function routing_rules() { return null; }',
      'user-functions/db/routing_rules.ts': 'export function routing_rules() { return null; }',
    },
    ini: '[tenants]\nacme = databases=acme admin_users=ops\ndb = databases=db admin_users=other\n',
    settings: { user_function_preload: 1 },
  });
  await until('the versions', async () => (await bouncer.admin('SHOW FUNCTION VERSIONS acme')).length > 0);
  const browsers = new Map<User, Browser>([['nobody', browser()]]);
  for (const user of USERS.slice(1)) browsers.set(user, await as(user));
  for (const { route, path, body, answers } of ROWS)
    for (const [user, { cookie, token }] of browsers) {
      const [method, own] = route.split(' ') as [string, string];
      const ending = new AbortController();
      const answer = await fetch(`${base}${path ?? own}`, {
        method,
        headers: { cookie, 'x-csrf-token': token, 'content-type': 'application/json' },
        signal: ending.signal,
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const expected = typeof answers === 'number' ? answers : answers[user];
      assert.equal(answer.status, expected, `${user}: ${method} ${path ?? own}`);
      // a stream has no end
      ending.abort();
    }
});

test('each route of the router has a row', () => {
  const { routes: all } = routes({ history: { onPoint: () => {} } } as unknown as RouteParts);
  const declared = all
    .filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => `${method} ${path}`);
  const known = new Set<string>(ROWS.map(({ route }) => route));
  assert.deepEqual(
    [...new Set(declared)].filter((route) => !known.has(route)),
    [],
  );
  assert.deepEqual(
    [...known].filter((route) => !declared.includes(route)),
    [],
  );
});

test('a request that changes something is refused without the token of its session, whatever it says', async (t) => {
  const { as, base } = await start(t);
  const { cookie } = await as('boss');
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
    for (const path of ['/api/statement', '/api/logout', '/api/nonsense']) {
      const answer = await fetch(`${base}${path}`, { method, headers: { cookie } });
      assert.equal(answer.status, 403, `${method} ${path}`);
    }
});
