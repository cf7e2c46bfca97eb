/** reject() in an open transaction or pipeline: the server must reach the same state as the client. */
import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, rowValues, type Frame } from '../support/raw.ts';

const RULE = `
export function rewrite_query(username: string, query: string): string | null {
  if (query.includes('forbidden')) reject('not allowed', { code: '42501' });
  return null;
}
`;
const cluster = await Cluster.start({ after }, { sql: 'CREATE TABLE t (n int)' });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      dev: cluster.connectionString(),
      session: `${cluster.connectionString()} pool_mode=session`,
    },
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    files: { 'user-functions/rewrite_query.ts': RULE },
  },
);

beforeEach(() => cluster.sql('truncate t'));

/** Types of the messages; an error is its SQLSTATE, ReadyForQuery has its status. */
function shown(frames: Frame[]): string {
  return frames
    .map(({ type, payload }, i) => {
      if (type === 'E') return errorFields(frames[i]!)['C'];
      return type === 'Z' ? `Z${payload.toString()}` : type;
    })
    .join(' ');
}

const count = async (): Promise<unknown> =>
  (await cluster.sql<{ count: string }>('select count(*) from t'))[0]?.count;
const run = (sql: string): Buffer[] => [raw.parse('', sql), raw.bind(), raw.execute()];

for (const database of ['dev', 'session']) {
  test(`a rejected named statement in a transaction: the messages after it are skipped up to Sync (${database})`, async (t) => {
    const client = await bouncer.login(t, database);
    await client.query('begin');
    await client.query('insert into t values (1)');
    client.send(raw.parse('s', 'forbidden'), raw.describe('S', 's'), raw.sync());
    assert.equal(shown(await client.readUntil('Z')), '42501 ZE');
    assert.equal(shown(await client.query('forbidden, again')), '42501 ZE');
    client.send(...run('forbidden, too'), raw.sync());
    assert.equal(shown(await client.readUntil('Z')), '42501 ZE');
    assert.equal(shown(await client.query('commit')), 'C ZI');
    assert.equal(await count(), '0');
    client.send(raw.parse('s', 'select 1'), raw.bind('s'), raw.execute(), raw.sync());
    assert.equal(shown(await client.readUntil('Z')), '1 2 D C ZI');
  });

  test(`a rejection in a pipeline rolls back the earlier statements of the pipeline (${database})`, async (t) => {
    const client = await bouncer.login(t, database);
    client.send(
      ...run('insert into t values (1)'),
      ...run('forbidden'),
      ...run('insert into t values (2)'),
      raw.sync(),
    );
    assert.equal(shown(await client.readUntil('Z')), '1 2 C 42501 ZI');
    assert.equal(await count(), '0');
    client.send(
      ...run('insert into t values (3)'),
      raw.sync(),
      ...run('forbidden'),
      raw.sync(),
      raw.query('select 1'),
    );
    assert.equal(shown(await client.readUntil('Z')), '1 2 C ZI');
    assert.equal(shown(await client.readUntil('Z')), '42501 ZI');
    assert.equal(shown(await client.readUntil('Z')), 'T D C ZI');
    assert.equal(await count(), '1');
  });

  test(`a rejection after a rollback in the same pipeline does not belong to the failed transaction (${database})`, async (t) => {
    const client = await bouncer.login(t, database);
    await client.query('begin');
    await client.query('select 1/0');
    client.send(...run('rollback'), ...run('insert into t values (1)'), ...run('forbidden'), raw.sync());
    assert.equal(shown(await client.readUntil('Z')), '1 2 C 1 2 C 42501 ZI');
    assert.equal(await count(), '0');
    await client.query('begin');
    await client.query('select 1/0');
    client.send(raw.query('rollback'), raw.query('forbidden'), raw.query('select 1'));
    assert.equal(shown(await client.readUntil('Z')), 'C ZI');
    assert.equal(shown(await client.readUntil('Z')), '42501 ZI');
    assert.equal(shown(await client.readUntil('Z')), 'T D C ZI');
  });
}

test('a Parse that the proxy answers, then a rejection: the server is free after the Sync', async (t) => {
  const [client, other] = [await bouncer.login(t, 'dev'), await bouncer.login(t, 'dev')];
  other.send(raw.parse('known', "select 'known'"), raw.sync());
  await other.readUntil('Z');
  client.send(raw.parse('mine', "select 'known'"), raw.flush());
  await client.readUntil('1');
  client.send(...run('forbidden'), raw.sync());
  assert.equal(shown(await client.readUntil('Z')), '42501 ZI');
  const frames = await other.query("select 'free'");
  assert.equal(rowValues(frames[1]!)[0], 'free');
});
