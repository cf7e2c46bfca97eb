/** Candidates of a tenant's functions: shadow, canary and promotion, with the mistakes and changes that may come between. */
import assert from 'node:assert/strict';
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { rulesCommand } from '../../src/cli/rules-command.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });
const connection = cluster.connectionString();

/** Says its name, rejects and throws when asked to. */
const functionsOf = (name: string, extra = ''): string => `
import { reject } from 'pgswitchyard';
export const rewrite_query = (user, query) => {
  ${extra}
  if (query.includes('forbidden')) reject("not for '${name}'", { code: '42501' });
  return query === 'who' ? "select '${name}'" : null;
};`;

const SERVING = 'rules/acme/rewrite_query.ts';
const NEXT = 'rules/acme/rewrite_query.next.ts';

function start(scope: Scope, keys = '', files: Record<string, string> = {}): Promise<Bouncer> {
  return Bouncer.start(scope, {
    databases: { acme: connection, free: connection },
    userlist: { ops: '', nobody: '' },
    settings: { pool_mode: 'transaction', auth_user: 'postgres' },
    ini: `[tenants]\nacme = databases=acme functions_dir=rules/acme on_rewrite_failure=error admin_users=ops timeout=1000 ${keys}\n`,
    files: {
      [SERVING]: functionsOf('one'),
      'user-functions/rewrite_query.ts': functionsOf('operator'),
      ...files,
    },
  });
}

async function answerOf(client: RawClient, query: string): Promise<string> {
  const frames = await client.query(query);
  const error = frames.find(({ type }) => type === 'E');
  if (error === undefined)
    return frames.some(({ type }) => type === 'D') ? String(raw.firstValue(frames)) : 'done';
  const { C: code, M: message } = errorFields(error);
  return `${code} ${message}`;
}

async function asOps(scope: Scope, bouncer: Bouncer, user = 'ops'): Promise<RawClient> {
  const client = await RawClient.login(
    { host: bouncer.host, port: bouncer.port },
    { user, database: 'pgbouncer' },
  );
  scope.after(() => client.destroy());
  return client;
}

/** The lines of SHOW SHADOW: what is known of the candidate, and the counts that are not zero. */
async function shadowOf(
  bouncer: Bouncer,
  tenant = 'acme',
): Promise<{ state: string; note: string; counts: string }> {
  const [first, ...rows] = await bouncer.admin(`SHOW SHADOW ${tenant}`);
  const counts = rows
    .filter(({ count }) => Number(count) > 0)
    .map(({ what, count }) => `${String(what)}=${String(count)}`);
  return { state: String(first!['what']), note: String(first!['note']), counts: counts.join(' ') };
}

function untilShadow(bouncer: Bouncer, what: string, state: RegExp): Promise<unknown> {
  return until(what, async () => {
    const shown = await shadowOf(bouncer);
    return state.test(`${shown.state} ${shown.counts} ${shown.note}`);
  });
}

async function stateOfCanary(bouncer: Bouncer): Promise<string> {
  return String((await bouncer.admin('SHOW CANARY acme'))[0]!['state']);
}

/** Clients, of which some have the candidate. */
async function clientsOf(scope: Scope, bouncer: Bouncer, count = 16): Promise<RawClient[]> {
  return await Promise.all(Array.from({ length: count }, () => bouncer.login(scope, 'acme')));
}

async function answersOf(clients: readonly RawClient[], query = 'who'): Promise<string[]> {
  return await Promise.all(clients.map((client) => answerOf(client, query)));
}

test('an artifact is a candidate in a folder that SHADOW names, and beside the files that serve', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  const build = async (name: string, output: string): Promise<void> => {
    await bouncer.writeFile('rules/build/rewrite_query.ts', functionsOf(name));
    await bouncer.writeFile('rules/v2/readme', '');
    const at = (path: string): string => join(bouncer.folder, path);
    const code = await rulesCommand(['build', at('rules/build'), '-o', at(output)]);
    assert.equal(code, 0);
  };
  await build('two', 'rules/v2/functions.artifact');
  await bouncer.admin(`SHADOW FUNCTIONS acme FROM '${join(bouncer.folder, 'rules/v2')}'`);
  await untilShadow(bouncer, 'the artifact in a folder', /^shadow/);
  await answerOf(acme, 'who');
  await untilShadow(bouncer, 'the comparison', /rewrite differs=1/);
  await bouncer.admin('PROMOTE FUNCTIONS acme');
  assert.equal(await answerOf(acme, 'who'), 'two');

  await build('three', 'rules/acme/functions.next.artifact');
  await bouncer.admin('SHADOW FUNCTIONS acme');
  await untilShadow(bouncer, 'the artifact beside the files', /^shadow/);
  await bouncer.admin('PROMOTE FUNCTIONS acme');
  assert.equal(await answerOf(acme, 'who'), 'three');
  const place = join(bouncer.folder, 'rules/acme/functions');
  await rename(`${place}.next.artifact`, `${place}.artifact`);
  await bouncer.waitForLog(/the files hold version \w+, which is not pinned any more/);
  assert.equal(await answerOf(acme, 'who'), 'three');
});

test('a .next file is shadowed, never serves by itself, and serves after PROMOTE by an administrator', async (t) => {
  const bouncer = await start(t);
  const acme = await bouncer.login(t, 'acme');
  const ops = await asOps(t, bouncer);
  assert.match(await answerOf(ops, 'PROMOTE FUNCTIONS acme'), /there is no candidate/);
  assert.match(await answerOf(ops, 'CANARY FUNCTIONS acme 5%'), /there is no candidate/);

  await bouncer.writeFile(NEXT, 'export const rewrite_query = (;');
  await untilShadow(bouncer, 'the mistake', /^not loaded .*rewrite_query\.next\.ts:1:/);
  assert.match(await answerOf(ops, 'PROMOTE FUNCTIONS acme'), /not loaded: .*next\.ts:1:/);
  assert.equal(await answerOf(acme, 'who'), 'one');

  await bouncer.writeFile(NEXT, functionsOf('two', "if (query.includes('throw')) throw new Error('x');"));
  await untilShadow(bouncer, 'the candidate', /^shadow/);
  for (const query of ['who', "select 'secret', 17", "select 'forbidden'", "select 'throw'"])
    await answerOf(acme, query);
  await untilShadow(
    bouncer,
    'the comparison',
    /compared=4 same=1 rewrite differs=1 rejection differs=1 candidate failed=1/,
  );
  const frames = await ops.query('SHOW SHADOW acme');
  const shown = frames.map(({ payload }) => payload.toString()).join('\n');
  for (const part of ['rewrites to select ?', 'rejects: 42501 not for ?', 'failed: threw', 'passes'])
    assert.ok(shown.includes(part), part);
  assert.ok(!/secret|throw'|'two'/.test(shown), shown);
  assert.equal(await answerOf(acme, "select 'throw'"), 'throw', 'a failing candidate harms nobody');
  const [row] = await bouncer.admin('SHOW TENANTS');
  assert.equal(row!['failures'], '');

  assert.match(
    await answerOf(await asOps(t, bouncer, 'nobody').catch(() => ops), 'SHOW SHADOW beta'),
    /42501/,
  );
  assert.equal(await answerOf(ops, 'PROMOTE FUNCTIONS acme'), 'done');
  assert.equal(await answerOf(acme, 'who'), 'two');
  assert.match(bouncer.log(), /serves now: version \w+, as ops asked for/);
  assert.equal((await shadowOf(bouncer)).state, 'same as serving');
  assert.match(await answerOf(ops, 'PROMOTE FUNCTIONS acme'), /the same as the version that serves/);
  await bouncer.admin('RELOAD');
  assert.equal(await answerOf(acme, 'who'), 'two');
  // the author puts the file in its place
  await bouncer.writeFile(SERVING, await readFile(join(bouncer.folder, NEXT), 'utf8'));
  await bouncer.removeFile(NEXT);
  await untilShadow(bouncer, 'no candidate', /^no candidate/);
  await bouncer.waitForLog(/the files hold version \w+, which is not pinned any more/);
  assert.equal(await answerOf(acme, 'who'), 'two');
  await bouncer.writeFile(SERVING, functionsOf('three'));
  await until('the next version', async () => (await answerOf(acme, 'who')) === 'three');
});

test('a folder is shadowed until it is switched off, and an administrator may only name one of the tenant’s', async (t) => {
  const bouncer = await start(t, '', {
    'rules/acme/v2/rewrite_query.ts': functionsOf('v2'),
    'rules/acme/same/rewrite_query.ts': functionsOf('one'),
    'rules/beta/rewrite_query.ts': functionsOf('beta'),
    'rules/empty/about.txt': '',
  });
  const acme = await bouncer.login(t, 'acme');
  const ops = await asOps(t, bouncer);
  assert.equal(await answerOf(acme, 'who'), 'one');
  for (const folder of ['rules/nowhere', 'rules/empty'])
    await assert.rejects(
      bouncer.admin(`SHADOW FUNCTIONS acme FROM '${folder}'`),
      /neither a routing_rules nor a rewrite_query file/,
    );
  for (const folder of ['rules/beta', 'rules/acme/../beta', '/', 'rules/acme2'])
    assert.match(await answerOf(ops, `SHADOW FUNCTIONS acme FROM '${folder}'`), /^42501/, folder);
  assert.equal(await answerOf(ops, "SHADOW FUNCTIONS acme FROM 'rules/acme/same'"), 'done');
  assert.equal((await shadowOf(bouncer)).state, 'same as serving');
  assert.equal(await answerOf(ops, "SHADOW FUNCTIONS acme FROM 'rules/acme/v2'"), 'done');
  assert.equal((await shadowOf(bouncer)).state, 'shadow');
  await answerOf(acme, 'who');
  await untilShadow(bouncer, 'a difference', /rewrite differs=1/);
  // other code serves: what was counted before is about other versions
  await bouncer.writeFile(SERVING, functionsOf('three'));
  await until('the next version', async () => (await answerOf(acme, 'who')) === 'three');
  await bouncer.admin('SHADOW FUNCTIONS acme OFF');
  assert.equal((await shadowOf(bouncer)).state, 'off');
  await bouncer.admin('SHADOW FUNCTIONS acme');
  assert.equal((await shadowOf(bouncer)).state, 'no candidate');
});

test('a canary has a stable share of the clients, and goes back when its calls fail, which no client notices', async (t) => {
  const bouncer = await start(t, '', {
    [NEXT]: functionsOf('two', "if (query.includes('broken')) throw new Error('x');"),
  });
  const clients = await clientsOf(t, bouncer);
  await untilShadow(bouncer, 'the candidate', /^shadow/);
  const prepared = clients[0]!;
  prepared.send(raw.parse('s', 'who'), raw.sync());
  await prepared.readUntil('Z');
  for (const wrong of ['100%', '0%', 'OFF'])
    await assert.rejects(bouncer.admin(`CANARY FUNCTIONS acme ${wrong}`), /PROMOTE it|no canary is running/);
  await bouncer.admin('CANARY FUNCTIONS acme 50%');
  assert.equal(await stateOfCanary(bouncer), 'running');
  const arms = await answersOf(clients);
  assert.deepEqual([...new Set(arms)].toSorted(), ['one', 'two']);
  // a statement from before the canary is judged by the version that its client has now
  prepared.send(raw.bind('s'), raw.execute(''), raw.sync());
  assert.equal(String(raw.firstValue(await prepared.readUntil('Z'))), arms[0]);
  await bouncer.admin('RELOAD');
  await bouncer.admin('SET canary_duration = 1000');
  assert.deepEqual(await answersOf(clients), arms);
  assert.equal(await stateOfCanary(bouncer), 'running');
  while (!(await stateOfCanary(bouncer)).startsWith('went back'))
    for (const answer of await answersOf(clients, "select 'broken'")) assert.equal(answer, 'broken');
  assert.match(await stateOfCanary(bouncer), /of its calls failed/);
  assert.match(bouncer.log(), /canary of .*acme goes back: /);
  assert.deepEqual([...new Set(await answersOf(clients))], ['one']);
  prepared.send(raw.bind('s'), raw.execute(''), raw.sync());
  assert.equal(String(raw.firstValue(await prepared.readUntil('Z'))), 'one');
  const [row] = await bouncer.admin('SHOW TENANTS');
  assert.deepEqual([row!['failures'], row!['breaker']], ['', 'closed']);
});

test('a canary goes back when servers answer its queries with more errors', async (t) => {
  const bouncer = await start(t, '', {
    [NEXT]:
      "export const rewrite_query = (user, query) => (query === 'select 1' ? 'select * from nowhere' : null);",
  });
  const clients = await clientsOf(t, bouncer);
  await untilShadow(bouncer, 'the candidate', /^shadow/);
  await bouncer.admin('CANARY FUNCTIONS acme 50% PROMOTE');
  assert.equal(await stateOfCanary(bouncer), 'running, promotes');
  while (!(await stateOfCanary(bouncer)).startsWith('went back')) await answersOf(clients, 'select 1');
  assert.match(await stateOfCanary(bouncer), /error of class 42 from the server/);
});

test('a canary that is not worse promotes itself, if it was asked to', async (t) => {
  const bouncer = await start(t, 'canary_duration=1 isolation=inline', { [NEXT]: functionsOf('two') });
  const clients = await clientsOf(t, bouncer);
  const ops = await asOps(t, bouncer);
  await untilShadow(bouncer, 'the candidate', /^shadow/);
  assert.equal(await answerOf(ops, 'CANARY FUNCTIONS acme 50% PROMOTE'), 'done');
  while (!(await stateOfCanary(bouncer)).startsWith('promoted')) await answersOf(clients);
  assert.deepEqual([...new Set(await answersOf(clients))], ['two']);
  assert.match(bouncer.log(), /serves now: version \w+, as ops asked for/);
});

test('a canary ends when its file goes, when it is told to, and with its tenant', async (t) => {
  const bouncer = await start(t, '', { [NEXT]: functionsOf('two') });
  const clients = await clientsOf(t, bouncer);
  await untilShadow(bouncer, 'the candidate', /^shadow/);
  await bouncer.admin('CANARY FUNCTIONS acme 99.5%');
  await bouncer.removeFile(NEXT);
  await until('the end', async () => (await stateOfCanary(bouncer)) === 'ended: its files have gone');
  assert.deepEqual([...new Set(await answersOf(clients))], ['one']);

  await bouncer.writeFile(NEXT, functionsOf('three'));
  await untilShadow(bouncer, 'the candidate', /^shadow/);
  await bouncer.admin('CANARY FUNCTIONS acme 50%');
  await bouncer.admin('CANARY FUNCTIONS acme 0%');
  assert.match(await stateOfCanary(bouncer), /^ended: ended by/);
  assert.deepEqual([...new Set(await answersOf(clients))], ['one']);

  await bouncer.admin('CANARY FUNCTIONS acme 50%');
  // paused clients get no answer from the candidate either
  await bouncer.admin('PAUSE FUNCTIONS acme');
  assert.deepEqual([...new Set(await answersOf(clients))], ['38000 user function failed: paused']);
  await bouncer.admin('RESUME FUNCTIONS acme');
  const ini = await readFile(join(bouncer.folder, 'pgbouncer.ini'), 'utf8');
  await bouncer.writeFile('pgbouncer.ini', ini.replace(/^acme = databases.*$/m, ''));
  await bouncer.admin('RELOAD');
  assert.deepEqual([...new Set(await answersOf(clients))], ['operator']);
  assert.match(bouncer.log(), /canary of .* ends: the tenant has no functions any more/);
});

test('a canary goes on after a restart, until it is told to end', async (t) => {
  const bouncer = await start(t, '', { [NEXT]: functionsOf('two') });
  await untilShadow(bouncer, 'the candidate', /^shadow/);
  await bouncer.admin('CANARY FUNCTIONS acme 50%');
  await bouncer.stop();
  await bouncer.start();
  await bouncer.waitForLog(/canary of .* goes on: 50 % of the clients/);
  const clients = await clientsOf(t, bouncer);
  assert.deepEqual([...new Set(await answersOf(clients))].toSorted(), ['one', 'two']);
  await bouncer.admin('CANARY FUNCTIONS acme OFF');
  assert.deepEqual([...new Set(await answersOf(clients))], ['one']);
  await bouncer.stop();
  await bouncer.start();
  await untilShadow(bouncer, 'the candidate', /^shadow/);
  assert.equal(await stateOfCanary(bouncer), 'none');
});

test("an administrator can't change which functions of the operator's run", async (t) => {
  const bouncer = await start(t, '', {
    'user-functions/routing_rules.ts': 'export const routing_rules = () => null;',
    [NEXT]: functionsOf('two'),
  });
  const ops = await asOps(t, bouncer);
  await untilShadow(bouncer, 'the candidate', /^shadow/);
  for (const statement of ['PROMOTE FUNCTIONS acme', 'CANARY FUNCTIONS acme 5%', 'SHADOW FUNCTIONS acme OFF'])
    assert.match(
      await answerOf(ops, statement),
      /^42501 .*functions of the operator's run together/,
      statement,
    );
  for (const statement of ['PROMOTE FUNCTIONS beta', 'CANARY FUNCTIONS "(operator)" 5%', 'SHOW CANARY beta'])
    assert.match(await answerOf(ops, statement), /^42501/, statement);
  await bouncer.admin('PROMOTE FUNCTIONS acme');
  assert.equal(await answerOf(await bouncer.login(t, 'acme'), 'who'), 'two');
  // the operator's own candidate may name everything that the operator's functions may name
  await bouncer.writeFile(
    'user-functions/routing_rules.next.ts',
    "export const routing_rules = () => 'acme';",
  );
  await until('the candidate', async () => (await shadowOf(bouncer, '"(operator)"')).state === 'shadow');
  await bouncer.admin('PROMOTE FUNCTIONS "(operator)"');
  assert.equal(await answerOf(await bouncer.login(t, 'free'), 'select 1'), '1');
});
