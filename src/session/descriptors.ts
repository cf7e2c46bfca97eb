/**
 * Snapshots of the descriptors of clients and servers, for SHOW FDS. As in pgbouncer, connections with TLS and those of the
 * console are left out: no other process could take them over.
 */
import { plainAddress } from '../platform/plain-address.ts';
import { fdOf } from '../platform/libc.ts';
import { liveServersOf, poolsInOrder } from '../pool/observe.ts';
import type { Pool } from '../pool/pool.ts';
import type { Server } from '../pool/server.ts';
import { unixPath } from '../pool/socket.ts';
import type { DescriptorSnapshot } from '../telemetry/snapshots/sessions.ts';
import { Client } from './client.ts';
import { clientPhase } from './phase.ts';
import type { Sessions } from './sessions.ts';

/** Clients that are logging in, then each pool's clients and servers. */
export function* observeDescriptors(sessions: Sessions): Generator<DescriptorSnapshot> {
  const { directory } = sessions;
  const loggingIn: Client[] = [];
  const byPool = new Map<Pool, Client[]>();
  for (const client of sessions.clients) {
    if (client.isConsole || usesTls(client)) continue;
    if (clientPhase(client) === 'login') loggingIn.push(client);
    const { pool } = client;
    if (pool === null) continue;
    const others = byPool.get(pool);
    if (others === undefined) byPool.set(pool, [client]);
    else others.push(client);
  }
  yield* ofClients(loggingIn);
  for (const pool of poolsInOrder(directory)) {
    yield* ofClients(byPool.get(pool) ?? []);
    for (const server of liveServersOf(pool)) {
      const linked = server.user instanceof Client ? server.user : null;
      const isPlain = server.tls === '' && (linked === null || linked.connection.tls === '');
      if (isPlain) yield ofServer(server, linked);
    }
  }
}

function usesTls({ connection, server }: Client): boolean {
  return connection.tls !== '' || (server !== null && server.tls !== '');
}

/** Leaves out a client that has left in the meantime. */
function* ofClients(clients: readonly Client[]): Generator<DescriptorSnapshot> {
  for (const client of clients) if (client.state !== 'closed') yield ofClient(client);
}

function ofClient(client: Client): DescriptorSnapshot {
  return {
    fd: fdOf(client.socket),
    task: 'client',
    user: client.user || null,
    database: client.database?.name ?? null,
    address: client.connection.host,
    port: client.connection.port,
    cancelKey: cancelKeyOf(Buffer.from(client.login.cancelKey, 'latin1')),
    linkedFd: client.server === null ? 0 : fdOf(client.server.socket),
    ...shownParameters((name) => client.settings.value(name)),
  };
}

function ofServer(server: Server, linked: Client | null): DescriptorSnapshot {
  const pid = Buffer.alloc(4);
  pid.writeInt32BE(server.pid);
  return {
    fd: fdOf(server.socket),
    task: 'server',
    user: server.pool.user,
    database: server.pool.database.name,
    address: unixPath(server) === null ? plainAddress(server.remoteAddress || server.host) : 'unix',
    port: server.port,
    cancelKey: cancelKeyOf(Buffer.concat([pid, server.cancelKey])),
    linkedFd: linked === null ? 0 : fdOf(linked.socket),
    ...shownParameters((name) => server.settings.value(name)),
  };
}

type ShownParameters = Pick<
  DescriptorSnapshot,
  'clientEncoding' | 'standardStrings' | 'dateStyle' | 'timeZone'
>;

function shownParameters(valueOf: (name: string) => string | undefined): ShownParameters {
  return {
    clientEncoding: valueOf('client_encoding') ?? null,
    standardStrings: valueOf('standard_conforming_strings') ?? null,
    dateStyle: valueOf('DateStyle') ?? null,
    timeZone: valueOf('TimeZone') ?? null,
  };
}

/** The first eight bytes, which are the whole key in protocol 3.0. */
function cancelKeyOf(key: Buffer): string {
  return key.length < 8 ? '0' : key.readBigInt64BE(0).toString();
}
