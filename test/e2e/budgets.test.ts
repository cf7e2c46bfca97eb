/** Tenants over their budget of processor time, floods, and outages, at a real server: no guard is skipped. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer, type Settings } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const server = await Cluster.start({ after }, { sql: 'CREATE TABLE seen (what text)' });
/** Takes tens of ms of processor time for queries with `spin`, all of its time for those with `loop`, and rejects INSERT. */
const SPIN = `if (query.includes('spin')) for (let i = 0; i < 8e6; i++);
  if (query.includes('loop')) for (;;);`;
const GUARD = `export function rewrite_query(username: string, query: string): string | null {
  ${SPIN}
  if (/insert/i.test(query)) reject('read-only', { code: '25006' });
  return null;
}`;
const ROUTER = `export function routing_rules(username: string, query: string): string | null {
  ${SPIN}
  return query.includes('move') ? 'other' : null;
}`;

interface Setup {
  readonly tenants: string;
  readonly files: Record<string, string>;
  readonly settings?: Settings;
}

function start(scope: Scope, { tenants, files, settings = {} }: Setup): Promise<Bouncer> {
  const database = server.connectionString();
  return Bouncer.start(scope, {
    databases: { a: database, b: database, other: database },
    settings: { pool_mode: 'transaction', max_client_conn: 1_000, ...settings },
    ini: `[tenants]\n${tenants}\n`,
    files: Object.fromEntries(Object.entries(files).map(([path, text]) => [`user-functions/${path}`, text])),
  });
}

const column = async (bouncer: Bouncer, tenant: string, name: string): Promise<unknown> =>
  (await bouncer.admin('SHOW TENANTS')).find((row) => row['name'] === tenant)?.[name];

/** Uses up a tenant's budget with one client. */
async function useUp(
  bouncer: Bouncer,
  database: string,
  ask: (query: string) => Promise<unknown>,
): Promise<void> {
  for (let i = 0; (await column(bouncer, database, 'budget')) === 'ok'; i++)
    await ask(`SELECT 1 /* spin ${i} */`).catch(() => {});
}

test('a flood of costly queries of 200 clients skips no guard, of its own tenant or another, under pass', async (t) => {
  const bouncer = await start(t, {
    tenants: `a = databases=a cpu_limit=20 timeout=50\nb = databases=b`,
    files: { 'a/rewrite_query.ts': GUARD, 'b/rewrite_query.ts': GUARD },
    settings: { rewrite_query_on_failure: 'pass', query_wait_timeout: 15 },
  });
  const [own, other] = [await bouncer.connect({ database: 'a' }), await bouncer.connect({ database: 'b' })];
  await other.query('SELECT 1');
  const flood = await Promise.all(Array.from({ length: 200 }, () => bouncer.login(t, 'a')));
  const answers = Promise.all(flood.map((client, i) => client.query(`SELECT 1 /* loop ${i} */`)));
  await until('calls to wait for the budget', async () =>
    String(await column(bouncer, 'a', 'budget')).startsWith('waiting'),
  );
  const insert = (client: typeof own): Promise<string> =>
    client.query("INSERT INTO seen VALUES ('x')").then(
      () => 'inserted',
      (error: { code: string }) => error.code,
    );
  const ownInsert = insert(own);
  for (let i = 0; i < 20; i++) assert.equal(await insert(other), '25006');
  assert.ok(['25006', '53000'].includes(await ownInsert), await ownInsert);
  await answers;
  assert.deepEqual(await server.sql('SELECT * FROM seen'), []);
  assert.match(bouncer.log(), /tenant a are over their CPU budget \(20 ms in a second\)/);
  assert.equal(bouncer.logCount(/are over their CPU budget/g), 1);
});

test('over budget, a query gets an error under error, until the bucket has been refilled', async (t) => {
  const bouncer = await start(t, {
    tenants: 'a = databases=a cpu_limit=100 timeout=5000 on_rewrite_failure=error',
    files: { 'a/rewrite_query.ts': GUARD },
  });
  const client = await bouncer.connect({ database: 'a' });
  await useUp(bouncer, 'a', (query) => client.query(query));
  await assert.rejects(client.query('SELECT 1'), { code: '38000', message: /over_budget/ });
  await client.query('ROLLBACK');
  await until('the bucket to be refilled', async () => (await column(bouncer, 'a', 'budget')) === 'ok');
  await client.query('SELECT 1');
  await assert.rejects(client.query("INSERT INTO seen VALUES ('x')"), { code: '25006' });
  assert.match(String(await column(bouncer, 'a', 'failures')), /over_budget=\d+/);
  assert.ok(Number(await column(bouncer, 'a', 'cpu_minute_ms')) >= 250);
});

test('over budget, a routing function that cannot reject passes, and its statements are routed at their next use', async (t) => {
  const bouncer = await start(t, {
    tenants: 'a = databases=a cpu_limit=100 timeout=5000 targets=other',
    files: { 'a/routing_rules.ts': ROUTER },
    settings: { routing_rules_on_failure: 'pass' },
  });
  const client = await bouncer.connect({ database: 'a' });
  await useUp(bouncer, 'a', (query) => client.query(query));
  const statement = { name: 's', text: 'SELECT 1 AS move' };
  await client.query(statement);
  const routed = async (): Promise<number> =>
    Number((await bouncer.admin('SHOW FUNCTIONS')).find(({ databases }) => databases === 'a')!['routed']);
  assert.equal(await routed(), 0);
  assert.ok(Number(await column(bouncer, 'a', 'unjudged')) > 0);
  await until('the bucket to be refilled', async () => (await column(bouncer, 'a', 'budget')) === 'ok');
  await client.query(statement);
  assert.equal(await routed(), 1);
  await client.query(statement);
  assert.equal(await routed(), 1);
});

test('a client that cancels its query or leaves while it waits for the budget does so at once', async (t) => {
  const bouncer = await start(t, {
    tenants: 'a = databases=a cpu_limit=1 timeout=5000',
    files: { 'a/rewrite_query.ts': GUARD },
    settings: { rewrite_query_on_failure: 'pass' },
  });
  const client = await bouncer.connect({ database: 'a' });
  await useUp(bouncer, 'a', (query) => client.query(query));
  const canceling = await bouncer.login(t, 'a');
  const leaving = await bouncer.login(t, 'a');
  const answer = canceling.query('SELECT 1');
  leaving.send(raw.query("INSERT INTO seen VALUES ('gone')"));
  await until('both to wait', async () => (await column(bouncer, 'a', 'budget')) === 'waiting 2');
  const canceler = await RawClient.connect({ host: bouncer.host, port: bouncer.port });
  canceler.send(raw.cancelRequest(canceling.backendPid, canceling.backendSecret));
  assert.equal(errorFields((await answer).find(({ type }) => type === 'E')!)['C'], '57014');
  leaving.destroy();
  await until('none to wait', async () => (await column(bouncer, 'a', 'budget')) === 'over');
});
