/** A tenant by itself: the test provides everything that it shares with others. */
import { ClientKeys } from '../../src/functions/rollout/share.ts';
import { NO_FLEET } from '../../src/functions/tenants/fleet.ts';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { DEFAULT_OPTIONS } from '../../sandbox/crossing.ts';
import { systemClock, type Clock } from '../../src/platform/clock.ts';
import { IdCounter } from '../../src/telemetry/id-counter.ts';
import type { Bundle } from '../../src/functions/build/bundle-job.ts';
import { MemoryRoom } from '../../src/functions/decide/memory.ts';
import { isThere } from '../../src/functions/build/sources.ts';
import { trailOf } from '../../src/functions/build/trail.ts';
import { Turns } from '../../src/functions/build/turns.ts';
import { Budget } from '../../src/functions/decide/budget.ts';
import { OPTION_NAMES } from '../../src/functions/decide/policy.ts';
import type { HostAnswer, HostCall } from '../../src/functions/sandbox/call.ts';
import {
  NO_COST,
  type OnAnswers,
  type SandboxHost,
  type VersionCode,
} from '../../src/functions/sandbox/host.ts';
import { refused, type LoadResult } from '../../src/functions/sandbox/load-result.ts';
import { VersionStore } from '../../src/functions/store/version-store.ts';
import { DecisionTap } from '../../src/functions/tenants/decision-tap.ts';
import { LogLines } from '../../src/functions/tenants/log-lines.ts';
import type { TenantContext } from '../../src/functions/tenants/context.ts';
import type { TenantSettings } from '../../src/functions/tenants/settings.ts';

export const TENANT_SETTINGS: TenantSettings = {
  timeoutMs: 100,
  memoryLimitMb: 64,
  maxQueryBytes: 1_000_000,
  cacheBytes: 1_000_000,
  maxResult: 1_000_000,
  isolation: 'process',
  maxPrinted: 100,
  onRoutingFailure: 'error',
  onRewriteFailure: 'error',
  onOutage: 'error',
  onOverLimit: 'error',
  names: OPTION_NAMES,
  databases: ['a', 'b'],
};

/** @param lines receives every logged line, level first */
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
    steadyClock: given.clock ?? systemClock,
    disk: { trailOf, isThere, isSearched: () => false, next: () => null },
    canaries: new Set(),
    clientKeys: new ClientKeys(),
    rolloutLimits: () => ({ shadowMs: 50, tolerance: 1, durationMs: 600_000 }),
    budgets: { of: () => new Budget(systemClock, { onBegun: () => {}, onEnded: () => {} }) },
    housing: {
      ofCandidate: () => new TestHost(),
      releaseCandidate() {},
      apart: () => null,
      separate: () => false,
      isSuspect: () => false,
      waitMs: () => 0,
      addBlame() {},
      punish() {},
      trial: () => null,
      noteVersion() {},
    },
    store: new VersionStore(null, { warn() {}, error() {} }),
    fleet: NO_FLEET,
    lines: new LogLines(),
    tap: new DecisionTap(),
    looks: new Turns(1),
    targets: {
      mayName: () => true,
      nameable: () => undefined,
      areOperators: () => true,
      operatorsIn: () => '',
    },
    memory: new MemoryRoom(10_000_000),
    random: () => 0.5,
    versionIds: new IdCounter(),
    generations: new IdCounter(),
    onTrail() {},
    onPlaces() {},
    onBuilt() {},
    ...given,
  };
}

/** A clock that stands still until the test advances it. */
export class TestClock implements Clock {
  #now = 0;
  #due: { readonly at: number; readonly work: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(delayMs: number, work: () => void): () => void {
    const entry = { at: this.#now + delayMs, work };
    this.#due.push(entry);
    return () => {
      this.#due = this.#due.filter((each) => each !== entry);
    };
  }

  advance(ms: number): void {
    this.#now += ms;
    const due = this.#due.filter(({ at }) => at <= this.#now);
    this.#due = this.#due.filter(({ at }) => at > this.#now);
    for (const { work } of due) work();
  }
}

/** Routes each query to the code of the version that is asked; a code with `!` can't be loaded. */
export class TestHost implements SandboxHost {
  readonly isInline = false;
  readonly loaded = new Map<number, string>();

  load({ id, code }: VersionCode): Promise<LoadResult> {
    if (code.includes('!')) return Promise.resolve(refused('mistake', `Error: ${code}`));
    this.loaded.set(id, code);
    return Promise.resolve({
      kind: 'loaded',
      manifest: { routes: true, rewrites: false, options: DEFAULT_OPTIONS },
    });
  }

  evaluate(versionId: number, calls: readonly HostCall[], done: OnAnswers): void {
    const code = this.loaded.get(versionId) ?? 'nowhere';
    const answer = (query: string): HostAnswer =>
      query.startsWith('slow')
        ? { rewrite: null, route: { failure: { outcome: 'deadline', message: 'took longer', stack: '' } } }
        : { rewrite: null, route: { text: code } };
    done(
      calls.map(({ query }) => answer(query)),
      '',
      NO_COST,
    );
  }

  dispose(versionId: number): void {
    this.loaded.delete(versionId);
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}

export const bundleOf = (code: string): Bundle => ({
  code,
  map: { sources: [], mappings: '', checkpoints: new Int32Array() },
  inputs: [],
  files: [],
  hash: code,
  isArtifact: false,
  notUsed: [],
  purity: { isPure: false, reason: 'it has not been analysed' },
});

/** Resolves when everything that needs no clock has happened. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await nextTurn();
}
