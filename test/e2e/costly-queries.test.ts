/** Clients whose queries make a rule hang, and other clients beside them, at a real server. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import type { Scope } from '../support/scope.ts';

const server = await Cluster.start({ after }, { sql: 'CREATE TABLE t (a int)' });
const GUARD = `import { reject } from 'pgswitchyard';
export function rewrite_query(u: string, q: string) {
  if (q.includes('loop')) for (;;);
  if (/insert/i.test(q)) reject('read-only', { code: '25006' });
  return null;
}`;
const GALLERY = readFileSync(
  new URL('../../user-functions/gallery/read-only-filter/rewrite_query.ts', import.meta.url),
  'utf8',
);

function start(scope: Scope, rule: string, policy: string): Promise<Bouncer> {
  return Bouncer.start(scope, {
    databases: { dev: server.connectionString() },
    settings: {
      pool_mode: 'transaction',
      rewrite_query_on_failure: policy,
      user_function_over_limit: 'pass',
      user_function_timeout: 50,
    },
    files: { 'user-functions/rewrite_query.ts': rule },
  });
}

for (const policy of ['pass', 'error']) {
  test(`policy ${policy}: endless queries of one client neither let an INSERT of another through nor refuse its SELECT`, async (t) => {
    const bouncer = await start(t, GUARD, policy);
    const attacker = await bouncer.connect({ database: 'dev' });
    const other = await bouncer.connect({ database: 'dev' });
    let going = true;
    const attack = (async (): Promise<void> => {
      for (let i = 0; going; i++) {
        const query = attacker.query(`SELECT 1 AS loop /* ${i} */`);
        if (policy === 'pass') await query;
        else await assert.rejects(query, { code: '38000' });
      }
    })();
    for (let i = 0; i < 20; i++) {
      await assert.rejects(other.query(`INSERT INTO t VALUES (${i})`), { code: '25006' });
      assert.deepEqual((await other.query('SELECT count(*)::int AS n FROM t')).rows, [{ n: 0 }]);
    }
    going = false;
    await attack;
  });

  test(`policy ${policy}: long comments that slow down the read-only filter do not affect other clients`, async (t) => {
    const bouncer = await start(t, GALLERY, policy);
    const attacker = await bouncer.connect({ database: 'dev' });
    const other = await bouncer.connect({ database: 'dev' });
    for (const length of [60_000, 1_000_000]) {
      for (let i = 0; i < 8; i++) {
        const query = attacker.query(`select 1 /${'*'.repeat(length)}${i}*/`);
        if (length === 60_000 || policy === 'pass') await query;
        else await assert.rejects(query, { code: '38000' });
        await assert.rejects(other.query(`INSERT INTO t VALUES (${i})`), { code: '25006' });
        await other.query('SELECT 1');
      }
    }
    assert.deepEqual((await other.query('SELECT count(*)::int AS n FROM t')).rows, [{ n: 0 }]);
  });

  test(`policy ${policy}: while a rule is suspended nothing passes unjudged, and transactions can be ended`, async (t) => {
    const bouncer = await start(t, GUARD, policy);
    const clients = await Promise.all(Array.from({ length: 5 }, () => bouncer.connect({ database: 'dev' })));
    await Promise.all(clients.map((client) => client.query('BEGIN')));
    // from here on the rule gives no answers
    for (const [i, client] of clients.entries())
      await client.query(`SELECT 1 AS loop${', 1'.repeat(i)}`).catch(() => {});
    const [client] = clients;
    // 25006: on a slow machine the suspension has ended by now, and the query is judged
    await assert.rejects(client!.query('INSERT INTO t VALUES (1)'), { code: /^(?:53000|25006)$/ });
    assert.equal((await client!.query('ROLLBACK')).command, 'ROLLBACK');
    for (const each of clients) await each.query('ROLLBACK');
    assert.deepEqual(await server.sql('SELECT count(*)::int AS n FROM t'), [{ n: 0 }]);
  });
}
