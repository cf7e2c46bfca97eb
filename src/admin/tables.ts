/** Every SHOW command that answers with rows. */
import { ACTIVE_SOCKETS, CLIENTS, SERVERS, SOCKETS } from './connection-tables.ts';
import { DESCRIPTORS } from './descriptor-table.ts';
import { FLEET } from './fleet-tables.ts';
import { FUNCTIONS } from './functions-table.ts';
import { DATABASES, PEER_POOLS, PEERS, POOLS, USERS } from './pool-tables.ts';
import type { TenantTable } from './functions-grammar.ts';
import { CONFIG, HOSTS, LISTS, MEMORY, STATE, VERSION, ZONES } from './process-tables.ts';
import { STATS, STATS_AVERAGES, STATS_TOTALS, TOTALS } from './stats-tables.ts';
import { SWITCHOVERS, TOPOLOGY } from './switchover-tables.ts';
import { canaryTable, shadowTable } from './rollout-tables.ts';
import type { Steer } from './steer.ts';
import type { Table } from './table.ts';
import { TENANTS } from './tenants-table.ts';
import { logTable, versionsTable } from './versions-tables.ts';

/** By the word after SHOW, in lower case. */
export const TABLES: ReadonlyMap<string, Table> = new Map<string, Table>([
  ['topology', TOPOLOGY],
  ['switchovers', SWITCHOVERS],
  ['clients', CLIENTS],
  ['servers', SERVERS],
  ['sockets', SOCKETS],
  ['active_sockets', ACTIVE_SOCKETS],
  ['pools', POOLS],
  ['peer_pools', PEER_POOLS],
  ['databases', DATABASES],
  ['peers', PEERS],
  ['users', USERS],
  ['lists', LISTS],
  ['stats', STATS],
  ['stats_totals', STATS_TOTALS],
  ['stats_averages', STATS_AVERAGES],
  ['totals', TOTALS],
  ['config', CONFIG],
  ['mem', MEMORY],
  ['dns_hosts', HOSTS],
  ['dns_zones', ZONES],
  ['state', STATE],
  ['version', VERSION],
  ['fds', DESCRIPTORS],
  ['functions', FUNCTIONS],
  ['tenants', TENANTS],
  ['fleet', FLEET],
]);

/** SHOW commands that name a tenant, by the words between. */
export const TENANT_TABLES: ReadonlyMap<TenantTable, (steer: Steer, tenant: string) => Promise<Table>> =
  new Map<TenantTable, (steer: Steer, tenant: string) => Promise<Table>>([
    ['shadow', async (_, tenant) => shadowTable(tenant)],
    ['canary', async (_, tenant) => canaryTable(tenant)],
    [
      'function versions',
      async ({ functions }, tenant) => versionsTable(await functions.administration.versions(tenant)),
    ],
    ['function log', async ({ functions }, tenant) => logTable(functions.administration.log(tenant))],
  ]);
