/** A database with several hosts: the host that a new connection goes to. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { freePort } from '../support/ports.ts';
import { RawClient } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';

const HOSTS = ['127.0.0.2', '127.0.0.3'];

const cluster = await Cluster.start({ after });

/** Passes connections on to the cluster. */
async function listenAt(scope: Scope, host: string, port: number): Promise<Server> {
  const server = createServer((client) => {
    const upstream = connect(cluster.port, cluster.host);
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) socket.on('error', () => {});
    client.on('close', () => upstream.destroy());
  });
  server.listen(port, host);
  await once(server, 'listening');
  scope.after(() => void server.close());
  return server;
}

async function start(
  scope: Scope,
  settings: string,
): Promise<{ bouncer: Bouncer; first: Server; port: number }> {
  const port = await freePort();
  const [first] = [await listenAt(scope, HOSTS[0]!, port), await listenAt(scope, HOSTS[1]!, port)];
  const bouncer = await Bouncer.start(scope, {
    databases: { db: `host=${HOSTS.join(',')} port=${port} dbname=postgres ${settings}` },
    settings: { pool_mode: 'transaction', server_login_retry: '0.1', server_tls_sslmode: 'disable' },
  });
  return { bouncer, first, port };
}

/** Opens so many connections to servers, one after the other; returns their targets. */
async function hostsOf(scope: Scope, bouncer: Bouncer, count: number): Promise<unknown[]> {
  for (let i = 0; i < count; i++) {
    const client = await RawClient.login(bouncer, { user: 'postgres', database: 'db' });
    scope.after(() => client.destroy());
    await client.query('begin');
  }
  return (await bouncer.admin('SHOW SERVERS')).map((row) => row['addr']);
}

test('load_balance_hosts = round-robin uses the hosts in turn, beginning with the first', async (t) => {
  const { bouncer } = await start(t, '');
  assert.deepEqual(await hostsOf(t, bouncer, 4), [...HOSTS, ...HOSTS]);
});

test('load_balance_hosts = disable uses the first host until a connection to it fails, then the next', async (t) => {
  const { bouncer, first, port } = await start(t, 'load_balance_hosts=disable');
  const [one, other] = HOSTS;
  assert.deepEqual(await hostsOf(t, bouncer, 2), [one, one]);
  first.close();
  assert.deepEqual(await hostsOf(t, bouncer, 1), [one, one, other]);
  await listenAt(t, one!, port);
  assert.deepEqual(await hostsOf(t, bouncer, 2), [one, one, other, other, other]);
  assert.equal(bouncer.logCount(/connect failed: /), 1);
});
