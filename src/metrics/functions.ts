/** Metrics about user functions and their tenants. */
import type { TenantSnapshot } from '../telemetry/snapshots/functions.ts';
import { counter, familiesOf, gauge, type Column, type Family, type Labels } from './family.ts';
import { histogramFamily } from './times.ts';

/** States in which a query gets a decision of the functions. */
const HEALTHY: ReadonlySet<TenantSnapshot['state']> = new Set([
  'serving',
  'serving old version',
  "fleet's version",
  'not loaded',
] as const);

const TENANTS: readonly Column<TenantSnapshot>[] = [
  counter('function_calls_total', 'Queries that user functions have judged', (row) => row.calls),
  counter('function_routed_total', 'Queries that were routed', (row) => row.routed),
  counter('function_rewritten_total', 'Queries that were rewritten', (row) => row.rewritten),
  counter('function_rejected_total', 'Queries that were rejected', (row) => row.rejected),
  counter(
    'function_unjudged_total',
    'Queries that passed although a function failed on them',
    (row) => row.unjudged,
  ),
  counter(
    'function_remembered_hits_total',
    'Queries that were answered from memory',
    ({ recall }) => recall.hits,
  ),
  counter(
    'function_remembered_misses_total',
    'Queries that could have been answered from memory',
    ({ recall }) => recall.misses,
  ),
  gauge('function_remembered_entries', 'Remembered decisions', ({ recall }) => recall.entries),
  gauge('function_remembered_bytes', 'Memory of remembered decisions', ({ recall }) => recall.bytes),
  gauge('function_heap_bytes', 'Memory of the isolate that serves', (row) => row.heapBytes),
  gauge('function_suspended', '1 while the breaker is open', (row) => Number(row.isSuspended)),
  gauge('function_serving', '1 while a version serves, or is loaded with the next query', ({ state }) =>
    Number(HEALTHY.has(state)),
  ),
];

/** Of all functions of a tenant: its budget is one for all of them. */
const BUDGETS: readonly Column<TenantSnapshot>[] = [
  counter(
    'tenant_cpu_seconds_total',
    'Processor time of all functions of a tenant',
    ({ cpu }) => cpu.totalMs / 1000,
  ),
  gauge(
    'tenant_cpu_limit',
    'Seconds of processor time in a second that a tenant may take; 0: no limit',
    ({ cpu }) => cpu.limitMs / 1000,
  ),
  gauge(
    'tenant_over_budget',
    '1 while a tenant is over its CPU budget',
    ({ cpu }) => Number(cpu.isOver),
    'max',
  ),
];

/** @param most series of one family */
export function* functionFamilies(tenants: readonly TenantSnapshot[], most: number): Generator<Family> {
  yield* familiesOf(tenants, labelsOf, TENANTS, most);
  yield* familiesOf(onePerOwner(tenants), ({ owner }) => ({ tenant: owner }), BUDGETS, most);
  yield* failureFamilies(tenants, most);
  yield* versionFamilies(tenants, most);
  yield callTimeFamily(tenants, most);
}

function labelsOf({ owner, name }: TenantSnapshot): Labels {
  return { tenant: owner, folder: name };
}

function onePerOwner(tenants: readonly TenantSnapshot[]): TenantSnapshot[] {
  return [...new Map(tenants.map((tenant) => [tenant.owner, tenant])).values()];
}

function failureFamilies(tenants: readonly TenantSnapshot[], most: number): Generator<Family> {
  const rows = tenants.flatMap((tenant) =>
    Object.entries(tenant.failures).map(([kind, count]) => ({
      labels: { ...labelsOf(tenant), kind },
      count,
    })),
  );
  const columns = [
    counter<(typeof rows)[0]>('function_failures_total', 'Failed calls by kind', (row) => row.count),
  ];
  return familiesOf(rows, ({ labels }) => labels, columns, most);
}

function versionFamilies(tenants: readonly TenantSnapshot[], most: number): Generator<Family> {
  const rows = tenants.filter(({ version }) => version !== '');
  const columns = [gauge<TenantSnapshot>('function_version_info', 'The version that serves', () => 1)];
  return familiesOf(rows, (row) => ({ ...labelsOf(row), version: row.version }), columns, most);
}

function callTimeFamily(tenants: readonly TenantSnapshot[], most: number): Family {
  return histogramFamily(
    'function_call_duration_seconds',
    'Time of calls of user functions, waiting included',
    tenants.flatMap((tenant) =>
      tenant.callTimes.map(({ outcome, histogram }) => ({
        labels: { ...labelsOf(tenant), outcome },
        histogram,
      })),
    ),
    most,
  );
}
