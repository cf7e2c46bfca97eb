/** The source, the failures and the live decisions of a tenant's functions, as the web console gets them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/wait.ts';
import { cluster, start, type Browser } from './console.ts';

const THROWING = `import { label } from './label.ts';

export function routing_rules(username: string, query: string): string | null {
  if (query.includes('boom')) throw new Error(label);
  return null;
}
`;
const FILES = {
  'user-functions/acme/routing_rules.ts': THROWING,
  'user-functions/acme/label.ts': "export const label = 'first';\n",
};

interface Source {
  readonly files: readonly { readonly path: string; readonly sha256: string; readonly text: string | null }[];
  readonly code: string | null;
}

async function sourceOf(browser: Browser, number: number, tenant = 'acme'): Promise<Source> {
  const { body, status } = await browser.ask('GET', `/tenants/${tenant}/versions/${number}/source`);
  assert.equal(status, 200);
  return body as Source;
}

function textsIn({ files }: Source): (string | null)[] {
  return files.map(({ text }) => text).toSorted();
}

test('the source of a version stays what it was when its files change', async (t) => {
  const { as, bouncer } = await start(t, { files: FILES, settings: { user_function_preload: 1 } });
  const versions = (): Promise<Record<string, unknown>[]> => bouncer.admin('SHOW FUNCTION VERSIONS acme');
  await until('the first version', async () => (await versions()).length === 1);
  await bouncer.writeFile('user-functions/acme/label.ts', "export const label = 'second';\n");
  await until('the second version', async () => (await versions()).length === 2);
  const ops = await as('ops');
  assert.deepEqual(textsIn(await sourceOf(ops, 1)), ["export const label = 'first';\n", THROWING]);
  const second = await sourceOf(ops, 2);
  assert.deepEqual(textsIn(second), ["export const label = 'second';\n", THROWING]);
  assert.match(second.code ?? '', /__pgswitchyard/);
  assert.equal((await ops.ask('GET', '/tenants/acme/versions/3/source')).status, 404);
  assert.equal((await ops.ask('GET', '/tenants/acme/versions/x/source')).status, 404);
  await bouncer.stop();
  await bouncer.start();
  const again = await as('ops');
  assert.deepEqual(textsIn(await sourceOf(again, 1)), ["export const label = 'first';\n", THROWING]);
});

test('a failure comes with the failing line of the version that failed, for those who may read source', async (t) => {
  const { as, bouncer } = await start(t, { files: FILES });
  const client = await bouncer.connect({ database: 'acme' });
  await client.query("select 'boom'").catch(() => {});
  await bouncer.writeFile('user-functions/acme/routing_rules.ts', `// another line\n${THROWING}`);
  const failures = async (user: string): Promise<{ text: string; excerpt: { lines: string[] } | null }[]> =>
    (await (await as(user)).ask('GET', '/tenants/acme/failures')).body as never;
  const [failure] = await failures('ops');
  assert.deepEqual(failure!.excerpt, {
    file: 'routing_rules.ts',
    line: 4,
    column: 37,
    from: 1,
    lines: THROWING.split('\n'),
  });
  assert.doesNotMatch(failure!.text, /boom/);
  assert.deepEqual(
    (await failures('watch')).map(({ excerpt }) => excerpt),
    [null],
  );
});

test('files that can’t be loaded are a failure with the lines of the mistake', async (t) => {
  const { as, bouncer } = await start(t, { files: FILES, settings: { user_function_preload: 1 } });
  await bouncer.writeFile('user-functions/acme/label.ts', 'export const label = ;\n');
  const ops = await as('ops');
  const first = await until('the failure', async () => {
    const { body } = await ops.ask('GET', '/tenants/acme/failures');
    return (body as { text: string; frame: string }[])[0];
  });
  assert.match(first.text, /label\.ts:1:22/);
  assert.match(first.frame, /export const label = ;/);
  const { body } = await (await as('watch')).ask('GET', '/tenants/acme/failures');
  assert.deepEqual(
    (body as { frame: string }[]).map(({ frame }) => frame),
    [''],
  );
});

test("a rule of the operator's is no source for the tenant whose databases it judges", async (t) => {
  const { as, bouncer } = await start(t, {
    files: {
      'user-functions/rewrite_query.ts': 'export function rewrite_query() { return null; } // secret\n',
      'user-functions/acme/routing_rules.ts': THROWING.replace(
        "import { label } from './label.ts';",
        "const label = 'x';",
      ),
    },
    settings: { user_function_preload: 1 },
  });
  await until('a version', async () => (await bouncer.admin('SHOW FUNCTION VERSIONS acme')).length > 0);
  assert.match(JSON.stringify(await sourceOf(await as('boss'), 1)), /secret/);
  const own = await sourceOf(await as('ops'), 1);
  assert.equal(own.code, null);
  assert.doesNotMatch(JSON.stringify(own), /secret|rewrite_query/);
  assert.match(JSON.stringify(own), /routing_rules/);
});

interface Sample {
  readonly tenant: string;
  readonly database: string;
  readonly user: string;
  readonly query: string;
  readonly decision: string;
  readonly from: string;
}

test('live decisions are masked, say where they come from, and stay within the tenants of the user', async (t) => {
  const rule = 'export function routing_rules() { return null; }';
  const { as, bouncer } = await start(t, {
    files: { 'user-functions/acme/routing_rules.ts': rule, 'user-functions/db/routing_rules.ts': rule },
    ini: '[tenants]\nacme = databases=acme admin_users=ops\ndb = databases=db\n',
  });
  const ops = await (await as('ops')).events('/tenants/decisions');
  const watcher = await (await as('watch')).events('/tenants/decisions?tenant=db');
  const [acme, db] = [await bouncer.connect({ database: 'acme' }), await bouncer.connect({ database: 'db' })];
  const query = "select 'secret', 4711 as <b>";
  const samples: Sample[] = [];
  const seen = new Set<string>();
  const work = (async () => {
    while (seen.size < 2) {
      await db.query(query).catch(() => {});
      await acme.query(query).catch(() => {});
    }
  })();
  while (seen.size < 2) {
    const sample = (await ops.next()).data as Sample;
    samples.push(sample);
    seen.add(sample.from);
  }
  assert.deepEqual(seen, new Set(['call', 'memory']));
  for (const { tenant, database, user, query: shown, decision } of samples)
    assert.deepEqual(
      [tenant, database, user, shown, decision],
      ['acme', 'acme', 'postgres', 'select ?, ... as <b>', 'unchanged'],
    );
  assert.equal(((await watcher.next()).data as Sample).tenant, 'db');
  await work;
  ops.close();
  watcher.close();
});

test('a user who watches decisions three times leaves room for others', async (t) => {
  const { as } = await start(t);
  const ops = await as('ops');
  for (let i = 0; i < 3; i++) await ops.events('/tenants/decisions');
  assert.equal((await ops.ask('GET', '/tenants/decisions')).status, 503);
  (await (await as('boss')).events('/tenants/decisions')).close();
});

test('names with slashes, quotes, percent signs and HTML reach their tenant and nothing else', async (t) => {
  const name = `a/b%2F"<img src=x onerror=alert(1)>'`;
  const { as } = await start(t, {
    databases: { acme: cluster.connectionString() },
    ini: `[tenants]\nacme = databases=acme admin_users=ops\n`,
  });
  const boss = await as('boss');
  for (const each of [name, '..', '.', '%', 'acme/../other']) {
    const { status } = await boss.ask('GET', `/tenants/${encodeURIComponent(each)}/failures`);
    assert.ok([400, 404].includes(status), each);
  }
  const live = await boss.events(
    `/live?topic=${encodeURIComponent(`SHOW FUNCTION LOG "${name.replaceAll('"', '""')}"`)}`,
  );
  const { data } = await live.next();
  assert.match(
    (data as { content: { error: { message: string } } }).content.error.message,
    /no such tenant/i,
  );
  live.close();
});
