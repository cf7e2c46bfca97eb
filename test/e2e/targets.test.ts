/** The databases that a tenant's functions may name, and how another tenant's functions judge clients that come from there. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { configFromText } from '../../src/config/load.ts';
import { Bouncer, type BouncerOptions } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { RawClient, shown as shownAll, type Frame } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start(
  { after },
  {
    sql: 'CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE TABLE t (n int); GRANT ALL ON t TO bob, alice',
  },
);
const topology = `topology_query='SELECT ''127.0.0.1'' AS host, ${cluster.port} AS port'`;
const alice = `${cluster.connectionString()} user=alice`;
const bob = `${cluster.connectionString()} user=bob`;

/** A rule that routes as the query says, and shows its ctx on request. */
const ROUTER = `
export const routing_rules = (user, query) => /to:(\\S+)/.exec(query)?.[1] ?? null;
export const rewrite_query = (user, query, inTransaction, ctx) =>
  query.includes('show ctx') ? "select '" + JSON.stringify(ctx) + "'" : null;`;
/** A guard that marks the texts that it lets through, and would route their client on. */
const GUARD = `
export const rewrite_query = (user, query, inTransaction, ctx) => {
  if (query.includes('forbidden')) reject('bob says no');
  if (query.includes('broken')) throw new Error('bob is broken');
  return query.replace('mark', 'bob:' + ctx.login_database + ':' + ctx.database);
};
export const routing_rules = () => 'alice';`;

function start(scope: Scope, more: BouncerOptions = {}): Promise<Bouncer> {
  return Bouncer.start(scope, {
    ...more,
    databases: {
      alice: `${alice} ${topology}`,
      'alice.reports': alice,
      alicex: alice,
      bob: `${bob} ${topology} reader_database=bob_ro`,
      free: cluster.connectionString(),
      ...more.databases,
    },
    settings: {
      pool_mode: 'transaction',
      routing_rules_on_failure: 'error',
      rewrite_query_on_failure: 'error',
      auth_user: 'postgres',
      ...more.settings,
    },
    files: { 'user-functions/alice/routing_rules.ts': ROUTER, ...more.files },
  });
}

/** Leaves out the reports of another server's settings, which a client gets when it is moved. */
const shown = (frames: readonly Frame[]): string => shownAll(frames.filter(({ type }) => type !== 'S'));

async function knowNodes(bouncer: Bouncer, ...databases: string[]): Promise<void> {
  for (const database of databases) await bouncer.sql('SELECT 1', { database });
  await until('the nodes', async () => {
    const rows = await bouncer.admin('SHOW TOPOLOGY');
    return databases.every((name) =>
      rows.some((row) => row['database'] === name && row['role'] === 'writer'),
    );
  });
}

const where = 'select current_user --';

test("a tenant's functions name its own databases, their variants and nodes, and nothing else", async (t) => {
  const bouncer = await start(t);
  await knowNodes(bouncer, 'bob', 'alice');
  const client = await bouncer.login(t, 'alice');
  const own = ['alice', 'alice.reports', 'alice@writer', 'alice@readers', `alice@127.0.0.1:${cluster.port}`];
  for (const name of own) {
    assert.equal(raw.firstValue(await client.query(`${where} to:${name}`)), 'alice', name);
    await client.query('select 1 -- to:alice');
  }
  const failures = new Set<string>();
  const others = [
    'bob',
    'bob@writer',
    'bob@readers',
    `bob@127.0.0.1:${cluster.port}`,
    'bob_ro',
    'free',
    'alicex',
  ];
  for (const name of [...others, 'nobody', 'alice.nobody', 'pgbouncer']) {
    const frames = await client.query(`${where} to:${name}`);
    assert.equal(shown(frames), '38000 ZI', name);
    const { last_error: last } = (await bouncer.admin('SHOW FUNCTIONS')).find(
      (row) => row['databases'] === 'alice',
    )!;
    failures.add(
      String(last)
        .replace(`"${name}"`, 'NAME')
        .replace(/\[query \w+\]|^[\d:. -]+(?:UTC)?/g, ''),
    );
  }
  assert.equal(failures.size, 1, [...failures].join('\n'));
  // the client is still at its own database
  assert.equal(raw.firstValue(await client.query(where)), 'alice');
});

test('a file that several databases name belongs to each of them, and clients are judged for their own database', async (t) => {
  const bouncer = await start(t, {
    databases: {
      one: `${alice} routing_rules_file=shared.ts routing_targets=free`,
      two: `${bob} routing_rules_file=shared.ts`,
    },
    files: { 'shared.ts': ROUTER },
  });
  const [one, two] = [await bouncer.login(t, 'one'), await bouncer.login(t, 'two')];
  assert.equal(raw.firstValue(await one.query(`${where} to:free`)), 'postgres');
  assert.equal(shown(await two.query(`${where} to:free`)), '38000 ZI');
  assert.equal(shown(await two.query(`${where} to:one`)), '38000 ZI');
  assert.equal(raw.firstValue(await two.query(`${where} to:two`)), 'bob');
  const databases = async (client: RawClient): Promise<unknown> =>
    (JSON.parse(raw.firstValue(await client.query('show ctx'))!) as { databases: unknown }).databases;
  assert.deepEqual([await databases(one), await databases(two)], [['one', 'free'], ['two']]);
});

test("the operator's functions may name every database", async (t) => {
  const bouncer = await start(t, {
    files: { 'user-functions/routing_rules.ts': ROUTER, 'user-functions/alice/routing_rules.ts': ROUTER },
  });
  const client = await bouncer.login(t, 'bob');
  for (const [name, user] of [
    ['alice', 'alice'],
    ['free', 'postgres'],
    ['bob@writer', 'bob'],
  ] as const)
    assert.equal(raw.firstValue(await client.query(`${where} to:${name}`)), user);
  const inOption = await start(t, {
    settings: { routing_rules_file: 'rules/all.ts' },
    files: { 'rules/all.ts': ROUTER },
  });
  const other = await inOption.login(t, 'bob');
  assert.equal(raw.firstValue(await other.query(`${where} to:free`)), 'postgres');
});

test("an operator's function that runs beside a tenant's may name only what the tenant's may, which is logged", async (t) => {
  const bouncer = await start(t, {
    files: {
      'user-functions/routing_rules.ts': ROUTER,
      'user-functions/bob/rewrite_query.ts': 'export const rewrite_query = () => null;',
    },
  });
  await bouncer.waitForLog(/routing_rules\.ts runs in one isolate with .*bob\/rewrite_query\.ts/);
  const client = await bouncer.login(t, 'bob');
  assert.equal(shown(await client.query(`${where} to:free`)), '38000 ZI');
  assert.equal(raw.firstValue(await client.query(`${where} to:bob@writer`)), 'bob');
});

test('routing_targets adds databases, and a RELOAD that removes them applies to statements prepared before', async (t) => {
  const bouncer = await start(t, { databases: { alice: `${alice} routing_targets='free, bob'` } });
  const client = await bouncer.login(t, 'alice');
  for (const [name, user] of [
    ['free', 'postgres'],
    ['bob', 'bob'],
    ['bob@writer', 'bob'],
  ] as const)
    assert.equal(raw.firstValue(await client.query(`${where} to:${name}`)), user);
  client.send(raw.parse('s', `${where} to:bob`), raw.bind('s'), raw.execute(), raw.sync());
  assert.equal(raw.firstValue(await client.readUntil('Z')), 'bob');
  await client.query(`${where} to:alice`);
  bouncer.databases['alice'] = `${alice} routing_targets=free`;
  await bouncer.reload();
  assert.equal(shown(await client.query(`${where} to:bob`)), '38000 ZI');
  client.send(raw.bind('s'), raw.execute(), raw.sync());
  assert.equal(shown(await client.readUntil('Z')), '38000 ZI');
  assert.equal(raw.firstValue(await client.query(where)), 'alice');
});

test('routing_targets may be *, or a single node; an unknown one is an error', async (t) => {
  const all = await start(t, { databases: { alice: `${alice} routing_targets=*` } });
  const client = await all.login(t, 'alice');
  assert.equal(raw.firstValue(await client.query(`${where} to:free`)), 'postgres');

  const readers = await start(t, { databases: { alice: `${alice} routing_targets=bob@readers` } });
  await knowNodes(readers, 'bob');
  const other = await readers.login(t, 'alice');
  assert.equal(raw.firstValue(await other.query(`${where} to:bob@readers`)), 'bob');
  const ctx = JSON.parse(raw.firstValue(await other.query('show ctx'))!) as {
    nodes: unknown;
    databases: unknown;
  };
  assert.deepEqual(ctx.nodes, [], 'the nodes of a cluster that may not be named are not shown');
  assert.deepEqual(ctx.databases, ['alice', 'alice.reports', 'bob@readers']);
  await other.query(`${where} to:alice`);
  assert.equal(shown(await other.query(`${where} to:bob`)), '38000 ZI');

  const ini =
    '[databases]\na = host=x\nb = host=y routing_targets=a,c\nd = host=z user_functions_allow=all\n[pgbouncer]\n';
  assert.throws(() => configFromText(ini, 'p.ini'), {
    message:
      /p\.ini:4: d: user_functions_allow: invalid value "all", one or more of function_call, replication[\s\S]*p\.ini:3: b: routing_targets: no such database: "c"/,
  });
  assert.deepEqual(
    configFromText('[databases]\na = routing_targets=b\n* = host=x\n[pgbouncer]\n').databases.get('a')!
      .routing_targets,
    ['b'],
  );
});

test('ctx has the database that the client logged in to and the one that it is in, and only nodes that may be named', async (t) => {
  const bouncer = await start(t, { databases: { alice: `${alice} routing_targets=free ${topology}` } });
  await knowNodes(bouncer, 'alice');
  const node = `alice@127.0.0.1:${cluster.port}`;
  for (const [name, database] of [
    ['alice', 'alice'],
    ['alice@writer', 'alice'],
    [node, node],
  ] as const) {
    const client = await bouncer.login(t, name);
    const ctx = JSON.parse(raw.firstValue(await client.query('show ctx'))!) as Record<string, unknown>;
    assert.equal(ctx['login_database'], 'alice');
    assert.equal(ctx['database'], database);
    assert.deepEqual(ctx['databases'], ['alice', 'alice.reports', 'free']);
    assert.deepEqual(
      (ctx['nodes'] as { name: string }[]).map((each) => each.name),
      [node],
    );
    await client.query(`${where} to:free`);
    const moved = JSON.parse(raw.firstValue(await client.query('show ctx'))!) as Record<string, unknown>;
    assert.deepEqual([moved['login_database'], moved['database']], ['alice', 'free']);
  }
});

const GUARDED: BouncerOptions = {
  databases: {
    alice: `${alice} ${topology} routing_targets=bob`,
    bob: `${bob} ${topology} reader_database=bob_ro routing_targets=alice`,
  },
  files: { 'user-functions/bob/rewrite_query.ts': GUARD },
};

for (const to of ['bob', 'bob@writer', 'bob@readers']) {
  test(`the target's functions judge everything that comes from another database (${to})`, async (t) => {
    const bouncer = await start(t, GUARDED);
    await knowNodes(bouncer, 'bob');
    const client = await bouncer.login(t, 'alice');
    const ask = async (...messages: Buffer[]): Promise<string> => {
      client.send(...messages, raw.sync());
      return shown(await client.readUntil('Z'));
    };
    // the query that moves the client, and those that follow while it is there
    assert.equal(shown(await client.query(`select 'forbidden' --to:${to}`)), '42501 ZI');
    assert.match(raw.firstValue(await client.query(`select 'mark' --to:${to}`))!, /^bob:alice:bob/);
    assert.equal(raw.firstValue(await client.query(where)), 'bob');
    assert.equal(shown(await client.query("select 'forbidden'")), '42501 ZI');
    assert.equal(shown(await client.query("select 'broken'")), '38000 ZI');
    assert.match(raw.firstValue(await client.query("select 'mark'"))!, /^bob:alice:bob/);
    for (const name of ['', 's']) assert.equal(await ask(raw.parse(name, "select 'forbidden'")), '42501 ZI');
    await client.query('begin');
    assert.equal(shown(await client.query("select 'forbidden'")), '42501 ZE');
    await client.query('rollback');
    // the origin's rule is asked first: bob's sees the text that alice's has rewritten
    assert.match(raw.firstValue(await client.query('show ctx'))!, /login_database/);
    client.send(raw.functionCall(1234));
    assert.equal(shown(await client.readUntil('Z')), '42501 ZI');

    // statements that were prepared at the origin are judged at the database where they are executed
    await client.query('select 1 --to:alice');
    for (const name of ['f', '']) {
      assert.equal(await ask(raw.parse(name, "select 'forbidden'")), '1 ZI');
      assert.equal(await ask(raw.bind(name), raw.execute()), '2 D C ZI');
    }
    assert.equal(
      await ask(raw.parse('begin', `begin --to:${to}`), raw.bind('begin'), raw.execute()),
      '1 2 C ZT',
    );
    assert.equal(await ask(raw.bind('f'), raw.execute()), '42501 ZE');
    await client.query('rollback');
    assert.equal(await ask(raw.bind('f'), raw.execute()), '2 D C ZI', 'at home it goes on');

    // and so are those that were prepared there, after the functions there have changed
    assert.equal(await ask(raw.parse('t', `insert into t values (1) --to:${to}`)), '1 ZI');
    bouncer.markLog();
    await bouncer.writeFile('user-functions/bob/rewrite_query.ts', GUARD.replace("'forbidden'", "'into t'"));
    await bouncer.waitForLog(/user functions loaded/);
    assert.equal(await ask(raw.bind('t'), raw.execute()), '42501 ZI');
    assert.equal((await cluster.sql<{ n: string }>('select count(*) as n from t'))[0]!.n, '0');
  });
}

for (const policy of ['error', 'disconnect', 'pass']) {
  test(`functions of the target that can't be loaded fail by its policy, as for its own clients (${policy})`, async (t) => {
    const bouncer = await start(t, {
      ...GUARDED,
      files: { 'user-functions/bob/rewrite_query.ts': 'export const' },
      settings: { rewrite_query_on_failure: policy, routing_rules_on_failure: policy },
    });
    const client = await bouncer.login(t, 'alice');
    client.send(raw.query(`${where} to:bob`));
    if (policy === 'pass') assert.equal(raw.firstValue(await client.readUntil('Z')), 'bob');
    else if (policy === 'error') assert.equal(shown(await client.readUntil('Z')), '38000 ZI');
    else await assert.rejects(client.readUntil('Z'), /user function failed: no_version/);
  });
}

test('two databases that send queries to each other do not send them round in circles', async (t) => {
  const bouncer = await start(t, {
    databases: { alice: `${alice} routing_targets=bob`, bob: `${bob} routing_targets=alice` },
    files: {
      'user-functions/alice/routing_rules.ts': "export const routing_rules = () => 'bob';",
      'user-functions/bob/routing_rules.ts': "export const routing_rules = () => 'alice';",
    },
  });
  const [one, other] = [await bouncer.login(t, 'alice'), await bouncer.login(t, 'bob')];
  for (let i = 0; i < 2; i++) {
    assert.equal(raw.firstValue(await one.query(where)), 'bob');
    assert.equal(raw.firstValue(await other.query(where)), 'alice');
  }
});

test('a rewriting that both databases share is done once, if no tenant runs beside it', async (t) => {
  const bouncer = await start(t, {
    files: {
      'user-functions/rewrite_query.ts':
        "export const rewrite_query = (user, query) => query.replace('x', 'xx');",
      'user-functions/routing_rules.ts': "export const routing_rules = () => 'bob';",
      'user-functions/bob/routing_rules.ts':
        "export const routing_rules = (user, query) => (query.includes('forbidden') ? reject('no') : null);",
    },
  });
  const client = await bouncer.login(t, 'free');
  assert.equal(raw.firstValue(await client.query("select 'x'")), 'xx');
  assert.equal(shown(await client.query("select 'forbidden'")), '42501 ZI');
});

test("a guard that both databases share is asked again at the target, if a tenant's file may have changed it", async (t) => {
  const bouncer = await start(t, {
    databases: { alice: `${alice} routing_targets=bob` },
    files: {
      'user-functions/rewrite_query.ts': `
        export const forbidden = ['forbidden'];
        export const rewrite_query = (user, query) =>
          forbidden.some((word) => query.includes(word)) ? reject('no') : null;`,
      'user-functions/alice/routing_rules.ts': `
        import { forbidden } from '../rewrite_query.ts';
        forbidden.length = 0;
        export const routing_rules = () => 'bob';`,
      'user-functions/bob/routing_rules.ts': 'export const routing_rules = () => null;',
    },
  });
  const client = await bouncer.login(t, 'alice');
  assert.equal(shown(await client.query("select 'forbidden'")), '42501 ZI');
  assert.equal(raw.firstValue(await client.query(where)), 'bob');
});

test('the functions of the target are asked even if the login database has none any more', async (t) => {
  const bouncer = await start(t, GUARDED);
  const client = await bouncer.login(t, 'alice');
  await client.query('select 1 --to:bob');
  await bouncer.removeFile('user-functions/alice/routing_rules.ts');
  // confirms the removal
  await bouncer.admin('RELOAD');
  await bouncer.waitForLog(/user functions of .*alice removed/);
  assert.equal(raw.firstValue(await client.query(where)), 'bob');
  assert.equal(shown(await client.query("select 'forbidden'")), '42501 ZI');
  client.send(raw.parse('', "select 'forbidden'"), raw.sync());
  assert.equal(shown(await client.readUntil('Z')), '42501 ZI');
});

test('the server of a forced user never sees the password of a client that is moved there', async (t) => {
  const own = await Cluster.start(t, {
    sql: "CREATE ROLE alice LOGIN; CREATE ROLE carol LOGIN PASSWORD 'of alice'",
    settings: { password_encryption: 'md5' },
    hba: ['host all carol 127.0.0.1/32 password', 'local all all trust', 'host all all 127.0.0.1/32 trust'],
  });
  const bouncer = await Bouncer.start(t, {
    databases: { a: own.connectionString(), c: `${own.connectionString()} user=carol` },
    settings: { pool_mode: 'transaction', auth_type: 'plain', query_wait_timeout: 2 },
    userlist: { alice: 'of alice' },
    files: {
      'user-functions/routing_rules.ts':
        "export const routing_rules = (user, query) => (query.includes('to c') ? 'c' : null);",
    },
  });
  await bouncer.waitForLog(/user functions loaded/);
  const as = { database: 'a', user: 'alice', password: 'of alice' };
  await bouncer.sql('SELECT 1', as);
  await assert.rejects(bouncer.sql('SELECT current_user -- to c', as), /login|password/);
});
