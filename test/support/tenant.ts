/** A tenant by itself: what it shares with others is what a test says, and nothing else. */
import { systemClock } from '../../src/platform/clock.ts';
import { IdCounter } from '../../src/telemetry/stats.ts';
import { isThere } from '../../src/functions/build/sources.ts';
import { trailOf } from '../../src/functions/build/trail.ts';
import type { TenantContext } from '../../src/functions/tenants/context.ts';
import type { TenantSettings } from '../../src/functions/tenants/settings.ts';

export const TENANT_SETTINGS: TenantSettings = {
  timeoutMs: 100,
  memoryLimitMb: 64,
  maxQueryBytes: 1_000_000,
  maxResult: 1_000_000,
  onRoutingFailure: 'error',
  onRewriteFailure: 'error',
  databases: ['a', 'b'],
};

/** @param lines every line that is logged goes there, level first */
export function tenantContext(
  lines: string[],
  given: Partial<TenantContext> & Pick<TenantContext, 'builder'>,
): TenantContext {
  const write =
    (level: string) =>
    (_fields: object, message: string): void => {
      lines.push(`${level} ${message}`);
    };
  return {
    log: { info: write('LOG'), warn: write('WARNING'), error: write('ERROR') },
    clock: systemClock,
    disk: { trailOf, isThere, isSearched: () => false },
    housing: {
      apart: () => null,
      separate: () => null,
      isSuspect: () => false,
      waitMs: () => 0,
      addBlame() {},
      punish() {},
      trial: () => null,
      noteVersion() {},
    },
    targets: { mayName: () => true, nameable: () => undefined, areOperators: () => true },
    versionIds: new IdCounter(),
    generations: new IdCounter(),
    onTrail() {},
    onBuilt() {},
    ...given,
  };
}
