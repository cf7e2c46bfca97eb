/** RELOAD: builds all tenants again and waits for them, up to a limit. */
import { CATALOG } from '../limits.ts';
import type { Catalog } from './catalog.ts';
import type { Housing } from './housing.ts';
import type { FunctionLog } from './journal.ts';
import type { Tenant } from './tenant.ts';

export interface ReloadParts {
  readonly catalog: Catalog;
  readonly housing: Housing;
  readonly log: FunctionLog;
}

/**
 * @param besides other work to wait for
 * @returns when everything is built, or after the longest wait: late builds continue, and are named in the log
 */
export async function reloadAll(parts: ReloadParts, besides: Promise<unknown>): Promise<void> {
  const { catalog, housing } = parts;
  const { suspects = [], others = [] } = Object.groupBy(catalog.tenants, ({ owner }) =>
    housing.isSuspect(owner) ? 'suspects' : 'others',
  );
  await Promise.all([
    inTime(Promise.all([besides, catalog.reload(others, true)]), CATALOG.longestReloadMs, () =>
      warnOfLate(others, parts.log),
    ),
    inTime(catalog.reload(suspects, true), CATALOG.longestSuspectMs, () => warnOfLate(suspects, parts.log)),
  ]);
}

/**
 * RELOAD FUNCTIONS: builds some tenants again.
 * @param isAsked by an operator: at once, whatever the tenants have done
 * @returns as `reloadAll`
 */
export async function reloadSome(
  { catalog, log }: ReloadParts,
  tenants: readonly Tenant[],
  isAsked: boolean,
): Promise<void> {
  // a change that is noticed meanwhile makes the last build give way to another one
  const built = catalog
    .reloadNamed(tenants, isAsked)
    .then(() => Promise.all(tenants.map((tenant) => tenant.idle())));
  await inTime(built, CATALOG.longestReloadMs, () => warnOfLate(tenants, log));
}

/** @param onLate called if the work, which continues, takes longer */
async function inTime(work: Promise<unknown>, limitMs: number, onLate: () => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      onLate();
      resolve();
    }, limitMs);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

function warnOfLate(tenants: readonly Tenant[], log: FunctionLog): void {
  const late = tenants.filter((tenant) => tenant.isBuilding).map(({ name }) => name);
  const more = late.length > CATALOG.maxNamed ? ` and ${late.length - CATALOG.maxNamed} more` : '';
  log.warn(
    { event: 'reload' },
    `RELOAD does not wait any longer for user functions that are still being loaded: ${late.slice(0, CATALOG.maxNamed).join(', ')}${more}`,
  );
}
