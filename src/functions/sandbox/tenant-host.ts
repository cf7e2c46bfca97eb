/**
 * The host of one tenant: it passes everything on to the child where the tenant lives now, which changes as the tenant behaves.
 * A call that a shared child gives back is run again where it disturbs nobody, so that only there it can be to blame.
 */
import { Conduct, type Observed } from './conduct.ts';
import type { HostCall } from './call.ts';
import type { OnAnswers, SandboxHost, VersionCode } from './host.ts';
import type { LoadResult } from './load-result.ts';
import type { Cause, Kind } from './placement.ts';
import type { Supervisor } from './supervisor.ts';

/** A child, and the tenants that live in it. */
export interface Home {
  readonly kind: Kind;
  readonly host: Supervisor;
  readonly tenants: ReadonlySet<TenantHost>;
}

/** Assigns children (hosts.ts). */
export interface Landlord {
  /** The version is one of the tenant's. */
  noteVersion(versionId: number, tenant: TenantHost): void;
  forgetVersion(versionId: number): void;
  /** The tenant needs a child, and has none. It lives there from now on. */
  moveIn(tenant: TenantHost): Home;
  /** The tenant must leave its shared child. When this has returned, it lives elsewhere. */
  moveOut(tenant: TenantHost, cause: Cause): void;
  /** The tenant needs no child any more. */
  release(tenant: TenantHost): void;
}

export class TenantHost implements SandboxHost {
  readonly isInline = false;
  readonly owner: string;
  #conduct = new Conduct();
  readonly #landlord: Landlord;
  readonly #versions = new Map<number, VersionCode>();
  #home: Home | null = null;

  /** @param owner id of the tenant */
  constructor(owner: string, landlord: Landlord) {
    this.owner = owner;
    this.#landlord = landlord;
  }

  get pid(): number | undefined {
    return this.#home?.host.pid;
  }

  get isDown(): boolean {
    return this.#home?.host.isDown === true;
  }

  /** The child where it lives; null: it has no version that is in use. */
  get home(): Home | null {
    return this.#home;
  }

  /** how it has used its child */
  get conduct(): Conduct {
    return this.#conduct;
  }

  /** ids of its versions */
  get versionIds(): Iterable<number> {
    return this.#versions.keys();
  }

  async load(version: VersionCode): Promise<LoadResult> {
    this.#note(version);
    const home = this.#dwell();
    const isSliced = isShared(home);
    const result = await home.host.load(version, isSliced);
    if (result.kind === 'loaded') return result;
    if (isSliced && result.cause === 'offence' && this.#versions.has(version.id)) {
      // there it has all of its time
      if (this.#home === home) this.#landlord.moveOut(this, 'load');
      return this.load(version);
    }
    this.dispose(version.id);
    return result;
  }

  /** Loads it with its first call. Until then the tenant needs no child. */
  adopt(version: VersionCode): void {
    this.#note(version);
    this.#home?.host.adopt(version);
  }

  evaluate(versionId: number, calls: readonly HostCall[], done: OnAnswers): void {
    const home = this.#dwell();
    if (!isShared(home)) return home.host.evaluate(versionId, calls, done);
    const version = this.#versions.get(versionId);
    home.host.evaluate(versionId, calls, done, (answers, consoleText, cost, cause) => {
      if (this.#home === home) this.#landlord.moveOut(this, cause);
      if (answers.length > 0) done(answers, consoleText, cost);
      else this.#evaluateAgain(version, calls, done, home);
    });
  }

  dispose(versionId: number): void {
    if (!this.#versions.delete(versionId)) return;
    this.#landlord.forgetVersion(versionId);
    const home = this.#home;
    home?.host.dispose(versionId);
    if (home === null || this.#versions.size > 0) return;
    this.#home = null;
    this.#landlord.release(this);
  }

  /** Its versions are loaded elsewhere from now on. The former child answers the calls that it was given. */
  moveTo(home: Home): void {
    const last = this.#home;
    if (last === home) return;
    this.#home = home;
    for (const version of this.#versions.values()) home.host.adopt(version);
    for (const id of this.#versions.keys()) last?.host.dispose(id);
  }

  /** How it has used the child that it leaves. It has not used the next one yet. */
  takeConduct(now: number): Observed {
    const observed = this.#conduct.observe(now);
    this.#conduct = new Conduct();
    return observed;
  }

  /** Its child belongs to the landlord, who ends it. */
  stop(): Promise<void> {
    return Promise.resolve();
  }

  #note(version: VersionCode): void {
    this.#versions.set(version.id, version);
    this.#landlord.noteVersion(version.id, this);
  }

  #dwell(): Home {
    if (this.#home === null) this.moveTo(this.#landlord.moveIn(this));
    return this.#home!;
  }

  /** Runs a batch with all of its time, even if its version no longer serves. */
  #evaluateAgain(
    version: VersionCode | undefined,
    calls: readonly HostCall[],
    done: OnAnswers,
    last: Home,
  ): void {
    const { host } = this.#home ?? last;
    if (version === undefined || this.#versions.has(version.id))
      return host.evaluate(version?.id ?? 0, calls, done);
    host.adopt(version);
    host.evaluate(version.id, calls, done);
    host.dispose(version.id);
  }
}

/** Whether calls have only a slice of time there: others are waiting. */
function isShared({ kind, tenants }: Home): boolean {
  return kind === 'shared' && tenants.size > 1;
}
