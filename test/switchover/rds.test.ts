/** docs/deploy/rds.md: its rights and its topology query, with a function of our own in the place of RDS'. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { planned, setUp, Writer } from './pair.ts';

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'deploy', 'rds.md'), 'utf8');
const grants = /```sql\n([^]*?)```/.exec(page)![1]!.replace(/^CREATE EXTENSION.*\n/m, '');
const [topologyQuery] = /topology_query='.*'$/m.exec(page)!;

/** What the extension rds_tools has, with the nodes of the test. Nobody may use it without a grant. */
const RDS_TOOLS = `CREATE SCHEMA rds_tools;
  CREATE FUNCTION rds_tools.show_topology(source text DEFAULT NULL) RETURNS TABLE (id text, endpoint text, port int)
    LANGUAGE sql SECURITY DEFINER AS $$ SELECT 'db-' || port, endpoint, port FROM public.nodes $$;
  REVOKE ALL ON FUNCTION rds_tools.show_topology(text) FROM PUBLIC;`;

test('the rights and the query of the page suffice to follow the writer of three nodes', async (t) => {
  const { primary, standby, standbys, bouncer } = await setUp(t, {
    standbys: 2,
    sql: `${RDS_TOOLS}\n${grants}`,
    settings: { auth_user: 'pooler' },
    database: (writer) => `${writer.connectionString()} ${topologyQuery}`,
  });
  const states = async (): Promise<unknown[]> =>
    (await bouncer.admin('SHOW TOPOLOGY')).map(({ role, state }) => [role, state]).toSorted();
  assert.deepEqual(await states(), [
    ['reader', 'ready'],
    ['reader', 'ready'],
    ['writer', 'serving'],
  ]);
  const onReader = await bouncer.sql('SELECT pg_is_in_recovery() AS reads', { database: 'dev@readers' });
  assert.deepEqual(onReader, [{ reads: true }]);

  const writer = await Writer.start(bouncer, 1, 'extended');
  await writer.progress(20);
  await planned(primary, standby);
  await writer.progress(20);
  await writer.stop();
  assert.equal(writer.isLost, false);
  assert.deepEqual(writer.errors, []);
  assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  assert.equal(standbys.length, 2);
  const [last] = await bouncer.admin('SHOW SWITCHOVERS');
  assert.equal(last?.['to'], `${standby.host}:${standby.port}`);
});
