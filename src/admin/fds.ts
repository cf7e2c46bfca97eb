import { fdOf } from '../platform/libc.ts';
import { unixPath } from '../pool/socket.ts';
import type { Pool } from '../pool/pool.ts';
import type { Server } from '../pool/server.ts';
import { Client } from '../session/client.ts';
import type { AdminActions } from './actions.ts';
import type { Column, Value } from './result.ts';
import { clientPhase, liveServersOf, plainAddress, poolsInOrder } from './sockets.ts';

/**
 * SHOW FDS: the descriptors of what listens, of clients and of servers. As in pgbouncer, those with TLS and those of the
 * console are left out, because nobody could go on with them.
 */

export const DESCRIPTOR_COLUMNS: readonly Column[] = [
  ['fd', 'int4'],
  ['task', 'text'],
  ['user', 'text'],
  ['database', 'text'],
  ['addr', 'text'],
  ['port', 'int4'],
  ['cancel', 'int8'],
  ['link', 'int4'],
  ['client_encoding', 'text'],
  ['std_strings', 'text'],
  ['datestyle', 'text'],
  ['timezone', 'text'],
  ['password', 'text'],
  ['scram_client_key', 'bytea'],
  ['scram_server_key', 'bytea'],
];

const SHOWN_PARAMETERS = ['client_encoding', 'standard_conforming_strings', 'DateStyle', 'TimeZone'];
/** password, scram_client_key, scram_server_key: nobody needs them, no connection changes hands */
const NO_SECRETS: readonly Value[] = [null, null, null];

export function* descriptorRows(actions: AdminActions): Generator<Value[]> {
  for (const { fd, address, port } of actions.listeningSockets())
    yield [fd, 'pooler', null, null, address, port, 0, 0, ...new Array<null>(7).fill(null)];
  const loggingIn: Client[] = [];
  const byPool = new Map<Pool, Client[]>();
  for (const client of actions.sessions.clients) {
    if (client.isConsole || usesTls(client)) continue;
    if (clientPhase(client) === 'login') loggingIn.push(client);
    if (client.pool === null) continue;
    const others = byPool.get(client.pool);
    if (others === undefined) byPool.set(client.pool, [client]);
    else others.push(client);
  }
  yield* clientRows(loggingIn);
  for (const pool of poolsInOrder(actions)) {
    yield* clientRows(byPool.get(pool) ?? []);
    for (const server of liveServersOf(pool)) {
      const linked = server.user instanceof Client ? server.user : null;
      if (server.tls === '' && !(linked !== null && linked.tls !== '')) yield serverRow(server, linked);
    }
  }
}

/** Who has left since is passed over. */
function* clientRows(clients: readonly Client[]): Generator<Value[]> {
  for (const client of clients) if (client.state !== 'closed') yield clientRow(client);
}

function usesTls({ tls, server }: Client): boolean {
  return tls !== '' || (server !== null && server.tls !== '');
}

function clientRow(client: Client): Value[] {
  return [
    fdOf(client.socket),
    'client',
    client.user || null,
    client.database?.name ?? null,
    client.remoteAddress,
    client.remotePort,
    cancelValue(Buffer.from(client.cancelKey, 'latin1')),
    client.server === null ? 0 : fdOf(client.server.socket),
    ...SHOWN_PARAMETERS.map((name) => client.settings.value(name) ?? null),
    ...NO_SECRETS,
  ];
}

function serverRow(server: Server, linked: Client | null): Value[] {
  const { registry, database, user } = server.pool;
  const pid = Buffer.alloc(4);
  pid.writeInt32BE(server.pid);
  return [
    fdOf(server.socket),
    'server',
    user,
    database.name,
    unixPath(server) === null ? plainAddress(server.remoteAddress || server.host) : 'unix',
    server.port,
    cancelValue(Buffer.concat([pid, server.cancelKey])),
    linked === null ? 0 : fdOf(linked.socket),
    ...SHOWN_PARAMETERS.map((name) => server.parameters[registry.tracked.indexOf(name)] ?? null),
    ...NO_SECRETS,
  ];
}

/** The first eight bytes, which is all of it in protocol 3.0. */
function cancelValue(key: Buffer): string {
  return key.length < 8 ? '0' : key.readBigInt64BE(0).toString();
}
