/** Rules that see shapes, between real clients and a real server: no data is changed on the way, and none is shown. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues } from '../support/raw.ts';
import { constant } from '../support/sql-text.ts';

const server = await Cluster.start({ after });

/** Adds a column to queries, and shows its argument to those who ask. */
const RULE = `import { reject, type RewriteQuery } from 'pgswitchyard';
export const options = { sees: 'shape' };
export const rewrite_query: RewriteQuery = (username, query) =>
  query.includes('seen') ? reject(query)
  : query.startsWith('SELECT ') ? query.replace('SELECT', "SELECT 'via $1' AS via,") + ' -- $1'
  : query === 'TWICE $1 $2' ? 'SELECT $2, $1, $2'
  : null;
`;

const bouncer = await Bouncer.start(
  { after },
  {
    databases: { dev: server.connectionString() },
    settings: { pool_mode: 'transaction', rewrite_query_on_failure: 'error', rewritten_tag: 0 },
    files: { 'user-functions/rewrite_query.ts': RULE },
  },
);

interface Clients {
  /** through the proxy, and to the server itself */
  readonly proxied: RawClient;
  readonly direct: RawClient;
}

async function connect(encoding = 'UTF8'): Promise<Clients> {
  const login = { user: 'postgres', database: 'dev', client_encoding: encoding };
  const proxied = await RawClient.login(bouncer, login);
  const direct = await RawClient.login(server, { ...login, database: 'postgres' });
  after(() => [proxied, direct].forEach((client) => client.destroy()));
  return { proxied, direct };
}

/** The values of rows, and the SQLSTATE and message of errors. */
function outcome(frames: raw.Frame[]): (string | null | undefined)[] {
  return frames.flatMap((frame) => {
    if (frame.type === 'D') return rowValues(frame);
    if (frame.type !== 'E') return [];
    const { C, M } = errorFields(frame);
    return [C === '42501' ? M : C];
  });
}

async function ask(client: RawClient, sql: string): Promise<(string | null | undefined)[]> {
  return outcome(await client.query(sql));
}

async function prepared(client: RawClient, sql: string, values: string[]): Promise<unknown[]> {
  client.send(raw.parse('', sql), raw.bind('', values), raw.execute(), raw.sync());
  return outcome(await client.readUntil('Z'));
}

test('constants and parameters reach the server as they were', async () => {
  const { proxied } = await connect();
  assert.deepEqual(await ask(proxied, "SELECT 'a', 5, date'2020-01-01'"), ['via $1', 'a', '5', '2020-01-01']);
  assert.deepEqual(await ask(proxied, "TWICE 'a' 5"), ['5', 'a', '5']);
  assert.deepEqual(await ask(proxied, "SELECT 'a'; SELECT 'b' FROM (VALUES (1)) v"), ['via $1', 'a', 'b']);
  const values = await prepared(proxied, "SELECT $2::text || 'x', $1::int + 5", ['1', 'é']);
  assert.deepEqual(values, ['via $1', 'éx', '6']);
  assert.deepEqual(await prepared(proxied, "seen $1, 'a', $2", []), ['seen $1, $3, $2']);
  // the server's own complaint, about a query without an end
  assert.deepEqual(await ask(proxied, "VALUES ('a"), ['42601']);
});

test('any constants have the values that they have without the proxy', async () => {
  const { proxied, direct } = await connect();
  const between = fc.constantFrom(', ', ',', " || '' , ", '::text,', " /* it's */ , ", " -- it's\n , ");
  // on the same line two constants are a mistake, on two lines they are one
  const inner = fc.constantFrom('', '', " \n 'b'", " -- it's\n 'b'", " 'b'", "/**/\n'b'");
  let answered = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(constant, inner, between), { minLength: 1, maxLength: 6 }),
      async (parts) => {
        const sql = `SELECT ${parts.flat().join('')} 1`;
        const expected = await ask(direct, sql);
        const isRow = expected.length > 1;
        assert.deepEqual(
          await ask(proxied, sql),
          isRow ? ['via $1', ...expected] : expected,
          JSON.stringify(sql),
        );
        if (isRow) answered++;
      },
    ),
    { numRuns: 300 },
  );
  assert.ok(answered > 50, `${answered} rows`);
});

test('with standard_conforming_strings = off a rule sees the text', async () => {
  const { proxied } = await connect();
  assert.deepEqual(await ask(proxied, "seen 'a\\', 'b'"), ['seen $1, $2']);
  await proxied.query('SET standard_conforming_strings = off');
  assert.deepEqual(await ask(proxied, "seen 'a\\', 'b"), ["seen 'a\\', 'b"]);
  await proxied.query('SET standard_conforming_strings = on');
  assert.deepEqual(await ask(proxied, "seen 'a\\', 'b'"), ['seen $1, $2']);
});

test('a setting that is being changed while the next query arrives hides no code from a rule', async () => {
  const { proxied } = await connect();
  const hidden = "SELECT 'a\\', 'b; DROP TABLE seen; --'";
  proxied.send(raw.query('SET standard_conforming_strings = off'), raw.query(hidden));
  await proxied.readUntil('Z');
  // the rule sees the text as it is, and `seen` in it
  assert.deepEqual(outcome(await proxied.readUntil('Z')), [hidden]);
});

for (const name of ['', 'statement'])
  for (const isPipelined of [false, true])
    test(`a statement ${name === '' ? 'without' : 'with'} a name that another server gets under another setting${isPipelined ? ', under way,' : ''} hides no code`, async () => {
      const { proxied } = await connect();
      const { proxied: other } = await connect();
      const hidden = "VALUES ('a\\''), (seen()) --')";
      proxied.send(raw.parse(name, hidden), raw.bind(name), raw.execute(), raw.sync());
      assert.deepEqual(outcome(await proxied.readUntil('Z')), ["a\\'), (seen()) --"]);
      // the server that has the statement is taken
      await other.query('BEGIN');
      // a Query would drop the statement without a name
      proxied.send(raw.parse('set', 'SET standard_conforming_strings = off'));
      proxied.send(raw.bind('set'), raw.execute(), raw.sync());
      if (!isPipelined) await proxied.readUntil('Z');
      proxied.send(raw.bind(name), raw.execute(), raw.sync());
      if (isPipelined) await proxied.readUntil('Z');
      assert.deepEqual(outcome(await proxied.readUntil('Z')), [hidden]);
      await other.query('ROLLBACK');
    });

test("a backslash may be a character's second byte", async () => {
  const { proxied, direct } = await connect('SJIS');
  const sql = (text: string): Buffer => raw.message('Q', Buffer.from(`${text}\0`, 'latin1'));
  // 表 is 0x95 0x5c in SJIS
  const rows = async (client: RawClient, text: string): Promise<string[]> => {
    client.send(sql(text));
    const frames = await client.readUntil('Z');
    return frames.filter(({ type }) => type === 'D').map(({ payload }) => payload.toString('latin1'));
  };
  const text = "SELECT E'\x95\\', 'b', E'\\\\'";
  const [expected = ''] = await rows(direct, text);
  const [found = ''] = await rows(proxied, text);
  assert.ok(expected.endsWith('\x95\\\0\0\0\x01b\0\0\0\x01\\'), JSON.stringify(expected));
  assert.ok(found.endsWith(expected.slice(2)), JSON.stringify(found));
});
