import type { Socket } from 'node:net';
import { unixPath } from '../pool/socket.ts';
import type { Pool } from '../pool/pool.ts';
import type { Server } from '../pool/server.ts';
import { Client } from '../session/client.ts';
import { timestamp } from '../telemetry/log.ts';
import type { AdminActions } from './actions.ts';
import type { Column, Value } from './result.ts';

/** SHOW CLIENTS, SERVERS, SOCKETS and ACTIVE_SOCKETS: one row for each connection. */

export const SOCKET_COLUMNS: readonly Column[] = [
  ['type', 'text'],
  ['user', 'text'],
  ['database', 'text'],
  ['replication', 'text'],
  ['state', 'text'],
  ['addr', 'text'],
  ['port', 'int4'],
  ['local_addr', 'text'],
  ['local_port', 'int4'],
  ['connect_time', 'text'],
  ['request_time', 'text'],
  ['wait', 'int4'],
  ['wait_us', 'int4'],
  ['close_needed', 'int4'],
  ['ptr', 'text'],
  ['link', 'text'],
  ['remote_pid', 'int4'],
  ['tls', 'text'],
  ['application_name', 'text'],
  ['prepared_statements', 'int4'],
  ['id', 'int4'],
];

export const BUFFER_COLUMNS: readonly Column[] = [
  ['recv_pos', 'int4'],
  ['pkt_pos', 'int4'],
  ['pkt_remain', 'int4'],
  ['send_pos', 'int4'],
  ['send_remain', 'int4'],
  ['pkt_avail', 'int4'],
  ['send_avail', 'int4'],
];

export type ClientPhase =
  | 'login'
  | 'idle'
  | 'active'
  | 'waiting'
  | 'active_cancel_req'
  | 'waiting_cancel_req';
export type ServerPhase = 'active' | 'idle' | 'used' | 'tested' | 'new' | 'being_canceled';

/** What a client is doing, in the words of SHOW CLIENTS. */
export function clientPhase(client: Client): ClientPhase {
  if (client.isCancelRequest) return client.cancelIsSent ? 'active_cancel_req' : 'waiting_cancel_req';
  // The first client of a pool waits for a server before it is welcomed.
  if (client.state === 'login') return client.pool === null ? 'login' : 'waiting';
  if (client.state === 'waiting') return 'waiting';
  return client.server === null ? 'idle' : 'active';
}

/** What a server is doing, in the words of SHOW SERVERS. */
export function serverPhase(server: Server, now: number): ServerPhase {
  if (server.state === 'login') return 'new';
  if (server.state === 'active') return 'active';
  if (server.cancelsInFlight > 0) return 'being_canceled';
  if (server.state === 'tested' || server.state === 'used') return server.state;
  const { server_check_query: query, server_check_delay: delay } = server.pool.registry.config.settings;
  return query !== '' && now - server.releasedAt >= delay ? 'used' : 'idle';
}

/** Servers of a pool, the one that is logging in included. */
export function serversOf(pool: Pool): Server[] {
  const { connecting } = pool.opener;
  return connecting === null || pool.servers.has(connecting)
    ? [...pool.servers]
    : [...pool.servers, connecting];
}

/** How long (ms) a client has been waiting for its query's end, or for a server. */
export function waitOf(client: Client, now: number): number {
  const since =
    clientPhase(client) === 'waiting' && client.clock.queryStart === 0
      ? client.clock.waitingSince
      : client.clock.queryStart;
  return since === 0 ? 0 : now - since;
}

/** Whole seconds, and the microseconds beside them. */
export function splitWait(ms: number): [seconds: number, microseconds: number] {
  return [Math.floor(ms / 1000), Math.floor((ms % 1000) * 1000)];
}

/** The word in the log's `C-0x…` and `S-0x…`. */
function pointer(id: number): string {
  return `0x${id.toString(16)}`;
}

/** ms of performance.now() as `YYYY-MM-DD HH:MM:SS TZ`. */
function clockTime(ms: number): string {
  return timestamp(performance.timeOrigin + ms).replace(/\.\d+/, '');
}

function ownAddress(socket: Socket, isUnix: boolean, port: number): [string, number] {
  return isUnix ? ['unix', port] : [plainAddress(socket.localAddress ?? ''), socket.localPort ?? 0];
}

export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}

export function clientRow(client: Client, state: string, now: number): Value[] {
  const { registry } = client.context;
  const { listen_port: listenPort } = registry.config.settings;
  const application = client.settings.value('application_name') ?? '';
  return [
    'C',
    client.user || '(nouser)',
    (client.database ?? client.cancelPool?.database)?.name ?? (client.databaseName || '(nodb)'),
    client.replication,
    state,
    client.remoteAddress,
    client.remotePort,
    ...ownAddress(client.socket, client.isUnix, listenPort),
    clockTime(client.connectedAt),
    clockTime(client.clock.requestedAt),
    ...splitWait(waitOf(client, now)),
    0,
    pointer(client.id),
    linkOf(client),
    client.remotePid,
    client.tls === 'handshake' ? '' : client.tls,
    application,
    client.statements?.size ?? 0,
    client.id,
  ];
}

/** Its server; of a cancel request the connection that takes it there. */
function linkOf(client: Client): string {
  if (client.server !== null) return pointer(client.server.id);
  const delivery = client.cancelPool?.cancels.deliveries.get(client.id);
  return delivery === undefined ? '' : pointer(delivery.id);
}

/** Connections that take a cancel request to the server are rows of their own. */
function* cancelRows(pool: Pool): Generator<Value[]> {
  const [host = 'unix'] = pool.database.config.hosts;
  const isUnix = unixPath({ host, port: 0 }) !== null;
  for (const { id, requesterId, startedAt, isSent } of [...pool.cancels.deliveries.values()]) {
    yield [
      'S',
      pool.user,
      pool.database.name,
      'none',
      isSent ? 'active_cancel' : 'new',
      isUnix ? 'unix' : host,
      pool.database.config.port,
      isUnix ? 'unix' : '',
      0,
      clockTime(startedAt),
      clockTime(startedAt),
      0,
      0,
      0,
      pointer(id),
      pointer(requesterId),
      0,
      '',
      '',
      0,
      id,
    ];
  }
}

export function serverRow(server: Server, state: string): Value[] {
  const { registry, database, user } = server.pool;
  const isUnix = unixPath(server) !== null;
  const linked = server.user instanceof Client ? server.user : null;
  return [
    'S',
    user,
    database.name,
    linked?.replication ?? 'none',
    state,
    isUnix ? 'unix' : plainAddress(server.remoteAddress || server.host),
    server.port,
    ...(isUnix
      ? ['unix', registry.config.settings.listen_port]
      : [plainAddress(server.localAddress), server.localPort]),
    clockTime(server.connectedAt),
    clockTime(Math.max(server.requestedAt, server.releasedAt, linked?.clock.requestedAt ?? 0)),
    0,
    0,
    server.closeReason !== null,
    pointer(server.id),
    linked === null ? '' : pointer(linked.id),
    server.pid,
    server.tls,
    server.parameters[registry.tracked.indexOf('application_name')] ?? '',
    server.prepared.size,
    server.id,
  ];
}

/**
 * Clients in the order of SHOW POOLS' rows; those that are still logging in belong to no pool. They are those that are here
 * now: who has left when its turn comes is passed over.
 */
function* clientsByPool(actions: AdminActions): Generator<Client> {
  const groups = new Map<string, Map<string, Client[]>>();
  for (const client of actions.sessions.clients) {
    const database = (client.database ?? client.cancelPool?.database)?.name ?? client.databaseName;
    const ofUsers = getOrMake(groups, database, () => new Map<string, Client[]>());
    getOrMake(ofUsers, client.pool?.user ?? client.user, (): Client[] => []).push(client);
  }
  for (const [, ofUsers] of inOrder(groups))
    for (const [, clients] of inOrder(ofUsers))
      for (const client of clients) if (client.state !== 'closed') yield client;
}

function getOrMake<T>(map: Map<string, T>, key: string, make: () => T): T {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}

function inOrder<T>(map: ReadonlyMap<string, T>): [string, T][] {
  return [...map].sort(([a], [b]) => compare(a, b));
}

export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function* clientRows(actions: AdminActions): Generator<Value[]> {
  for (const client of clientsByPool(actions)) {
    const phase = clientPhase(client);
    if (phase !== 'login') yield clientRow(client, phase, performance.now());
  }
}

/** All pools, in the order of their databases' and users' names. */
export function poolsInOrder(actions: AdminActions): Pool[] {
  return [...actions.registry.allPools()].sort(
    (a, b) => compare(a.database.name, b.database.name) || compare(a.user, b.user),
  );
}

export function* serverRows(actions: AdminActions): Generator<Value[]> {
  for (const pool of poolsInOrder(actions)) {
    for (const server of liveServersOf(pool)) yield serverRow(server, serverPhase(server, performance.now()));
    yield* cancelRows(pool);
  }
}

/** Those that a pool has now; who is gone when its turn comes is passed over. */
export function* liveServersOf(pool: Pool): Generator<Server> {
  for (const server of serversOf(pool)) if (server.state !== 'closed') yield server;
}

const SOCKET_STATES: Readonly<Record<ServerPhase, string>> = {
  active: 'sv_active',
  idle: 'sv_idle',
  used: 'sv_used',
  tested: 'sv_tested',
  new: 'sv_login',
  being_canceled: 'sv_being_canceled',
};

function socketState(client: Client): string {
  const phase = clientPhase(client);
  return phase === 'idle' ? 'cl_active' : `cl_${phase}`;
}

/** SHOW SOCKETS; `onlyBusy`: those with bytes that have not been dealt with (ACTIVE_SOCKETS). */
export function* socketRows(actions: AdminActions, onlyBusy: boolean): Generator<Value[]> {
  for (const client of clientsByPool(actions)) {
    if (client.isCancelRequest) continue;
    const received = client.held.length + (client.collecting?.length ?? 0);
    const unsent = client.socket.writableLength;
    if (onlyBusy && received === 0 && unsent === 0 && client.bodyLeft === 0) continue;
    yield [
      ...clientRow(client, socketState(client), performance.now()),
      ...[0, 0, client.bodyLeft, 0, 0, received, unsent],
    ];
  }
  for (const pool of poolsInOrder(actions)) {
    for (const server of liveServersOf(pool)) {
      const unsent = server.socket.writableLength;
      if (onlyBusy && unsent === 0) continue;
      const state = SOCKET_STATES[serverPhase(server, performance.now())];
      yield [...serverRow(server, state), ...[0, 0, 0, 0, 0, 0, unsent]];
    }
  }
}
