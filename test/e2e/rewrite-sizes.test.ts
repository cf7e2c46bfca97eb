/** The sizes of queries that are rewritten, and the pieces in which they may arrive. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';

const server = await Cluster.start({ after });

async function connect(scope: Scope, rule: string, settings: Record<string, string>): Promise<RawClient> {
  const bouncer = await Bouncer.start(scope, {
    databases: { dev: server.connectionString() },
    settings: { pool_mode: 'transaction', ...settings },
    files: { 'user-functions/rewrite_query.ts': rule },
  });
  return RawClient.login(bouncer, { user: 'postgres', database: 'dev' });
}

/** The types of all frames, with the values of rows and the SQLSTATEs of errors. */
function shape(frames: raw.Frame[]): string {
  return frames
    .map((frame) =>
      frame.type === 'D'
        ? `D(${rowValues(frame).join(',')})`
        : frame.type === 'E'
          ? `E(${errorFields(frame)['C']})`
          : frame.type,
    )
    .join('');
}

for (const [policy, overLimit] of [
  ['pass', 'pass'],
  ['pass', 'error'],
  ['error', 'pass'],
] as const) {
  const passes = policy === 'pass' && overLimit === 'pass';
  test(`policy ${policy}, over limits ${overLimit}: only the text counts, up to the last byte that is allowed`, async (t) => {
    const client = await connect(
      t,
      "export const rewrite_query = (u: string, q: string) => q.replace('(x', '(y').replace(\"('x\", \"('y\");",
      {
        user_function_max_query: '1000',
        rewrite_query_on_failure: policy,
        user_function_over_limit: overLimit,
      },
    );
    const ofLength = (length: number): string => {
      const [head, tail] = ["SELECT left('", "', 1), $1::text"];
      return head + 'x'.repeat(length - head.length - tail.length) + tail;
    };
    for (const length of [999, 1000, 1001, 5_000, 500_000]) {
      const sql = ofLength(length);
      assert.equal(sql.length, length);
      const isSeen = length <= 1000;
      const first = isSeen ? 'y' : 'x';
      for (const name of ['', `statement_${length}`]) {
        client.send(raw.parse(name, sql, [25]), raw.bind(name, ['v']), raw.execute(), raw.sync());
        assert.equal(
          shape(await client.readUntil('Z')),
          isSeen || passes ? `12D(${first},v)CZ` : 'E(38000)Z',
          `Parse of ${length} as "${name}"`,
        );
      }
      const simple = sql.replace('$1::text', "'v'".padEnd(8));
      assert.equal(
        shape(await client.query(simple)),
        isSeen || passes ? `TD(${first},v)CZ` : 'E(38000)Z',
        `Query of ${length}`,
      );
    }
  });
}

test('the values of a Bind and the data of a COPY are not part of the query, whatever their size', async (t) => {
  const client = await connect(t, "export const rewrite_query = (u, q) => q.replace('old', 'y');", {
    user_function_max_query: '100',
    rewrite_query_on_failure: 'error',
  });
  const large = 'v'.repeat(300_000);
  for (const name of ['', 's']) {
    client.send(
      raw.parse(name, 'SELECT length($1)', [25]),
      raw.bind(name, [large]),
      raw.execute(),
      raw.sync(),
    );
    assert.equal(shape(await client.readUntil('Z')), '12D(300000)CZ');
  }
  assert.equal(shape(await client.query('CREATE TABLE copied (y text)')), 'CZ');
  client.send(raw.query('COPY copied (old) FROM STDIN'));
  await client.readUntil('G');
  client.send(raw.copyData(`${large}\n`), raw.copyDone());
  assert.equal(shape(await client.readUntil('Z')), 'CZ');
  assert.equal(shape(await client.query('SELECT length(old) FROM copied')), 'TD(300000)CZ');
});

test('longer and shorter texts in pipelines, cut at every byte', async (t) => {
  const client = await connect(
    t,
    `export const rewrite_query = (u: string, q: string) =>
      q.replace("'short'", "'a much longer one'").replace("'one that is long'", "'s'");`,
    {},
  );
  const bytes = Buffer.concat([
    raw.parse('', "SELECT 'short', $1", [25]),
    raw.bind('', ['v']),
    raw.execute(),
    raw.parse('s', "SELECT 'one that is long', $1", [25]),
    raw.bind('s', ['w']),
    raw.execute(),
    raw.close('S', 's'),
    raw.sync(),
    raw.query("SELECT 'short'"),
    raw.query("SELECT 'as it is'"),
  ]);
  const expected = '12D(a much longer one,v)C12D(s,w)C3Z|TD(a much longer one)CZ|TD(as it is)CZ';
  const answers = async (): Promise<string> => {
    const parts: string[] = [];
    while (parts.length < 3) parts.push(shape(await client.readUntil('Z')));
    return parts.join('|');
  };
  for (let at = 1; at < bytes.length; at++) {
    client.send(bytes.subarray(0, at));
    await nextTurn();
    client.send(bytes.subarray(at));
    assert.equal(await answers(), expected, `cut at byte ${at}`);
  }
  for (const byte of bytes) {
    client.send(Buffer.of(byte));
    await nextTurn();
  }
  assert.equal(await answers(), expected, 'byte by byte');
});
