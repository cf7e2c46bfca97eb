import { HostChild } from './child.ts';
import type { SandboxHost } from './host.ts';
import { InlineHost } from './inline-host.ts';
import { preludeSource } from './prelude.ts';
import { ProcessHost } from './process-host.ts';

export interface HostsOptions {
  readonly isolation: 'inline' | 'process';
  readonly memoryLimitMb: number;
  readonly onKilled: (versionId: number) => void;
  readonly onAccident: (signal: NodeJS.Signals) => void;
  readonly onStartFailed: (complaint: string) => void;
}

/**
 * An isolate takes 2.7 MB of its process's data limit (child.ts): so many leave half of that to what the rules themselves
 * keep, and to the one that wants too much.
 */
const SETS_A_PROCESS = 64;
/** A process costs 45 MB: sets beyond this many share the last one. */
const MAX_OWN_HOSTS = 8;
/** Making the next child ready must not take the processor from those that wait for this one. */
const WARM_DELAY_MS = 100;

/** A host and whose versions it holds. */
interface Shared {
  readonly host: InlineHost | ProcessHost;
  readonly owners: Set<object>;
}

/**
 * The hosts of a proxy: one that all share, several where there are many sets, and one each for those that have misbehaved.
 */
export class Hosts {
  readonly #options: HostsOptions;
  readonly #shared: Shared[] = [];
  readonly #own = new Map<object, ProcessHost>();
  #warm: HostChild | null = null;
  #warmTimer: NodeJS.Timeout | null = null;
  #stopped = false;

  constructor(options: HostsOptions) {
    this.#options = options;
  }

  /** The host of a function set. */
  of(owner: object): SandboxHost {
    const own = this.#own.get(owner);
    if (own !== undefined) return own;
    const isInline = this.#options.isolation === 'inline';
    let shared =
      this.#shared.find(({ owners }) => owners.has(owner)) ??
      this.#shared.find(({ owners }) => isInline || owners.size < SETS_A_PROCESS);
    if (shared === undefined) {
      const host = isInline ? new InlineHost(preludeSource()) : this.#newProcess();
      shared = { host, owners: new Set() };
      this.#shared.push(shared);
    }
    shared.owners.add(owner);
    return shared.host;
  }

  /** Gives whoever has misbehaved a process of its own: the next time it harms nobody else. Null: it has one. */
  separate(owner: object): SandboxHost | null {
    if (this.#options.isolation === 'inline' || this.#stopped || this.#own.has(owner)) return null;
    const host = this.#own.size < MAX_OWN_HOSTS ? this.#newProcess() : [...this.#own.values()].at(-1)!;
    this.#own.set(owner, host);
    // its version is still where it was: that process goes on
    for (const { owners } of this.#shared) owners.delete(owner);
    return host;
  }

  /** The owner is gone. */
  release(owner: object): void {
    const host = this.#own.get(owner);
    this.#own.delete(owner);
    if (host !== undefined && ![...this.#own.values()].includes(host)) void host.retire();
    this.#leave(owner);
  }

  /** A process that nobody is left in is kept while it is the only one. */
  #leave(owner: object): void {
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
    const all = new Set([...this.#own.values(), ...this.#shared.map(({ host }) => host)]);
    const children = [...all].filter((host) => host instanceof ProcessHost);
    await Promise.all(children.map((host) => host.retire()));
    await this.stop();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#warmTimer) clearTimeout(this.#warmTimer);
    const all = new Set([...this.#own.values(), ...this.#shared.map(({ host }) => host)]);
    this.#own.clear();
    await Promise.all([...[...all].map((host) => host.stop()), this.#warm?.close()]);
  }

  #newProcess(): ProcessHost {
    return new ProcessHost(() => this.#takeChild(), this.#options);
  }

  /** A child, and another one made ready behind it: a cold start takes long enough to be felt. */
  #takeChild(): HostChild {
    const child =
      this.#warm !== null && !this.#warm.isGone ? this.#warm : new HostChild(this.#options.memoryLimitMb);
    this.#warm = null;
    this.#warmTimer ??= setTimeout(() => {
      this.#warmTimer = null;
      if (!this.#stopped) this.#warm ??= new HostChild(this.#options.memoryLimitMb);
    }, WARM_DELAY_MS).unref();
    return child;
  }
}
