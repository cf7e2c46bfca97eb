/** The web console's API: every address with each kind of user, and without one. */
import assert from 'node:assert/strict';
import { after, test, type TestContext } from 'node:test';
import { Bouncer, type BouncerOptions } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { freePort } from '../support/ports.ts';

const cluster = await Cluster.start({ after });
const RULE = `export function routing_rules(): string | null { return null; }`;

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** A browser: it keeps its cookie and its token. */
class Browser {
  readonly #base: string;
  cookie = '';
  token = '';

  constructor(base: string) {
    this.#base = base;
  }

  async ask(
    method: string,
    path: string,
    body?: unknown,
    more: Record<string, string> = {},
  ): Promise<Answer> {
    const answer = await fetch(`${this.#base}${path}`, {
      method,
      headers: {
        cookie: this.cookie,
        'x-csrf-token': this.token,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...more,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const [cookie] = answer.headers.getSetCookie();
    if (cookie !== undefined) this.cookie = cookie.split(';')[0]!;
    const text = await answer.text();
    return {
      status: answer.status,
      body: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text,
    };
  }

  async login(user: string, password: string): Promise<number> {
    const { status, body } = await this.ask('POST', '/login', { user, password });
    this.token = (body as { csrfToken?: string }).csrfToken ?? '';
    return status;
  }

  async statement(text: string): Promise<{ tag: string; error: { code: string } | null; rows: string[][] }> {
    return (await this.ask('POST', '/statement', { statement: text })).body as never;
  }
}

interface Web {
  readonly bouncer: Bouncer;
  browser(): Browser;
  /** a browser whose user has logged in */
  as(user: string): Promise<Browser>;
}

async function start(t: TestContext, options: BouncerOptions = {}): Promise<Web> {
  const port = await freePort();
  const bouncer = await Bouncer.start(t, {
    databases: { db: cluster.connectionString(), acme: cluster.connectionString() },
    userlist: { boss: 'b', watch: 'w', ops: 'o', nobody: 'n' },
    files: { 'user-functions/acme/routing_rules.ts': RULE },
    ini: '[tenants]\nacme = databases=acme admin_users=ops\n',
    ...options,
    settings: {
      http_listen_port: port,
      admin_users: 'boss, pgbouncer',
      stats_users: 'watch',
      ...options.settings,
    },
  });
  const browser = (): Browser => new Browser(`http://127.0.0.1:${port}/api`);
  const as = async (user: string): Promise<Browser> => {
    const one = browser();
    assert.equal(await one.login(user, user[0]!), 200);
    return one;
  };
  return { bouncer, browser, as };
}

const PATHS = [
  ['GET', '/session'],
  ['GET', '/show/pools'],
  ['GET', '/history'],
  ['GET', '/live'],
  ['POST', '/statement'],
  ['POST', '/logout'],
  ['GET', '/nonsense'],
] as const;

test('without a login every address answers 401', async (t) => {
  const { browser } = await start(t);
  for (const [method, path] of PATHS) assert.equal((await browser().ask(method, path)).status, 401, path);
  const stranger = browser();
  stranger.cookie = 'pgswitchyard=made-up';
  assert.equal((await stranger.ask('GET', '/session')).status, 401);
});

test('only users of the console with the right password get in, whatever auth_type lets clients do', async (t) => {
  const { browser, bouncer } = await start(t);
  for (const [user, password, status] of [
    ['boss', 'b', 200],
    ['watch', 'w', 200],
    ['ops', 'o', 200],
    ['boss', 'x', 401],
    ['nobody', 'n', 401],
    ['postgres', '', 400],
    ['pgbouncer', 'x', 401],
    ['missing', 'x', 401],
  ] as const)
    assert.equal(await browser().login(user, password), status, user);
  assert.ok(bouncer.logContains(/web console: boss logged in from 127\.0\.0\.1/));
  assert.ok(bouncer.logContains(/web console: failed login of nobody from 127\.0\.0\.1/));
  const form = await browser().ask(
    'POST',
    '/login',
    { user: 'boss', password: 'b' },
    { 'content-type': 'text/plain' },
  );
  assert.equal(form.status, 415);
});

test('brute force is slowed down', async (t) => {
  const { browser } = await start(t);
  const results: number[] = [];
  for (let i = 0; i < 6; i++) results.push(await browser().login('boss', 'wrong'));
  assert.deepEqual(results, [401, 401, 401, 401, 401, 429]);
});

test('statements run with the rights of the user', async (t) => {
  const { as, bouncer } = await start(t);
  const boss = await as('boss');
  assert.equal((await boss.statement('PAUSE db')).tag, 'PAUSE');
  assert.equal((await boss.statement('RESUME db')).tag, 'RESUME');
  assert.ok(bouncer.logContains(/web console: boss asks for PAUSE db/));
  const watcher = await as('watch');
  assert.equal((await watcher.statement('PAUSE db')).error?.code, '08P01');
  assert.ok((await watcher.statement('SHOW POOLS')).rows.length > 0);
  const ops = await as('ops');
  assert.equal((await ops.statement('SHOW POOLS')).error?.code, '42501');
  assert.deepEqual(
    (await ops.statement('SHOW TENANTS')).rows.map(([name]) => name),
    ['acme'],
  );
  assert.equal((await ops.statement('PAUSE FUNCTIONS acme')).tag, 'PAUSE FUNCTIONS');
  assert.equal((await ops.ask('GET', '/history')).status, 403);
  assert.equal((await ops.ask('GET', '/live')).status, 403);
  assert.equal((await boss.statement('nonsense')).error?.code, '08P01');
});

test('a request that changes something needs the token of its session', async (t) => {
  const { as } = await start(t);
  const boss = await as('boss');
  const token = boss.token;
  boss.token = '';
  assert.equal((await boss.ask('POST', '/statement', { statement: 'PAUSE' })).status, 403);
  assert.equal((await boss.ask('GET', '/show/pools')).status, 200);
  boss.token = token;
  assert.equal((await boss.ask('POST', '/logout', {})).status, 200);
  assert.equal((await boss.ask('GET', '/session')).status, 401);
});

test('rights that a RELOAD takes away are gone at once', async (t) => {
  const { as, bouncer } = await start(t);
  const boss = await as('boss');
  await bouncer.reload({ admin_users: 'pgbouncer', stats_users: 'boss' });
  assert.equal((await boss.statement('PAUSE db')).error?.code, '08P01');
  await bouncer.reload({ stats_users: '' });
  assert.equal((await boss.ask('GET', '/session')).status, 401);
});

test('tables come with their columns', async (t) => {
  const { as } = await start(t);
  const boss = await as('boss');
  const { status, body } = await boss.ask('GET', '/show/databases');
  assert.equal(status, 200);
  const { columns, rows } = body as { columns: string[]; rows: (string | null)[][] };
  assert.deepEqual(columns.slice(0, 3), ['name', 'host', 'port']);
  assert.deepEqual(
    rows.map(([name]) => name),
    ['acme', 'db', 'pgbouncer'],
  );
  assert.equal((await boss.ask('GET', '/show/x%20y')).status, 404);
});

test('a SET never shows its value in the log', async (t) => {
  const { as, bouncer } = await start(t);
  const boss = await as('boss');
  await boss.statement("SET auth_ldap_options = 'ldapserver=x ldapbindpasswd=geheim'");
  assert.ok(bouncer.logContains(/boss asks for SET auth_ldap_options = …/));
  assert.ok(!bouncer.logContains(/geheim/));
});

test('a large request is refused', async (t) => {
  const { as } = await start(t);
  const boss = await as('boss');
  assert.equal((await boss.ask('POST', '/statement', { statement: 'x'.repeat(200_000) })).status, 413);
});

test('live figures are sent as events', async (t) => {
  const { as, bouncer } = await start(t);
  const boss = await as('boss');
  await bouncer.sql('select 1');
  const answer = await fetch(`http://127.0.0.1:${bouncer.settings['http_listen_port']}/api/live`, {
    headers: { cookie: boss.cookie },
  });
  assert.equal(answer.headers.get('content-type'), 'text/event-stream');
  const reader = answer.body!.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  const text = new TextDecoder().decode(value);
  assert.match(text, /^event: point\ndata: \{"atMs":\d+,"queriesPerSecond":/);
});
