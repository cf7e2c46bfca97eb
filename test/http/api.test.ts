/** The web console's API: logins, statements, live topics. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { connect } from 'node:net';
import { test } from 'node:test';
import { tlsFile } from '../auth/tls-settings.ts';
import { start } from './console.ts';

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
  assert.equal(await browser().login('x'.repeat(257), 'x'), 400);
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
  assert.equal((await boss.statement('nonsense')).error?.code, '08P01');
});

test('a request that changes something needs the token of its session', async (t) => {
  const { as } = await start(t);
  const boss = await as('boss');
  const token = boss.token;
  boss.token = '';
  assert.equal((await boss.ask('POST', '/statement', { statement: 'PAUSE' })).status, 403);
  assert.equal((await boss.ask('GET', '/history')).status, 200);
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

test('a topic comes whole at first, then as the rows that an action has changed, on all consoles', async (t) => {
  const { as } = await start(t);
  const boss = await as('boss');
  const live = await (await as('watch')).events('/live?topic=SHOW%20DATABASES');
  const whole = await live.next();
  assert.equal(whole.event, 'whole');
  const { columns, rows } = (whole.data as { content: { columns: string[]; rows: string[][] } }).content;
  assert.deepEqual(columns.slice(0, 3), ['name', 'host', 'port']);
  assert.deepEqual(
    rows.map(([name]) => name),
    ['acme', 'db', 'pgbouncer'],
  );
  await boss.statement('PAUSE db');
  const change = await live.next();
  assert.equal(change.event, 'rows');
  const { rows: changed } = change.data as { rows: [number, string[]][] };
  assert.deepEqual(
    changed.map(([at, [name]]) => [at, name]),
    [[1, 'db']],
  );
  live.close();
});

test('a stream ends with its session, and when the rights change', async (t) => {
  const { as, bouncer } = await start(t);
  const boss = await as('boss');
  const live = await boss.events('/live?topic=SHOW%20DATABASES');
  await live.next();
  await boss.ask('POST', '/logout', {});
  await live.ended();
  const watcher = await as('watch');
  const other = await watcher.events('/live?topic=SHOW%20DATABASES');
  await other.next();
  const another = await as('boss');
  await bouncer.reload({ stats_users: '', admin_users: 'pgbouncer, boss, watch' });
  await another.statement('PAUSE db');
  await other.ended();
});

test('topics have one form, and a stream has few of them', async (t) => {
  const { as } = await start(t);
  const boss = await as('boss');
  for (const topic of [
    '',
    'nonsense',
    'show pools',
    'SHOW  POOLS',
    'SHOW NOTHING',
    'PAUSE',
    'SHOW SHADOW acme',
  ])
    assert.equal((await boss.ask('GET', `/live?topic=${encodeURIComponent(topic)}`)).status, 400, topic);
  const many = ['POOLS', 'STATS', 'LISTS', 'USERS', 'CLIENTS', 'SERVERS', 'CONFIG', 'MEM', 'STATE'];
  const query = many.map((name) => `topic=SHOW%20${name}`).join('&');
  assert.equal((await boss.ask('GET', `/live?${query}`)).status, 400);
});

test('the consoles of one user are not so many that nobody else gets in', async (t) => {
  const { as } = await start(t);
  const boss = await as('boss');
  const streams = [];
  for (let i = 0; i < 24; i++) streams.push(await boss.events('/live?topic=point'));
  assert.equal((await boss.ask('GET', '/live?topic=point')).status, 503);
  const watcher = await as('watch');
  (await watcher.events('/live?topic=SHOW%20LISTS')).close();
  for (const stream of streams) stream.close();
});

test('a SET never shows its value in the log', async (t) => {
  const { as, bouncer } = await start(t);
  const boss = await as('boss');
  await boss.statement("SET auth_ldap_options = 'ldapserver=x ldapbindpasswd=geheim'");
  assert.ok(bouncer.logContains(/boss asks for SET auth_ldap_options = \*{8}/));
  assert.ok(!bouncer.logContains(/geheim/));
});

test('a secret under a misspelt name, without quotes, or in a URL is in no log and no error either', async (t) => {
  const { as, bouncer } = await start(t);
  const boss = await as('boss');
  const admin = await bouncer.connect({ database: 'pgbouncer', user: 'pgbouncer' });
  for (const statement of [
    "SET AUTH_LDAP_OPTIONS = 'ldapbindpasswd=geheim'",
    "SET auth_ldap_option = 'ldapbindpasswd=geheim'",
    'SET auth_ldap_options=ldapbindpasswd=geheim',
    "SET otlp_endpoint = 'http://user:geheim@collector:4318'",
    "SET otlp_endpoint = 'ftp://user:geheim@collector:4318'",
    "SET fleet_store = 'postgres://user:geheim/1@host/db'",
    "SET fleet_store = 'postgres://user:1?geheim@host/db'",
  ]) {
    const { error } = await boss.statement(statement);
    assert.equal(error?.code, '08P01', statement);
    assert.doesNotMatch(JSON.stringify(error), /geheim/, statement);
    await assert.rejects(admin.query(statement), statement);
  }
  assert.ok(!bouncer.logContains(/geheim/));
});

test('a request that breaks off is no error of the proxy', async (t) => {
  const { base, bouncer } = await start(t);
  const { port } = new URL(base);
  const socket = connect(Number(port), '127.0.0.1');
  await once(socket, 'connect');
  const head = 'POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';
  socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n`);
  await new Promise<void>((resolve) => socket.write('ffff\r\n{', () => resolve()));
  // the proxy has read that before it answers this
  assert.equal((await fetch(`${base}/livez`)).status, 200);
  socket.destroy();
  for (let i = 0; i < 5; i++) assert.equal((await fetch(`${base}/livez`)).status, 200);
  assert.ok(!bouncer.logContains(/internal error/));
});

test('HEAD opens no stream, which would have no end', async (t) => {
  const { as } = await start(t);
  const watcher = await as('watch');
  for (let i = 0; i < 30; i++) {
    assert.equal((await watcher.ask('HEAD', '/live?topic=point')).status, 405);
    assert.equal((await watcher.ask('HEAD', '/tenants/decisions')).status, 405);
  }
  (await watcher.events('/live?topic=point')).close();
  (await watcher.events('/tenants/decisions')).close();
});

test('a large request is refused', async (t) => {
  const { as } = await start(t);
  const boss = await as('boss');
  assert.equal((await boss.ask('POST', '/statement', { statement: 'x'.repeat(200_000) })).status, 413);
});

test('the newest point of the last hour is a topic', async (t) => {
  const { as } = await start(t);
  const live = await (await as('watch')).events('/live?topic=point');
  const { data } = await live.next();
  assert.equal(typeof (data as { content: { queriesPerSecond: number } }).content.queriesPerSecond, 'number');
  live.close();
});

test('the audit log has statements of both consoles that change something, with users and outcomes', async (t) => {
  const { as, bouncer } = await start(t);
  const boss = await as('boss');
  const watcher = await as('watch');
  const ops = await as('ops');
  await boss.statement('PAUSE db');
  await watcher.statement('RESUME db');
  await ops.statement('PAUSE FUNCTIONS acme');
  await ops.statement('KILL db');
  await bouncer.admin('RESUME db');
  await boss.statement('SHOW POOLS');
  const live = await boss.events('/live?topic=audit');
  const { data } = await live.next();
  const { rows } = (data as { content: { rows: string[][] } }).content;
  assert.deepEqual(
    rows.map(([, user, entrance, , statement, outcome]) => [user, entrance, statement, outcome]),
    [
      ['pgbouncer', 'console', 'RESUME db', 'done'],
      ['ops', 'web console', 'KILL db', 'permission denied'],
      ['ops', 'web console', 'PAUSE FUNCTIONS acme', 'done'],
      ['watch', 'web console', 'RESUME db', 'admin access needed'],
      ['boss', 'web console', 'PAUSE db', 'done'],
    ],
  );
  live.close();
});

test('the files of the page are compressed, sent again only if they differ, and bound by a strict policy', async (t) => {
  const { base } = await start(t);
  for (const path of ['/', '/main.js', '/style.css']) {
    const first = await fetch(`${base}${path}`);
    assert.equal(first.headers.get('content-encoding'), 'gzip', path);
    assert.ok((await first.text()).length > 0);
    const policy = first.headers.get('content-security-policy') ?? '';
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe|\*|https?:/);
    const again = await fetch(`${base}${path}`, {
      headers: { 'if-none-match': first.headers.get('etag') ?? '' },
    });
    assert.equal(again.status, 304, path);
  }
  const page = await (await fetch(`${base}/`)).text();
  assert.doesNotMatch(page, /<script(?![^>]* src="main\.js")|<style| on\w+=| style=|https?:/);
});

test('a login begins a new session, ends the one of its browser, and takes none that was made up', async (t) => {
  const { browser } = await start(t);
  const one = browser();
  one.cookie = 'pgswitchyard=made-up-by-somebody-else';
  assert.equal(await one.login('boss', 'b'), 200);
  assert.notEqual(one.cookie, 'pgswitchyard=made-up-by-somebody-else');
  const before = one.cookie;
  assert.equal(await one.login('boss', 'b'), 200);
  assert.notEqual(one.cookie, before);
  const stolen = browser();
  stolen.cookie = before;
  assert.equal((await stolen.ask('GET', '/session')).status, 401);
});

test('passwords are in no log and no address', async (t) => {
  const { browser, bouncer } = await start(t, {
    userlist: { boss: 'correct-horse' },
    settings: { verbose: 2 },
  });
  assert.equal(await browser().login('boss', 'correct-horse'), 200);
  assert.equal(await browser().login('boss', 'battery-staple'), 401);
  for (const path of ['/login?user=boss&password=correct-horse', '/session?password=correct-horse'])
    assert.equal((await browser().ask('GET', path)).status, 401, path);
  assert.ok(!bouncer.logContains(/correct-horse|battery-staple/));
});

test('bodies and topics of odd forms are refused, and harm nothing', async (t) => {
  const { as, browser } = await start(t);
  const boss = await as('boss');
  const forms: unknown[] = [null, 1, [], 'text', { statement: 1 }, { statement: null }];
  for (const body of forms) assert.equal((await boss.ask('POST', '/statement', body)).status, 400);
  for (const body of [null, 1, [], { user: ['boss'], password: { length: 1 } }])
    assert.equal((await browser().ask('POST', '/login', body)).status, 400);
  assert.equal((await boss.statement('\0')).error?.code, '08P01');
  assert.equal((await boss.ask('GET', `/live?topic=${'x'.repeat(4000)}`)).status, 400);
  assert.equal((await boss.ask('GET', '/session')).status, 200);
});

test('over TLS the cookie of a session is bound to this host, to TLS and to this site, and no script reads it', async (t) => {
  const { bouncer } = await start(t, {
    settings: {
      http_tls_sslmode: 'require',
      client_tls_key_file: tlsFile('server.key'),
      client_tls_cert_file: tlsFile('server.crt'),
    },
  });
  const login = request({
    port: Number(bouncer.settings['http_listen_port']),
    host: '127.0.0.1',
    path: '/api/login',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    ca: await readFile(tlsFile('ca.crt')),
    checkServerIdentity: () => undefined,
  });
  login.end(JSON.stringify({ user: 'boss', password: 'b' }));
  const [answer] = (await once(login, 'response')) as [IncomingMessage];
  answer.resume();
  const [cookie = ''] = answer.headers['set-cookie'] ?? [];
  assert.match(cookie, /^__Host-pgswitchyard=[\w-]{43}; Path=\/; HttpOnly; Secure; SameSite=Strict$/);
});
