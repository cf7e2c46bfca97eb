import { HostChild } from './child.ts';
import type { SandboxHost } from './host.ts';
import { InlineHost } from './inline-host.ts';
import { preludeScript } from './programs.ts';
import { ProcessHost, type ProcessHostEvents } from './supervisor.ts';
import type { Excess } from './shares.ts';
import { PLACEMENT } from '../limits.ts';

export interface HostsOptions {
  readonly isolation: 'inline' | 'process';
  readonly memoryLimitMb: number;
  readonly onKilled: (versionId: number) => void;
  readonly onAccident: (signal: NodeJS.Signals) => void;
  readonly onStalled: () => void;
  readonly onStartFailed: (complaint: string) => void;
  /** A version takes more of the process that it shares than its part. */
  readonly onExcess: (versionId: number, excess: Excess) => void;
}

/** A host and whose versions it holds. */
interface Shared {
  readonly host: InlineHost | ProcessHost;
  readonly owners: Set<string>;
}

/**
 * The hosts of a proxy: one that all share, several where there are many sets, one each for those that have misbehaved or
 * take much, and one for calls that have cost others too much. The last is there only while it is needed.
 */
export class Hosts {
  readonly #options: HostsOptions;
  readonly #shared: Shared[] = [];
  readonly #own = new Map<string, ProcessHost>();
  #apart: ProcessHost | null = null;
  #apartTimer: NodeJS.Timeout | null = null;
  #warm: HostChild | null = null;
  #warmTimer: NodeJS.Timeout | null = null;
  #stopped = false;

  constructor(options: HostsOptions) {
    this.#options = options;
  }

  /** The host of a function set. */
  of(owner: string): SandboxHost {
    const own = this.#own.get(owner);
    if (own !== undefined) return own;
    const isInline = this.#options.isolation === 'inline';
    let shared =
      this.#shared.find(({ owners }) => owners.has(owner)) ??
      this.#shared.find(({ owners }) => isInline || owners.size < PLACEMENT.setsPerProcess);
    if (shared === undefined) {
      const host = isInline ? new InlineHost(preludeScript()) : this.#newProcess();
      shared = { host, owners: new Set() };
      this.#shared.push(shared);
    }
    shared.owners.add(owner);
    return shared.host;
  }

  /** Gives a set a process of its own, so that it costs nobody else anything. Null: it has one. */
  separate(owner: string): SandboxHost | null {
    if (this.#options.isolation === 'inline' || this.#stopped || this.#own.has(owner)) return null;
    const host = this.#own.size < PLACEMENT.maxOwn ? this.#newProcess() : this.#leastShared();
    this.#own.set(owner, host);
    // its version is still where it was: that process goes on
    for (const { owners } of this.#shared) owners.delete(owner);
    return host;
  }

  /** Whoever has been given a process of its own. */
  get separated(): Iterable<string> {
    return this.#own.keys();
  }

  #leastShared(): ProcessHost {
    const owners = new Map<ProcessHost, number>();
    for (const host of this.#own.values()) owners.set(host, (owners.get(host) ?? 0) + 1);
    return [...owners].toSorted(([, a], [, b]) => a - b)[0]![0];
  }

  /**
   * Where calls run that are known to cost much, each in a batch of its own; null: inline, where there is no other place.
   * A host that it has given before may be gone: whoever uses it asks each time, and loads its version there first.
   */
  apart(): SandboxHost | null {
    if (this.#options.isolation === 'inline' || this.#stopped) return null;
    // What they do there is no news: the set that they are of tells of each failure.
    this.#apart ??= this.#newProcess({ onKilled: () => {}, onExcess: () => {} });
    if (this.#apartTimer) clearTimeout(this.#apartTimer);
    this.#apartTimer = setTimeout(() => this.#endApart(), PLACEMENT.apartIdleMs).unref();
    return this.#apart;
  }

  #endApart(): void {
    const host = this.#apart;
    this.#apart = null;
    void host?.retire();
  }

  /** The owner is gone. */
  release(owner: string): void {
    const host = this.#own.get(owner);
    this.#own.delete(owner);
    if (host !== undefined && ![...this.#own.values()].includes(host)) void host.retire();
    this.#leave(owner);
  }

  /** A process that nobody is left in is kept while it is the only one. */
  #leave(owner: string): void {
    for (const { owners } of this.#shared) owners.delete(owner);
    const empty = this.#shared.findIndex(({ owners }) => owners.size === 0);
    if (empty < 0 || this.#shared.length === 1) return;
    const [{ host } = { host: null }] = this.#shared.splice(empty, 1);
    if (host instanceof ProcessHost) void host.retire();
  }

  /** A process for trying new versions, which its owner ends; null: inline, where a trial would gain nothing. */
  forTrials(): ProcessHost | null {
    return this.#options.isolation === 'inline' || this.#stopped ? null : this.#newProcess();
  }

  /** Ends them when what they were given is answered. */
  async retire(): Promise<void> {
    const all = new Set<InlineHost | ProcessHost>([
      ...this.#own.values(),
      ...this.#shared.map(({ host }) => host),
    ]);
    if (this.#apart !== null) all.add(this.#apart);
    const children = [...all].filter((host) => host instanceof ProcessHost);
    await Promise.all(children.map((host) => host.retire()));
    await this.stop();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#warmTimer) clearTimeout(this.#warmTimer);
    if (this.#apartTimer) clearTimeout(this.#apartTimer);
    const all = new Set([
      ...this.#own.values(),
      ...this.#shared.map(({ host }) => host),
      ...(this.#apart === null ? [] : [this.#apart]),
    ]);
    this.#own.clear();
    await Promise.all([...[...all].map((host) => host.stop()), this.#warm?.close()]);
  }

  #newProcess(events: Partial<ProcessHostEvents> = {}): ProcessHost {
    return new ProcessHost(() => this.#takeChild(), { ...this.#options, ...events });
  }

  /** A child, and another one made ready behind it: a cold start takes long enough to be felt. */
  #takeChild(): HostChild {
    const child =
      this.#warm !== null && !this.#warm.isGone ? this.#warm : new HostChild(this.#options.memoryLimitMb);
    this.#warm = null;
    this.#warmTimer ??= setTimeout(() => {
      this.#warmTimer = null;
      if (!this.#stopped) this.#warm ??= new HostChild(this.#options.memoryLimitMb);
    }, PLACEMENT.warmDelayMs).unref();
    return child;
  }
}
