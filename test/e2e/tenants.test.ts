/** Two tenants and an administrator of one of them: rights, limits, PAUSE, and what a mistake in [tenants] leads to. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, type Frame } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });
const connection = cluster.connectionString();

/** Says its name, goes where the query says, and prints. */
const functionsOf = (name: string): string => `
export const rewrite_query = (user, query) => {
  if (query.includes('print')) for (let i = 0; i < 5; i++) console.log('${name} prints ' + i);
  if (query.includes('throw')) throw new Error('asked to');
  return query === 'who' ? "select '${name}'" : null;
};
export const routing_rules = (user, query) => /to:(\\S+)/.exec(query)?.[1] ?? null;`;

const TENANTS = `[tenants]
* = timeout=1000
acme = databases=acme,acme_ro functions_dir=rules/acme on_rewrite_failure=error on_routing_failure=error admin_users=ops log_limit=2
beta = databases=beta isolation=inline
`;

function start(scope: Scope, ini = TENANTS, files: Record<string, string> = {}): Promise<Bouncer> {
  return Bouncer.start(scope, {
    databases: { acme: connection, acme_ro: connection, beta: connection, free: connection },
    userlist: { ops: '', every: '', nobody: '' },
    settings: { pool_mode: 'transaction', auth_user: 'postgres' },
    ini,
    files: {
      'rules/acme/rules.ts': functionsOf('acme'),
      'rules/acme/rewrite_query.ts': "export { rewrite_query, routing_rules } from './rules.ts';",
      'rules/moved/rewrite_query.ts': functionsOf('moved'),
      'user-functions/beta/rewrite_query.ts': functionsOf('beta'),
      'user-functions/rewrite_query.ts': functionsOf('operator'),
      ...files,
    },
  });
}

async function answerOf(client: RawClient, query: string): Promise<string> {
  const frames = await client.query(query);
  const error = frames.find(({ type }) => type === 'E');
  if (error !== undefined) return errorText(error);
  return frames.some(({ type }) => type === 'D') ? String(raw.firstValue(frames)) : 'done';
}

function errorText(frame: Frame): string {
  const { C: code, M: message } = errorFields(frame);
  return `${code} ${message}`;
}

async function asOps(bouncer: Bouncer): Promise<RawClient> {
  return RawClient.login({ host: bouncer.host, port: bouncer.port }, { user: 'ops', database: 'pgbouncer' });
}

test('each database has the functions of its tenant, which name the databases of that tenant only', async (t) => {
  const bouncer = await start(t);
  for (const [database, tenant] of Object.entries({
    acme: 'acme',
    acme_ro: 'acme',
    beta: 'beta',
    free: 'operator',
  })) {
    const client = await bouncer.login(t, database);
    assert.equal(await answerOf(client, 'who'), tenant, database);
  }
  const acme = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(acme, "select 'moved' -- to:acme_ro"), 'moved');
  const foreign = await answerOf(acme, 'select 1 -- to:beta');
  assert.equal(foreign, '38000 user function failed: unknown_dbkey');
  assert.equal(foreign, await answerOf(acme, 'select 1 -- to:nowhere'));
  const rows = await bouncer.admin('SHOW TENANTS');
  const shown = rows.map(({ name, databases, state, isolation }) =>
    [name, databases, state, isolation].join(' '),
  );
  assert.deepEqual(shown.toSorted(), [
    '(operator) free serving process',
    'acme acme,acme_ro serving process',
    'beta beta serving inline',
  ]);
  const [row] = rows.filter(({ name }) => name === 'acme');
  assert.equal(row!['failures'], 'unknown_dbkey=2');
  assert.equal(row!['breaker'], 'closed');
  assert.ok(Number(row!['p50_us']) > 0 && Number(row!['p99_us']) >= Number(row!['p50_us']));
  assert.ok(Number(row!['pid']) > 0 && Number(row!['pid']) !== bouncer.pid);
  assert.equal(Number(rows.find(({ name }) => name === 'beta')!['pid']), bouncer.pid);
});

test("the administrator of a tenant sees and steers that tenant's functions, and nothing else", async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  const ops = await asOps(bouncer);
  t.after(() => ops.destroy());
  for (const table of ['TENANTS', 'FUNCTIONS']) {
    const frames = await ops.query(`SHOW ${table}`);
    assert.deepEqual(frames.filter(({ type }) => type === 'D').length, 1, table);
  }
  assert.equal(await answerOf(ops, 'SHOW TENANTS'), 'acme');
  const refused = [
    'SHOW POOLS',
    'SHOW CONFIG',
    'SHOW CLIENTS',
    'SHOW VERSION',
    'SHOW',
    'SHOW nothing',
    'nothing',
    'SET verbose = 1',
    'RELOAD',
    'PAUSE',
    'PAUSE acme',
    'KILL acme',
    'SHUTDOWN',
    'NOTIFY TOPOLOGY',
    'SWITCHOVER acme TO x',
    'PAUSE FUNCTIONS beta',
    'RELOAD FUNCTIONS nobody',
    'RESUME FUNCTIONS "(operator)"',
  ];
  for (const command of refused)
    assert.equal(await answerOf(ops, command), '42501 permission denied', command);
  await assert.rejects(
    RawClient.login({ host: bouncer.host, port: bouncer.port }, { user: 'nobody', database: 'pgbouncer' }),
    /not allowed/,
  );

  assert.equal(await answerOf(ops, 'PAUSE FUNCTIONS acme'), 'done');
  assert.equal(await answerOf(acme, 'select 1'), '38000 user function failed: paused');
  assert.equal((await bouncer.admin('SHOW TENANTS')).find(({ name }) => name === 'acme')!['state'], 'paused');
  assert.equal(await answerOf(ops, 'RESUME FUNCTIONS acme'), 'done');
  assert.equal(
    await answerOf(ops, 'RESUME FUNCTIONS acme'),
    '08P01 functions of acme are neither paused nor pinned',
  );
  assert.equal(await answerOf(acme, 'who'), 'acme');

  await bouncer.admin('PAUSE FUNCTIONS acme');
  assert.equal(
    await answerOf(ops, 'RESUME FUNCTIONS acme'),
    '42501 permission denied: an operator has paused these functions',
  );
  await assert.rejects(bouncer.admin('PAUSE FUNCTIONS nowhere'), /no such tenant: nowhere/);
  await bouncer.admin('RESUME FUNCTIONS acme');

  await bouncer.writeFile('rules/acme/rules.ts', functionsOf('acme 2'));
  assert.equal(await answerOf(ops, 'RELOAD FUNCTIONS acme'), 'done');
  assert.equal(await answerOf(acme, 'who'), 'acme 2');
  await bouncer.writeFile('rules/acme/rules.ts', 'export const rewrite_query = (;');
  const notice = (await ops.query('RELOAD FUNCTIONS acme')).find(({ type }) => type === 'N');
  assert.match(errorFields(notice!)['D'] ?? '', /rules\.ts:1:/);
  assert.equal(await answerOf(acme, 'who'), 'acme 2');
  assert.match(bouncer.log(), /PAUSE FUNCTIONS 'acme' command issued by ops/);
});

test('a paused guard lets nothing through under `error`, and everything under `pass`', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  const beta = await bouncer.login(t, 'beta');
  acme.send(raw.parse('s', "select 'prepared'"), raw.sync());
  await acme.readUntil('Z');
  await bouncer.admin('PAUSE FUNCTIONS acme');
  await bouncer.admin('PAUSE FUNCTIONS beta');
  assert.equal(await answerOf(beta, "select 'past'"), 'past');
  for (const query of ["select 'past'", 'begin', "select 'past' -- to:acme_ro"])
    assert.equal(await answerOf(acme, query), '38000 user function failed: paused', query);
  acme.send(raw.bind('s'), raw.execute(''), raw.sync());
  const frames = await acme.readUntil('Z');
  assert.deepEqual(
    frames.filter(({ type }) => type === 'D'),
    [],
  );
  assert.match(errorText(frames.find(({ type }) => type === 'E')!), /paused/);
});

test('a tenant that moves its files keeps its counters, and prints as much as log_limit lets it', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  await answerOf(acme, 'select 1 -- print');
  const lines = bouncer.log().match(/acme prints \d/g) ?? [];
  assert.deepEqual(lines, ['acme prints 0', 'acme prints 1']);
  const ini = await readFile(join(bouncer.folder, 'pgbouncer.ini'), 'utf8');
  await bouncer.writeFile('pgbouncer.ini', ini.replace('rules/acme', 'rules/moved'));
  await bouncer.admin('RELOAD');
  assert.equal(await answerOf(acme, 'who'), 'moved');
  const row = (await bouncer.admin('SHOW TENANTS')).find(({ name }) => name === 'acme')!;
  assert.equal(Number(row['calls']), 2);
});

test('a mistake in [tenants] is told with file and line, and the old configuration stays', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  const ini = await readFile(join(bouncer.folder, 'pgbouncer.ini'), 'utf8');
  await bouncer.writeFile('pgbouncer.ini', `${ini}gamma = databases=beta\n`);
  await assert.rejects(bouncer.admin('RELOAD'), (error: { detail?: string }) => {
    assert.match(
      error.detail ?? '',
      /pgbouncer\.ini:\d+: gamma: database "beta" belongs to the tenant beta already/,
    );
    return true;
  });
  assert.equal(await answerOf(acme, 'who'), 'acme');
});

test('functions that appear in functions_dir later take the place of the operator’s', async (t) => {
  const bouncer = await start(t, '[tenants]\nlate = databases=free functions_dir=rules/moved\n');
  const free = await bouncer.login(t, 'free');
  assert.equal(await answerOf(free, 'who'), 'moved');
  await bouncer.writeFile('rules/late/about.txt', 'no functions yet');
  const ini = await readFile(join(bouncer.folder, 'pgbouncer.ini'), 'utf8');
  await bouncer.writeFile('pgbouncer.ini', ini.replace('rules/moved', 'rules/late'));
  await bouncer.admin('RELOAD');
  assert.equal(await answerOf(free, 'who'), 'operator');
  const rows = await bouncer.admin('SHOW TENANTS');
  assert.equal(rows.find(({ name }) => name === 'late')!['state'], 'no functions');
  await bouncer.writeFile('rules/late/rewrite_query.ts', functionsOf('late'));
  await until('the functions', async () => (await answerOf(free, 'who')) === 'late');
});

test('a tenant whose isolation is changed by RELOAD runs in the other kind of process', async (t) => {
  const bouncer = await start(t);
  const beta = await bouncer.login(t, 'beta');
  const pidOf = async (): Promise<number> =>
    Number((await bouncer.admin('SHOW TENANTS')).find(({ name }) => name === 'beta')!['pid']);
  assert.equal(await answerOf(beta, 'who'), 'beta');
  const ini = await readFile(join(bouncer.folder, 'pgbouncer.ini'), 'utf8');
  for (const isolation of ['process', 'inline']) {
    await bouncer.writeFile('pgbouncer.ini', ini.replace('isolation=inline', `isolation=${isolation}`));
    await bouncer.admin('RELOAD');
    assert.equal(await answerOf(beta, 'who'), 'beta');
    assert.equal((await pidOf()) === bouncer.pid, isolation === 'inline');
  }
});

test("a tenant that paused its functions before it had any does not switch off the operator's", async (t) => {
  const bouncer = await start(
    t,
    '[tenants]\nlate = databases=free functions_dir=rules/late admin_users=ops\n',
    {
      'rules/late/about.txt': 'no functions yet',
    },
  );
  const free = await bouncer.login(t, 'free');
  const ops = await asOps(bouncer);
  assert.equal(await answerOf(free, 'who'), 'operator');
  await answerOf(ops, 'PAUSE FUNCTIONS late');
  await bouncer.writeFile('rules/late/routing_rules.ts', 'export const routing_rules = () => null;');
  await until('the routing function', async () => {
    assert.equal(await answerOf(free, 'who'), 'operator');
    const rows = await bouncer.admin('SHOW TENANTS');
    return rows.some(({ name, state }) => name === 'late' && state === 'serving');
  });
  await bouncer.writeFile('rules/late/rewrite_query.ts', 'export const rewrite_query = () => null;');
  await until('the pause', async () => {
    const rows = await bouncer.admin('SHOW TENANTS');
    return rows.some(({ name, state }) => name === 'late' && state === 'paused');
  });
});

test('a tenant that gets another name keeps its policies while the files are broken', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  assert.match(await answerOf(acme, 'throw'), /^38000/);
  await bouncer.writeFile('rules/acme/rules.ts', 'export const rewrite_query = ');
  const ini = await readFile(join(bouncer.folder, 'pgbouncer.ini'), 'utf8');
  await bouncer.writeFile('pgbouncer.ini', ini.replace('acme = databases', 'other = databases'));
  await bouncer.admin('RELOAD');
  assert.match(await answerOf(acme, 'select 1 -- throw'), /^38000/);
  assert.equal(await answerOf(acme, 'who'), 'acme');
});

test("a tenant's own PAUSE does not switch off a function of the operator's that joins its own later", async (t) => {
  const bouncer = await start(
    t,
    '[tenants]\nacme = databases=acme functions_dir=rules/moved admin_users=ops\n',
  );
  const acme = await bouncer.login(t, 'acme');
  const ops = await asOps(bouncer);
  t.after(() => ops.destroy());
  assert.equal(await answerOf(ops, 'PAUSE FUNCTIONS acme'), 'done');
  assert.equal(await answerOf(acme, "select 'past' -- refuse"), 'past');
  await bouncer.writeFile(
    'user-functions/routing_rules.ts',
    `export const routing_rules = (user, query) => { if (query.includes('refuse')) throw reject('no'); return null; };`,
  );
  await bouncer.admin('RELOAD');
  await until('the operator’s rule', async () => (await answerOf(acme, 'select 1 -- refuse')).endsWith('no'));
  assert.match(
    await answerOf(ops, 'PAUSE FUNCTIONS acme'),
    /^42501 permission denied: functions of the operator's run together with these/,
  );
  await bouncer.admin('PAUSE FUNCTIONS acme');
  assert.equal(await answerOf(acme, "select 'past' -- refuse"), 'past');
});

test('an administrator of every tenant can’t find out which tenants there are', async (t) => {
  const bouncer = await start(t, TENANTS.replace('* =', '* = admin_users=every'));
  const every = await RawClient.login(
    { host: bouncer.host, port: bouncer.port },
    { user: 'every', database: 'pgbouncer' },
  );
  t.after(() => every.destroy());
  for (const name of ['acme', 'nowhere', '(operator)', ''])
    assert.equal(await answerOf(every, `PAUSE FUNCTIONS "${name}"`), '42501 permission denied', name);
  assert.equal(await answerOf(every, 'PAUSE FUNCTIONS beta'), 'done');
});

test("a SUSPEND ends when only a tenant's administrators are left on the console", async (t) => {
  const bouncer = await start(t);
  const ops = await asOps(bouncer);
  t.after(() => ops.destroy());
  await bouncer.admin('SUSPEND').catch(() => {});
  await until('the end of SUSPEND', () => Promise.resolve(bouncer.log().includes('admin disappeared')));
});

test('a RELOAD that leaves a tenant without the functions that it had is warned about', async (t) => {
  const bouncer = await start(t);
  const beta = await bouncer.login(t, 'beta');
  assert.equal(await answerOf(beta, 'who'), 'beta');
  await bouncer.removeFile('user-functions/beta/rewrite_query.ts');
  await bouncer.admin('RELOAD');
  await bouncer.waitForLog(/WARNING the tenant beta has no functions any more/);
  assert.equal(await answerOf(beta, 'who'), 'operator');
});
