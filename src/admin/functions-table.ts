/** SHOW FUNCTIONS: a row for each tenant of the user functions. */
import type { TenantSnapshot } from '../telemetry/snapshots/functions.ts';
import { table } from './table.ts';
import { clockTime, shortPath } from './units.ts';

/** A tenant, and the ini file that its paths are shown relative to. */
interface TenantRow {
  readonly tenant: TenantSnapshot;
  readonly iniFile: string;
}

export const FUNCTIONS = table<TenantRow>(
  [
    { name: 'tenant', type: 'text', of: ({ tenant, iniFile }) => shortPath(tenant.name, iniFile) },
    {
      name: 'routing_rules',
      type: 'text',
      of: ({ tenant, iniFile }) => shortPath(tenant.routingFile, iniFile),
    },
    {
      name: 'rewrite_query',
      type: 'text',
      of: ({ tenant, iniFile }) => shortPath(tenant.rewriteFile, iniFile),
    },
    { name: 'databases', type: 'text', of: ({ tenant }) => tenant.databases.join(',') },
    { name: 'state', type: 'text', of: ({ tenant }) => tenant.state },
    { name: 'version', type: 'text', of: ({ tenant }) => tenant.version },
    { name: 'loaded_at', type: 'text', of: ({ tenant }) => clockTimeOrNull(tenant.loadedAtMs) },
    { name: 'calls', type: 'int8', of: ({ tenant }) => tenant.calls },
    { name: 'routed', type: 'int8', of: ({ tenant }) => tenant.routed },
    { name: 'rewritten', type: 'int8', of: ({ tenant }) => tenant.rewritten },
    { name: 'rejected', type: 'int8', of: ({ tenant }) => tenant.rejected },
    { name: 'refused_moves', type: 'int8', of: ({ tenant }) => tenant.refusedMoves },
    { name: 'failures', type: 'int8', of: ({ tenant }) => sum(Object.values(tenant.failures)) },
    { name: 'remembered', type: 'text', of: ({ tenant }) => tenant.recall.remembered },
    { name: 'last_error', type: 'text', of: ({ tenant }) => tenant.lastError },
    { name: 'last_error_at', type: 'text', of: ({ tenant }) => clockTimeOrNull(tenant.lastErrorAtMs) },
  ],
  ({ functions, config }, sees) =>
    functions
      .observe()
      .tenants.filter(({ owner }) => sees(owner))
      .map((tenant) => ({ tenant, iniFile: config.file })),
  { isForTenants: true },
);

function clockTimeOrNull(atMs: number | null): string | null {
  return atMs === null ? null : clockTime(atMs);
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}
