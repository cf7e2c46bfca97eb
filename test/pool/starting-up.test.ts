/** Clients of a server that is starting up. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';

test('a client keeps waiting while its server refuses logins because it is starting up', async (t) => {
  const cluster = await Cluster.start(t);
  const bouncer = await Bouncer.start(t, {
    databases: { dev: cluster.connectionString() },
    settings: { pool_mode: 'transaction', server_login_retry: '0.2' },
  });
  const client = await bouncer.connect();
  await client.query('SELECT 1');
  await cluster.stop();
  // it stays in recovery and accepts no logins
  await cluster.server.writeDataFile('standby.signal', '');
  cluster.server.settings['hot_standby'] = 'off';
  await cluster.start();
  let answer: unknown = null;
  const query = client.query('SELECT 1 AS one').then(
    ({ rows }) => (answer = rows[0]),
    (error: Error) => (answer = error.message),
  );
  const refusal =
    /S-0x\w+: \S+ server login failed: FATAL the database system is not (yet )?accepting connections/;
  for (let i = 0; i < 2; i++) {
    await bouncer.waitForLog(refusal);
    bouncer.markLog();
  }
  assert.equal(answer, null);
  await cluster.stop('immediate');
  await rm(join(cluster.server.dataFolder, 'standby.signal'));
  await cluster.start();
  await query;
  assert.deepEqual(answer, { one: 1 });
});
