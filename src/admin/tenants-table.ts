/** SHOW TENANTS: the state, failures and call times of each tenant's user functions. */
import type { TenantSnapshot } from '../telemetry/snapshot.ts';
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
    { name: 'failures', type: 'text', of: ({ failures }) => byKind(failures) },
    { name: 'p50_us', type: 'int8', of: ({ p50Us }) => p50Us },
    { name: 'p99_us', type: 'int8', of: ({ p99Us }) => p99Us },
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
    .map(({ name, databases, isolation }): TenantRow => ({
      owner: name,
      databases,
      state: 'no functions',
      version: '',
      isolation: isolation ?? config.settings.user_function_isolation,
      pid: null,
      calls: 0,
      failures: {},
      p50Us: null,
      p99Us: null,
      isSuspended: false,
    }));
  return [...tenants, ...others];
}

/** `deadline=1,threw=3` */
function byKind(failures: TenantSnapshot['failures']): string {
  return Object.entries(failures)
    .map(([kind, count]) => `${kind}=${count}`)
    .toSorted()
    .join(',');
}
