/** Three proxies that share the versions of a tenant's functions: commands, deployments, outages of the store, restarts. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { until } from '../support/wait.ts';
import { allAnswer, answerOf, answers, clients, fleet, member, restart, RULE, rule } from './acme.ts';
import { fleetOf } from './support.ts';

const scope = { after };
const [store, server] = await Promise.all([Cluster.start(scope), Cluster.start(scope)]);
const servers = { store, server };

/** `number state`, newest first. */
async function versions(bouncer: Bouncer): Promise<string> {
  const rows = await bouncer.admin('SHOW FUNCTION VERSIONS acme');
  return rows
    .map(({ number, state, pinned_by: by }) => [number, state, by].filter(Boolean).join(' '))
    .join(', ');
}

test('deployments and commands on one proxy hold for all, a new proxy serves what the others serve', async (t) => {
  const [a, b, c] = await fleet(t, servers);
  await a.writeFile(RULE, rule('two'));
  await allAnswer(t, [a, b, c], 'two');
  assert.equal(await versions(a), '2 serving, 1 kept');
  assert.equal(await versions(b), '2 serving (fleet), 1 kept');
  const [row] = await b.admin('SHOW TENANTS');
  assert.equal(row!['state'], "fleet's version");
  // the others get the file later
  for (const each of [b, c]) await each.writeFile(RULE, rule('two'));
  await until('b to have caught up', async () => (await versions(b)) === '2 serving, 1 kept');
  await b.admin('ROLLBACK FUNCTIONS acme TO 1');
  await allAnswer(t, [a, b, c], 'one');
  await until('the pin', async () => (await versions(c)) === '2 kept, 1 serving pgbouncer');
  await c.admin('RESUME FUNCTIONS acme');
  await allAnswer(t, [a, b, c], 'two');
  await a.admin('PAUSE FUNCTIONS acme ERROR');
  for (const each of [a, b, c]) await until('PAUSE', async () => /paused/.test(await answerOf(t, each)));
  await b.admin('RESUME FUNCTIONS acme');
  await allAnswer(t, [a, b, c], 'two');
  const d = await member(t, servers, 'd', { [RULE]: rule('zero') });
  await d.start();
  await answers(t, d, 'two');
  await d.waitForLog(/the files here hold version \w+, and the fleet serves another one/);
  // its file is a candidate there
  await d.admin('PROMOTE FUNCTIONS acme');
  await allAnswer(t, [a, b, c, d], 'zero');
});

test('a proxy without files serves what the fleet serves, and follows it', async (t) => {
  const [a, b, c] = await fleet(t, servers);
  const bare = await member(t, servers, 'bare', { 'rules/acme/notes.txt': '' });
  await bare.start();
  await answers(t, bare, 'one');
  await a.writeFile(RULE, rule('two'));
  await allAnswer(t, [a, b, c, bare], 'two');
  await restart(bare);
  await answers(t, bare, 'two');
  await bare.admin('ROLLBACK FUNCTIONS acme TO 1');
  await allAnswer(t, [a, b, c, bare], 'one');
  await a.admin('RESUME FUNCTIONS acme');
  await allAnswer(t, [a, b, c, bare], 'two');
  // the first file of its own is news for all
  await bare.writeFile(RULE, rule('three'));
  await allAnswer(t, [a, b, c, bare], 'three');
});

test('a race of two commands ends with one version everywhere', async (t) => {
  const three = await fleet(t, servers);
  const [a, b, c] = three;
  for (const name of ['two', 'three']) {
    await a.writeFile(RULE, rule(name));
    await allAnswer(t, three, name);
  }
  await Promise.all([b.admin('ROLLBACK FUNCTIONS acme TO 1'), c.admin('ROLLBACK FUNCTIONS acme TO 2')]);
  const winner = await until('agreement', async () => {
    const [first, ...others] = await Promise.all(three.map((each) => answerOf(t, each)));
    return first !== 'three' && others.every((other) => other === first) ? first! : null;
  });
  assert.ok(['one', 'two'].includes(winner));
});

test('the same file that is saved everywhere at the same moment is one version', async (t) => {
  const three = await fleet(t, servers);
  await Promise.all(three.map((each) => each.writeFile(RULE, rule('two'))));
  await allAnswer(t, three, 'two');
  for (const each of three)
    await until('one number', async () => (await versions(each)) === '2 serving, 1 kept');
});

test('without the store each proxy goes on, a command says so, and holds for all when the store is back', async (t) => {
  const three = await fleet(t, servers);
  const [a, b, c] = three;
  await a.writeFile(RULE, rule('two'));
  await allAnswer(t, three, 'two');
  await store.stop();
  await until('the loss', async () => /away/.test((await fleetOf(a))[0]!.store));
  const client = await a.connect({ user: 'pgbouncer', database: 'pgbouncer' });
  const notices: string[] = [];
  client.on('notice', ({ message }) => notices.push(message ?? ''));
  await client.query('ROLLBACK FUNCTIONS acme TO 1');
  assert.match(notices.join('\n'), /this holds for this proxy alone/);
  await answers(t, a, 'one');
  await allAnswer(t, [b, c], 'two');
  // a proxy that starts now serves what it served
  await restart(b);
  await answers(t, b, 'two');
  assert.ok(b.logContains(/the fleet's store can't be reached/));
  await store.start();
  await allAnswer(t, three, 'one');
});

test('a rolling restart changes nothing, whatever the files hold by then', async (t) => {
  const three = await fleet(t, servers);
  const [a, b, c] = three;
  await a.writeFile(RULE, rule('two'));
  await allAnswer(t, three, 'two');
  await b.admin('ROLLBACK FUNCTIONS acme TO 1');
  await allAnswer(t, three, 'one');
  for (const each of three) {
    await restart(each);
    await allAnswer(t, three, 'one');
  }
  await b.admin('RESUME FUNCTIONS acme');
  await allAnswer(t, three, 'two');
  // what is saved after a restart is a deployment as ever
  await c.writeFile(RULE, rule('three'));
  await allAnswer(t, three, 'three');
  // one of them has lost its state, and its files are old
  await a.stop();
  await rm(join(a.folder, 'pgswitchyard-state'), { recursive: true });
  await a.writeFile(RULE, rule('one'));
  clients.delete(a);
  await a.start();
  await allAnswer(t, three, 'three');
  assert.equal((await versions(a)).split(',')[0], '3 serving (fleet)');
});

test('a damaged artifact in the store serves nowhere', async (t) => {
  const three = await fleet(t, servers);
  const [a] = three;
  await a.writeFile(RULE, rule('two'));
  await allAnswer(t, three, 'two');
  await store.sql(`UPDATE pgswitchyard.artifacts SET body = body || 'x'`);
  const d = await member(t, servers, 'd', { [RULE]: rule('own') });
  await d.start();
  await answers(t, d, 'own');
  await d.waitForLog(/does not serve what the fleet serves: the artifact of version \w+ .* is damaged/);
  await allAnswer(t, three, 'two');
});

test('a canary on one proxy is one on all, and its end is the end for all', async (t) => {
  const three = await fleet(t, servers);
  const [a, b, c] = three;
  await a.writeFile('rules/acme/rewrite_query.next.ts', rule('next'));
  await until('the candidate', async () => (await a.admin('SHOW SHADOW acme'))[0]!['what'] === 'shadow');
  await a.admin('CANARY FUNCTIONS acme 50%');
  const state = async (each: Bouncer): Promise<string> => {
    const [, candidate] = await each.admin('SHOW CANARY acme');
    return `${String(candidate!['state'])} ${String(candidate!['share'])}`;
  };
  for (const each of three) await until('the canary', async () => (await state(each)) === 'running 50%');
  await c.admin('CANARY FUNCTIONS acme OFF');
  for (const each of three) await until('its end', async () => /^ended: .*null$/.test(await state(each)));
  await a.admin('PROMOTE FUNCTIONS acme');
  await allAnswer(t, three, 'next');
  assert.equal(await versions(b), '2 serving pgbouncer, 1 kept');
});
