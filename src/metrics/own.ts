/** Metrics about user functions, clusters, errors and the process, which pgbouncer does not have. */
import type { Observe } from '../admin/observe.ts';
import { observeMemory } from '../telemetry/memory.ts';
import type { NodeSnapshot, SwitchoverSnapshot, TenantSnapshot } from '../telemetry/snapshot.ts';
import { errorCounts } from '../wire/error-counts.ts';
import { familiesOf, fixed, otherOf, type Column, type Family, type Sample } from './family.ts';
import type { EventLoop } from './event-loop.ts';

/** States in which a query gets a decision of the functions. */
const HEALTHY: ReadonlySet<TenantSnapshot['state']> = new Set([
  'serving',
  'serving old version',
  'not loaded',
] as const);

const TENANTS: readonly Column<TenantSnapshot>[] = [
  {
    name: 'function_calls_total',
    help: 'Queries that user functions have judged',
    type: 'counter',
    of: (row) => row.calls,
  },
  {
    name: 'function_routed_total',
    help: 'Queries that were routed',
    type: 'counter',
    of: (row) => row.routed,
  },
  {
    name: 'function_rewritten_total',
    help: 'Queries that were rewritten',
    type: 'counter',
    of: (row) => row.rewritten,
  },
  {
    name: 'function_rejected_total',
    help: 'Queries that were rejected',
    type: 'counter',
    of: (row) => row.rejected,
  },
  {
    name: 'function_unjudged_total',
    help: 'Queries that passed although a function failed on them',
    type: 'counter',
    of: (row) => row.unjudged,
  },
  {
    name: 'function_remembered_hits_total',
    help: 'Queries that were answered from memory',
    type: 'counter',
    of: ({ recall }) => recall.hits,
  },
  {
    name: 'function_remembered_misses_total',
    help: 'Queries that could have been answered from memory',
    type: 'counter',
    of: ({ recall }) => recall.misses,
  },
  {
    name: 'function_remembered_entries',
    help: 'Remembered decisions',
    type: 'gauge',
    of: ({ recall }) => recall.entries,
  },
  {
    name: 'function_remembered_bytes',
    help: 'Memory of remembered decisions',
    type: 'gauge',
    of: ({ recall }) => recall.bytes,
  },
  {
    name: 'function_heap_bytes',
    help: 'Memory of the isolate that serves',
    type: 'gauge',
    of: (row) => row.heapBytes,
  },
  {
    name: 'function_suspended',
    help: '1 while the breaker is open',
    type: 'gauge',
    of: (row) => Number(row.isSuspended),
  },
  {
    name: 'function_serving',
    help: '1 while a version serves, or is loaded with the next query',
    type: 'gauge',
    of: ({ state }) => Number(HEALTHY.has(state)),
  },
];

/** Of all functions of a tenant: its budget is one for all of them. */
const BUDGETS: readonly Column<TenantSnapshot>[] = [
  {
    name: 'tenant_cpu_seconds_total',
    help: 'Processor time of all functions of a tenant',
    type: 'counter',
    of: ({ cpu }) => cpu.totalMs / 1000,
  },
  {
    name: 'tenant_cpu_limit',
    help: 'Seconds of processor time in a second that a tenant may take; 0: no limit',
    type: 'gauge',
    of: ({ cpu }) => cpu.limitMs / 1000,
  },
  {
    name: 'tenant_over_budget',
    help: '1 while a tenant is over its CPU budget',
    type: 'gauge',
    of: ({ cpu }) => Number(cpu.isOver),
    merge: 'max',
  },
];

const NODES: readonly Column<NodeSnapshot>[] = [
  {
    name: 'node_writer',
    help: '1 for the writer of a cluster',
    type: 'gauge',
    of: ({ role }) => Number(role === 'writer'),
  },
  {
    name: 'node_reachable',
    help: '1 if the last probe was answered',
    type: 'gauge',
    of: ({ role }) => Number(role !== 'unknown'),
  },
  {
    name: 'node_lag_bytes',
    help: 'Bytes behind the writer',
    type: 'gauge',
    of: ({ lagBytes }) => lagBytes ?? NaN,
    merge: 'max',
  },
  {
    name: 'node_lag_seconds',
    help: 'Time behind the writer',
    type: 'gauge',
    of: ({ lagSeconds }) => lagSeconds ?? NaN,
    merge: 'max',
  },
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
