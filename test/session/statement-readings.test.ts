/** Equal bytes that are another statement under other settings: clients share a prepared statement only if both read it alike. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues } from '../support/raw.ts';

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: { db: cluster.connectionString() },
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
  },
);
const direct = { host: cluster.host, port: cluster.port };

/** Two backslashes are one character while standard_conforming_strings is off. */
const ESCAPE = String.raw`select length('a\\b')`;
const UTF8 = "select octet_length('é')";

async function value(client: RawClient, ...messages: Buffer[]): Promise<string> {
  client.send(...messages, raw.sync());
  const frames = await client.readUntil('Z');
  const error = frames.find(({ type }) => type === 'E');
  if (error !== undefined) return errorFields(error)['C'] ?? '';
  const row = frames.find(({ type }) => type === 'D');
  return row === undefined ? 'none' : String(rowValues(row)[0]);
}

const prepared = (text: string): Buffer[] => [raw.parse('s', text), raw.bind('s'), raw.execute()];

for (const [what, text, set] of [
  ['standard_conforming_strings', ESCAPE, 'set standard_conforming_strings = off'],
  ['client_encoding', UTF8, "set client_encoding = 'LATIN1'"],
] as const)
  for (const [first, second] of [
    ['select 1', set],
    [set, 'select 1'],
  ] as const)
    test(`two clients with another ${what} don't share a statement of equal bytes (${first} before ${second})`, async (t) => {
      const answers = async (place: 'proxy' | 'direct'): Promise<string[]> => {
        const said: string[] = [];
        const clients: RawClient[] = [];
        for (const command of [first, second]) {
          const options = { user: 'postgres', database: place === 'proxy' ? 'db' : 'postgres' };
          const client =
            place === 'proxy' ? await bouncer.login(t, 'db') : await RawClient.login(direct, options);
          t.after(() => client.end());
          clients.push(client);
          await client.query(command);
          said.push(await value(client, ...prepared(text)));
        }
        for (const client of clients) said.push(await value(client, raw.bind('s'), raw.execute()));
        return said;
      };
      const expected = await answers('direct');
      assert.notEqual(expected[0], expected[1]);
      assert.deepEqual(await answers('proxy'), expected);
    });

test('a SET in the same pipeline counts, although nothing has reported it yet', async (t) => {
  const [one, two] = [await bouncer.login(t, 'db'), await bouncer.login(t, 'db')];
  const set = [raw.parse('', 'set standard_conforming_strings = off'), raw.bind(), raw.execute()];
  const escaped = await value(one, ...set, ...prepared(ESCAPE));
  const plain = await value(two, ...prepared(ESCAPE));
  assert.notEqual(plain, escaped);
  assert.equal(await value(one, raw.bind('s'), raw.execute()), escaped);
});

test('clients share a statement that all settings read alike', async (t) => {
  const [one, two] = [await bouncer.login(t, 'db'), await bouncer.login(t, 'db')];
  await two.query('set standard_conforming_strings = off');
  for (const client of [one, two]) assert.equal(await value(client, ...prepared("select 'alike'")), 'alike');
  const count = "select count(*) from pg_prepared_statements where statement = 'select ''alike'''";
  assert.equal(String(raw.firstValue(await one.query(count))), '1');
});

test('a statement is not prepared on another server under settings that read it otherwise', async (t) => {
  const client = await bouncer.login(t, 'db');
  const plain = await value(client, ...prepared(ESCAPE));
  await client.query('set standard_conforming_strings = off');
  // the server still has it as it was read
  assert.equal(await value(client, raw.bind('s'), raw.execute()), plain);
  await bouncer.admin('RECONNECT');
  assert.equal(await value(client, raw.bind('s'), raw.execute()), '26000');
  await client.query('set standard_conforming_strings = on');
  assert.equal(await value(client, raw.bind('s'), raw.execute()), plain);
});
