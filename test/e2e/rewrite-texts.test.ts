/** A rewritten query may be any text that the client's encoding can represent. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';

const server = await Cluster.start({ after });

const RULE = `const texts: Record<string, string> = {
  "SELECT 'empty'": '',
  "SELECT 'several'": "SELECT 'one'; SELECT 'two'",
  "SELECT 'accent'": "SELECT 'é'",
  "SELECT 'euro'": "SELECT '€'",
  "SELECT 'emoji'": "SELECT '😀😀'",
  // its lower bytes would be a quote and the end of the text
  "SELECT 'forged'": "SELECT 'ħ\\u0100'",
};
export const rewrite_query = (username: string, query: string): string | null =>
  query.includes('gehört') ? fail() : texts[query] ?? (query.includes('padded') ? query + ' ' : null);
`;

async function connect(scope: Scope, encoding: string): Promise<RawClient> {
  const bouncer = await Bouncer.start(scope, {
    databases: { dev: server.connectionString() },
    settings: { pool_mode: 'transaction', rewrite_query_on_failure: 'error' },
    files: { 'user-functions/rewrite_query.ts': RULE },
  });
  return RawClient.login(bouncer, { user: 'postgres', database: 'dev', client_encoding: encoding });
}

/** The single values of rows, and the SQLSTATEs of errors. */
function outcome(frames: raw.Frame[]): (string | null | undefined)[] {
  return frames.flatMap((frame) =>
    frame.type === 'D' ? rowValues(frame) : frame.type === 'E' ? [errorFields(frame)['C']] : [],
  );
}

async function both(client: RawClient, sql: string): Promise<unknown[]> {
  const simple = outcome(await client.query(sql));
  client.send(raw.parse('', sql), raw.bind(), raw.execute(), raw.sync());
  return [...simple, '|', ...outcome(await client.readUntil('Z'))];
}

test('a rewritten text may be empty, have several statements, and contain any characters', async (t) => {
  const client = await connect(t, 'UTF8');
  assert.deepEqual(await both(client, "SELECT 'empty'"), ['|']);
  // a Parse takes only one statement, which the server reports
  assert.deepEqual(await both(client, "SELECT 'several'"), ['one', 'two', '|', '42601']);
  assert.deepEqual(await both(client, "SELECT 'emoji'"), ['😀😀', '|', '😀😀']);
  assert.deepEqual(await both(client, "SELECT 'as it is'"), ['as it is', '|', 'as it is']);
});

test("a rewritten text with characters that the client's encoding lacks is a failure, and reaches no server", async (t) => {
  const client = await connect(t, 'LATIN1');
  for (const name of ['euro', 'emoji', 'forged'])
    assert.deepEqual(await both(client, `SELECT '${name}'`), ['38000', '|', '38000']);
  const row = (await client.query("SELECT 'accent'")).find((frame) => frame.type === 'D')!;
  assert.equal(row.payload.toString('latin1').at(-1), 'é');
  assert.deepEqual(await both(client, "SELECT 'as it is'"), ['as it is', '|', 'as it is']);
});

// servers read these clients' texts as UTF-8, and so must a rule that looks for a name, from the first query on
for (const encoding of ['utf_8', 'Unicode', 'SQL_ASCII']) {
  test(`a rule sees the characters that the server sees (client_encoding ${encoding})`, async (t) => {
    const client = await connect(t, encoding);
    assert.deepEqual(await both(client, "SELECT 'gehört'"), ['38000', '|', '38000']);
    assert.deepEqual(await both(client, "SELECT 'euro'"), ['€', '|', '€']);
  });
}

test('bytes that are not UTF-8 stay as they are, and the server refuses them', async (t) => {
  const client = await connect(t, 'UTF8');
  for (const name of ['caf\xe9', 'caf\xc3\xa9']) {
    client.send(raw.message('Q', Buffer.from(`SELECT 'padded ${name}'\0`, 'latin1')));
    const expected = name.length === 4 ? ['22021'] : ['padded café'];
    assert.deepEqual(outcome(await client.readUntil('Z')), expected);
  }
});
