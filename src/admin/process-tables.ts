/** SHOW LISTS, MEM, DNS_HOSTS, DNS_ZONES, CONFIG, STATE and VERSION: the proxy as a whole. */
import { showConfig, type ConfigRow } from '../config/show.ts';
import { observeMemory } from '../telemetry/memory.ts';
import type { HostSnapshot } from '../telemetry/snapshots/pools.ts';
import type { Observe } from './observe.ts';
import { table } from './table.ts';
import { SHOWN_VERSION } from './version.ts';

/** A name and a count. */
type Amount = readonly [name: string, count: number];

export const LISTS = table<Amount>(
  [
    { name: 'list', type: 'text', of: ([name]) => name },
    { name: 'items', type: 'int4', of: ([, count]) => count },
  ],
  listRows,
);

function listRows(observe: Observe): Amount[] {
  const pools = observe.pools.observe();
  const sessions = observe.sessions.observe();
  return [
    // the console's own is one of them
    ['databases', pools.databases + 1],
    ['users', pools.users],
    ['peers', pools.peers],
    ['pools', pools.pools + 1],
    ['peer_pools', pools.peers],
    ['free_clients', 0],
    ['used_clients', sessions.clients],
    ['login_clients', sessions.loggingIn],
    ['free_servers', 0],
    ['used_servers', pools.servers],
    ['dns_names', pools.hostNames],
    ['dns_zones', 0],
    ['dns_queries', 0],
    ['dns_pending', pools.pendingLookups],
  ];
}

/** pgbouncer's slabs have no counterpart here: counts of objects replace them, and the process's memory in KiB. */
interface MemoryRow {
  readonly name: string;
  readonly size: number;
  readonly used: number;
  readonly free: number;
  readonly total: number;
}

export const MEMORY = table<MemoryRow>(
  [
    { name: 'name', type: 'text', of: (row) => row.name },
    { name: 'size', type: 'int4', of: (row) => row.size },
    { name: 'used', type: 'int4', of: (row) => row.used },
    { name: 'free', type: 'int4', of: (row) => row.free },
    { name: 'memtotal', type: 'int4', of: (row) => row.total },
  ],
  memoryRows,
);

function memoryRows(observe: Observe): MemoryRow[] {
  const pools = observe.pools.observe();
  const { heapUsedBytes, heapTotalBytes, externalBytes, residentBytes } = observeMemory();
  const objects = (name: string, used: number): MemoryRow => ({ name, size: 0, used, free: 0, total: 0 });
  const memory = (name: string, used: number, total: number): MemoryRow => ({
    name,
    size: 1,
    used: kib(used),
    free: kib(total - used),
    total: kib(total),
  });
  return [
    objects('user_cache', pools.users),
    objects('db_cache', pools.databases + 1),
    objects('pool_cache', pools.pools + 1),
    objects('server_cache', pools.servers),
    objects('client_cache', observe.sessions.observe().clients),
    memory('heap_kib', heapUsedBytes, heapTotalBytes),
    memory('external_kib', externalBytes, externalBytes),
    memory('rss_kib', residentBytes, residentBytes),
  ];
}

function kib(bytes: number): number {
  return Math.round(bytes / 1024);
}

export const HOSTS = table<HostSnapshot>(
  [
    { name: 'hostname', type: 'text', of: (row) => row.name },
    { name: 'ttl', type: 'int8', of: (row) => row.ttlSeconds },
    { name: 'addrs', type: 'text', of: (row) => row.addresses.map(withPort).join(',') },
  ],
  ({ pools }) => pools.hosts(),
);

/** pgbouncer prints ports too, which a look-up leaves at 0. */
function withPort(address: string): string {
  return `${address.includes(':') ? `[${address}]` : address}:0`;
}

/** pgbouncer's, for c-ares; here always empty. */
export const ZONES = table<never>(
  [
    { name: 'zonename', type: 'text', of: () => null },
    { name: 'serial', type: 'int8', of: () => null },
    { name: 'count', type: 'int4', of: () => null },
  ],
  () => [],
);

export const CONFIG = table<ConfigRow>(
  [
    { name: 'key', type: 'text', of: (row) => row.key },
    { name: 'value', type: 'text', of: (row) => row.value },
    { name: 'default', type: 'text', of: (row) => row.default },
    { name: 'changeable', type: 'text', of: (row) => row.changeable },
  ],
  ({ config }) => showConfig(config),
);

export const STATE = table<readonly [key: string, isSo: boolean]>(
  [
    { name: 'key', type: 'text', of: ([key]) => key },
    { name: 'value', type: 'text', of: ([, isSo]) => (isSo ? 'yes' : 'no') },
  ],
  ({ lifecycle: { traffic } }) => [
    ['active', traffic === 'flowing'],
    ['paused', traffic === 'paused'],
    ['suspended', traffic === 'suspended'],
  ],
);

export const VERSION = table<string>([{ name: 'version', type: 'text', of: (version) => version }], () => [
  SHOWN_VERSION,
]);
