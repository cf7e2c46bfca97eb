/** Routing and rewriting with two real servers, real clients, and the rules of the original's documentation. */
import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Client } from 'pg';
import { Bouncer, type BouncerOptions } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { noPsql, psql } from '../support/psql.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const [first, second] = await Promise.all([
  Cluster.start(
    { after },
    { sql: "CREATE TABLE tablea AS SELECT 'first' AS who; CREATE TABLE everywhere AS SELECT 'first' AS who" },
  ),
  Cluster.start(
    { after },
    {
      sql: "CREATE TABLE tableb AS SELECT 'second' AS who; CREATE TABLE everywhere AS SELECT 'second' AS who",
    },
  ),
]);

const DATABASES = {
  dev: first.connectionString(),
  'dev.1': first.connectionString(),
  'dev.2': second.connectionString(),
};

const ROUTING = `
export function routing_rules(username: string, query: string): string | null {
  if (/\\btablea\\b/.test(query)) return 'dev.1';
  if (/\\btableb\\b/.test(query)) return 'dev.2';
  return null;
}
`;

function start(scope: Scope, files: Record<string, string>, more: BouncerOptions = {}): Promise<Bouncer> {
  const inFolder = Object.fromEntries(
    Object.entries(files).map(([name, text]) => [`user-functions/${name}`, text]),
  );
  return Bouncer.start(scope, {
    databases: DATABASES,
    ...more,
    files: inFolder,
    settings: { pool_mode: 'transaction', ...more.settings },
  });
}

async function who(client: Client, sql: string): Promise<unknown> {
  return (await client.query<{ who: string }>(sql)).rows[0]?.who;
}

test('one psql session selects from tables on two servers', { skip: noPsql }, async (t) => {
  const bouncer = await start(t, { 'routing_rules.ts': ROUTING });
  const target = { host: bouncer.host, port: bouncer.port, user: 'postgres', database: 'dev' };
  const output = await psql(
    target,
    'SELECT who FROM tablea; SELECT who FROM tableb; SELECT who FROM tablea;',
  );
  assert.deepEqual(output.trim().split('\n'), ['first', 'second', 'first']);
});

for (const isolation of ['inline', 'process']) {
  test(`a table of patterns in an imported JSON file can be edited while clients are connected (${isolation})`, async (t) => {
    const bouncer = await start(
      t,
      {
        'routing_rules.ts': `import table from './table.json';
          const rules = (table as [string, string][]).map(([pattern, dbkey]) => [new RegExp(pattern), dbkey] as const);
          export function routing_rules(username: string, query: string): string | null {
            return rules.find(([pattern]) => pattern.test(query))?.[1] ?? null;
          }`,
        'table.json': '[["tablea", "dev.1"], ["tableb", "dev.2"]]',
      },
      { settings: { user_function_isolation: isolation } },
    );
    const client = await bouncer.connect({ database: 'dev' });
    assert.equal(await who(client, 'SELECT who FROM tablea'), 'first');
    assert.equal(await who(client, 'SELECT who FROM tableb'), 'second');
    bouncer.markLog();
    await bouncer.writeFile('user-functions/table.json', '[["everywhere", "dev.1"]]');
    await bouncer.waitForLog(/user functions loaded/);
    assert.equal(await who(client, 'SELECT who FROM everywhere'), 'first');
  });
}

test('a broken rule is reported in the log, and the last good version stays active', async (t) => {
  const bouncer = await start(t, { 'routing_rules.ts': ROUTING });
  await bouncer.waitForLog(/user functions loaded/);
  const client = await bouncer.connect({ database: 'dev' });
  await bouncer.writeFile('user-functions/routing_rules.ts', 'export function routing_rules( {');
  await bouncer.waitForLog(/user functions not loaded; version \w+ stays active/);
  await bouncer.waitForLog(/routing_rules\.ts:1:\d+/);
  assert.equal(await who(client, 'SELECT who FROM tableb'), 'second');
});

test('a rule that is put into the folder applies at once, and one that is removed no longer does', async (t) => {
  const bouncer = await start(
    t,
    { 'README.md': 'rules go here' },
    { settings: { user_function_removal_grace: 0 } },
  );
  const client = await bouncer.connect({ database: 'dev' });
  await assert.rejects(client.query('SELECT who FROM tableb'), /does not exist/);
  await bouncer.writeFile('user-functions/routing_rules.ts', ROUTING);
  await bouncer.waitForLog(/user functions loaded/);
  assert.equal(await who(client, 'SELECT who FROM tableb'), 'second');
  await bouncer.removeFile('user-functions/routing_rules.ts');
  await bouncer.waitForLog(/user functions of .* removed/);
  assert.equal(
    await who(client, 'SELECT who FROM everywhere'),
    'second',
    'the client stays where it was moved to',
  );
});

test('a folder named after a database has the rules of that database only', async (t) => {
  const bouncer = await start(t, { 'dev/routing_rules.ts': "export const routing_rules = () => 'dev.2';" });
  const dev = await bouncer.connect({ database: 'dev' });
  const other = await bouncer.connect({ database: 'dev.1' });
  assert.equal(await who(dev, 'SELECT who FROM everywhere'), 'second');
  assert.equal(await who(other, 'SELECT who FROM everywhere'), 'first');
});

test('a move inside a transaction is refused: the transaction stays on its server', async (t) => {
  const bouncer = await start(t, { 'routing_rules.ts': ROUTING });
  const client = await bouncer.connect({ database: 'dev' });
  await client.query('BEGIN');
  for (let i = 0; i < 50; i++)
    assert.equal(await who(client, 'SELECT who FROM everywhere -- tableb'), 'first');
  await client.query('COMMIT');
  const lines = bouncer.logCount(/routing to dev\.2 refused inside a transaction/);
  assert.ok(lines >= 10 && lines < 50, `${lines} lines`);
  assert.equal((await bouncer.admin('SHOW FUNCTIONS'))[0]!['refused_moves'], '50');
});

test('the rule of the * entry applies to all databases without one, and may name any except the console', async (t) => {
  const bouncer = await start(
    t,
    { 'any.ts': 'export const routing_rules = (u, q) => /to:(.*)$/.exec(q)?.[1] ?? null;' },
    {
      databases: {
        dev: first.connectionString(),
        '*': `host=${second.host} port=${second.port} routing_rules_file=user-functions/any.ts routing_targets=*`,
      },
      settings: { routing_rules_on_failure: 'error' },
    },
  );
  const named = await bouncer.connect({ database: 'dev' });
  assert.equal(await who(named, 'SELECT who FROM everywhere --to:postgres'), 'first');
  const other = await bouncer.connect({ database: 'postgres' });
  assert.equal(await who(other, 'SELECT who FROM everywhere'), 'second');
  assert.equal(await who(other, 'SELECT who FROM everywhere --to:dev'), 'first');
  for (const name of ['', '*', 'pgbouncer', 'x'.repeat(64)]) {
    const naming = other.query(`SELECT 1 --to:${name}`);
    await assert.rejects(naming, { code: '38000', message: /unknown_dbkey/ }, name);
  }
  assert.equal(await who(other, 'SELECT who FROM everywhere --to:postgres'), 'second');
  const [row] = await bouncer.admin('SHOW FUNCTIONS');
  assert.deepEqual([row!['databases'], row!['failures']], ['*', '4']);
});

test('prepared statements of a session survive rules that come and go', async (t) => {
  const settings = { pool_mode: 'session', user_function_removal_grace: 0 };
  const bouncer = await start(t, { 'nothing.txt': '' }, { settings });
  const clients: RawClient[] = [];
  const works = async (client: RawClient): Promise<void> => {
    client.send(raw.bind('same'), raw.execute(), raw.sync());
    const row = (await client.readUntil('Z')).find(({ type }) => type === 'D');
    assert.deepEqual(row && raw.rowValues(row), ['first']);
  };
  for (const sets of [1, 0]) {
    const client = await RawClient.login({ port: bouncer.port }, { user: 'postgres', database: 'dev' });
    client.send(raw.parse('same', 'SELECT who FROM everywhere'), raw.sync());
    await client.readUntil('Z');
    clients.push(client);
    if (sets === 1) await bouncer.writeFile('user-functions/routing_rules.ts', ROUTING);
    else await bouncer.removeFile('user-functions/routing_rules.ts');
    await until('the change', async () => (await bouncer.admin('SHOW FUNCTIONS')).length === sets);
    for (const each of clients) await works(each);
  }
});

test('queries that are sent ahead go each to its server; in a pipeline without Sync and in a transaction all stay', async (t) => {
  const bouncer = await start(t, { 'routing_rules.ts': ROUTING });
  const client = await RawClient.login({ port: bouncer.port }, { user: 'postgres', database: 'dev' });
  const servers = async (...messages: Buffer[]): Promise<(string | null)[]> => {
    const readies = messages.filter((each) => 'QS'.includes(String.fromCharCode(each[0]!))).length;
    client.send(...messages);
    const frames: raw.Frame[] = [];
    for (let i = 0; i < readies; i++) frames.push(...(await client.readUntil('Z')));
    return frames.filter(({ type }) => type === 'D').map((row) => raw.rowValues(row)[0]!);
  };
  const simple = (table: string): Buffer => raw.query(`SELECT who FROM everywhere -- ${table}`);
  const extended = (table: string): Buffer[] => [
    raw.parse('', `SELECT who FROM everywhere -- ${table}`),
    raw.bind(),
    raw.execute(),
  ];
  const named = [
    ...[raw.parse('a', 'SELECT who FROM everywhere -- tablea'), raw.sync()],
    ...[raw.parse('b', 'SELECT who FROM everywhere -- tableb'), raw.sync()],
    ...['a', 'b', 'a'].flatMap((name) => [raw.bind(name), raw.execute(), raw.sync()]),
  ];
  const apart = ['first', 'second', 'first'];
  assert.deepEqual(await servers(simple('tablea'), simple('tableb'), simple('tablea')), apart);
  const synced = ['tablea', 'tableb', 'tablea'].flatMap((table) => [...extended(table), raw.sync()]);
  assert.deepEqual(await servers(...synced), apart);
  assert.deepEqual(await servers(...named), apart);
  assert.deepEqual(await servers(...extended('tablea'), ...extended('tableb'), raw.sync()), [
    'first',
    'first',
  ]);
  const transaction = [raw.query('BEGIN'), simple('tableb'), raw.query('COMMIT'), simple('tableb')];
  assert.deepEqual(await servers(...transaction), ['first', 'second']);
  const console = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });
  assert.equal((await console.query('SHOW FUNCTIONS')).rows[0].refused_moves, '2');
});

test('routing_in_transaction = error reports the refused move, and the transaction is aborted', async (t) => {
  const bouncer = await start(
    t,
    { 'routing_rules.ts': ROUTING },
    { settings: { routing_in_transaction: 'error' } },
  );
  const client = await bouncer.connect({ database: 'dev' });
  await client.query('BEGIN');
  await assert.rejects(client.query('SELECT who FROM everywhere -- tableb'), { code: '25001' });
  await assert.rejects(client.query('SELECT 1'), { code: '25P02' });
  await client.query('ROLLBACK');
  assert.equal(await who(client, 'SELECT who FROM tableb'), 'second');
});

test('a prepared statement is executed where its Parse was routed to, even if its client has moved since', async (t) => {
  const bouncer = await start(t, { 'routing_rules.ts': ROUTING });
  const client = await bouncer.connect({ database: 'dev' });
  const prepared = { name: 'on_second', text: 'SELECT who FROM everywhere /* tableb */' };
  assert.equal(await who(client, 'SELECT who FROM tablea'), 'first');
  assert.equal((await client.query(prepared)).rows[0].who, 'second');
  assert.equal(await who(client, 'SELECT who FROM tablea'), 'first');
  assert.equal((await client.query(prepared)).rows[0].who, 'second');
});

const REWRITE = `
const REPORTS: Record<string, string> = {
  'SELECT storename, SUM(total) FROM sales JOIN store USING (storeid) GROUP BY storename ORDER BY storename':
    'SELECT storename, total FROM store_sales ORDER BY storename',
};
export const rewrite_query = (username: string, query: string): string | null => REPORTS[query] ?? null;
`;
const REPORT =
  'SELECT storename, SUM(total) FROM sales JOIN store USING (storeid) GROUP BY storename ORDER BY storename';

test("the server's log shows the rewritten query, with the simple and with the extended protocol", async (t) => {
  await first.sql("CREATE TABLE store_sales AS SELECT 'Bonn' AS storename, 7 AS total");
  t.after(() => first.sql('DROP TABLE store_sales'));
  await first.configure({ settings: { log_statement: 'all' } });
  const bouncer = await start(t, { 'rewrite_query.ts': REWRITE });
  const client = await bouncer.connect({ database: 'dev' });
  first.markLog();
  assert.deepEqual((await client.query(REPORT)).rows, [{ storename: 'Bonn', total: 7 }]);
  assert.deepEqual((await client.query({ text: REPORT, values: [] })).rows, [
    { storename: 'Bonn', total: 7 },
  ]);
  assert.deepEqual((await client.query({ name: 'p', text: REPORT })).rows, [{ storename: 'Bonn', total: 7 }]);
  await first.waitForLog(/execute PGBOUNCER_\d+: SELECT storename, total FROM store_sales/);
  assert.equal(first.logCount(/SELECT storename, total FROM store_sales/), 3);
  assert.ok(!first.logContains(/FROM sales JOIN store/));
});

test('in the middle of a pipeline, queries are replaced by longer and shorter ones', async (t) => {
  const bouncer = await start(t, {
    'rewrite_query.js': `export const rewrite_query = (u, q) =>
      q === 'SELECT 1' ? "SELECT '" + 'x'.repeat(5000) + "'" : q.startsWith('SELECT 22') ? 'SELECT 3' : null;`,
  });
  const client = await RawClient.login({ port: bouncer.port }, { user: 'postgres', database: 'dev' });
  t.after(() => client.destroy());
  const one = (sql: string): Buffer[] => [raw.parse('', sql), raw.bind(), raw.execute()];
  client.send(
    ...one("SELECT 'a'"),
    ...one('SELECT 1'),
    ...one(`SELECT 22 /* ${'y'.repeat(3000)} */`),
    ...one("SELECT 'z'"),
    raw.sync(),
  );
  const frames = await client.readUntil('Z');
  const values = frames.filter((frame) => frame.type === 'D').map((frame) => raw.rowValues(frame)[0]);
  assert.deepEqual(values, ['a', 'x'.repeat(5000), '3', 'z']);
});

test('a client gets the error of reject(), stays connected, and the server never sees the query', async (t) => {
  const bouncer = await start(t, {
    'rewrite_query.ts': `import { reject } from 'pgswitchyard';
      export function rewrite_query(username: string, query: string): null {
        if (/forbidden/.test(query)) reject('not today', { code: '42501', hint: 'ask tomorrow', detail: 'it is late' });
        return null;
      }`,
  });
  await first.configure({ settings: { log_statement: 'all' } });
  first.markLog();
  const client = await bouncer.connect({ database: 'dev' });
  const expected = { code: '42501', message: 'not today', hint: 'ask tomorrow', detail: 'it is late' };
  await assert.rejects(client.query('SELECT forbidden'), expected);
  await assert.rejects(client.query('SELECT forbidden, $1::int', [1]), expected);
  await assert.rejects(client.query({ name: 'n', text: 'SELECT forbidden' }), expected);
  assert.equal((await client.query('SELECT 1 AS one')).rows[0].one, 1);
  assert.ok(!first.logContains(/forbidden/));
});

test('a rejection aborts its transaction and its pipeline, like any error', async (t) => {
  await first.sql('CREATE TABLE ledger (n int)');
  t.after(() => first.sql('DROP TABLE ledger'));
  const bouncer = await start(t, {
    'rewrite_query.ts': `import { reject } from 'pgswitchyard';
      export const rewrite_query = (u: string, q: string): null => (/forbidden/.test(q) ? reject('no') : null);`,
  });
  const client = await bouncer.connect({ database: 'dev' });
  await client.query('BEGIN');
  await client.query('INSERT INTO ledger VALUES (1)');
  await assert.rejects(client.query('SELECT forbidden'), /no/);
  assert.equal((await client.query('COMMIT')).command, 'ROLLBACK');

  const pipeline = await RawClient.login({ port: bouncer.port }, { user: 'postgres', database: 'dev' });
  t.after(() => pipeline.destroy());
  const one = (sql: string): Buffer[] => [raw.parse('', sql), raw.bind(), raw.execute()];
  pipeline.send(
    ...one('INSERT INTO ledger VALUES (2)'),
    ...one('SELECT forbidden'),
    ...one('INSERT INTO ledger VALUES (3)'),
    raw.sync(),
  );
  const frames = await pipeline.readUntil('Z');
  assert.deepEqual(frames.map((frame) => frame.type).join(''), '12CEZ');
  assert.equal(errorFields(frames[3]!)['M'], 'no');
  assert.deepEqual(await first.sql('SELECT n FROM ledger'), []);
});

test('rules in a folder without read permission count as rules that can not be read, and not as no rules', async (t) => {
  // without a version that was kept
  const settings = { rewrite_query_on_failure: 'error', user_functions_state_dir: '' };
  const bouncer = await start(
    t,
    { 'dev/rewrite_query.ts': 'export const rewrite_query = () => null;' },
    { settings },
  );
  const client = await bouncer.connect({ database: 'dev' });
  await client.query('SELECT 1');
  await bouncer.stop();
  await chmod(join(bouncer.folder, 'user-functions/dev'), 0);
  await bouncer.start();
  const other = await bouncer.connect({ database: 'dev' });
  await assert.rejects(other.query('SELECT 1'), { code: '38000', message: /no_version/ });
  await bouncer.waitForLog(/not loaded; there is no earlier version: .*dev\/rewrite_query\.ts/);
  await chmod(join(bouncer.folder, 'user-functions/dev'), 0o755);
  await bouncer.admin('RELOAD');
  await other.query('SELECT 1');
});

test('on failure: pass lets the query through, error reports it to the client, disconnect ends the connection', async (t) => {
  const files = {
    'routing_rules.ts':
      "export const routing_rules = (u: string, q: string) => (q.includes('boom') ? JSON.parse('{') : null);",
  };
  for (const policy of ['pass', 'error', 'disconnect']) {
    const bouncer = await start(t, files, { settings: { routing_rules_on_failure: policy } });
    const client = await bouncer.connect({ database: 'dev' });
    const query = client.query("SELECT 'boom' AS x");
    if (policy === 'pass') assert.equal((await query).rows[0].x, 'boom');
    else await assert.rejects(query, { code: '38000' });
    if (policy === 'error') assert.equal((await client.query('SELECT 1 AS one')).rows[0].one, 1);
    if (policy === 'disconnect')
      await until('the disconnection', () => bouncer.logContains(/closing because: user function failed/));
    await bouncer.waitForLog(/failed: threw: routing_rules\.ts:1:\d+: SyntaxError/);
    assert.ok(!bouncer.logContains(/SELECT 'boom'/), 'the log has a fingerprint, never the query');
    await bouncer.stop();
  }
});

test('on failure: under error a transaction can be rolled back although the function always fails', async (t) => {
  const files = { 'dev/rewrite_query.ts': 'export const rewrite_query = (u: string, q: string) => null!.x;' };
  const bouncer = await start(t, files, { settings: { rewrite_query_on_failure: 'pass' } });
  const client = await bouncer.connect({ database: 'dev' });
  await client.query('BEGIN');
  await bouncer.reload({ rewrite_query_on_failure: 'error' });
  await assert.rejects(client.query('SELECT 1'), { code: '38000' });
  await assert.rejects(client.query('COMMIT'), { code: '38000' });
  for (const refused of ['ROLLBACK; SELECT 1', 'ROLLBACK AND CHAIN'])
    await assert.rejects(client.query(refused), { code: '38000' });
  assert.equal((await client.query(' rollback work;')).command, 'ROLLBACK');
  await assert.rejects(client.query('SELECT 1'), { code: '38000', message: /^user function failed/ });
});

test('a query over user_function_max_query passes unseen or is refused, depending on the policy', async (t) => {
  const files = { 'routing_rules.ts': "export const routing_rules = () => 'dev.2';" };
  const large = `SELECT length('${'x'.repeat(3_000_000)}') AS n, (SELECT who FROM everywhere) AS who`;
  const passing = await start(t, files, { settings: { user_function_max_query: 100_000 } });
  const client = await passing.connect({ database: 'dev' });
  assert.deepEqual((await client.query(large)).rows, [{ n: 3_000_000, who: 'first' }]);
  assert.deepEqual((await client.query(large, [])).rows, [{ n: 3_000_000, who: 'first' }]);
  // a query within the limit is seen whole, even if it takes many reads
  const medium = `SELECT (SELECT who FROM everywhere) AS who /* ${'y'.repeat(90_000)} */`;
  assert.equal((await client.query(medium)).rows[0].who, 'second');

  const refusing = await start(t, files, {
    settings: { user_function_max_query: 100_000, routing_rules_on_failure: 'error' },
  });
  const refused = await refusing.connect({ database: 'dev' });
  await assert.rejects(refused.query(large), { code: '38000' });
  await assert.rejects(refused.query(large, []), { code: '38000' });
  assert.equal((await refused.query('SELECT who FROM everywhere')).rows[0].who, 'second');
});
