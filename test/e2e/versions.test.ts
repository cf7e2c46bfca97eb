/** Versions of a tenant's functions on the console: their history and log, and a PAUSE that says what becomes of queries. */
import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';

const cluster = await Cluster.start({ after });
const connection = cluster.connectionString();

const rule = (name: string): string =>
  `export const rewrite_query = (user, query) => (query === 'who' ? "select '${name}'" : null);`;

const TENANTS = `[tenants]
* = timeout=1000 on_rewrite_failure=error
acme = databases=acme functions_dir=rules/acme admin_users=ops
beta = databases=beta functions_dir=rules/beta
`;

/** Resolves when the functions have been loaded. */
async function start(scope: Scope, files: Record<string, string> = {}): Promise<Bouncer> {
  const bouncer = await Bouncer.start(scope, {
    databases: { acme: connection, beta: connection },
    userlist: { ops: '' },
    settings: { pool_mode: 'transaction', auth_user: 'postgres' },
    ini: TENANTS,
    files: {
      'rules/acme/rewrite_query.ts': rule('one'),
      'rules/beta/rewrite_query.ts': rule('beta'),
      ...files,
    },
  });
  for (const database of ['acme', 'beta']) await answerOf(await bouncer.login(scope, database), 'who');
  return bouncer;
}

async function answerOf(client: RawClient, query: string): Promise<string> {
  const frames = await client.query(query);
  const error = frames.find(({ type }) => type === 'E');
  if (error !== undefined) return `${errorFields(error)['C']} ${errorFields(error)['M']}`;
  return frames.some(({ type }) => type === 'D') ? String(raw.firstValue(frames)) : 'done';
}

function asOps(bouncer: Bouncer): Promise<RawClient> {
  return RawClient.login({ host: bouncer.host, port: bouncer.port }, { user: 'ops', database: 'pgbouncer' });
}

/** Replaces the rule of acme, and waits until it has been loaded or refused. */
async function deploy(bouncer: Bouncer, text: string): Promise<void> {
  await bouncer.writeFile('rules/acme/rewrite_query.ts', text);
  await bouncer.admin('RELOAD FUNCTIONS acme');
}

/** `number state` of each version, newest first. */
async function versions(bouncer: Bouncer, tenant = 'acme'): Promise<string[]> {
  const rows = await bouncer.admin(`SHOW FUNCTION VERSIONS ${tenant}`);
  return rows.map(({ number, state, pinned_by: by }) => [number, state, by].filter(Boolean).join(' '));
}

test('versions are numbered, with their files and the conditions of their trial', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(acme, 'who'), 'one');
  await deploy(bouncer, rule('two'));
  assert.equal(await answerOf(acme, 'who'), 'two');
  assert.deepEqual(await versions(bouncer), ['2 serving', '1 kept']);
  await deploy(bouncer, rule('one'));
  assert.deepEqual(await versions(bouncer), ['2 kept', '1 serving']);
  const [, first] = await bouncer.admin('SHOW FUNCTION VERSIONS acme');
  assert.match(String(first!['files']), /^rewrite_query\.ts=[0-9a-f]{12}$/);
  assert.match(
    String(first!['checked_with']),
    /^pgswitchyard \S+ node \S+ process timeout=1000 memory_limit=/,
  );
});

test("the log of a tenant's functions has its lines and the commands about it, with the user", async (t) => {
  const bouncer = await start(t);
  const ops = await asOps(bouncer);
  t.after(() => ops.destroy());
  await answerOf(ops, 'PAUSE FUNCTIONS acme ERROR');
  await answerOf(ops, 'RESUME FUNCTIONS acme');
  await answerOf(ops, 'ROLLBACK FUNCTIONS acme TO 7');
  await deploy(bouncer, 'export const rewrite_query = (;');
  const lines = await bouncer.admin('SHOW FUNCTION LOG acme');
  const of = (level: string): string[] =>
    lines.filter((line) => line['level'] === level).map(({ user, text }) => [user, text].join(' '));
  assert.deepEqual(of('audit'), [
    'ops PAUSE FUNCTIONS ERROR',
    'ops RESUME FUNCTIONS',
    'ops ROLLBACK FUNCTIONS TO 7',
    'ops ROLLBACK FUNCTIONS was not carried out: cannot go back: there is no version 7',
    'pgbouncer RELOAD FUNCTIONS',
  ]);
  assert.match(of('info').join(), /user functions loaded: .*rewrite_query\.ts/);
  assert.match(of('error').join(), /rewrite_query\.ts:1:\d+/);
  assert.deepEqual(
    (await bouncer.admin('SHOW FUNCTION LOG beta')).filter(({ level }) => level !== 'info'),
    [],
  );
});

test("an administrator sees the versions and the log of the own tenant, and can't tell others from names", async (t) => {
  const bouncer = await start(t);
  const ops = await asOps(bouncer);
  t.after(() => ops.destroy());
  for (const table of ['FUNCTION VERSIONS', 'FUNCTION LOG']) {
    const frames = await ops.query(`SHOW ${table} acme`);
    assert.ok(
      frames.some(({ type }) => type === 'D'),
      table,
    );
    for (const name of ['beta', 'nobody', '"(operator)"'])
      assert.equal(await answerOf(ops, `SHOW ${table} ${name}`), '42501 permission denied');
    await assert.rejects(bouncer.admin(`SHOW ${table} nobody`), /no such tenant: nobody/);
  }
});

test('a PAUSE may say that queries pass or fail, whatever the policy says', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  const failed = '38000 user function failed: paused';
  for (const [command, answer] of [
    ['PAUSE FUNCTIONS acme', failed],
    ['PAUSE FUNCTIONS acme PASS', 'past'],
    ['PAUSE FUNCTIONS acme ERROR', failed],
  ] as const) {
    await bouncer.admin(command);
    assert.equal(await answerOf(acme, "select 'past'"), answer, command);
  }
  await bouncer.admin('RESUME FUNCTIONS acme');
  assert.equal(await answerOf(acme, 'who'), 'one');
});

test('a PAUSE survives a restart', async (t) => {
  const bouncer = await start(t);
  await bouncer.admin('PAUSE FUNCTIONS acme ERROR');
  await bouncer.stop();
  await bouncer.start();
  const acme = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(acme, "select 'past'"), '38000 user function failed: paused');
  assert.deepEqual(await versions(bouncer), ['1 serving']);
});

test('ROLLBACK serves an earlier version until RESUME, and a newer file is a candidate meanwhile', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  await deploy(bouncer, rule('two'));
  await deploy(bouncer, rule('three'));
  await bouncer.admin('ROLLBACK FUNCTIONS acme');
  assert.equal(await answerOf(acme, 'who'), 'two');
  assert.deepEqual(await versions(bouncer), ['3 kept', '2 serving pgbouncer', '1 kept']);
  await bouncer.admin('ROLLBACK FUNCTIONS acme');
  assert.equal(await answerOf(acme, 'who'), 'one');
  await bouncer.admin('ROLLBACK FUNCTIONS acme TO 2');
  await deploy(bouncer, rule('four'));
  assert.equal(await answerOf(acme, 'who'), 'two');
  assert.deepEqual(await versions(bouncer), ['4 candidate', '3 kept', '2 serving pgbouncer', '1 kept']);
  await bouncer.admin('RELOAD');
  assert.equal(await answerOf(acme, 'who'), 'two');
  // a file that holds that very version does not end the pin
  await deploy(bouncer, rule('two'));
  await deploy(bouncer, rule('four'));
  assert.equal(await answerOf(acme, 'who'), 'two');
  await bouncer.admin('RESUME FUNCTIONS acme');
  assert.equal(await answerOf(acme, 'who'), 'four');
  assert.deepEqual((await versions(bouncer))[0], '4 serving');
  await assert.rejects(bouncer.admin('RESUME FUNCTIONS acme'), /neither paused nor pinned/);
});

test('a pinned version survives a restart, and PROMOTE lets the candidate take its place', async (t) => {
  const bouncer = await start(t);
  await deploy(bouncer, rule('two'));
  await bouncer.admin('ROLLBACK FUNCTIONS acme TO 1');
  await bouncer.stop();
  await bouncer.start();
  const acme = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(acme, 'who'), 'one');
  await bouncer.admin('RELOAD FUNCTIONS acme');
  assert.deepEqual(await versions(bouncer), ['2 candidate', '1 serving pgbouncer']);
  await bouncer.admin('PROMOTE FUNCTIONS acme');
  assert.equal(await answerOf(acme, 'who'), 'two');
  assert.deepEqual(await versions(bouncer), ['2 serving', '1 kept']);
});

test('commands about a tenant work as soon as the console does, before all tenants have been found', async (t) => {
  const bouncer = await start(t);
  await deploy(bouncer, rule('two'));
  await bouncer.admin('ROLLBACK FUNCTIONS acme');
  await bouncer.stop();
  const ini = await readFile(bouncer.configFile, 'utf8');
  await bouncer.writeFile(
    'pgbouncer.ini',
    ini.replace('[pgbouncer]', '[pgbouncer]\nuser_function_preload = 0'),
  );
  await bouncer.start();
  await bouncer.admin('RESUME FUNCTIONS acme');
  assert.equal(await answerOf(await bouncer.login(t, 'acme'), 'who'), 'two');
});

test('a version that does not exist is refused, and the present one stays', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  await assert.rejects(
    bouncer.admin('ROLLBACK FUNCTIONS acme TO 7'),
    /cannot go back: there is no version 7/,
  );
  await assert.rejects(
    bouncer.admin('ROLLBACK FUNCTIONS acme'),
    /cannot go back: no earlier version is kept/,
  );
  assert.deepEqual(await versions(bouncer), ['1 serving']);
  assert.equal(await answerOf(acme, 'who'), 'one');
});

test("what an operator has pinned a tenant's administrator can't undo", async (t) => {
  const bouncer = await start(t);
  await deploy(bouncer, rule('two'));
  const ops = await asOps(bouncer);
  t.after(() => ops.destroy());
  const denied = '42501 permission denied: an operator has gone back to a version of these functions';
  await bouncer.admin('ROLLBACK FUNCTIONS acme');
  for (const command of ['RESUME FUNCTIONS acme', 'ROLLBACK FUNCTIONS acme TO 2', 'PROMOTE FUNCTIONS acme'])
    assert.equal(await answerOf(ops, command), denied, command);
  await bouncer.admin('RESUME FUNCTIONS acme');
  assert.equal(await answerOf(ops, 'ROLLBACK FUNCTIONS acme'), 'done');
  assert.deepEqual(await versions(bouncer), ['2 kept', '1 serving ops']);
  await bouncer.admin('RESUME FUNCTIONS acme');
});

test('a restart serves what served before when the file is newer and broken, and says so', async (t) => {
  const bouncer = await start(t);
  await deploy(bouncer, rule('two'));
  await bouncer.stop();
  await bouncer.writeFile('rules/acme/rewrite_query.ts', 'export const rewrite_query = (;');
  await bouncer.start();
  const acme = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(acme, 'who'), 'two');
  const [row] = (await bouncer.admin('SHOW FUNCTIONS')).filter(({ databases }) => databases === 'acme');
  assert.equal(row!['state'], 'serving old version');
  assert.match(String(row!['last_error']), /rewrite_query\.ts:1:/);
  assert.deepEqual(await versions(bouncer), ['2 serving', '1 kept']);
  assert.match(bouncer.log(), /version 2 \(\w+\), which served before, serves/);
  await deploy(bouncer, rule('three'));
  assert.equal(await answerOf(acme, 'who'), 'three');
  assert.deepEqual(await versions(bouncer), ['3 serving', '2 kept', '1 kept']);
});

test('a restart under other settings tries the old version again before it serves', async (t) => {
  const bouncer = await start(t);
  await bouncer.stop();
  await bouncer.writeFile('rules/acme/rewrite_query.ts', 'export const rewrite_query = (;');
  const ini = await readFile(bouncer.configFile, 'utf8');
  await bouncer.writeFile('pgbouncer.ini', ini.replace('timeout=1000', 'timeout=900'));
  await bouncer.start();
  const acme = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(acme, 'who'), 'one');
});

test('a restart loads a file that was changed meanwhile and is sound', async (t) => {
  const bouncer = await start(t);
  await bouncer.stop();
  await bouncer.writeFile('rules/acme/rewrite_query.ts', rule('two'));
  await bouncer.start();
  const acme = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(acme, 'who'), 'two');
  assert.deepEqual(await versions(bouncer), ['2 serving', '1 kept']);
});

test('a damaged state folder is no reason not to start', async (t) => {
  const bouncer = await start(t);
  await bouncer.stop();
  const folder = join(bouncer.folder, 'pgswitchyard-state', 'tenants');
  for (const name of await readdir(folder))
    for (const file of await readdir(join(folder, name))) await writeFile(join(folder, name, file), '{');
  await bouncer.start();
  const acme = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(acme, 'who'), 'one');
});

test('a guard whose file was removed while no proxy ran stays, until RELOAD confirms the removal', async (t) => {
  const bouncer = await start(t);
  await bouncer.stop();
  await rm(join(bouncer.folder, 'rules/acme/rewrite_query.ts'));
  await bouncer.start();
  const acme = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(acme, 'who'), 'one');
  assert.match(bouncer.log(), /rewrite_query\.ts is gone since the last start/);
  await bouncer.admin('RELOAD');
  assert.equal(await answerOf(acme, "select 'free'"), 'free');
  await bouncer.stop();
  await bouncer.start();
  // what was removed on purpose does not come back, not even when the file does and is broken
  const again = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(again, "select 'free'"), 'free');
  await deploy(bouncer, 'export const rewrite_query = (;');
  await bouncer.stop();
  await bouncer.start();
  const last = await bouncer.login(t, 'acme');
  assert.equal(await answerOf(last, 'who'), '38000 user function failed: no_version');
});

test('statements that were prepared before a reload or a rollback are judged and rewritten by what serves now', async (t) => {
  const rewritten = (to: string): string =>
    `export const rewrite_query = (user, query) => (query.startsWith('select $1') ? ${to} : null);`;
  const bouncer = await start(t);
  await deploy(bouncer, rewritten(`"select $1::int + 10 as a"`));
  const acme = await bouncer.login(t, 'acme');
  const ask = async (...messages: Buffer[]): Promise<string> => {
    acme.send(...messages, raw.sync());
    const frames = await acme.readUntil('Z');
    const error = frames.find(({ type }) => type === 'E');
    if (error !== undefined) return `${errorFields(error)['C']}`;
    return frames.some(({ type }) => type === 'D') ? String(raw.firstValue(frames)) : raw.shown(frames);
  };
  const use = [raw.bind('s', ['1']), raw.execute()];
  const described = [raw.parse('s', 'select $1', [23]), raw.describe('S', 's')];
  await ask(...described);
  await ask(raw.parse('n', 'select $1', [23]));
  assert.equal(await ask(...use), '11');
  // the same columns, with the same parameter types
  await deploy(bouncer, rewritten(`"select $1 + 20 as a"`));
  assert.equal(await ask(...use), '21');
  await bouncer.admin('ROLLBACK FUNCTIONS acme');
  assert.equal(await ask(...use), '11');
  await bouncer.admin('RESUME FUNCTIONS acme');
  assert.equal(await ask(...use), '21');
  // other columns than the client was told, or none
  for (const other of [
    '"select $1 as b"',
    '"select $1::text as a"',
    '"select $1 as a, 2 as b"',
    '"set lock_timeout = 0"',
  ]) {
    await deploy(bouncer, rewritten(other));
    assert.equal(await ask(...use), '0A000', other);
    assert.equal(await ask(...use), '0A000', other);
  }
  await deploy(bouncer, rewritten(`"select $1 as b"`));
  // a client that has not asked is told nothing wrong, and one that asks again knows the present ones
  assert.equal(await ask(raw.bind('n', ['1']), raw.execute()), '1');
  assert.equal(await ask(raw.close('S', 's'), ...described), '3 1 t T ZI');
  assert.equal(await ask(...use), '1');
  // a rejection answers the Bind
  await deploy(
    bouncer,
    "import { reject } from 'pgswitchyard';\nexport const rewrite_query = (u, q) => (q.startsWith('select $1') ? reject('no', { code: '42501' }) : null);",
  );
  assert.equal(await ask(...use), '42501');
  await bouncer.admin('ROLLBACK FUNCTIONS acme');
  assert.equal(await ask(...use), '1');
});
