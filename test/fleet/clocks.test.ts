/** Proxies whose clocks differ: times that others see are the store's. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { configFromText } from '../../src/config/load.ts';
import { StoreConnection } from '../../src/fleet/connection.ts';
import { NO_LOAD } from '../../src/fleet/load.ts';
import { readOthers, register } from '../../src/fleet/proxies.ts';
import { RefusedRows } from '../../src/fleet/refused-rows.ts';
import { initializeSchema } from '../../src/fleet/schema.ts';
import { Cluster } from '../support/cluster.ts';

const HOUR_MS = 3_600_000;

test('the uptime of another proxy does not depend on any clock but the one of the store', async (t) => {
  const store = await Cluster.start({ after });
  const connection = await StoreConnection.open({
    target: {
      hosts: [{ host: store.host, port: store.port }],
      database: 'postgres',
      user: 'postgres',
      password: null,
      sslmode: 'prefer',
      sslnegotiation: 'postgres',
    },
    settings: configFromText('[pgbouncer]\n').settings,
    name: 'test',
    answerMs: 10_000,
  });
  after(() => connection.close());
  await initializeSchema(connection, null);
  // the proxy that starts is three hours ahead
  const realNow = Date.now;
  t.mock.method(Date, 'now', () => realNow() + 3 * HOUR_MS);
  await register(
    connection,
    { name: 'ahead', instance: crypto.randomUUID(), startedAtMs: Date.now() - HOUR_MS },
    { address: null, port: 6432, state: 'serving', heartbeatMs: 5_000, load: NO_LOAD },
    { wish: { configured: 0, present: 0, taken: [] }, isSuccessor: true },
  );
  t.mock.restoreAll();
  const [other] = await readOthers(connection, 'reader', new RefusedRows({ warn() {} }));
  assert.equal(Math.round((Date.now() - other!.startedAtMs) / HOUR_MS), 1);
});
