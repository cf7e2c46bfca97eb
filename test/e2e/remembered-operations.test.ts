/** After whatever an operator does, no query gets a decision that was remembered before it and would be another one now. */
import assert from 'node:assert/strict';
import { appendFile, mkdir, rename, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster, type Row } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, type Frame, type RawClient } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start(
  { after },
  { sql: `CREATE TABLE nodes AS SELECT '127.0.0.1' AS endpoint, 1 AS port; GRANT ALL ON nodes TO public` },
);
await cluster.sql(`UPDATE nodes SET port = ${cluster.port}`);
const server = cluster.connectionString();
const TOPOLOGY = "topology_query='select endpoint, port from nodes'";

const FILE = 'rules/acme/rewrite_query.ts';
const NEXT = 'rules/acme/rewrite_query.next.ts';

/** Shows what it knows, rejects, and routes as the query says. */
const rule = (mark: string): string => `
export const rewrite_query = (user, query, inTransaction, ctx) => {
  if (query.includes('secret')) return reject('not for ${mark}', { code: '42501' });
  if (query.includes('mark')) return "select '${mark}'";
  if (query.includes('databases')) return "select '" + ctx.databases.join() + "'";
  if (query.includes('nodes')) return "select '" + ctx.nodes.length + "'";
  return null;
};
export const routing_rules = (user, query) => /to:(\\S+)/.exec(query)?.[1] ?? null;`;

const tenants = (keys: string): string => `[tenants]
acme = databases=acme functions_dir=rules/acme timeout=1000 on_routing_failure=error on_rewrite_failure=error ${keys}
`;

/** Each depends on something else that operators change. */
const QUESTIONS = {
  mark: 'select mark',
  guard: 'select secret',
  databases: 'select databases',
  nodes: 'select nodes',
  route: 'select current_database() -- to:shared',
};
type Answers = Record<keyof typeof QUESTIONS, string>;

function answerIn(frames: readonly Frame[]): string {
  const error = frames.find(({ type }) => type === 'E');
  return error === undefined ? String(raw.firstValue(frames)) : errorFields(error)['C']!;
}

async function simple(client: RawClient, query: string): Promise<string> {
  return answerIn(await client.query(query));
}

async function extended(client: RawClient, query: string): Promise<string> {
  client.send(raw.parse('', query), raw.bind(), raw.execute(), raw.sync());
  return answerIn(await client.readUntil('Z'));
}

/** The answers to all questions, by each protocol. */
async function answersOf(clients: readonly RawClient[]): Promise<Answers> {
  const answers: Partial<Answers> = {};
  for (const [what, query] of Object.entries(QUESTIONS) as [keyof Answers, string][]) {
    const given = new Set<string>();
    for (const client of clients)
      for (const ask of [simple, extended]) {
        given.add(await ask(client, query));
        if (what === 'route') await simple(client, 'select 1 -- to:acme');
      }
    answers[what] = [...given].join(' and ');
  }
  return answers as Answers;
}

test('operators change everything while decisions are remembered', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { acme: `${server} ${TOPOLOGY}`, shared: `${server} dbname=template1` },
    settings: {
      pool_mode: 'transaction',
      auth_user: 'postgres',
      user_function_isolation: 'inline',
      user_function_removal_grace: 1,
    },
  });
  const reload = async (keys = ''): Promise<void> => {
    await bouncer.writeFiles();
    await appendFile(bouncer.configFile, tenants(keys));
    await bouncer.admin('RELOAD');
  };
  await bouncer.writeFile(FILE, rule('one'));
  await reload();
  const clients = [await bouncer.login(t, 'acme'), await bouncer.login(t, 'acme')];
  const folder = join(bouncer.folder, 'rules/acme');
  const row = async (): Promise<Row | undefined> =>
    (await bouncer.admin('SHOW TENANTS')).find(({ name }) => name === 'acme');
  const hits = async (): Promise<number> => Number((await row())?.['hits'] ?? 0);
  const check = async (what: string, changes: Partial<Answers>, isRemembered = true): Promise<void> => {
    expected = { ...expected, ...changes };
    assert.deepEqual(await answersOf(clients), expected, what);
    const before = await hits();
    assert.deepEqual(await answersOf(clients), expected, `${what}, again`);
    assert.equal((await hits()) > before, isRemembered, `${what}: remembered`);
  };
  let expected: Answers = { mark: 'one', guard: '42501', databases: 'acme', nodes: '1', route: '38000' };
  await check('at first', {});

  await reload('targets=shared');
  await check('RELOAD with another target', { databases: 'acme,shared', route: 'template1' });
  await reload();
  await check('RELOAD without the target', { databases: 'acme', route: '38000' });
  await reload('targets=shared');
  delete bouncer.databases['shared'];
  await reload();
  await check('RELOAD without the database', {});
  bouncer.databases['shared'] = `${server} dbname=template1`;
  await reload('targets=shared');
  await check('RELOAD with the database again', { databases: 'acme,shared', route: 'template1' });
  bouncer.databases['acme.extra'] = server;
  await reload('targets=shared');
  await check('RELOAD with a variant', { databases: 'acme,acme.extra,shared' });

  await cluster.sql(`INSERT INTO nodes VALUES ('127.0.0.1', 1)`);
  await bouncer.admin('NOTIFY TOPOLOGY acme');
  await until('the node', async () => (await bouncer.admin('SHOW TOPOLOGY')).length === 2);
  await check('a node more', { nodes: '2' });

  await bouncer.admin('SET user_function_cache = 0');
  await check('SET user_function_cache = 0', {}, false);
  await bouncer.admin('SET user_function_cache = 1');
  await check('SET user_function_cache = 1', {});
  await reload('targets=shared cache=0');
  await check('cache=0', {}, false);
  await reload('targets=shared');

  await bouncer.writeFile(FILE, rule('two'));
  await bouncer.admin('RELOAD FUNCTIONS acme');
  await check('RELOAD FUNCTIONS', { mark: 'two' });
  await bouncer.admin('ROLLBACK FUNCTIONS acme');
  await check('ROLLBACK', { mark: 'one' });
  const unjudged = { mark: '42703', guard: '42703', databases: '42703', nodes: '42703', route: 'postgres' };
  const paused = { mark: '38000', guard: '38000', databases: '38000', nodes: '38000', route: '38000' };
  let last = expected;
  await bouncer.admin('PAUSE FUNCTIONS acme PASS');
  await check('PAUSE PASS', unjudged, false);
  await bouncer.admin('PAUSE FUNCTIONS acme');
  await check('PAUSE', paused, false);
  await bouncer.admin('RESUME FUNCTIONS acme');
  await check('RESUME', { ...last, mark: 'two' });
  await bouncer.writeFile(NEXT, rule('three'));
  await until(
    'the candidate',
    async () => (await bouncer.admin('SHOW SHADOW acme'))[0]!['what'] === 'shadow',
  );
  await check('a shadow', {});
  await bouncer.admin('CANARY FUNCTIONS acme 99.99%');
  await check('CANARY', { mark: 'three' }, false);
  await bouncer.admin('RELOAD');
  await check('CANARY after RELOAD', {}, false);
  await reload();
  await check('CANARY after RELOAD without targets', { databases: 'acme,acme.extra', route: '38000' }, false);
  await cluster.sql(`DELETE FROM nodes WHERE port = 1`);
  await bouncer.admin('NOTIFY TOPOLOGY acme');
  await until('the node to go', async () => (await bouncer.admin('SHOW TOPOLOGY')).length === 1);
  await check('CANARY after a node has gone', { nodes: '1' }, false);
  await reload('targets=shared');
  await check(
    'CANARY after RELOAD with targets',
    { databases: 'acme,acme.extra,shared', route: 'template1' },
    false,
  );
  await bouncer.admin('CANARY FUNCTIONS acme OFF');
  await check('CANARY OFF', { mark: 'two' });
  await bouncer.admin('PROMOTE FUNCTIONS acme');
  await check('PROMOTE', { mark: 'three' });
  await bouncer.admin('ROLLBACK FUNCTIONS acme TO 1');
  await check('ROLLBACK TO', { mark: 'one' });
  await bouncer.admin('RESUME FUNCTIONS acme');
  await check('RESUME', { mark: 'two' });

  last = expected;
  await rename(folder, `${folder}.gone`);
  await until('the file to be missing', async () => (await row())?.['state'] === 'missing');
  await check('the folder has gone', paused, false);
  await rename(`${folder}.gone`, folder);
  await until('the file to be back', async () => (await row())?.['state'] === 'serving');
  await check('the folder is back', last);
  await rename(folder, `${folder}.gone`);
  await until('the file to be missing', async () => (await row())?.['state'] === 'missing');
  await mkdir(folder);
  await bouncer.admin('RELOAD');
  await check('RELOAD without the files', unjudged, false);
  await rmdir(folder);
  await rename(`${folder}.gone`, folder);
  await until('the file to be back', async () => (await row())?.['state'] === 'serving');
  await check('the folder is back after RELOAD', last);
});
