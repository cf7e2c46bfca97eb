/** Proxies of a fleet with one tenant, acme, whose rule answers `who` with its version. */
import assert from 'node:assert/strict';
import type { Bouncer, Settings } from '../support/bouncer.ts';
import type { Cluster } from '../support/cluster.ts';
import { errorFields, firstValue, type RawClient } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';
import { initFleet, prepareMember } from './support.ts';

export interface Servers {
  readonly store: Cluster;
  /** where the clients' database is */
  readonly server: Cluster;
}

export const RULE = 'rules/acme/rewrite_query.ts';
export const rule = (name: string): string =>
  `export const rewrite_query = (user: string, query: string) => (query === 'who' ? "select '${name}'" : null);`;

/** A proxy, not started yet. */
export function member(
  t: Scope,
  { store, server }: Servers,
  name: string,
  files: Record<string, string>,
  settings: Settings = {},
): Promise<Bouncer> {
  return prepareMember(t, server, {
    name,
    store,
    settings: { pool_mode: 'transaction', default_pool_size: 2, ...settings },
    options: {
      databases: { acme: server.connectionString() },
      files,
      ini: '[tenants]\nacme = databases=acme functions_dir=rules/acme on_rewrite_failure=error timeout=1000\n',
    },
  });
}

/** Three proxies with a fleet of their own. */
export async function fleet(t: Scope, servers: Servers, settings: Settings = {}): Promise<Three> {
  const { store } = servers;
  const files = { [RULE]: rule('one') };
  await store.sql('DROP SCHEMA IF EXISTS pgswitchyard CASCADE');
  const three = (await Promise.all(
    ['a', 'b', 'c'].map((name) => member(t, servers, name, files, settings)),
  )) as Three;
  assert.equal((await initFleet(three[0])).stderr, '');
  await three[0].start();
  await answers(t, three[0], 'one');
  await Promise.all(three.slice(1).map((each) => each.start()));
  for (const each of three) await answers(t, each, 'one');
  return three;
}

export type Three = [Bouncer, Bouncer, Bouncer];
export const clients = new WeakMap<Bouncer, Promise<RawClient>>();

export async function answerOf(t: Scope, bouncer: Bouncer, query = 'who'): Promise<string> {
  if (!clients.has(bouncer)) clients.set(bouncer, bouncer.login(t, 'acme'));
  const client = await clients.get(bouncer)!;
  const frames = await client.query(query);
  const error = frames.find(({ type }) => type === 'E');
  return error === undefined ? String(firstValue(frames)) : errorFields(error)['M']!;
}

/** Resolves when a proxy answers with this version. */
export async function answers(t: Scope, bouncer: Bouncer, version: string): Promise<void> {
  await until(
    `${version} on ${bouncer.settings['fleet_name']}`,
    async () => (await answerOf(t, bouncer)) === version,
  );
}

export async function allAnswer(t: Scope, bouncers: readonly Bouncer[], version: string): Promise<void> {
  for (const bouncer of bouncers) await answers(t, bouncer, version);
}

export async function restart(bouncer: Bouncer): Promise<void> {
  await bouncer.stop();
  clients.delete(bouncer);
  await bouncer.start();
}
