/** The load of a proxy: measured here, and read from the store of the fleet. */
import { observeMemory } from '../telemetry/memory.ts';
import type { LoadSnapshot } from '../telemetry/snapshots/fleet.ts';
import type { ObserveFunctions } from '../telemetry/snapshots/functions.ts';
import type { ObservePools } from '../telemetry/snapshots/pools.ts';
import type { ObserveSessions } from '../telemetry/snapshots/sessions.ts';
import type { ObserveStatistics } from '../telemetry/snapshots/statistics.ts';
import { DamagedRow, isRecord } from './untrusted.ts';

export interface Observed {
  readonly sessions: ObserveSessions;
  readonly pools: ObservePools;
  readonly functions: ObserveFunctions;
  readonly statistics: ObserveStatistics;
}

/** What is known of a proxy without a snapshot. */
export const NO_LOAD: LoadSnapshot = {
  clients: 0,
  waitingClients: 0,
  longestWaitMs: 0,
  servers: 0,
  activeServers: 0,
  transactionsPerSecond: 0,
  queriesPerSecond: 0,
  bytesReceivedPerSecond: 0,
  bytesSentPerSecond: 0,
  queryUs: 0,
  waitUs: 0,
  databases: 0,
  tenants: 0,
  residentBytes: 0,
};

export function measureLoad({ sessions, pools, functions, statistics }: Observed): LoadSnapshot {
  const { clients, loggingIn, onConsole, pools: clientsByPool } = sessions.observe();
  const { averages } = statistics.total();
  let activeServers = 0;
  for (const { servers } of pools.pools()) activeServers += servers.active + servers.being_canceled;
  const { databases, servers } = pools.observe();
  return {
    clients: Math.max(0, clients - loggingIn - onConsole),
    waitingClients: clientsByPool.reduce((sum, { waiting }) => sum + waiting, 0),
    longestWaitMs: Math.round(Math.max(0, ...clientsByPool.map(({ longestWaitMs }) => longestWaitMs))),
    servers,
    activeServers,
    transactionsPerSecond: averages.xactCount,
    queriesPerSecond: averages.queryCount,
    bytesReceivedPerSecond: averages.bytesReceived,
    bytesSentPerSecond: averages.bytesSent,
    queryUs: averages.queryTime,
    waitUs: averages.waitTime,
    databases,
    tenants: functions.observe().tenants.length,
    residentBytes: observeMemory().residentBytes,
  };
}

/**
 * The load that another proxy has reported. A figure that it does not report, because it is older, is 0.
 * @throws DamagedRow
 */
export function loadFrom(value: unknown): LoadSnapshot {
  if (!isRecord(value)) throw new DamagedRow('its snapshot is not as it should be');
  const names = Object.keys(NO_LOAD) as (keyof LoadSnapshot)[];
  return Object.fromEntries(names.map((name) => [name, figure(value[name] ?? 0)])) as unknown as LoadSnapshot;
}

function figure(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0 || value > Number.MAX_SAFE_INTEGER)
    throw new DamagedRow('its snapshot has a figure that is not as it should be');
  return value;
}
