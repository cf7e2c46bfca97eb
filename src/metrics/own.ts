/** Metrics about user functions, clusters, errors and the process, which pgbouncer does not have. */
import type { Observe } from '../admin/observe.ts';
import { observeMemory } from '../telemetry/memory.ts';
import type { NodeSnapshot, SwitchoverSnapshot, TenantSnapshot } from '../telemetry/snapshot.ts';
import { errorCounts } from '../wire/error-counts.ts';
import {
  counter,
  familiesOf,
  fixed,
  gauge,
  otherOf,
  type Column,
  type Family,
  type Sample,
} from './family.ts';
import type { EventLoop } from './event-loop.ts';

/** States in which a query gets a decision of the functions. */
const HEALTHY: ReadonlySet<TenantSnapshot['state']> = new Set([
  'serving',
  'serving old version',
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

const NODES: readonly Column<NodeSnapshot>[] = [
  gauge('node_writer', '1 for the writer of a cluster', ({ role }) => Number(role === 'writer')),
  gauge('node_reachable', '1 if the last probe was answered', ({ role }) => Number(role !== 'unknown')),
  gauge('node_lag_bytes', 'Bytes behind the writer', ({ lagBytes }) => lagBytes ?? NaN, 'max'),
  gauge('node_lag_seconds', 'Time behind the writer', ({ lagSeconds }) => lagSeconds ?? NaN, 'max'),
];

/** @param most series of one family */
export function functionFamilies({ functions }: Observe, most: number): Family[] {
  const { tenants } = functions.observe();
  const labelsOf = ({ owner, name }: TenantSnapshot): Record<string, string> => ({
    tenant: owner,
    folder: name,
  });
  return [
    ...familiesOf(tenants, labelsOf, TENANTS, most),
    ...familiesOf(onePerOwner(tenants), ({ owner }) => ({ tenant: owner }), BUDGETS, most),
    failureFamily(tenants, most),
    versionFamily(tenants, most),
  ];
}

function onePerOwner(tenants: readonly TenantSnapshot[]): TenantSnapshot[] {
  return [...new Map(tenants.map((tenant) => [tenant.owner, tenant])).values()];
}

function failureFamily(tenants: readonly TenantSnapshot[], most: number): Family {
  const samples: Sample[] = [];
  let other = 0;
  for (const { owner, name, failures } of tenants)
    for (const [kind, value] of Object.entries(failures)) {
      if (samples.length < most) samples.push({ labels: { tenant: owner, folder: name, kind }, value });
      else other += value;
    }
  if (other > 0) samples.push({ labels: otherOf({ tenant: '', folder: '', kind: '' }), value: other });
  return { name: 'function_failures_total', help: 'Failed calls by kind', type: 'counter', samples };
}

function versionFamily(tenants: readonly TenantSnapshot[], most: number): Family {
  const samples = tenants
    .filter(({ version }) => version !== '')
    .slice(0, most)
    .map(({ owner, name, version }) => ({ labels: { tenant: owner, folder: name, version }, value: 1 }));
  return { name: 'function_version_info', help: 'The version that serves', type: 'gauge', samples };
}

export function clusterFamilies({ switchovers }: Observe, most: number): Family[] {
  const labelsOf = ({ database, name }: NodeSnapshot): Record<string, string> => ({ database, node: name });
  return [
    ...familiesOf(switchovers.nodes(), labelsOf, NODES, most),
    ...gapFamilies(switchovers.switchovers()),
  ];
}

/** The console keeps the last switchovers only, so these are gauges about the last one of each database. */
function gapFamilies(switchovers: readonly SwitchoverSnapshot[]): Family[] {
  const last = new Map(switchovers.map((each) => [each.database, each]));
  const about = (of: (each: SwitchoverSnapshot) => number | null): [Record<string, string>, number][] =>
    [...last.values()].map((each) => [{ database: each.database }, of(each) ?? NaN]);
  return [
    fixed(
      'gauge',
      'last_switchover_timestamp_seconds',
      'When the last switchover was detected',
      about((each) => each.detectedAtMs / 1000),
    ),
    fixed(
      'gauge',
      'last_switchover_gap_seconds',
      'From its detection until clients went on',
      about((each) => (each.resumedMs === null ? null : each.resumedMs / 1000)),
    ),
    fixed(
      'gauge',
      'last_switchover_clients_held',
      'Clients that it held',
      about((each) => each.clientsHeld),
    ),
    fixed(
      'gauge',
      'last_switchover_transactions_broken',
      'Transactions that it broke',
      about((each) => each.transactionsBroken),
    ),
  ];
}

export function processFamilies(observe: Observe, loop: EventLoop): Family[] {
  const { heapUsedBytes, heapTotalBytes, externalBytes, residentBytes } = observeMemory();
  const { user, system } = process.cpuUsage();
  const { state } = observe.lifecycle;
  const children = new Set(observe.functions.observe().tenants.map(({ pid }) => pid));
  children.delete(process.pid);
  children.delete(null);
  const { meanSeconds, p99Seconds, maxSeconds } = loop.observe();
  return [
    fixed(
      'counter',
      'errors_sent_total',
      'Errors that the proxy itself has sent, by class of SQLSTATE',
      [...errorCounts()].map(([sqlClass, count]) => [{ class: sqlClass }, count]),
    ),
    fixed('gauge', 'state', 'The state of the proxy', [[{ state }, 1]]),
    fixed('gauge', 'sandbox_processes', 'Sandbox processes that versions run in', children.size),
    fixed('gauge', 'event_loop_delay_seconds', 'Delay of the event loop since the last scrape', [
      [{ quantile: 'mean' }, meanSeconds],
      [{ quantile: '0.99' }, p99Seconds],
      [{ quantile: 'max' }, maxSeconds],
    ]),
    fixed('gauge', 'heap_used_bytes', 'JavaScript heap in use', heapUsedBytes),
    fixed('gauge', 'heap_total_bytes', 'JavaScript heap', heapTotalBytes),
    fixed('gauge', 'external_memory_bytes', 'Buffers outside of the heap', externalBytes),
    fixed(
      'gauge',
      'resident_memory_bytes',
      'Resident memory of the proxy, without sandbox processes',
      residentBytes,
    ),
    fixed('counter', 'cpu_seconds_total', 'Processor time of the proxy', [
      [{ mode: 'user' }, user / 1e6],
      [{ mode: 'system' }, system / 1e6],
    ]),
  ];
}
