/** Canaries of a fleet: compared on each proxy, ended and promoted for all, and kept over a restart. */
import { after, test } from 'node:test';
import type { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';
import { allAnswer, fleet, restart, rule, type Three } from './acme.ts';

const scope = { after };
const [store, server] = await Promise.all([Cluster.start(scope), Cluster.start(scope)]);
const servers = { store, server };
/** It passes its trial. */
const WORSE =
  "export const rewrite_query = (user: string, query: string) => { if (/select .$/.test(query)) throw new Error('worse'); return null; };";
const NEXT = 'rules/acme/rewrite_query.next.ts';

async function state(bouncer: Bouncer): Promise<string> {
  const [, candidate] = await bouncer.admin('SHOW CANARY acme');
  return String(candidate!['state']);
}

/** Three proxies, of which the first has a candidate. */
async function withCandidate(t: Scope, text: string, settings = {}): Promise<Three> {
  const three = await fleet(t, servers, settings);
  const [a] = three;
  await a.writeFile(NEXT, text);
  await until('the candidate', async () => (await a.admin('SHOW SHADOW acme'))[0]!['what'] === 'shadow');
  return three;
}

/** Many clients, told apart by their application_name, ask again and again until the test has ended or `isEnough`. */
async function load(t: Scope, bouncer: Bouncer, isEnough: () => Promise<boolean>): Promise<void> {
  const clients = await Promise.all(
    Array.from({ length: 12 }, (_, i) => bouncer.login(t, 'acme', { application_name: `app ${i}` })),
  );
  await until('enough', async () => {
    // a remembered decision takes no time, so the times of a busy machine are not compared
    for (let i = 0; i < 12; i++) await Promise.all(clients.map((client) => client.query('select 1')));
    return await isEnough();
  });
}

test('a canary goes on over a restart of one proxy, with its candidate from the store', async (t) => {
  const [a, b, c] = await withCandidate(t, rule('next'));
  await a.admin('CANARY FUNCTIONS acme 50%');
  for (const each of [a, b, c]) await until('the canary', async () => (await state(each)) === 'running');
  for (const each of [b, a]) {
    await restart(each);
    await each.login(t, 'acme').then((client) => client.query('select 1'));
    for (const one of [a, b, c]) await until('it to go on', async () => (await state(one)) === 'running');
  }
});

test('a canary that goes back on one proxy goes back on all', async (t) => {
  const [a, b, c] = await withCandidate(t, WORSE);
  await a.admin('CANARY FUNCTIONS acme 50%');
  for (const each of [b, c]) await until('the canary', async () => (await state(each)) === 'running');
  await load(t, b, async () => (await state(b)).startsWith('went back'));
  for (const each of [a, c]) await until('its end', async () => (await state(each)).startsWith('went back'));
});

test('a canary that has proved itself on one proxy is promoted on all', async (t) => {
  const three = await withCandidate(t, rule('next'), { canary_duration: 1 });
  const [a, b] = three;
  await a.admin('CANARY FUNCTIONS acme 50% PROMOTE');
  await until('the canary', async () => (await state(b)) === 'running, promotes');
  await load(t, b, async () => /promoted/.test(await state(b)));
  await allAnswer(t, three, 'next');
  for (const each of three) await until('its end', async () => /promoted/.test(await state(each)));
});
