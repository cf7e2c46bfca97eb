/** SHOW FLEET and SHOW FLEET_AUDIT: the proxies that share a store, and what operators did to them. */
import type { AuditRow } from '../fleet/audit.ts';
import type { FleetProxySnapshot, FleetSnapshot, LoadSnapshot } from '../telemetry/snapshots/fleet.ts';
import { table, type Table } from './table.ts';
import { clockTime, secondsOf } from './units.ts';

type FleetRow = Omit<FleetProxySnapshot, 'port' | 'startedAtMs' | 'isOwn' | 'version'> & {
  readonly port: number | null;
  readonly version: string;
  readonly uptimeMs: number | null;
  /** of the own row; '': another row */
  readonly store: string;
};

export const FLEET: Table = table<FleetRow>(
  [
    { name: 'name', type: 'text', of: ({ name }) => name },
    { name: 'address', type: 'text', of: ({ address }) => address },
    { name: 'port', type: 'int4', of: ({ port }) => port },
    { name: 'peer_id', type: 'int4', of: ({ peerId }) => peerId },
    { name: 'version', type: 'text', of: ({ version }) => version },
    { name: 'state', type: 'text', of: ({ state }) => state },
    { name: 'uptime', type: 'int8', of: ({ uptimeMs }) => inSeconds(uptimeMs) },
    { name: 'heartbeat_age', type: 'int8', of: ({ sinceHeartbeatMs }) => inSeconds(sinceHeartbeatMs) },
    { name: 'clients', type: 'int8', of: ({ load }) => load.clients },
    { name: 'cl_waiting', type: 'int8', of: ({ load }) => load.waitingClients },
    { name: 'maxwait_ms', type: 'int8', of: ({ load }) => Math.round(load.longestWaitMs) },
    { name: 'servers', type: 'int8', of: ({ load }) => load.servers },
    { name: 'sv_active', type: 'int8', of: ({ load }) => load.activeServers },
    { name: 'xact_per_s', type: 'int8', of: ({ load }) => Math.round(load.transactionsPerSecond) },
    { name: 'query_per_s', type: 'int8', of: ({ load }) => Math.round(load.queriesPerSecond) },
    { name: 'recv_per_s', type: 'int8', of: ({ load }) => Math.round(load.bytesReceivedPerSecond) },
    { name: 'sent_per_s', type: 'int8', of: ({ load }) => Math.round(load.bytesSentPerSecond) },
    { name: 'query_us', type: 'int8', of: ({ load }) => Math.round(load.queryUs) },
    { name: 'wait_us', type: 'int8', of: ({ load }) => Math.round(load.waitUs) },
    { name: 'databases', type: 'int8', of: ({ load }) => load.databases },
    { name: 'tenants', type: 'int8', of: ({ load }) => load.tenants },
    { name: 'memory_bytes', type: 'int8', of: ({ load }) => load.residentBytes },
    { name: 'store', type: 'text', of: ({ store }) => store },
  ],
  ({ fleet }) => rows(fleet.observe()),
);

/** The proxies, this one first, and a row with the sums of those that report. */
function rows(fleet: FleetSnapshot): FleetRow[] {
  const now = Date.now();
  const each = fleet.proxies.map(({ startedAtMs, isOwn, ...proxy }): FleetRow => ({
    ...proxy,
    uptimeMs: startedAtMs > now ? 0 : now - startedAtMs,
    store: isOwn ? storeOf(fleet) : '',
  }));
  const present = fleet.proxies.filter(({ state }) => state !== 'away' && state !== 'ended');
  return [
    ...each,
    {
      name: '(all)',
      address: '',
      port: null,
      peerId: null,
      version: '',
      state: `${present.length} of ${fleet.proxies.length}`,
      uptimeMs: null,
      sinceHeartbeatMs: null,
      load: sum(present.map(({ load }) => load)),
      store: '',
    },
  ];
}

/** `away for 12 s: connection refused; only this proxy is shown` */
function storeOf({ store, problem, sinceContactMs }: FleetSnapshot): string {
  if (store === 'off') return 'off: this proxy is alone';
  if (store === 'up') return problem === '' ? 'up' : `up: ${problem}`;
  if (store === 'connecting') return 'connecting';
  const since = sinceContactMs === null ? '' : ` for ${secondsOf(sinceContactMs)} s`;
  return `away${since}: ${problem}; only this proxy is shown`;
}

/** Numbers and rates are added up; times are weighted by what they are the mean of, and of waits the longest counts. */
function sum(loads: readonly LoadSnapshot[]): LoadSnapshot {
  const total = (of: (load: LoadSnapshot) => number): number =>
    loads.reduce((before, load) => before + of(load), 0);
  const mean = (of: (load: LoadSnapshot) => number, weight: (load: LoadSnapshot) => number): number =>
    total((load) => of(load) * weight(load)) / Math.max(1, total(weight));
  return {
    clients: total((load) => load.clients),
    waitingClients: total((load) => load.waitingClients),
    longestWaitMs: Math.max(0, ...loads.map((load) => load.longestWaitMs)),
    servers: total((load) => load.servers),
    activeServers: total((load) => load.activeServers),
    transactionsPerSecond: total((load) => load.transactionsPerSecond),
    queriesPerSecond: total((load) => load.queriesPerSecond),
    bytesReceivedPerSecond: total((load) => load.bytesReceivedPerSecond),
    bytesSentPerSecond: total((load) => load.bytesSentPerSecond),
    queryUs: mean(
      (load) => load.queryUs,
      (load) => load.queriesPerSecond,
    ),
    waitUs: mean(
      (load) => load.waitUs,
      (load) => load.transactionsPerSecond,
    ),
    // they are the same ones everywhere
    databases: Math.max(0, ...loads.map((load) => load.databases)),
    tenants: Math.max(0, ...loads.map((load) => load.tenants)),
    residentBytes: total((load) => load.residentBytes),
  };
}

function inSeconds(ms: number | null): number | null {
  return ms === null ? null : secondsOf(ms);
}

/** SHOW FLEET_AUDIT: the last lines, oldest first. */
export function auditTable(lines: readonly AuditRow[]): Table {
  return table<AuditRow>(
    [
      { name: 'at', type: 'text', of: ({ atMs }) => clockTime(atMs) },
      { name: 'proxy', type: 'text', of: ({ proxy }) => proxy },
      { name: 'user', type: 'text', of: ({ user }) => user },
      { name: 'source', type: 'text', of: ({ source }) => source },
      { name: 'tenant', type: 'text', of: ({ tenant }) => tenant },
      { name: 'action', type: 'text', of: ({ action }) => action },
    ],
    () => lines,
    { isForAdmins: true },
  );
}
