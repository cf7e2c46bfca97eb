/**
 * The child processes of a proxy, and which tenant lives where: tenants share children as long as they behave; one that is
 * costly to its neighbours gets a child of its own, and may come back. One more child is for calls that are known to be costly.
 */
import { CHILD, PLACEMENT } from '../limits.ts';
import type { SandboxChild } from './child.ts';
import { Conduct } from './conduct.ts';
import type { SandboxHost } from './host.ts';
import { InlineHost } from './inline-host.ts';
import { isCostly, leaverOf, probationMs, roomFor, type Bounds, type Cause, type Kind } from './placement.ts';
import { preludeScript } from './programs.ts';
import { Supervisor, type SupervisorEvents } from './supervisor.ts';
import { TenantHost, type Home, type Landlord } from './tenant-host.ts';
import { WarmChild } from './warm-child.ts';

export interface HostsOptions extends Omit<SupervisorEvents, 'onRan'> {
  readonly isolation: 'inline' | 'process';
  /** memory of a child, which the kernel enforces, in MB */
  readonly hostMemoryMb: number;
  /** children for clients' calls, 2 at least; trials, costly calls and the warm child have others */
  readonly mostHosts: number;
  readonly tenantsPerHost: number;
  /** A tenant has left a shared child by itself, or has come back (null). `versionId`: one of its versions. */
  readonly onMoved: (versionId: number, cause: Cause | null) => void;
  /** The tenant does not come back yet, however it behaves: it has harmed others lately, or is a candidate. */
  readonly staysAway: (owner: string) => boolean;
}

/** A child, and the tenants that live in it. */
interface Place extends Home {
  readonly tenants: Set<TenantHost>;
  /** how all of them together have used it */
  readonly conduct: Conduct;
}

/** A tenant that has left a shared child. */
interface Probation {
  /** how often it has done so */
  moves: number;
  /** since when it has behaved, by performance.now() */
  since: number;
}

export class Hosts implements Landlord {
  readonly #options: HostsOptions;
  readonly #bounds: Bounds;
  readonly #inline: InlineHost | null;
  readonly #warm: WarmChild;
  readonly #places = new Set<Place>();
  /** by owner */
  readonly #tenants = new Map<string, TenantHost>();
  readonly #byVersion = new Map<number, TenantHost>();
  readonly #probations = new Map<string, Probation>();
  #look: NodeJS.Timeout | null = null;
  /** for costly calls, while there are some */
  #apart: Supervisor | null = null;
  #apartTimer: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(options: HostsOptions) {
    const { isolation, onUsed, hostMemoryMb, mostHosts, tenantsPerHost } = options;
    this.#options = options;
    const crowdedBytes = hostMemoryMb * 1024 ** 2 * PLACEMENT.crowdedPart;
    this.#bounds = { hosts: mostHosts, tenants: tenantsPerHost, crowdedBytes };
    this.#inline = isolation === 'inline' ? new InlineHost(preludeScript(), onUsed) : null;
    this.#warm = new WarmChild(hostMemoryMb);
  }

  /** Starts a child that the first tenant gets. */
  prepare(): void {
    if (this.#inline === null) this.#warm.prepare();
  }

  /** The host of a tenant. It stays the same wherever the tenant's calls run. */
  of(owner: string): SandboxHost {
    if (this.#inline !== null) return this.#inline;
    let tenant = this.#tenants.get(owner);
    if (tenant === undefined) this.#tenants.set(owner, (tenant = new TenantHost(owner, this)));
    return tenant;
  }

  /**
   * The tenant has harmed others: its calls run in a child of its own from now on, or of few such tenants.
   * @returns whether that is new
   */
  separate(owner: string): boolean {
    if (this.#inline !== null || this.#isStopped) return false;
    const home = this.#tenants.get(owner)?.home ?? null;
    const isNew = home === null ? !this.#isOnProbation(owner) : home.kind === 'shared';
    this.#beginProbation(owner, isNew);
    if (isNew && home !== null) this.#moveTo(this.#tenants.get(owner)!, this.#placeFor('own'));
    return isNew;
  }

  /** Tenants that do not share a child with others that behave. */
  get separated(): readonly string[] {
    return [...this.#probations.keys()].filter((owner) => this.#isOnProbation(owner));
  }

  /**
   * The host for calls known to be costly, each in a batch of its own; null: inline, where there is no other place. It ends
   * after it has been idle for a while: callers ask for it each time, and load their version there first.
   */
  apart(): SandboxHost | null {
    if (this.#inline !== null || this.#isStopped) return null;
    // Their tenants report each failure, so a killed process is not reported as well.
    this.#apart ??= this.#newSupervisor('own', { onKilled: () => {} });
    if (this.#apartTimer) clearTimeout(this.#apartTimer);
    this.#apartTimer = setTimeout(() => this.#endApart(), PLACEMENT.apartIdleMs).unref();
    return this.#apart;
  }

  /** A process for trying new versions, which its owner ends; null: inline, where a trial would gain nothing. */
  forTrials(): Supervisor | null {
    return this.#inline !== null || this.#isStopped ? null : this.#newSupervisor('shared', {});
  }

  /** The tenant is gone. Its versions stay until they are disposed of. */
  forget(owner: string): void {
    this.#tenants.delete(owner);
    this.#probations.delete(owner);
  }

  /** Ends all children after they have answered the calls that they were given. */
  async retire(): Promise<void> {
    await Promise.all(this.#supervisors.map((host) => host.retire()));
    await this.stop();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#apartTimer) clearTimeout(this.#apartTimer);
    if (this.#look) clearTimeout(this.#look);
    await Promise.all([...this.#supervisors.map((host) => host.stop()), this.#warm.stop()]);
  }

  // --- tenants and their children ------------------------------------------------------------------------------------------

  noteVersion(versionId: number, tenant: TenantHost): void {
    this.#byVersion.set(versionId, tenant);
  }

  forgetVersion(versionId: number): void {
    this.#byVersion.delete(versionId);
  }

  moveIn(tenant: TenantHost): Home {
    const place = this.#placeFor(this.#isOnProbation(tenant.owner) ? 'own' : 'shared');
    place.tenants.add(tenant);
    return place;
  }

  moveOut(tenant: TenantHost, cause: Cause): void {
    this.#beginProbation(tenant.owner, true);
    this.#moveTo(tenant, this.#placeFor('own'));
    this.#noteMove(tenant, cause);
  }

  release(tenant: TenantHost): void {
    for (const place of this.#places) this.#leave(tenant, place);
  }

  get #supervisors(): Supervisor[] {
    const hosts = [...this.#places].map(({ host }) => host);
    return this.#apart === null ? hosts : [...hosts, this.#apart];
  }

  #placeFor(kind: Kind): Place {
    const found = roomFor([...this.#places], kind, this.#bounds);
    if (found !== null) return found;
    const host = this.#newSupervisor(kind, {
      onRan: (...ran) => this.#noteRun(place, ...ran),
    });
    const place: Place = { kind, host, tenants: new Set(), conduct: new Conduct() };
    this.#places.add(place);
    // the last calls of a tenant that has moved on
    if (this.#isStopped) void host.stop();
    return place;
  }

  #moveTo(tenant: TenantHost, place: Place): void {
    place.tenants.add(tenant);
    tenant.moveTo(place);
    for (const other of this.#places) if (other !== place) this.#leave(tenant, other);
    if (place.kind === 'own') this.#look ??= setTimeout(this.#lookAround, PLACEMENT.lookMs).unref();
  }

  /** A place without tenants ends; one shared place is kept. */
  #leave(tenant: TenantHost, place: Place): void {
    if (!place.tenants.delete(tenant)) return;
    place.conduct.subtract(tenant.takeConduct(performance.now()));
    if (place.tenants.size > 0) return;
    const isLast = [...this.#places].every((other) => other === place || other.kind !== place.kind);
    if (place.kind === 'shared' && isLast) return;
    this.#places.delete(place);
    void place.host.retire();
  }

  #noteRun(place: Place, versionId: number, cpuMs: number, delayMs: number, heapBytes: number | null): void {
    const tenant = this.#byVersion.get(versionId);
    // one that has just left, and whose last calls are answered
    if (tenant === undefined || !place.tenants.has(tenant)) return;
    const now = performance.now();
    const heapChange = heapBytes === null ? 0 : heapBytes - tenant.conduct.heapBytes;
    tenant.conduct.note(cpuMs, delayMs, heapChange, now);
    place.conduct.note(cpuMs, delayMs, heapChange, now);
    if (place.kind === 'own') {
      if (isCostly(delayMs, tenant.conduct.observe(now), this.#bounds))
        this.#beginProbation(tenant.owner, false);
      return;
    }
    if (place.tenants.size < 2) return;
    const found = leaverOf(tenant, place.tenants, place.conduct.observe(now), this.#bounds, now);
    if (found !== null) this.moveOut(found.sharer, found.cause);
  }

  // --- coming back -----------------------------------------------------------------------------------------------------------

  /** @param isMove it leaves a shared child */
  #beginProbation(owner: string, isMove: boolean): void {
    const now = performance.now();
    const probation = this.#probations.get(owner) ?? { moves: 0, since: now };
    // long ago
    if (isMove && now - probation.since > PLACEMENT.longestProbationMs) probation.moves = 0;
    if (isMove) probation.moves++;
    probation.since = now;
    this.#probations.set(owner, probation);
  }

  #isOnProbation(owner: string): boolean {
    const probation = this.#probations.get(owner);
    if (probation === undefined) return false;
    return (
      performance.now() - probation.since < probationMs(probation.moves) || this.#options.staysAway(owner)
    );
  }

  readonly #lookAround = (): void => {
    this.#look = null;
    for (const place of [...this.#places].filter(({ kind }) => kind === 'own'))
      for (const tenant of place.tenants) {
        if (this.#isOnProbation(tenant.owner)) continue;
        this.#moveTo(tenant, this.#placeFor('shared'));
        this.#noteMove(tenant, null);
      }
    if ([...this.#places].some(({ kind }) => kind === 'own'))
      this.#look = setTimeout(this.#lookAround, PLACEMENT.lookMs).unref();
  };

  #noteMove(tenant: TenantHost, cause: Cause | null): void {
    const [versionId] = tenant.versionIds;
    if (versionId !== undefined) this.#options.onMoved(versionId, cause);
  }

  // --- children --------------------------------------------------------------------------------------------------------------

  #endApart(): void {
    const host = this.#apart;
    this.#apart = null;
    void host?.retire();
  }

  #newSupervisor(kind: Kind, events: Partial<SupervisorEvents>): Supervisor {
    const spawn = (): SandboxChild => {
      const child = this.#warm.take();
      if (kind === 'own') child.lowerPriority(CHILD.lowNiceness);
      return child;
    };
    const { tenantsPerHost } = this.#options;
    return new Supervisor(spawn, { ...this.#options, onRan: () => {}, ...events }, tenantsPerHost);
  }
}
