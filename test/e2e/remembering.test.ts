/** Remembered decisions with real clients and servers: the answers are those of a rule that is asked each time. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { DatabaseError } from 'pg';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after }, { sql: "CREATE TABLE t AS SELECT 'kept' AS who" });

const RULE = `
export function rewrite_query(username: string, query: string, in_transaction: boolean): string | null {
  if (query.includes('forbidden')) reject('this is forbidden', { hint: 'ask for something else', code: '42501' });
  if (query.includes('place')) return query.replace('place', in_transaction ? "'inside'" : "'outside'");
  return null;
}
export function routing_rules(username: string, query: string): string | null {
  return query.includes('elsewhere') ? 'other' : null;
}
`;

/** A query, and the first value of its answer or its error. */
const QUERIES: readonly (readonly [string, string])[] = [
  ['SELECT who FROM t', 'kept'],
  ['SELECT place', 'outside'],
  ['SELECT $1::text', 'parameter'],
  ["SELECT 'forbidden'", '42501 this is forbidden (ask for something else)'],
  ["SELECT 'elsewhere'", 'elsewhere'],
  ['BEGIN', ''],
  ['SELECT place', 'inside'],
  ["SELECT 'forbidden'", '42501 this is forbidden (ask for something else)'],
  [
    'SELECT who FROM t',
    '25P02 current transaction is aborted, commands ignored until end of transaction block ()',
  ],
  ['ROLLBACK', ''],
  ['SELECT place', 'outside'],
  ["SELECT 'ü' || chr(9731)", 'ü☃'],
];

for (const isolation of ['inline', 'process'] as const)
  for (const isExtended of [false, true])
    test(`${isExtended ? 'extended' : 'simple'} queries (${isolation})`, async (t) => {
      const bouncer = await Bouncer.start(t, {
        databases: { db: cluster.connectionString(), other: cluster.connectionString() },
        files: { 'user-functions/rewrite_query.ts': RULE },
        settings: {
          pool_mode: 'transaction',
          user_function_isolation: isolation,
          routing_rules_on_failure: 'error',
          rewrite_query_on_failure: 'error',
        },
      });
      const row = async (): Promise<Record<string, unknown>> => (await bouncer.admin('SHOW TENANTS'))[0]!;
      const clients = await Promise.all([
        bouncer.connect({ database: 'db' }),
        bouncer.connect({ database: 'db' }),
      ]);
      for (let round = 0; round < 4; round++) {
        const client = clients[round % 2]!;
        for (const [text, expected] of QUERIES) {
          const hasParameter = text.includes('$1');
          if (hasParameter && !isExtended) continue;
          const values = hasParameter ? ['parameter'] : [];
          const said = await client
            .query({ text, values, rowMode: 'array', ...(isExtended && { queryMode: 'extended' }) })
            .then(
              ({ rows }) => String((rows as string[][])[0]?.[0] ?? ''),
              (error: unknown) => {
                assert.ok(error instanceof DatabaseError);
                return `${error.code} ${error.message} (${error.hint ?? ''})`;
              },
            );
          assert.equal(said, expected, `${text} in round ${round}`);
        }
      }
      const { calls, hits, misses } = await row();
      // the first call may have come before a version was loaded
      assert.ok(Number(calls) - Number(hits) - Number(misses) <= 1);
      assert.ok(Number(hits) >= 30, `${String(hits)} hits`);
      assert.equal((await bouncer.admin('SHOW FUNCTIONS'))[0]!['remembered'], 'yes');

      await bouncer.admin('PAUSE FUNCTIONS "(operator)"');
      await assert.rejects(clients[0]!.query('SELECT who FROM t'), { code: '38000' });
      await bouncer.admin('RESUME FUNCTIONS "(operator)"');
      await bouncer.writeFile(
        'user-functions/rewrite_query.ts',
        RULE.replace("'outside'", "'after a change'"),
      );
      await until('the next version to serve', async () => {
        const { rows } = await clients[0]!.query<{ x: string }>('SELECT place AS x');
        return rows[0]!.x === 'after a change';
      });
    });
