/** The parts that all tenants of a proxy share: the builder, the hosts, the disk and the id counters. */
import type { Clock } from '../../platform/clock.ts';
import type { IdCounter } from '../../telemetry/id-counter.ts';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import type { NextPlaces } from '../build/next-files.ts';
import type { Trail } from '../build/trail.ts';
import type { Turns } from '../build/turns.ts';
import type { MemoryRoom } from '../decide/memory.ts';
import type { ClientKeys } from '../rollout/share.ts';
import type { VersionStore } from '../store/version-store.ts';
import type { Budgets } from './budgets.ts';
import type { DecisionTap } from './decision-tap.ts';
import type { Fleet } from './fleet.ts';
import type { Housing } from './housing.ts';
import type { FunctionLog } from './journal.ts';
import type { LogLines } from './log-lines.ts';
import type { RolloutLimits } from './settings.ts';
import type { Targets } from './targets.ts';

/** Bundles files (build/bundlers.ts). */
export interface Builder {
  /**
   * @param isSuspect the tenant has harmed others lately: it takes its turn among such tenants
   * @throws BundleError
   */
  bundle(tenant: string, isSuspect: boolean, files: SourceFiles): Promise<Bundle>;
  /** `file:line:column` of each async function in a tenant's own files, relative to a folder. */
  asyncPlaces(tenant: string, inputs: readonly string[], folder: string): Promise<readonly string[]>;
}

/** The file system, as far as tenants read it themselves. */
export interface RuleDisk {
  trailOf(paths: readonly string[]): Promise<Trail>;
  isThere(file: string): boolean;
  /** The file was found in user_functions_dir, and no option names it. */
  isSearched(file: string): boolean;
  /** The files of a candidate, as nextFiles in build/next-files.ts. */
  next(files: SourceFiles, places: NextPlaces): SourceFiles | null;
}

export interface TenantContext {
  readonly log: FunctionLog;
  readonly clock: Clock;
  /** one that is never set */
  readonly steadyClock: Clock;
  readonly builder: Builder;
  readonly disk: RuleDisk;
  readonly housing: Pick<
    Housing,
    | 'ofCandidate'
    | 'releaseCandidate'
    | 'apart'
    | 'separate'
    | 'isSuspect'
    | 'waitMs'
    | 'addBlame'
    | 'punish'
    | 'trial'
    | 'noteVersion'
  >;
  readonly budgets: Pick<Budgets, 'of'>;
  readonly store: VersionStore;
  readonly fleet: Fleet;
  readonly lines: LogLines;
  readonly tap: DecisionTap;
  /** for looks at the files of tenants that are not loaded: a query that waits for its functions waits for one of them at most */
  readonly looks: Turns;
  readonly targets: Pick<Targets, 'mayName' | 'nameable' | 'areOperators' | 'operatorsIn'>;
  /** where the decisions of all tenants are remembered */
  readonly memory: MemoryRoom;
  /** a number from 0 to 1 */
  readonly random: () => number;
  /** How the candidate of a tenant is compared, by the tenant's name. */
  rolloutLimits(owner: string): RolloutLimits;
  readonly versionIds: IdCounter;
  readonly generations: IdCounter;
  /** Rollouts in which a canary is running. */
  readonly canaries: Set<object>;
  readonly clientKeys: ClientKeys;
  /** Changes of these paths, which have no links before their last part, must be reported to this owner. */
  onPlaces(owner: string, paths: Iterable<string>): void;
  /** Changes along this trail must be reported. */
  onTrail(tenantId: string, trail: Trail): void;
  /** A tenant's build has ended, and another version may serve. */
  onBuilt(): void;
}
