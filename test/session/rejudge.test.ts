/** Statements that were prepared under an older version of the functions are judged again at their next use. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer, type Settings } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, shown } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const [cluster, second] = await Promise.all([
  Cluster.start({ after }, { sql: "CREATE TABLE t (n int); CREATE TABLE place AS SELECT 'first' AS at" }),
  Cluster.start({ after }, { sql: "CREATE TABLE place AS SELECT 'second' AS at" }),
]);

/** The first versions of the functions, by folder: they let everything pass. */
const OPEN = 'export const rewrite_query = () => null;';
const STRICT = `export const rewrite_query = (user, query) => (query.includes('into t') ? reject('no more') : null);`;

interface Kind {
  readonly settings: Settings;
  /** the proxy does not keep the text, so that the statement must be prepared again */
  readonly refused: string;
}
const KINDS: Record<string, Kind> = {
  transaction: { settings: { pool_mode: 'transaction' }, refused: '42501' },
  session: { settings: { pool_mode: 'session' }, refused: '42501' },
  'session, not tracked': {
    settings: { pool_mode: 'session', max_prepared_statements: 0 },
    refused: '26000',
  },
};

async function start(
  scope: Scope,
  settings: Settings,
  version: string,
  name = 'rewrite_query',
): Promise<Bouncer> {
  const bouncer = await Bouncer.start(scope, {
    databases: {
      dev: cluster.connectionString(),
      'dev.2': second.connectionString(),
      open: cluster.connectionString(),
    },
    settings: { default_pool_size: 2, ...settings },
    files: { [`user-functions/dev/${name}.ts`]: version },
  });
  // it listens before the functions are loaded
  if (!name.startsWith('..')) await bouncer.waitForLog(/user functions (?:not )?loaded/);
  return bouncer;
}

async function serve(bouncer: Bouncer, version: string, name = 'rewrite_query'): Promise<void> {
  bouncer.markLog();
  await bouncer.writeFile(`user-functions/dev/${name}.ts`, version);
  await bouncer.waitForLog(/user functions loaded/);
}

async function ask(client: RawClient, ...messages: Buffer[]): Promise<string> {
  client.send(...messages, raw.sync());
  return shown(await client.readUntil('Z'));
}

const count = async (): Promise<number> =>
  Number((await cluster.sql<{ n: string }>('SELECT count(*) AS n FROM t'))[0]!.n);

for (const [what, { settings, refused }] of Object.entries(KINDS)) {
  test(`a rule that has become stricter judges statements that were prepared before (${what})`, async (t) => {
    await cluster.sql('TRUNCATE t');
    const bouncer = await start(t, settings, OPEN);
    const client = await bouncer.login(t, 'dev');
    const prepared = async (): Promise<void> => {
      for (const name of ['', 's']) {
        await ask(client, raw.close('S', name));
        assert.equal(await ask(client, raw.parse(name, 'insert into t values (1)')), '1 ZI');
      }
    };
    await prepared();
    // the unnamed statement was the first one, and is gone if the proxy does not keep it
    await ask(client, raw.parse('', 'insert into t values (1)'));
    assert.equal(await ask(client, raw.bind('s'), raw.execute()), '2 C ZI');
    await serve(bouncer, STRICT);
    for (const name of ['s', '']) {
      assert.equal(await ask(client, raw.bind(name), raw.execute()), `${refused} ZI`, `Bind of "${name}"`);
      assert.equal(await ask(client, raw.describe('S', name)), `${refused} ZI`, `Describe of "${name}"`);
      // repeatedly, and in a transaction, which is aborted
      assert.equal(await ask(client, raw.bind(name), raw.execute()), `${refused} ZI`);
      // by a named statement: a Query, or another unnamed Parse, would drop the unnamed one
      await ask(client, raw.close('S', 'begin'), raw.parse('begin', 'begin'));
      assert.equal(await ask(client, raw.bind('begin'), raw.execute()), '2 C ZT');
      assert.equal(await ask(client, raw.bind(name), raw.execute()), `${refused} ZE`);
      assert.equal(shown(await client.query('commit')), 'C ZI');
      if (name === '') break;
      // in a pipeline: its earlier statements are undone, and its later ones are skipped up to the Sync
      const piped = [raw.parse('other', 'select 1'), raw.bind('other'), raw.execute()];
      const more = [raw.bind(name), raw.execute(), raw.bind('other'), raw.execute()];
      assert.equal(await ask(client, ...piped, ...more), `1 2 D C ${refused} ZI`);
      await ask(client, raw.close('S', 'other'), raw.parse('', 'insert into t values (1)'));
      await serve(bouncer, OPEN);
      await ask(client, raw.parse('', 'insert into t values (1)'));
      await serve(bouncer, STRICT);
    }
    assert.equal(await count(), 1);
    assert.equal(shown(await client.query('select 1')), 'T D C ZI');
    // statements that are still allowed can be used under their names
    await serve(bouncer, OPEN);
    if (refused === '26000') {
      assert.equal(await ask(client, raw.bind('s'), raw.execute()), '26000 ZI');
      await ask(client, raw.close('S', 's'));
      await ask(client, raw.parse('s', 'insert into t values (1)'));
    }
    assert.equal(await ask(client, raw.bind('s'), raw.execute()), '2 C ZI');
    assert.equal(await count(), 2);
  });

  test(`functions that come to apply judge statements that were prepared before there were any (${what})`, async (t) => {
    await cluster.sql('TRUNCATE t');
    const bouncer = await start(t, settings, '', '../nothing');
    const client = await bouncer.login(t, 'dev');
    for (const name of ['s', 'harmless', ''])
      await ask(client, raw.parse(name, name === 'harmless' ? 'select 1' : 'insert into t values (1)'));
    await bouncer.writeFile('user-functions/dev/rewrite_query.ts', STRICT);
    await bouncer.waitForLog(/user functions loaded/);
    for (const name of ['s', ''])
      assert.equal(await ask(client, raw.bind(name), raw.execute()), `${refused} ZI`, `"${name}"`);
    assert.equal(
      await ask(client, raw.bind('harmless'), raw.execute()),
      refused === '26000' ? '26000 ZI' : '2 D C ZI',
    );
    assert.equal(await count(), 0);
  });

  test(`a statement that was made by SQL PREPARE can't be bound without being judged (${what})`, async (t) => {
    await cluster.sql('TRUNCATE t');
    const bouncer = await start(t, settings, '', '../nothing');
    const client = await bouncer.login(t, 'dev');
    await client.query('prepare p as insert into t values (1)');
    await ask(client, raw.parse('p', 'select 1'));
    await bouncer.writeFile('user-functions/dev/rewrite_query.ts', STRICT);
    await bouncer.waitForLog(/user functions loaded/);
    client.send(raw.bind('p'), raw.execute(), raw.sync());
    await until('an answer', () => client.available > 0 || client.closed);
    assert.equal(await count(), 0);
    assert.ok(bouncer.isRunning);
  });
}

test('functions that load after a failed start judge statements that had passed without them', async (t) => {
  await cluster.sql('TRUNCATE t');
  const bouncer = await start(t, { pool_mode: 'transaction' }, 'export const');
  const client = await bouncer.login(t, 'dev');
  for (const name of ['s', '']) await ask(client, raw.parse(name, 'insert into t values (1)'));
  assert.equal(await ask(client, raw.bind('s'), raw.execute()), '2 C ZI');
  await serve(bouncer, STRICT);
  assert.equal(await ask(client, raw.bind('s'), raw.execute()), '42501 ZI');
  assert.equal(await ask(client, raw.bind(''), raw.execute()), '42501 ZI');
  assert.equal(await count(), 1);
});

test('a stricter policy applies to statements that were prepared before', async (t) => {
  const version = "export const rewrite_query = () => { throw new Error('no'); };";
  const bouncer = await start(t, { pool_mode: 'transaction' }, version);
  const client = await bouncer.login(t, 'dev');
  for (const name of ['s', '']) await ask(client, raw.parse(name, 'select 1'));
  assert.equal(await ask(client, raw.bind('s'), raw.execute()), '2 D C ZI');
  await bouncer.reload({ rewrite_query_on_failure: 'error' });
  assert.equal(await ask(client, raw.bind('s'), raw.execute()), '38000 ZI');
  assert.equal(await ask(client, raw.bind(''), raw.execute()), '38000 ZI');
  await bouncer.reload({ rewrite_query_on_failure: 'disconnect' });
  client.send(raw.bind('s'), raw.execute(), raw.sync());
  assert.equal(errorFields((await client.readToEnd()).at(-1)!)['S'], 'FATAL');
});

for (const pool_mode of ['transaction', 'session']) {
  test(`another rewriting is prepared in place of the old one, with the same parameter types (${pool_mode})`, async (t) => {
    const version = (word: string): string =>
      `export const rewrite_query = (user, query) => query.includes('select') ? query.replace('text', "'${word} ' ||") : null;`;
    const bouncer = await start(t, { pool_mode, user_function_removal_grace: 0 }, version('one'));
    const client = await bouncer.login(t, 'dev');
    const run = async (name: string): Promise<string | null> => {
      client.send(raw.describe('S', name), raw.bind(name, ['x']), raw.execute(), raw.sync());
      return raw.firstValue(await client.readUntil('Z'));
    };
    for (const name of ['s', '']) await ask(client, raw.parse(name, 'select text $1', [25]));
    for (const name of ['s', '']) assert.equal(await run(name), 'one x');
    for (const word of ['two', 'three']) {
      await serve(bouncer, version(word));
      for (const name of ['s', '']) assert.equal(await run(name), `${word} x`);
      for (const name of ['s', '']) assert.equal(await run(name), `${word} x`);
    }
    // no rewriting any more: the client's own text is prepared
    await serve(bouncer, 'export const rewrite_query = () => null;');
    client.send(raw.bind('s', ['x']), raw.execute(), raw.sync());
    assert.match(shown(await client.readUntil('Z')), /ZI$/);
    // the functions have been removed
    await serve(bouncer, version('four'));
    assert.equal(await run('s'), 'four x');
    await bouncer.removeFile('user-functions/dev/rewrite_query.ts');
    await bouncer.waitForLog(/user functions of .* removed/);
    client.send(raw.bind('s', ['x']), raw.execute(), raw.sync());
    assert.match(shown(await client.readUntil('Z')), /ZI$/);
  });

  test(`an unnamed statement whose result has other columns after a swap gets the error of PostgreSQL (${pool_mode})`, async (t) => {
    const version = (columns: string): string =>
      `export const rewrite_query = (user, query) => query.includes('what') ? query.replace('what', "${columns}") : null;`;
    const bouncer = await start(t, { pool_mode, user_function_removal_grace: 0 }, version('1 as a'));
    const client = await bouncer.login(t, 'dev');
    const prepare = [raw.parse('', 'select what'), raw.describe('S')];
    const use = [raw.bind(), raw.execute()];
    assert.equal(await ask(client, ...prepare), '1 t T ZI');
    assert.equal(await ask(client, ...use), '2 D C ZI');
    // the same columns from another text
    await serve(bouncer, version('2 as a'));
    assert.equal(await ask(client, ...use), '2 D C ZI');
    await serve(bouncer, version('1 as a, 2 as b'));
    for (const _ of [1, 2]) assert.equal(await ask(client, ...use), '0A000 ZI');
    // in a transaction, which the error aborts
    await client.query('begin');
    assert.equal(await ask(client, ...prepare), '1 t T ZT');
    await serve(bouncer, version("'text' as a"));
    assert.equal(await ask(client, ...use), '0A000 ZE');
    await client.query('rollback');
    // as drivers do it after this error
    assert.equal(await ask(client, ...prepare), '1 t T ZI');
    assert.equal(await ask(client, ...use), '2 D C ZI');
    // no columns, and a client that is told the new ones
    await serve(bouncer, version('1 into temp x'));
    assert.equal(await ask(client, ...use), '0A000 ZI');
    assert.equal(await ask(client, raw.describe('S')), 't n ZI');
    await serve(bouncer, version('3 as a, 4 as b'));
    assert.equal(await ask(client, raw.describe('S'), ...use), 't T 2 D C ZI');
    // a client that has not asked
    await ask(client, raw.parse('', 'select what'));
    await serve(bouncer, version('5 as a'));
    assert.equal(await ask(client, ...use), '2 D C ZI');
    // no functions rewrite it any more: the client's own text has other columns
    await serve(bouncer, `export const rewrite_query = (user, query) => query.replace('1', "1, 2");`);
    assert.equal(await ask(client, raw.parse('', 'select 1'), raw.describe('S')), '1 t T ZI');
    await bouncer.removeFile('user-functions/dev/rewrite_query.ts');
    await bouncer.waitForLog(/user functions of .* removed/);
    assert.equal(await ask(client, ...use), '0A000 ZI');
  });

  test(`statements that were prepared before follow another route (${pool_mode})`, async (t) => {
    const version = (to: string | null): string => `export const routing_rules = () => ${to && `'${to}'`};`;
    const bouncer = await start(t, { pool_mode }, version('dev.2'), 'routing_rules');
    const client = await bouncer.login(t, 'dev');
    const run = async (name: string): Promise<string | null> => {
      client.send(raw.bind(name), raw.execute(), raw.sync());
      return raw.firstValue(await client.readUntil('Z'));
    };
    for (const name of ['s', '']) await ask(client, raw.parse(name, 'select at from place'));
    for (const name of ['s', '']) assert.equal(await run(name), 'second');
    await serve(bouncer, version('dev'), 'routing_rules');
    for (const name of ['s', '']) assert.equal(await run(name), 'first', name);
    for (const name of ['s', '']) assert.equal(await run(name), 'first', name);
    await serve(bouncer, version(null), 'routing_rules');
    assert.equal(await run('s'), 'first');
    // inside a transaction the client stays
    await client.query('begin');
    await serve(bouncer, version('dev.2'), 'routing_rules');
    assert.equal(await run('s'), 'first');
    await client.query('commit');
  });
}

test('an unnamed statement that is too long to be kept must be prepared again', async (t) => {
  const bouncer = await start(t, { pool_mode: 'session', user_function_max_query: '1000000' }, OPEN);
  const client = await bouncer.login(t, 'dev');
  const long = `select 1 -- ${'x'.repeat(100_000)}`;
  await ask(client, raw.parse('', long));
  assert.equal(await ask(client, raw.bind(), raw.execute()), '2 D C ZI');
  await serve(bouncer, STRICT);
  client.send(raw.bind(), raw.execute(), raw.sync());
  const frames = await client.readUntil('Z');
  assert.equal(shown(frames), '26000 ZI');
  assert.match(errorFields(frames[0]!)['M']!, /must be prepared again/);
  assert.equal(await ask(client, raw.parse('', long), raw.bind(), raw.execute()), '1 2 D C ZI');
});

test('a Parse that the server skips does not count as the judgement of the unnamed statement that it has', async (t) => {
  await cluster.sql('TRUNCATE t');
  const bouncer = await start(t, { pool_mode: 'session' }, OPEN);
  const client = await bouncer.login(t, 'dev');
  await ask(client, raw.parse('', 'insert into t values (1)'));
  await serve(bouncer, STRICT);
  // all at once: the Bind fails at the server, which skips the Parse after it
  client.send(
    ...[raw.parse('x', 'select 1'), raw.bind('x', ['too', 'many']), raw.parse('', 'select 1'), raw.sync()],
    ...[raw.bind(), raw.execute(), raw.sync()],
  );
  assert.equal(shown(await client.readUntil('Z')), '1 08P01 ZI');
  // if the error comes before the last Parse is judged, the proxy drops that Parse, and still knows the first one
  assert.match(shown(await client.readUntil('Z')), /^(?:26000|42501) ZI$/);
  assert.equal(await count(), 0);
});

test("a new version of one tenant does not have other tenants' statements judged again", async (t) => {
  const bouncer = await start(t, { pool_mode: 'transaction' }, OPEN);
  const client = await bouncer.login(t, 'dev');
  await ask(client, raw.parse('s', 'select 1'));
  bouncer.markLog();
  await bouncer.writeFile('user-functions/open/rewrite_query.ts', OPEN);
  await bouncer.waitForLog(/user functions loaded/);
  await ask(client, raw.bind('s'), raw.execute());
  const own = (await bouncer.admin('SHOW FUNCTIONS')).find((row) => row['databases'] === 'dev')!;
  assert.equal(own['calls'], '1');
});

/** A rule that is slow for some queries, so that other events can happen in between. */
const SLOW = `export const rewrite_query = (user, query) => {
  const end = Date.now() + (query.includes('slow') ? 300 : 0);
  while (Date.now() < end);
  return query.includes('into t') ? reject('no more') : null;
};`;

test('a decision about a statement that DISCARD ALL has dropped since is not used for the next query', async (t) => {
  await cluster.sql('TRUNCATE t');
  const bouncer = await start(t, { pool_mode: 'transaction', user_function_timeout: 2_000 }, OPEN);
  const client = await bouncer.login(t, 'dev');
  await ask(client, raw.parse('s', 'select 1 -- slow'));
  await serve(bouncer, SLOW);
  // after a comment, the proxy does not recognize it
  client.send(
    raw.query('/**/ discard all'),
    raw.bind('s'),
    raw.sync(),
    raw.query('insert into t values (1)'),
  );
  assert.equal(shown(await client.readUntil('Z')), 'C ZI');
  assert.equal(shown(await client.readUntil('Z')), '26000 ZI');
  assert.equal(shown(await client.readUntil('Z')), '42501 ZI');
  assert.equal(await count(), 0);
});

test('a decision of functions that were removed since is not used when there are functions again', async (t) => {
  await cluster.sql('TRUNCATE t');
  const bouncer = await start(t, { pool_mode: 'transaction', user_function_timeout: 2_000 }, SLOW);
  const client = await bouncer.login(t, 'dev');
  await client.query('select 1');
  client.send(raw.query('select 1 -- slow'));
  await bouncer.removeFile('user-functions/dev/rewrite_query.ts');
  await bouncer.admin('RELOAD');
  assert.equal(shown(await client.readUntil('Z')), 'T D C ZI');
  await serve(bouncer, SLOW);
  assert.equal(shown(await client.query('insert into t values (1)')), '42501 ZI');
  assert.equal(await count(), 0);
});

test('without tracking, a judged statement does not vouch for one of the same name on another server', async (t) => {
  await cluster.sql('TRUNCATE t');
  const settings = { pool_mode: 'transaction', max_prepared_statements: 0 };
  const bouncer = await start(t, settings, OPEN);
  const [client, other] = [await bouncer.login(t, 'dev'), await bouncer.login(t, 'dev')];
  await client.query('begin');
  await other.query('begin');
  assert.equal(shown(await other.query('prepare p as insert into t values (1)')), 'C ZT');
  await serve(bouncer, STRICT);
  assert.equal(await ask(client, raw.parse('p', 'select 1')), '1 ZT');
  assert.equal(await ask(client, raw.bind('p'), raw.execute()), '2 D C ZT');
  await client.query('commit');
  // on either of the two servers, also if it is the same one again
  for (let i = 0; i < 2; i++) {
    assert.equal(await ask(client, raw.bind('p'), raw.execute()), '26000 ZI');
    await client.query('begin');
    assert.equal(await ask(client, raw.bind('p'), raw.execute()), '26000 ZE');
    await other.query('commit');
    await client.query('rollback');
    assert.equal(await ask(client, raw.bind('p'), raw.execute()), '26000 ZI');
  }
  assert.equal(await count(), 0);
});
