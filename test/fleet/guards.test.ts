/**
 * A proxy without files of its own that does not get a tenant's rule from the store: queries that the rule guards do not
 * pass.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';
import { answerOf, answers, clients, member, restart, RULE, rule } from './acme.ts';
import { initFleet } from './support.ts';

const scope = { after };
const [store, server] = await Promise.all([Cluster.start(scope), Cluster.start(scope)]);
const servers = { store, server };
const REFUSED = 'user function failed: no_version';

const bare = (t: Scope, name: string): Promise<Bouncer> =>
  member(t, servers, name, { 'rules/acme/notes.txt': '' });

/** The artifacts of so many versions are in the store. */
async function stored(count: number): Promise<void> {
  await until('the artifact', async () => {
    const rows = await store.sql('SELECT FROM pgswitchyard.artifacts');
    return rows.length === count;
  });
}

const one = await member(scope, servers, 'one', { [RULE]: rule('one') });
await initFleet(one);
await one.start();
await answers(scope, one, 'one');
await stored(1);

test('it starts while the store is away, and serves the rule when the store is back', async (t) => {
  const proxy = await bare(t, 'early');
  await store.stop();
  await proxy.start();
  assert.equal(await answerOf(t, proxy), REFUSED);
  await store.start();
  await answers(t, proxy, 'one');
  // what it has served is in its state folder
  await store.stop();
  await restart(proxy);
  assert.equal(await answerOf(t, proxy), 'one');
  await store.start();
});

test('the rule in the store is damaged, and another one is saved', async (t) => {
  await store.sql(`UPDATE pgswitchyard.artifacts SET body = 'x' || body`);
  const proxy = await bare(t, 'late');
  await proxy.start();
  assert.equal(await answerOf(t, proxy), REFUSED);
  await restart(proxy);
  assert.equal(await answerOf(t, proxy), REFUSED);
  await one.writeFile(RULE, rule('two'));
  await answers(t, proxy, 'two');
});

test('there is no rule in the store: queries pass as soon as this is known', async (t) => {
  const proxy = await bare(t, 'idle');
  await one.stop();
  clients.delete(one);
  await store.stop();
  await proxy.start();
  assert.equal(await answerOf(t, proxy, "SELECT 'unguarded'"), REFUSED);
  await store.start();
  await proxy.stop();
  clients.delete(proxy);
  await store.sql('DELETE FROM pgswitchyard.shared');
  await proxy.start();
  await until('it to pass', async () => (await answerOf(t, proxy, "SELECT 'unguarded'")) === 'unguarded');
});
