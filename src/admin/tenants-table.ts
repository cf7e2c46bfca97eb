/** SHOW TENANTS: the state, failures and call times of each tenant's user functions. */
import type { CpuSnapshot, TenantSnapshot } from '../telemetry/snapshots/functions.ts';
import type { Observe } from './observe.ts';
import { table } from './table.ts';

type TenantRow = Pick<
  TenantSnapshot,
  | 'owner'
  | 'databases'
  | 'version'
  | 'isolation'
  | 'pid'
  | 'calls'
  | 'failures'
  | 'unjudged'
  | 'heapBytes'
  | 'cpu'
  | 'recall'
  | 'p50Us'
  | 'p99Us'
  | 'isSuspended'
> & { readonly state: TenantSnapshot['state'] | 'no functions' };

export const TENANTS = table<TenantRow>(
  [
    { name: 'name', type: 'text', of: ({ owner }) => owner },
    { name: 'databases', type: 'text', of: ({ databases }) => databases.join(',') },
    { name: 'state', type: 'text', of: ({ state }) => state },
    { name: 'version', type: 'text', of: ({ version }) => version },
    { name: 'isolation', type: 'text', of: ({ isolation }) => isolation },
    { name: 'pid', type: 'int4', of: ({ pid }) => pid },
    { name: 'calls', type: 'int8', of: ({ calls }) => calls },
    { name: 'hits', type: 'int8', of: ({ recall }) => recall.hits },
    { name: 'misses', type: 'int8', of: ({ recall }) => recall.misses },
    { name: 'failures', type: 'text', of: ({ failures }) => byKind(failures) },
    { name: 'unjudged', type: 'int8', of: ({ unjudged }) => unjudged },
    { name: 'p50_us', type: 'int8', of: ({ p50Us }) => p50Us },
    { name: 'p99_us', type: 'int8', of: ({ p99Us }) => p99Us },
    { name: 'cpu_minute_ms', type: 'int8', of: ({ cpu }) => Math.round(cpu.lastMinuteMs) },
    { name: 'cpu_total_ms', type: 'int8', of: ({ cpu }) => Math.round(cpu.totalMs) },
    { name: 'cpu_limit', type: 'int4', of: ({ cpu }) => cpu.limitMs },
    { name: 'budget', type: 'text', of: ({ cpu }) => budgetOf(cpu) },
    { name: 'heap_bytes', type: 'int8', of: ({ heapBytes }) => heapBytes },
    { name: 'cache_entries', type: 'int8', of: ({ recall }) => recall.entries },
    { name: 'cache_bytes', type: 'int8', of: ({ recall }) => recall.bytes },
    { name: 'breaker', type: 'text', of: ({ isSuspended }) => (isSuspended ? 'open' : 'closed') },
  ],
  (observe, sees) => rows(observe).filter(({ owner }) => sees(owner)),
  { isForTenants: true },
);

/** Tenants that have functions, and entries of [tenants] that have none. */
function rows({ functions, config }: Observe): TenantRow[] {
  const { tenants } = functions.observe();
  const owners = new Set(tenants.map(({ owner }) => owner));
  const others = [...config.tenants.values()]
    .filter(({ name }) => !owners.has(name))
    .map(({ name, databases, isolation, cpu_limit: limit }): TenantRow => ({
      owner: name,
      databases,
      state: 'no functions',
      version: '',
      isolation: isolation ?? config.settings.user_function_isolation,
      pid: null,
      calls: 0,
      failures: {},
      unjudged: 0,
      heapBytes: 0,
      cpu: { ...NO_CPU, limitMs: limit ?? config.settings.user_function_cpu_limit },
      recall: { remembered: '', hits: 0, misses: 0, entries: 0, bytes: 0 },
      p50Us: null,
      p99Us: null,
      isSuspended: false,
    }));
  return [...tenants, ...others];
}

const NO_CPU: CpuSnapshot = {
  totalMs: 0,
  lastMinuteMs: 0,
  limitMs: 0,
  isOver: false,
  waiting: 0,
  refused: 0,
  waited: 0,
};

/** `none`: there is no limit; `waiting 3`: so many calls wait for it. */
function budgetOf({ limitMs, isOver, waiting }: CpuSnapshot): string {
  if (limitMs === 0) return 'none';
  if (waiting > 0) return `waiting ${waiting}`;
  return isOver ? 'over' : 'ok';
}

/** `deadline=1,threw=3` */
function byKind(failures: TenantSnapshot['failures']): string {
  return Object.entries(failures)
    .map(([kind, count]) => `${kind}=${count}`)
    .toSorted()
    .join(',');
}
