import { dirname, relative } from 'node:path';
import { showConfig } from '../config/show.ts';
import { timestamp } from '../telemetry/log.ts';
import type { AdminActions } from './actions.ts';
import { DESCRIPTOR_COLUMNS, descriptorRows } from './fds.ts';
import {
  DATABASE_COLUMNS,
  databaseRows,
  LIST_COLUMNS,
  listRows,
  MEMORY_COLUMNS,
  memoryRows,
  POOL_COLUMNS,
  poolRows,
  USER_COLUMNS,
  userRows,
} from './pool-tables.ts';
import type { Column, Value } from './result.ts';
import { BUFFER_COLUMNS, clientRows, serverRows, SOCKET_COLUMNS, socketRows } from './sockets.ts';
import {
  STATS_AVERAGES_COLUMNS,
  STATS_COLUMNS,
  STATS_TOTALS_COLUMNS,
  statsAveragesRows,
  statsRows,
  statsTotalsRows,
  TOTALS_COLUMNS,
  totalsRows,
} from './stats-tables.ts';
import { SWITCHOVER_COLUMNS, switchoverRows, TOPOLOGY_COLUMNS, topologyRows } from './switchover-tables.ts';
import { SHOWN_VERSION } from './version.ts';

/** What a SHOW command answers. */
export interface Table {
  readonly columns: readonly Column[];
  /** Rows, each made when it is asked for where there may be many. Time may pass between two of them. */
  rows(actions: AdminActions): Iterable<Value[]>;
  /** not for stats_users */
  readonly isForAdmins?: boolean;
}

/** Relative to the folder of the ini file where the path is below that. */
function shortPath(path: string, iniFile: string): string {
  const short = relative(dirname(iniFile), path);
  return path === '' || short === '' || short.startsWith('..') ? path : short;
}

/** To the second. */
function shortTime(at: Date | null): string | null {
  return at === null ? null : timestamp(at.getTime()).replace(/\.\d+/, '');
}

/** Every SHOW command that answers with rows, by its name in lower case. */
export const TABLES: ReadonlyMap<string, Table> = new Map<string, Table>([
  ['topology', { columns: TOPOLOGY_COLUMNS, rows: topologyRows }],
  ['switchovers', { columns: SWITCHOVER_COLUMNS, rows: switchoverRows }],
  ['clients', { columns: SOCKET_COLUMNS, rows: clientRows }],
  ['servers', { columns: SOCKET_COLUMNS, rows: serverRows }],
  [
    'sockets',
    {
      columns: [...SOCKET_COLUMNS, ...BUFFER_COLUMNS],
      rows: (actions) => socketRows(actions, false),
    },
  ],
  [
    'active_sockets',
    {
      columns: [...SOCKET_COLUMNS, ...BUFFER_COLUMNS],
      rows: (actions) => socketRows(actions, true),
    },
  ],
  ['pools', { columns: POOL_COLUMNS, rows: poolRows }],
  [
    'peer_pools',
    {
      columns: [
        ['peer_id', 'int4'],
        ['cl_active_cancel_req', 'int4'],
        ['cl_waiting_cancel_req', 'int4'],
        ['sv_active_cancel', 'int4'],
        ['sv_login', 'int4'],
      ],
      rows: ({ registry }) =>
        [...registry.config.peers.keys()].map((id) => {
          const { active, waiting, connecting } = registry.peers.cancelsTo(id);
          return [id, active, waiting, active, connecting];
        }),
    },
  ],
  ['databases', { columns: DATABASE_COLUMNS, rows: databaseRows }],
  [
    'peers',
    {
      columns: [
        ['peer_id', 'int4'],
        ['host', 'text'],
        ['port', 'int4'],
        ['pool_size', 'int4'],
      ],
      rows: ({ registry: { config } }) =>
        [...config.peers.values()].map((peer) => [
          peer.id,
          peer.host,
          peer.port,
          peer.pool_size ?? config.settings.default_pool_size,
        ]),
    },
  ],
  ['users', { columns: USER_COLUMNS, rows: userRows }],
  ['lists', { columns: LIST_COLUMNS, rows: listRows }],
  ['stats', { columns: STATS_COLUMNS, rows: statsRows }],
  ['stats_totals', { columns: STATS_TOTALS_COLUMNS, rows: statsTotalsRows }],
  ['stats_averages', { columns: STATS_AVERAGES_COLUMNS, rows: statsAveragesRows }],
  ['totals', { columns: TOTALS_COLUMNS, rows: totalsRows }],
  [
    'config',
    {
      columns: [
        ['key', 'text'],
        ['value', 'text'],
        ['default', 'text'],
        ['changeable', 'text'],
      ],
      rows: ({ registry }) =>
        showConfig(registry.config).map((row) => [row.key, row.value, row.default, row.changeable]),
    },
  ],
  ['mem', { columns: MEMORY_COLUMNS, rows: memoryRows }],
  [
    'dns_hosts',
    {
      columns: [
        ['hostname', 'text'],
        ['ttl', 'int8'],
        ['addrs', 'text'],
      ],
      rows: ({ registry }) =>
        registry.resolver.hosts(performance.now()).map(({ host, ttlSeconds, addresses }) => [
          host,
          ttlSeconds,
          // pgbouncer prints the ports too, which a lookup leaves at 0
          addresses.map((address) => `${address.includes(':') ? `[${address}]` : address}:0`).join(','),
        ]),
    },
  ],
  [
    'dns_zones',
    {
      columns: [
        ['zonename', 'text'],
        ['serial', 'int8'],
        ['count', 'int4'],
      ],
      rows: () => [],
    },
  ],
  [
    'state',
    {
      columns: [
        ['key', 'text'],
        ['value', 'text'],
      ],
      rows: ({ registry, sessions }) => {
        const yes = (condition: boolean): string => (condition ? 'yes' : 'no');
        return [
          ['active', yes(!registry.paused && !sessions.suspended)],
          ['paused', yes(registry.paused)],
          ['suspended', yes(sessions.suspended)],
        ];
      },
    },
  ],
  ['version', { columns: [['version', 'text']], rows: () => [[SHOWN_VERSION]] }],
  [
    'fds',
    {
      columns: DESCRIPTOR_COLUMNS,
      rows: descriptorRows,
      isForAdmins: true,
    },
  ],
  [
    'functions',
    {
      columns: [
        ['tenant', 'text'],
        ['routing_rules', 'text'],
        ['rewrite_query', 'text'],
        ['databases', 'text'],
        ['state', 'text'],
        ['version', 'text'],
        ['loaded_at', 'text'],
        ['calls', 'int8'],
        ['routed', 'int8'],
        ['rewritten', 'int8'],
        ['rejected', 'int8'],
        ['refused_moves', 'int8'],
        ['failures', 'int8'],
        ['last_error', 'text'],
        ['last_error_at', 'text'],
      ],
      rows: ({ functions, registry }) =>
        functions
          .stats()
          .map((set) => [
            shortPath(set.tenant, registry.config.file),
            shortPath(set.routing_rules, registry.config.file),
            shortPath(set.rewrite_query, registry.config.file),
            set.databases,
            set.state,
            set.version,
            shortTime(set.loaded_at),
            set.calls,
            set.routed,
            set.rewritten,
            set.rejected,
            set.refused_moves,
            set.failures,
            set.last_error,
            shortTime(set.last_error_at),
          ]),
    },
  ],
]);
