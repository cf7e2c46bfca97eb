/** Snapshots of the clients. */
import type { Socket } from 'node:net';
import { plainAddress } from '../platform/plain-address.ts';
import type { LinkedClient } from '../pool/observe.ts';
import type { ServerUser } from '../pool/server.ts';
import { compareNames } from '../telemetry/name-order.ts';
import type {
  ClientSnapshot,
  DescriptorSnapshot,
  ObserveSessions,
  PoolClientsSnapshot,
  SessionsSnapshot,
} from '../telemetry/snapshots/sessions.ts';
import { Client } from './client.ts';
import { observeDescriptors } from './descriptors.ts';
import { HANDSHAKE } from './state/names.ts';
import { clientPhase, waitOf } from './phase.ts';
import type { Sessions } from './sessions.ts';

export class SessionsObserver implements ObserveSessions {
  readonly #sessions: Sessions;

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
  }

  observe(): SessionsSnapshot {
    const now = performance.now();
    const pools = new Map<object, Count>();
    const users = new Map<string, number>();
    let loggingIn = 0;
    let onConsole = 0;
    for (const client of this.#sessions.clients) {
      const phase = clientPhase(client);
      if (phase === 'login') loggingIn++;
      if (client.state !== 'login') {
        users.set(client.user, (users.get(client.user) ?? 0) + 1);
        if (client.isConsole) onConsole++;
      }
      if (client.pool === null || client.state === 'closed') continue;
      let count = pools.get(client.pool);
      if (count === undefined) {
        const { database, user } = client.pool;
        count = { database: database.name, user, active: 0, waiting: 0, longestWaitMs: 0 };
        pools.set(client.pool, count);
      }
      if (phase !== 'waiting') count.active++;
      else {
        count.waiting++;
        count.longestWaitMs = Math.max(count.longestWaitMs, waitOf(client, now));
      }
    }
    return {
      clients: this.#sessions.clients.size,
      loggingIn,
      onConsole,
      pools: [...pools.values()],
      users: [...users].map(([name, clients]) => ({ name, clients })),
    };
  }

  *clients(): Generator<ClientSnapshot> {
    for (const client of clientsInOrder(this.#sessions)) yield clientSnapshot(client, performance.now());
  }

  *busyClients(): Generator<ClientSnapshot> {
    for (const client of clientsInOrder(this.#sessions))
      if (isBusy(client)) yield clientSnapshot(client, performance.now());
  }

  descriptors(): Generator<DescriptorSnapshot> {
    return observeDescriptors(this.#sessions);
  }
}

type Count = { -readonly [Key in keyof PoolClientsSnapshot]: PoolClientsSnapshot[Key] };

/** The client that uses a server; null: no client, or the proxy itself. */
export function linkedClient(user: ServerUser | null): LinkedClient | null {
  if (!(user instanceof Client)) return null;
  return { id: user.id, replication: user.replication, requestedAt: user.clock.requestedAt };
}

/**
 * Clients in the order of SHOW POOLS' rows; those that are still logging in belong to no pool. The clients are those of this
 * moment: one that leaves before its turn is left out.
 */
function* clientsInOrder(sessions: Sessions): Generator<Client> {
  const groups = new Map<string, Map<string, Client[]>>();
  for (const client of sessions.clients) {
    const database =
      (client.database ?? client.login.cancelRequest?.pool?.database)?.name ?? client.databaseName;
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
  return [...map].sort(([a], [b]) => compareNames(a, b));
}

function isBusy({ intake, socket }: Client): boolean {
  return intake.size > 0 || intake.bodyLeft > 0 || socket.writableLength > 0;
}

function clientSnapshot(client: Client, now: number): ClientSnapshot {
  const { listen_port: listenPort } = client.context.config.settings;
  return {
    kind: 'client',
    id: client.id,
    user: client.user || '(nouser)',
    database:
      (client.database ?? client.login.cancelRequest?.pool?.database)?.name ??
      (client.databaseName || '(nodb)'),
    replication: client.replication,
    phase: clientPhase(client),
    address: client.connection.host,
    port: client.connection.port,
    localAddress: client.connection.isUnix ? 'unix' : localAddressOf(client.socket),
    localPort: client.connection.isUnix ? listenPort : (client.socket.localPort ?? 0),
    connectedAtMs: performance.timeOrigin + client.connection.since,
    requestedAtMs: performance.timeOrigin + client.clock.requestedAt,
    waitedMs: waitOf(client, now),
    isClosing: false,
    linkedId: linkOf(client),
    processId: client.connection.pid,
    tls: client.connection.tls === HANDSHAKE ? '' : client.connection.tls,
    applicationName: client.settings.value('application_name') ?? '',
    preparedStatements: client.statements.named.size,
    bodyLeftBytes: client.intake.bodyLeft,
    receivedBytes: client.intake.size,
    unsentBytes: client.socket.writableLength,
  };
}

function localAddressOf(socket: Socket): string {
  return plainAddress(socket.localAddress ?? '');
}

/** The client's server; for a cancel request, the connection that carries it to the server. */
function linkOf({ id, server, login }: Client): number | null {
  return server?.id ?? login.cancelRequest?.pool?.cancels.deliveries.get(id)?.id ?? null;
}
