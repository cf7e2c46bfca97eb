/** The entry of the store in [databases] is for the proxies: with their user, a client could decide which rules run. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { givesAwayStore } from '../../src/config/fleet-store.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';

test('an entry gives the store away if it logs clients in as the user of the proxies', () => {
  const store = 'postgres:database=control';
  for (const [entry, user, text, expected] of [
    ['control', 'fleet', store, true],
    ['control', 'fleet', `${store} user=fleet`, true],
    // each client has its own rights there
    ['control', null, store, false],
    ['control', 'app', `${store} user=fleet`, false],
    ['data', 'fleet', store, false],
    ['control', 'fleet', 'postgres:host=db dbname=control user=fleet', false],
    ['control', 'fleet', '', false],
  ] as const)
    assert.equal(givesAwayStore(entry, user, text), expected, `${entry} ${user} ${text}`);
});

test('clients neither log in to the store nor are routed there', async (t) => {
  const cluster = await Cluster.start({ after });
  const bouncer = await Bouncer.start(t, {
    databases: {
      data: cluster.connectionString(),
      control: `${cluster.connectionString()} user=postgres`,
    },
    settings: { fleet_store: 'postgres:database=control' },
    files: {
      'user-functions/routing_rules.ts':
        "export const routing_rules = (_user: string, query: string) => (query.includes('steal') ? 'control' : null);",
    },
  });
  await bouncer.waitForLog(/user functions loaded/);
  const refused = { code: '42501', message: 'database "control" is the store of the fleet' };
  await assert.rejects(bouncer.connect({ database: 'control' }), refused);
  const client = await bouncer.connect({ database: 'data' });
  await assert.rejects(client.query('SELECT 1 /* steal */'), refused);
  assert.equal((await client.query('SELECT 1')).rowCount, 1);
});
