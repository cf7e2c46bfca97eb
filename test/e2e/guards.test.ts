/** A rule that rejects is a guard: whatever name a client uses for the database, no text gets to a server unjudged. */
import assert from 'node:assert/strict';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { Bouncer, type Settings } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues, shown } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const GUARD = `
export function rewrite_query(username: string, query: string): string | null {
  if (query.includes('forbidden')) reject('not allowed', { code: '42501' });
  if (query.includes('broken')) throw new Error('broken');
  return null;
}`;
/** A name of the greatest length, and one whose last character would be cut in the middle. */
const LONGEST = 'd'.repeat(63);
const SHORTER = `e${'é'.repeat(31)}`.slice(0, -1) + 'x';
const POLICIES = ['error', 'disconnect', 'pass'] as const;

const cluster = await Cluster.start(
  { after },
  {
    settings: { wal_level: 'logical' },
    sql: `CREATE ROLE limited LOGIN;
      CREATE TABLE seen (what text);
      CREATE FUNCTION see(what text) RETURNS text LANGUAGE sql AS 'INSERT INTO seen VALUES (what) RETURNING what';`,
  },
);
await cluster.sql(`CREATE DATABASE ${LONGEST}`);
await cluster.sql(`CREATE DATABASE "${SHORTER}"`);
const seeOid = Number(
  (await cluster.sql<{ oid: string }>("SELECT 'see'::regproc::oid::text AS oid"))[0]!.oid,
);

const topology = `topology_query='SELECT ''127.0.0.1'' AS host, ${cluster.port} AS port'`;
const inFolder = (...names: string[]): Record<string, string> =>
  Object.fromEntries(names.map((name) => [`user-functions/${name}/rewrite_query.ts`, GUARD]));

function start(scope: Scope, settings: Settings = {}): Promise<Bouncer> {
  return Bouncer.start(scope, {
    databases: {
      guarded: `${cluster.connectionString()} ${topology} reader_database=guarded_ro`,
      open: cluster.connectionString(),
      allowed: `${cluster.connectionString()} user_functions_allow='function_call, replication'`,
      unloadable: cluster.connectionString(),
      '*': `host=${cluster.host} port=${cluster.port} ${topology}`,
    },
    settings: { pool_mode: 'transaction', ...settings },
    files: {
      ...inFolder('guarded', 'allowed', LONGEST, SHORTER, 'template1'),
      'user-functions/unloadable/rewrite_query.ts': 'not TypeScript at all',
    },
  });
}

const [error, disconnect, pass] = await Promise.all(
  POLICIES.map((policy) => start({ after }, { rewrite_query_on_failure: policy })),
);
const bouncers = { error: error!, disconnect: disconnect!, pass: pass! };

beforeEach(() => cluster.sql('TRUNCATE seen'));

/** The text of an INSERT that names its client. */
const insert = (what: string): string => `INSERT INTO seen VALUES ('${what}')`;
const seen = async (): Promise<string[]> =>
  (await cluster.sql<{ what: string }>('SELECT what FROM seen ORDER BY what')).map(({ what }) => what);
const inPipeline = (sql: string, name = ''): Buffer[] => [
  raw.parse(name, sql),
  raw.bind(name),
  raw.execute(),
];

/** Each way of getting a text to a server, as messages that are answered with one ReadyForQuery. */
const WAYS: Record<string, (sql: string) => Buffer[]> = {
  'a Query': (sql) => [raw.query(sql)],
  'the second statement of a Query': (sql) => [raw.query(`SELECT 1; ${sql}`)],
  'SQL PREPARE': (sql) => [raw.query(`PREPARE p AS ${sql}`)],
  'an unnamed Parse': (sql) => [...inPipeline(sql), raw.sync()],
  'a named Parse': (sql) => [...inPipeline(sql, 's'), raw.sync()],
  'a Parse that is described first': (sql) => [
    raw.parse('d', sql),
    raw.describe('S', 'd'),
    raw.bind('d'),
    raw.execute(),
    raw.sync(),
  ],
  'a named portal': (sql) => [raw.parse('', sql), raw.bind('', [], 'p'), raw.execute('p'), raw.sync()],
};

const LOGINS: Record<string, string> = {
  'its name': 'guarded',
  'the alias of its writer': 'guarded@writer',
  'the alias of its readers': 'guarded@readers',
  'the name of reader_database': 'guarded_ro',
  "a node's name": `guarded@127.0.0.1:${cluster.port}`,
  'a name that only * knows': 'template1',
  'the alias of a writer that only * knows': 'template1@writer',
  'the alias of readers that only * knows': 'template1@readers',
  'a name that PostgreSQL cuts': `${LONGEST}and more`,
  'a name that is cut in the middle of a character': `${SHORTER}é`,
};

async function knowNodes(bouncer: Bouncer): Promise<void> {
  // until the nodes are known by name
  await bouncer.sql('SELECT 1', { database: 'guarded' });
  await until('the node', async () =>
    (await bouncer.admin('SHOW TOPOLOGY')).some((row) => row['role'] === 'writer'),
  );
}
await Promise.all(Object.values(bouncers).map(knowNodes));

for (const [how, database] of Object.entries(LOGINS)) {
  for (const policy of POLICIES) {
    test(`a client that logs in by ${how} is judged by the entry's functions (${policy})`, async (t) => {
      const bouncer = bouncers[policy];
      for (const [way, messages] of Object.entries(WAYS)) {
        const client = await bouncer.login(t, database);
        client.send(...messages("SELECT 'forbidden'"));
        assert.equal(shown(await client.readUntil('Z')), '42501 ZI', way);
        client.send(...messages("SELECT 'broken'"));
        if (policy === 'error') assert.equal(shown(await client.readUntil('Z')), '38000 ZI', way);
        else if (policy === 'pass') assert.match(shown(await client.readUntil('Z')), / ZI$/, way);
        else
          assert.deepEqual(
            (await client.readToEnd()).map((frame) => errorFields(frame)['S']),
            ['FATAL'],
            way,
          );
        client.destroy();
      }
    });
  }
}

test('a refused text has not reached the server in any of these ways', async (t) => {
  for (const database of Object.values(LOGINS).filter((name) => name.startsWith('guarded'))) {
    for (const [way, messages] of Object.entries(WAYS)) {
      const client = await bouncers.pass.login(t, database);
      client.send(...messages(insert('forbidden')));
      assert.equal(shown(await client.readUntil('Z')), '42501 ZI', way);
      client.destroy();
    }
  }
  assert.deepEqual(await seen(), []);
  assert.ok(!cluster.logContains(/forbidden/));
});

test('a name with an unknown part of a cluster is not a database, even with a * entry', async () => {
  for (const name of ['open@writer', 'open@readers', 'template1@1.2.3.4:5', 'pgbouncer@writer', '*']) {
    const client = await RawClient.connect(bouncers.error);
    client.send(raw.startup({ user: 'postgres', database: name }));
    const last = (await client.readToEnd()).at(-1)!;
    assert.match(errorFields(last)['M']!, /^no such database/, name);
  }
});

test('parts of a cluster whose names are too long for PostgreSQL can be reached, and are judged', async (t) => {
  const name = 'n'.repeat(60);
  const bouncer = await Bouncer.start(t, {
    databases: { [name]: `${cluster.connectionString()} ${topology}` },
    settings: { pool_mode: 'transaction', auth_user: 'postgres', rewrite_query_on_failure: 'error' },
    files: inFolder(name),
  });
  await bouncer.sql('SELECT 1', { database: name });
  await until('the node', async () =>
    (await bouncer.admin('SHOW TOPOLOGY')).some((row) => row['role'] === 'writer'),
  );
  for (const part of ['writer', 'readers', `127.0.0.1:${cluster.port}`]) {
    const client = await bouncer.login(t, `${name}@${part}`);
    assert.equal(shown(await client.query('SELECT 1')), 'T D C ZI', part);
    assert.equal(shown(await client.query(insert('forbidden'))), '42501 ZI', part);
  }
  assert.deepEqual(await seen(), []);
});

test('a folder of rules for a name that only * covers is found before a client has used that name', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { dev: cluster.connectionString(), '*': `host=${cluster.host} port=${cluster.port}` },
    settings: { pool_mode: 'transaction', rewrite_query_on_failure: 'error' },
    files: inFolder('template1'),
  });
  const folder = join(bouncer.folder, 'user-functions/template1');
  await rename(folder, `${folder}.away`);
  const client = await bouncer.login(t, 'template1');
  assert.equal(shown(await client.query("SELECT 'forbidden'")), '38000 ZI');
  await rename(`${folder}.away`, folder);
  await until('the rule to judge', async () => {
    const answer = shown(await client.query("SELECT 'forbidden'"));
    assert.match(answer, /^(?:38000|42501) ZI$/);
    return answer === '42501 ZI';
  });
});

test('a user name that PostgreSQL would truncate is shown to the functions as the role that it reaches', async (t) => {
  const role = 'r'.repeat(63);
  const bouncer = await Bouncer.start(t, {
    databases: { dev: cluster.connectionString() },
    settings: { auth_type: 'trust', pool_mode: 'transaction' },
    userlist: { [role]: '' },
    files: {
      'user-functions/rewrite_query.ts': `export const rewrite_query = (user) => "SELECT '" + user + "', current_user";`,
    },
  });
  await cluster.sql(`CREATE ROLE ${role} LOGIN`);
  const client = await RawClient.login(bouncer, { user: `${role}xyz`, database: 'dev' });
  t.after(() => client.destroy());
  const rows = (await client.query('SELECT 1')).filter(({ type }) => type === 'D');
  assert.deepEqual(rows.map(rowValues), [[role, role]]);
  assert.ok(bouncer.logContains(/a name of more than 63 bytes was cut/));
});

for (const policy of POLICIES) {
  test(`a FunctionCall is refused where functions apply, with the effects of a failed one (${policy})`, async (t) => {
    const bouncer = bouncers[policy];
    const call = raw.functionCall(seeOid, 'called');
    for (const database of ['guarded', 'guarded@writer', 'guarded@readers', 'unloadable']) {
      const client = await bouncer.login(t, database);
      client.send(call);
      const frames = await client.readUntil('Z');
      assert.equal(shown(frames), '42501 ZI', database);
      assert.match(
        errorFields(frames[0]!)['M']!,
        /^function calls by the fast-path protocol are not allowed here$/,
      );
      client.destroy();
    }
    const client = await bouncer.login(t, 'guarded');
    // in a transaction, which is aborted
    await client.query('BEGIN');
    await client.query(insert('before'));
    client.send(call);
    assert.equal(shown(await client.readUntil('Z')), '42501 ZE');
    assert.equal(shown(await client.query('COMMIT')), 'C ZI');
    // in a pipeline: its earlier statements are undone, and the messages after it are another pipeline
    client.send(...inPipeline(insert('piped')), call, ...inPipeline(insert('behind')), raw.sync());
    assert.equal(shown(await client.readUntil('Z')), '1 2 C 42501 ZI');
    assert.equal(shown(await client.readUntil('Z')), '1 2 C ZI');
    // after an error it is skipped up to the Sync
    client.send(raw.parse('', 'SELECT 1/'), call, raw.sync());
    assert.equal(shown(await client.readUntil('Z')), '42601 ZI');
    // prepared statements stay
    client.send(raw.parse('', "SELECT 'still here'"), raw.sync());
    await client.readUntil('Z');
    await client.query('BEGIN').catch(() => {});
    client.send(raw.parse('', "SELECT 'still here'"), raw.sync(), call);
    await client.readUntil('Z');
    assert.equal(shown(await client.readUntil('Z')), '42501 ZE');
    client.send(...inPipeline('ROLLBACK', 'rollback'), raw.sync());
    assert.equal(shown(await client.readUntil('Z')), '1 2 C ZI');
    client.send(raw.bind(), raw.execute(), raw.sync());
    assert.equal(shown(await client.readUntil('Z')), '2 D C ZI');
    // large ones are thrown away as they arrive
    client.send(raw.functionCall(seeOid, 'x'.repeat(300_000)));
    assert.equal(shown(await client.readUntil('Z')), '42501 ZI');
    assert.equal(shown(await client.query('SELECT 1')), 'T D C ZI');
    assert.deepEqual(await seen(), ['behind']);
  });
}

test('a Query or FunctionCall inside a COPY is never carried out: the server ends the connection', async (t) => {
  for (const inside of [raw.query(insert('inside')), raw.functionCall(seeOid, 'called')]) {
    const client = await bouncers.error.login(t, 'guarded');
    client.send(raw.query('COPY seen FROM STDIN'));
    await client.readUntil('G');
    client.send(raw.copyData('copied\n'), inside);
    assert.equal(errorFields(await client.readFrame())['C'], '08P01');
    await cluster.waitForLog(/protocol synchronization was lost/);
    cluster.markLog();
  }
  assert.deepEqual(await seen(), []);
});

test('a FunctionCall passes where no functions apply, and where user_functions_allow permits it', async (t) => {
  for (const database of ['open', 'allowed']) {
    const client = await bouncers.error.login(t, database);
    client.send(raw.functionCall(seeOid, database));
    assert.equal(shown(await client.readUntil('Z')), 'V ZI', database);
    assert.equal(
      shown(await client.query("SELECT 'forbidden'")),
      database === 'open' ? 'T D C ZI' : '42501 ZI',
    );
  }
  assert.deepEqual(await seen(), ['allowed', 'open']);
});

test('replication connections are refused where functions apply, even if these could not be loaded', async () => {
  for (const replication of ['database', 'true']) {
    for (const database of [
      'guarded',
      'guarded@writer',
      'guarded@readers',
      'guarded_ro',
      'unloadable',
      'template1',
    ]) {
      const client = await RawClient.connect(bouncers.pass);
      client.send(raw.startup({ user: 'postgres', database, replication }));
      const fields = errorFields((await client.readToEnd()).at(-1)!);
      assert.equal(`${fields['S']} ${fields['C']}`, 'FATAL 42501', database);
      assert.match(fields['M']!, /replication connections to database .* are not allowed/);
    }
  }
});

test('replication connections pass where no functions apply, and where user_functions_allow permits it', async (t) => {
  for (const database of ['open', 'allowed']) {
    const client = await bouncers.error.login(t, database, { replication: 'database' });
    assert.equal(shown(await client.query(insert(database))), 'C ZI');
  }
  assert.deepEqual(await seen(), ['allowed', 'open']);
});

test('functions that come to apply end replication connections at their next query', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { dev: cluster.connectionString() },
    settings: { pool_mode: 'transaction' },
    files: { 'user-functions/README.md': '' },
  });
  const client = await bouncer.login(t, 'dev', { replication: 'database' });
  assert.equal(shown(await client.query(insert('before'))), 'C ZI');
  await bouncer.writeFile('user-functions/rewrite_query.ts', GUARD);
  await bouncer.waitForLog(/user functions loaded/);
  client.send(raw.query(insert('after')));
  assert.equal(errorFields((await client.readToEnd()).at(-1)!)['C'], '42501');
  assert.deepEqual(await seen(), ['before']);
});

test('user_functions_allow of [pgbouncer] applies to databases without a value of their own', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: {
      dev: cluster.connectionString(),
      strict: `${cluster.connectionString()} user_functions_allow=replication`,
    },
    settings: { pool_mode: 'transaction', user_functions_allow: 'function_call' },
    files: { 'user-functions/rewrite_query.ts': GUARD },
  });
  const call = async (database: string): Promise<string> => {
    const client = await bouncer.login(t, database);
    client.send(raw.functionCall(seeOid, database));
    return shown(await client.readUntil('Z'));
  };
  assert.equal(await call('dev'), 'V ZI');
  assert.equal(await call('strict'), '42501 ZI');
  await bouncer.reload({ user_functions_allow: '' });
  assert.equal(await call('dev'), '42501 ZI');
});

test('messages that are sent during a decision wait for it, and for a decision of their own', async (t) => {
  const client = await bouncers.error.login(t, 'guarded');
  client.send(
    raw.query(insert('first')),
    raw.query(insert('forbidden')),
    ...inPipeline(insert('second')),
    raw.sync(),
    raw.functionCall(seeOid, 'called'),
    ...inPipeline(insert('forbidden')),
    raw.sync(),
  );
  const answers: string[] = [];
  for (let i = 0; i < 5; i++) answers.push(shown(await client.readUntil('Z')));
  assert.deepEqual(answers, ['C ZI', '42501 ZI', '1 2 C ZI', '42501 ZI', '42501 ZI']);
  assert.deepEqual(await seen(), ['first', 'second']);
});

test('two clients that share a statement on the server are judged separately', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { dev: cluster.connectionString() },
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    userlist: { limited: '' },
    files: {
      'user-functions/rewrite_query.ts': `export const rewrite_query = (user) => user === 'limited' ? reject('no') : null;`,
    },
  });
  const full = await bouncer.login(t, 'dev');
  const limited = await RawClient.login(bouncer, { user: 'limited', database: 'dev' });
  t.after(() => limited.destroy());
  full.send(...inPipeline('SELECT 1', 's'), raw.sync());
  assert.equal(shown(await full.readUntil('Z')), '1 2 D C ZI');
  limited.send(...inPipeline('SELECT 1', 's'), raw.sync());
  assert.equal(shown(await limited.readUntil('Z')), '42501 ZI');
});

test('start-up parameters reach a server only if they are tracked, and are never executed as text', async () => {
  for (const [name, value] of [
    ['options', '-c role=postgres'],
    ['options', '-c session_preload_libraries=x'],
    ['role', 'postgres'],
    ['search_path', 'x'],
  ] as const) {
    const client = await RawClient.connect(bouncers.error);
    client.send(raw.startup({ user: 'postgres', database: 'guarded', [name]: value }));
    assert.match(errorFields((await client.readToEnd()).at(-1)!)['M']!, /unsupported startup parameter/);
  }
});

test('a client whose login database is removed is disconnected, even if its functions have moved it', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: {
      dev: `${cluster.connectionString()} routing_targets=open`,
      open: cluster.connectionString(),
    },
    settings: { pool_mode: 'transaction' },
    files: { 'user-functions/dev/routing_rules.ts': "export const routing_rules = () => 'open';" },
  });
  const client = await bouncer.login(t, 'dev');
  await client.query('SELECT 1');
  delete bouncer.databases['dev'];
  await bouncer.reload();
  assert.match(errorFields((await client.readToEnd()).at(-1)!)['M']!, /database removed/);
});

test('a statement that is resent after a restart of its server does not get the decision about the next one', async (t) => {
  const own = await Cluster.start(t);
  const node = `topology_query='SELECT ''127.0.0.1'' AS host, ${own.port} AS port'`;
  const bouncer = await Bouncer.start(t, {
    databases: {
      dev: `${own.connectionString()} ${node} routing_targets=other`,
      other: own.connectionString('template1'),
    },
    settings: { pool_mode: 'transaction', auth_user: 'postgres', server_login_retry: 1 },
    files: {
      'user-functions/dev/routing_rules.ts':
        "export const routing_rules = (user, query) => (query.includes('elsewhere') ? 'other' : null);",
    },
  });
  await bouncer.sql('SELECT 1', { database: 'dev' });
  await until('the node', async () =>
    (await bouncer.admin('SHOW TOPOLOGY')).some((row) => row['role'] === 'writer'),
  );
  const client = await bouncer.login(t, 'dev');
  // It does not end before the restart, and takes no time after it.
  const [start] = await own.sql<{ time: string }>('SELECT pg_postmaster_start_time()::text AS time');
  const isBefore = `pg_postmaster_start_time() = '${start?.time}'`;
  client.send(
    raw.query(`SELECT current_database(), pg_sleep(CASE WHEN ${isBefore} THEN 600 ELSE 0 END)`),
    raw.query("SELECT current_database(), 'elsewhere'"),
  );
  const running = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
  await until('the first one to run', async () => (await own.sql(running)).length > 0);
  await own.restart('fast');
  const databases: (string | null)[] = [];
  for (let i = 0; i < 2; i++) {
    const row = (await client.readUntil('Z')).find(({ type }) => type === 'D');
    databases.push(row === undefined ? null : rowValues(row)[0]!);
  }
  assert.deepEqual(databases, ['postgres', 'template1']);
});
