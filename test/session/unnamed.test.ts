/** The unnamed statement survives the end of its link, and no client ever gets another client's. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues, type Frame } from '../support/raw.ts';

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      plain: cluster.connectionString(),
      judged: `${cluster.connectionString()} routing_targets=other`,
      other: cluster.connectionString().replace('dbname=postgres', 'dbname=template1'),
    },
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    files: {
      'user-functions/judged/routing_rules.ts': `
        export const routing_rules = (user: string, query: string) => (query.includes('other') ? 'other' : 'judged');
        export const rewrite_query = (user: string, query: string) => query.replace('before', 'after');`,
    },
  },
);

/** Sends one pipeline, and reads all its answers. */
async function ask(client: RawClient, ...messages: Buffer[]): Promise<Frame[]> {
  client.send(...messages, raw.sync());
  return client.readUntil('Z');
}

const code = (frames: Frame[]): string | undefined =>
  errorFields(frames.find(({ type }) => type === 'E')!)['C'];

for (const database of ['plain', 'judged']) {
  test(`the unnamed statement of one pipeline is executed in later ones, with other clients in between (${database})`, async (t) => {
    const clients = await Promise.all([1, 2, 3].map(() => bouncer.login(t, database)));
    for (const [i, client] of clients.entries())
      assert.equal(
        raw.types(await ask(client, raw.parse('', `select ${i} + $1::int`), raw.describe('S'))),
        '1tTZ',
      );
    for (const round of [10, 20]) {
      for (const [i, client] of clients.entries()) {
        const frames = await ask(client, raw.describe('S'), raw.bind('', [String(round)]), raw.execute());
        assert.equal(raw.types(frames), 'tT2DCZ');
        assert.equal(raw.firstValue(frames), String(round + i));
        await client.query('begin; commit');
        await ask(client, raw.parse('', `select ${i} + $1::int`));
      }
    }
  });
}

test('the unnamed statement is kept as it was rewritten, and is executed where it was routed to', async (t) => {
  const [client, another] = [await bouncer.login(t, 'judged'), await bouncer.login(t, 'judged')];
  await ask(client, raw.parse('', "select 'before', current_database() as other"));
  await ask(another, raw.parse('', 'select 1 as other'));
  const frames = await ask(client, raw.bind(), raw.execute());
  assert.deepEqual(rowValues(frames.find(({ type }) => type === 'D')!), ['after', 'template1']);
});

test('a client without an unnamed statement gets the error for that, and not another client’s statement', async (t) => {
  const [client, another] = [await bouncer.login(t, 'plain'), await bouncer.login(t, 'plain')];
  const fails = async (): Promise<void> => {
    await ask(another, raw.parse('', "select 'secret'"));
    const frames = await ask(client, raw.bind(), raw.execute());
    assert.equal(raw.types(frames), 'EZ');
    assert.equal(code(frames), '26000');
  };
  await fails();
  await ask(client, raw.parse('', 'select 1'));
  await client.query('select 2');
  await fails();
  await ask(client, raw.parse('', 'select 1'));
  await ask(client, raw.close('S'));
  await fails();
  await ask(client, raw.parse('', 'select 1'));
  assert.equal(code(await ask(client, raw.parse('', 'select broken'))), '42703');
  await fails();
  // the server skips it because of the error before it
  await ask(client, raw.parse('x', 'select broken'), raw.parse('', 'select 1'));
  await fails();
});

test('an error after its Parse, or in an earlier pipeline, does not drop the unnamed statement', async (t) => {
  const [client, another] = [await bouncer.login(t, 'plain'), await bouncer.login(t, 'plain')];
  await ask(client, raw.parse('', 'select 10 / $1::int'), raw.bind('', ['0']), raw.execute());
  await ask(another, raw.parse('', "select 'secret'"));
  assert.equal(raw.firstValue(await ask(client, raw.bind('', ['5']), raw.execute())), '2');

  client.send(raw.parse('', 'select broken'), raw.sync(), raw.parse('', 'select 3'), raw.sync());
  assert.equal(raw.types([...(await client.readUntil('Z')), ...(await client.readUntil('Z'))]), 'EZ1Z');
  await ask(another, raw.parse('', "select 'secret'"));
  assert.equal(raw.firstValue(await ask(client, raw.bind(), raw.execute())), '3');
});

test('a pipeline after a failed one waits until it is known which unnamed statement the server has', async (t) => {
  const [client, another] = [await bouncer.login(t, 'plain'), await bouncer.login(t, 'plain')];
  await ask(client, raw.parse('', 'select 7'));
  await ask(another, raw.parse('', "select 'secret'"));
  const bindAndExecute = [raw.bind(), raw.execute(), raw.sync()];
  client.send(raw.parse('named', 'select broken'), ...bindAndExecute, ...bindAndExecute);
  assert.equal(raw.types(await client.readUntil('Z')), 'EZ');
  assert.equal(raw.firstValue(await client.readUntil('Z')), '7');
});

test('an unnamed statement that arrives in pieces is kept, and one that is too long ends with its link', async (t) => {
  const [client, another] = [await bouncer.login(t, 'plain'), await bouncer.login(t, 'plain')];
  const parse = raw.parse('', `select '${'x'.repeat(1000)}'`);
  client.send(parse.subarray(0, 500));
  await ask(another, raw.parse('', 'select 1'));
  await ask(client, parse.subarray(500));
  await ask(another, raw.parse('', 'select 1'));
  assert.equal(raw.firstValue(await ask(client, raw.bind(), raw.execute()))!.length, 1000);

  const long = raw.parse('', `select '${'y'.repeat(100_000)}'`);
  assert.equal(raw.firstValue(await ask(client, long, raw.bind(), raw.execute()))!.length, 100_000);
  await ask(client, long);
  assert.equal(code(await ask(client, raw.bind(), raw.execute())), '26000');
});
