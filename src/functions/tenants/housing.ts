/** Which host runs whose calls, and the consequences for a tenant that is costly to others. */
import { printable } from '../build/places.ts';
import { LOADING } from '../limits.ts';
import type { SandboxHost, VersionCode } from '../sandbox/host.ts';
import { Hosts } from '../sandbox/hosts.ts';
import type { Cause } from '../sandbox/placement.ts';
import { Blame } from './blame.ts';
import type { Budgets } from './budgets.ts';
import { candidateId } from './identity.ts';
import type { FunctionLog } from './journal.ts';
import type { FunctionsConfig } from './settings.ts';
import { Trials, type Trial } from './trials.ts';

export type Isolation = 'inline' | 'process';
type HostsByIsolation = Readonly<Record<Isolation, Hosts>>;

/** A tenant, as seen from its host. */
export interface Housed {
  readonly id: string;
  /** the name that it is blamed by */
  readonly owner: string;
  /** the folder of its files, for the log */
  readonly name: string;
  readonly isolation: Isolation;
}

export interface HousingOptions {
  readonly config: FunctionsConfig;
  readonly budgets: Pick<Budgets, 'of'>;
  readonly log: FunctionLog;
  /** the tenant that a version serves; undefined: the version no longer serves */
  readonly servedBy: (versionId: number) => Housed | undefined;
  /** The tenant has not gone. */
  readonly isThere: (tenant: Housed) => boolean;
}

/** Options that processes are started with. */
const HOST_OPTIONS = [
  'user_function_isolation',
  'user_function_hosts',
  'user_function_tenants_per_host',
  'user_function_host_memory',
] as const;

const WHY: Readonly<Record<Cause, string>> = {
  slice: 'take long for a call',
  ended: 'did not come back from a call, or ended a process',
  load: 'take long to load',
  time: 'take much time',
  memory: 'take much memory',
};

export class Housing {
  readonly #options: HousingOptions;
  readonly #log: FunctionLog;
  readonly #blame = new Blame();
  readonly #trials: Trials;
  /** By version, its tenant: a version may end a process after another has taken its place. */
  readonly #tenants = new Map<number, Pick<Housed, 'owner' | 'name'>>();
  /** by version on trial, its tenant's name */
  readonly #onTrial = new Map<number, string>();
  /** by id of a tenant, the name that it is blamed by */
  readonly #owners = new Map<string, string>();
  /** ids of candidates */
  readonly #candidates = new Set<string>();
  #config: FunctionsConfig;
  #hosts: HostsByIsolation;

  constructor(options: HousingOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#config = options.config;
    this.#hosts = this.#newHosts();
    this.#trials = new Trials(() => this.#hosts.process.forTrials());
  }

  /** Starts a process ahead, for the first call. */
  prepare(): void {
    this.#hosts.process.prepare();
  }

  /** The host of a tenant. */
  of(tenantId: string, isolation: Isolation): SandboxHost {
    return this.#hosts[isolation].of(tenantId);
  }

  /** The host of a new tenant. One that has harmed others lately starts in a process of its own. */
  ofNew(tenantId: string, owner: string, isolation: Isolation): SandboxHost {
    this.#owners.set(tenantId, owner);
    if (this.isSuspect(owner)) this.separate(tenantId, isolation);
    return this.of(tenantId, isolation);
  }

  /**
   * The tenant's calls run where it shares a process with no well-behaved one, from now on.
   * @returns whether that is new
   */
  separate(tenantId: string, isolation: Isolation): boolean {
    return this.#hosts[isolation].separate(tenantId);
  }

  /** The host of a tenant's candidate, away from versions that serve. */
  ofCandidate(tenantId: string, isolation: Isolation): SandboxHost {
    const id = candidateId(tenantId);
    this.#candidates.add(id);
    this.separate(id, isolation);
    return this.of(id, isolation);
  }

  /** The tenant has no candidate any more. */
  releaseCandidate(tenantId: string): void {
    this.#candidates.delete(candidateId(tenantId));
    this.release(candidateId(tenantId));
  }

  /** The host for calls that are too costly to others; null: inline, where there is no other place. */
  apart(isolation: Isolation): SandboxHost | null {
    return this.#hosts[isolation].apart();
  }

  /** The tenant is gone. */
  release(tenantId: string): void {
    this.#owners.delete(tenantId);
    for (const hosts of Object.values(this.#hosts)) hosts.forget(tenantId);
  }

  /** The tenant's calls run under the other isolation now. */
  leave(tenantId: string, isolation: Isolation): void {
    this.#hosts[isolation].forget(tenantId);
  }

  /** The tenant of this name has harmed others lately. */
  isSuspect(name: string): boolean {
    return this.#blame.isSuspect(name);
  }

  /** The wait that is imposed on the tenant's next version, in ms. */
  waitMs(name: string): number {
    return this.#blame.waitMs(name);
  }

  /** The tenant was costly to others. */
  addBlame(name: string): void {
    this.#blame.add(name);
  }

  /** A serving tenant has harmed others: from now on it can only harm those that have done so, too. */
  punish(tenant: Housed): void {
    this.#blame.add(tenant.owner);
    if (this.#options.isThere(tenant)) this.separate(tenant.id, tenant.isolation);
  }

  /** A version of this number is given to a host where it will serve. */
  noteVersion(versionId: number, { owner, name }: Pick<Housed, 'owner' | 'name'>): void {
    this.#tenants.set(versionId, { owner, name });
    // two at a time: all of them may be serving
    for (let looks = 0; looks < 2 && this.#tenants.size > LOADING.maxVersions; looks++) {
      const [oldest, tenant] = this.#tenants.entries().next().value!;
      this.#tenants.delete(oldest);
      if (this.#options.servedBy(oldest) !== undefined) this.#tenants.set(oldest, tenant);
    }
  }

  /**
   * Tries a version where it costs no client anything. Null: it was not tried, and need not be, because it runs inline.
   * @param isWanted asked when the trial's turn has come
   */
  trial(
    owner: string,
    isolation: Isolation,
    version: VersionCode,
    isWanted: () => boolean,
  ): Promise<Trial | null> | null {
    if (isolation === 'inline') return null;
    this.#onTrial.set(version.id, owner);
    return this.#trials
      .try(owner, this.isSuspect(owner), version, isWanted)
      .finally(() => this.#onTrial.delete(version.id));
  }

  /**
   * Takes over other settings.
   * @returns ends the former hosts, to be called when nothing is running there any more; null: they stay
   */
  configure(config: FunctionsConfig): (() => Promise<void>) | null {
    const last = this.#config;
    this.#config = config;
    const isChanged =
      HOST_OPTIONS.some((option) => config.settings[option] !== last.settings[option]) ||
      config.memoryLimitMb !== last.memoryLimitMb;
    if (!isChanged) return null;
    const old = this.#hosts;
    this.#hosts = this.#newHosts();
    // tenants that were costly to others keep that record
    for (const tenantId of old.process.separated) this.#hosts.process.separate(tenantId);
    return async () => {
      await Promise.all(Object.values(old).map((hosts) => hosts.retire()));
    };
  }

  async stop(): Promise<void> {
    await Promise.all([this.#trials.stop(), this.#hosts.process.stop(), this.#hosts.inline.stop()]);
  }

  #newHosts(): HostsByIsolation {
    return { inline: this.#newHostsOf('inline'), process: this.#newHostsOf('process') };
  }

  #newHostsOf(isolation: Isolation): Hosts {
    const { memoryLimitMb, settings } = this.#config;
    return new Hosts({
      isolation,
      hostMemoryMb: settings.user_function_host_memory + memoryLimitMb,
      mostHosts: settings.user_function_hosts,
      tenantsPerHost: settings.user_function_tenants_per_host,
      onKilled: (versionId) => this.#killed(versionId),
      onUsed: (versionId, cpuMs) => this.#used(versionId, cpuMs),
      onMoved: (versionId, cause) => this.#moved(versionId, cause),
      staysAway: (id) => this.#candidates.has(id) || this.isSuspect(this.#owners.get(id) ?? ''),
      onAccident: (signal) =>
        this.#log.warn(
          { event: 'sandbox_ended', signal },
          `sandbox process killed by ${signal} from outside; starting another`,
        ),
      onStalled: () =>
        this.#log.warn(
          { event: 'sandbox_stalled' },
          'sandbox process killed because it had no processor, or was stopped; starting another',
        ),
      onStartFailed: (complaint) =>
        this.#log.error(
          { event: 'sandbox_failed' },
          `sandbox process ended before it was ready: ${printable(complaint.trim()) || 'no reason given'}`,
        ),
    });
  }

  #used(versionId: number, cpuMs: number): void {
    const owner = this.#tenants.get(versionId)?.owner ?? this.#onTrial.get(versionId);
    if (owner !== undefined) this.#options.budgets.of(owner).charge(cpuMs);
  }

  #killed(versionId: number): void {
    const known = this.#tenants.get(versionId);
    if (known === undefined) return;
    const { owner, name } = known;
    this.#log.error(
      { event: 'sandbox_killed', tenant: name },
      `sandbox process killed because of user functions in ${name}`,
    );
    this.#blame.add(owner);
    const tenant = this.#options.servedBy(versionId);
    if (tenant !== undefined) this.separate(tenant.id, tenant.isolation);
  }

  /** A version stays below its limits and would still delay its neighbours. That is not a fault. */
  #moved(versionId: number, cause: Cause | null): void {
    const name = this.#tenants.get(versionId)?.name;
    if (name === undefined) return;
    if (cause === null)
      this.#log.info(
        { event: 'sandbox_shared', tenant: name },
        `user functions of ${name} behave: they share a sandbox process again`,
      );
    else
      this.#log.info(
        { event: 'sandbox_separated', tenant: name, cause },
        `user functions of ${name} ${WHY[cause]}: they get a sandbox process of their own`,
      );
  }
}
