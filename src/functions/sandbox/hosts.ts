/**
 * The hosts of a proxy: one that all tenants share, or several for many tenants; one each for tenants that have harmed others
 * or take much; and one for calls that are too costly to others.
 */
import { PLACEMENT } from '../limits.ts';
import type { SandboxHost } from './host.ts';
import { InlineHost } from './inline-host.ts';
import { emptyPlaces, ownPlace, sharedPlace, type Place } from './placement.ts';
import { preludeScript } from './programs.ts';
import { Supervisor, type SupervisorEvents } from './supervisor.ts';
import { WarmChild } from './warm-child.ts';

export interface HostsOptions extends SupervisorEvents {
  readonly isolation: 'inline' | 'process';
  readonly memoryLimitMb: number;
}

interface HostPlace<Host extends SandboxHost> extends Place {
  readonly host: Host;
  readonly owners: Set<string>;
}

export class Hosts {
  readonly #options: HostsOptions;
  readonly #isInline: boolean;
  readonly #warm: WarmChild;
  readonly #shared: HostPlace<InlineHost | Supervisor>[] = [];
  readonly #own: HostPlace<Supervisor>[] = [];
  /** for costly calls, while there are some */
  #apart: Supervisor | null = null;
  #apartTimer: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(options: HostsOptions) {
    this.#options = options;
    this.#isInline = options.isolation === 'inline';
    this.#warm = new WarmChild(options.memoryLimitMb);
  }

  /** The host of a tenant. */
  of(owner: string): SandboxHost {
    const own = this.#ownOf(owner);
    if (own !== undefined) return own.host;
    let place = sharedPlace(this.#shared, owner, this.#isInline ? Infinity : PLACEMENT.tenantsPerProcess);
    if (place === null) {
      const host = this.#isInline
        ? new InlineHost(preludeScript(), this.#options.onUsed)
        : this.#newSupervisor();
      place = { host, owners: new Set() };
      this.#shared.push(place);
    }
    place.owners.add(owner);
    return place.host;
  }

  /** Moves a tenant that has harmed others into a process of its own. Null: it already has one, or all run inline. */
  separate(owner: string): SandboxHost | null {
    if (this.#isInline || this.#isStopped || this.#ownOf(owner) !== undefined) return null;
    let place = ownPlace(this.#own);
    if (place === null) {
      place = { host: this.#newSupervisor(), owners: new Set() };
      this.#own.push(place);
    }
    place.owners.add(owner);
    // Its version stays in the old process until it is loaded here, so that process continues.
    for (const { owners } of this.#shared) owners.delete(owner);
    return place.host;
  }

  /** Tenants that have a process of their own. */
  get separated(): readonly string[] {
    return this.#own.flatMap(({ owners }) => [...owners]);
  }

  /**
   * The host for calls known to be costly, each in a batch of its own; null: inline, where there is no other place. It ends
   * after it has been idle for a while: callers ask for it each time, and load their version there first.
   */
  apart(): SandboxHost | null {
    if (this.#isInline || this.#isStopped) return null;
    // Their tenants report each failure, so a killed process is not reported as well.
    this.#apart ??= this.#newSupervisor({ onKilled: () => {}, onExcess: () => {} });
    if (this.#apartTimer) clearTimeout(this.#apartTimer);
    this.#apartTimer = setTimeout(() => this.#endApart(), PLACEMENT.apartIdleMs).unref();
    return this.#apart;
  }

  /** A process for trying new versions, which its owner ends; null: inline, where a trial would gain nothing. */
  forTrials(): Supervisor | null {
    return this.#isInline || this.#isStopped ? null : this.#newSupervisor();
  }

  /** The tenant is gone. An empty shared process is kept while it is the only one. */
  release(owner: string): void {
    for (const { owners } of [...this.#own, ...this.#shared]) owners.delete(owner);
    this.#end(this.#own, 0);
    this.#end(this.#shared, 1);
  }

  /** Ends them after they have answered the calls that they were given. */
  async retire(): Promise<void> {
    await Promise.all(this.#supervisors.map((host) => host.retire()));
    await this.stop();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#apartTimer) clearTimeout(this.#apartTimer);
    await Promise.all([...this.#supervisors.map((host) => host.stop()), this.#warm.stop()]);
    this.#own.length = 0;
  }

  get #supervisors(): Supervisor[] {
    const hosts = [...this.#own, ...this.#shared].map(({ host }) => host);
    return [...hosts, this.#apart].filter((host) => host instanceof Supervisor);
  }

  #ownOf(owner: string): HostPlace<Supervisor> | undefined {
    return this.#own.find(({ owners }) => owners.has(owner));
  }

  #end(places: HostPlace<InlineHost | Supervisor>[], kept: number): void {
    for (const place of emptyPlaces(places, kept)) {
      places.splice(places.indexOf(place), 1);
      if (place.host instanceof Supervisor) void place.host.retire();
    }
  }

  #endApart(): void {
    const host = this.#apart;
    this.#apart = null;
    void host?.retire();
  }

  #newSupervisor(events: Partial<SupervisorEvents> = {}): Supervisor {
    return new Supervisor(() => this.#warm.take(), { ...this.#options, ...events });
  }
}
