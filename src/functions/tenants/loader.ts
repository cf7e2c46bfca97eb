import { dirname } from 'node:path';
import type { Blame } from './blame.ts';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import { BundleError } from '../build/bundlers.ts';
import { placed, positionsOf, printable, type Details, type Positions } from '../build/places.ts';
import type { SandboxHost, VersionCode } from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import type { Journal } from './journal.ts';
import type { TenantSettings } from './tenant.ts';
import { isThere } from '../build/sources.ts';
import { hasChangedSince, trailOf, type Trail } from '../build/trail.ts';
import { tryVersion, type TrialResult } from './trials.ts';
import { LOADING } from '../limits.ts';

/** A version of a set's code that serves. */
export interface Version {
  readonly id: number;
  readonly bundle: Bundle;
  readonly positions: Positions;
  readonly host: SandboxHost;
  /** as its hosts are given it */
  readonly code: VersionCode;
  readonly settings: TenantSettings;
  readonly manifest: Manifest;
  readonly loadedAt: Date;
  /** the database that its trial call was routed to; null: none */
  readonly trialRoute: string | null;
}

/** What all sets load with. */
export interface LoadTools {
  readonly blame: Blame;
  /** @throws BundleError */
  bundle(tenant: string, isSuspect: boolean, files: SourceFiles): Promise<Bundle>;
  /** `file:line:column` of async functions in a set's own files */
  asyncPlaces(tenant: string, inputs: readonly string[], folder: string): Promise<readonly string[]>;
  /** Null: it was not tried, and need not be. */
  trial(
    tenant: string,
    isSuspect: boolean,
    version: VersionCode,
    isWanted: () => boolean,
  ): Promise<(TrialResult & { readonly isSlow: boolean }) | null> | null;
  /** The file was found in a folder; no option names it. */
  isSearched(file: string): boolean;
  /** A host that the set shares with no well-behaved set; null: it has one, or there is none. */
  separate(files: SourceFiles): SandboxHost | null;
  /** A version is given to a host. */
  onVersion(id: number, tenant: string): void;
  /** Another trail leads to the set's files. */
  onTrail(loader: Loader): void;
  /** A build has ended, and another version may serve. */
  onBuilt(): void;
}

let nextVersionId = 1;

/**
 * Brings a set's files to a version that serves: bundles them, tries the bundle, loads it where it will run. One build at a
 * time: what changes meanwhile is built when that has been loaded, once, however often it has changed.
 */
export class Loader {
  readonly files: SourceFiles;
  readonly tenant: string;
  readonly #journal: Journal;
  readonly #tools: LoadTools;
  readonly #onVersion: (isNew: boolean) => void;
  readonly #onSettled: () => void;
  readonly #isInUse: () => boolean;
  #settings: TenantSettings;
  #host: SandboxHost;
  #version: Version | null = null;
  #inputs: readonly string[];
  #trail: Trail | null = null;
  /** the build that runs */
  #running: Promise<void> | null = null;
  /** the build that is begun after it */
  #next: Promise<void> | null = null;
  /** one after the other: loading into the host that serves */
  #installing: Promise<unknown> = Promise.resolve();
  #isDisposed = false;
  #isAsked = false;
  /** what the files held when they were looked at last is what serves */
  #isSound = false;
  /** the last build was dropped because another one had overtaken it: the next one is not */
  #wasDropped = false;
  #retryTimer: NodeJS.Timeout | null = null;
  #retries = 0;
  /** what was said last of the files; the same is not said again */
  #complaint = '';
  readonly #warned = new Set<string>();
  /** builds that were begun */
  builds = 0;
  /** An attempt to load it has ended, and not for lack of something: calls need not wait for the first one. */
  #isSettled = false;
  /** The files can't be loaded as they are. */
  #isRefused = false;

  constructor(options: {
    files: SourceFiles;
    tenant: string;
    settings: TenantSettings;
    host: SandboxHost;
    journal: Journal;
    tools: LoadTools;
    /** another version serves; `isNew`: its code is another one */
    onVersion: (isNew: boolean) => void;
    /** calls need not wait for a first version any more */
    onSettled: () => void;
    /** It is asked about queries: what serves next is to be ready at once. */
    isInUse: () => boolean;
  }) {
    this.files = options.files;
    this.tenant = options.tenant;
    this.#settings = options.settings;
    this.#host = options.host;
    this.#journal = options.journal;
    this.#tools = options.tools;
    this.#onVersion = options.onVersion;
    this.#onSettled = options.onSettled;
    this.#isInUse = options.isInUse;
    this.#inputs = this.entries;
  }

  get version(): Version | null {
    return this.#version;
  }

  /** The files can't be loaded as they are, and there is no earlier version. */
  get isRefused(): boolean {
    return this.#isRefused && this.#version === null;
  }

  /** What the files held when they were looked at last is no version that can serve: an older one does. */
  get isOutdated(): boolean {
    return this.#version !== null && !this.#isSound && this.#journal.isRefused;
  }

  get entry(): string {
    return (this.files.routing ?? this.files.rewrite)!;
  }

  get entries(): string[] {
    return [...new Set([this.files.routing, this.files.rewrite])].filter((file) => file !== null);
  }

  /** What leads to the set's files, as far as it is known. */
  get trail(): Trail {
    return this.#trail ?? new Map();
  }

  get isBusy(): boolean {
    return this.#running !== null;
  }

  /** When nothing is being built. */
  async idle(): Promise<void> {
    while (this.#running !== null || this.#next !== null) await (this.#next ?? this.#running);
  }

  get settings(): TenantSettings {
    return this.#settings;
  }

  /**
   * Builds what the files hold now, and loads it when that is something new. The version that serves goes on until then.
   * @param isAsked an operator wants it: at once, whatever the tenant has done, and with all complaints
   * @returns when a build that has begun after this call is done
   */
  reload(isAsked = false): Promise<void> {
    if (this.#isDisposed) return Promise.resolve();
    if (isAsked) {
      this.#isAsked = true;
      this.#complaint = '';
    }
    if (this.#next !== null) return this.#next;
    if (this.#running === null) return this.#begin();
    this.#next = this.#running.then(() => {
      this.#next = null;
      return this.#begin();
    });
    return this.#next;
  }

  /** Takes over changed settings and another host; a version that was loaded with others is loaded again. */
  configure(settings: TenantSettings, host: SandboxHost): Promise<void> {
    if (JSON.stringify(settings) !== JSON.stringify(this.#settings)) this.#settings = settings;
    this.#host = host;
    return this.#reinstall();
  }

  moveTo(host: SandboxHost): Promise<void> {
    this.#host = host;
    return this.#reinstall();
  }

  /** Compares the files with what they were, where no change of them would be heard of. */
  async verify(): Promise<void> {
    if (this.#running !== null || this.#isDisposed) return;
    const now = await trailOf(this.#inputs);
    if (this.#running === null && hasChangedSince(this.#trail, now, 0)) await this.reload();
  }

  dispose(): void {
    this.#isDisposed = true;
    if (this.#retryTimer) clearTimeout(this.#retryTimer);
    if (this.#version) this.#version.host.dispose(this.#version.id);
    this.#version = null;
  }

  #begin(): Promise<void> {
    if (this.#isDisposed) return Promise.resolve();
    if (this.#retryTimer) clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    this.builds++;
    const isAsked = this.#isAsked;
    this.#isAsked = false;
    const running = this.#build(isAsked).then(() => {
      if (this.#running === running) this.#running = null;
      if (this.#isDisposed) return;
      if (this.#isSettled) this.#onSettled();
      this.#tools.onBuilt();
    });
    this.#running = running;
    return running;
  }

  async #build(isAsked: boolean): Promise<void> {
    const { blame } = this.#tools;
    const waitMs = isAsked ? 0 : blame.waitMs(this.tenant);
    if (waitMs > 0) return this.#postpone(waitMs);
    // RELOAD: hundreds of sets are not built again for nothing
    if (isAsked && this.#isSound && !hasChangedSince(this.#trail, await trailOf(this.#inputs), 0))
      return await this.#reinstall();
    this.#isSound = false;
    const startedAt = Date.now();
    try {
      const made = await this.#bundle();
      if (this.#isDisposed) return;
      // the entries also by the path that they are known by, which may lead over symbolic links
      await this.#lookAgain([...this.entries, ...made.inputs], startedAt);
      if (this.#isDisposed) return;
      this.#retries = 0;
      if (this.#version?.bundle.hash === made.hash) {
        this.#complaint = '';
        this.#isSettled = true;
        this.#isSound = true;
        this.#journal.restored(made.hash);
        return await this.#reinstall();
      }
      await this.#tryAndInstall(made);
    } catch (error) {
      if (this.#isDisposed) return;
      const { kind, inputs, details } = error instanceof BundleError ? error : new BundleError('', 'mistake');
      await this.#lookAgain([...this.#inputs, ...inputs], startedAt);
      if (this.#isDisposed) return;
      this.#refuse(kind, (error as Error).message, details);
    }
  }

  #bundle(): Promise<Bundle> {
    const { blame } = this.#tools;
    return this.#tools.bundle(this.tenant, blame.isSuspect(this.tenant), this.files);
  }

  async #tryAndInstall(made: Bundle): Promise<void> {
    const { blame } = this.#tools;
    const isWanted = (): boolean => !this.#isDisposed && (this.#next === null || this.#wasDropped);
    const trial = this.#tools.trial(this.tenant, blame.isSuspect(this.tenant), this.#code(made), isWanted);
    const tried = await trial;
    if (this.#isDisposed) return;
    if (trial !== null && tried === null && !isWanted()) {
      this.#wasDropped = true;
      return;
    }
    this.#wasDropped = false;
    if (tried !== null && tried.failure !== null) return await this.#refuseVersion(made, tried);
    // A version that is slow to load would keep its neighbours waiting each time that their process is restarted.
    if (tried?.isSlow) this.#host = this.#tools.separate(this.files) ?? this.#host;
    const loaded = await this.#install(made, true, tried);
    if (loaded !== null && loaded.failure !== null && !this.#isDisposed)
      await this.#refuseVersion(made, loaded);
  }

  /** @returns null: the set is gone */
  #install(made: Bundle, isNew: boolean, tried: TrialResult | null = null): Promise<TrialResult | null> {
    const installed = this.#installing.then(() => this.#installNow(made, isNew, tried));
    this.#installing = installed.catch(() => {});
    return installed;
  }

  async #installNow(made: Bundle, isNew: boolean, tried: TrialResult | null): Promise<TrialResult | null> {
    if (this.#isDisposed) return null;
    const code = this.#code(made);
    const host = this.#host;
    const settings = this.#settings;
    this.#tools.onVersion(code.id, this.tenant);
    // Hundreds of databases may have rules, most of which are seldom asked for: an isolate takes 2.7 MB.
    const adopt = tried === null || this.#isInUse() ? undefined : host.adopt?.bind(host);
    adopt?.(code);
    let loaded = tried !== null && adopt !== undefined ? tried : await tryVersion(host, code);
    if (loaded.kind === 'offence' && !isNew && tried !== null && host.adopt !== undefined) {
      // It serves already, and those that share its process are to be rid of it above all.
      this.#tools.blame.add(this.tenant);
      host.adopt(code);
      loaded = tried;
    }
    const { manifest, route: trialRoute } = loaded;
    if (loaded.failure !== null || manifest === null) return loaded;
    if (this.#isDisposed) {
      host.dispose(code.id);
      return null;
    }
    const old = this.#version;
    const positions = old?.bundle === made ? old.positions : positionsOf(made.map, this.entry);
    const loadedAt = new Date();
    this.#version = {
      id: code.id,
      bundle: made,
      positions,
      host,
      code,
      settings,
      manifest,
      loadedAt,
      trialRoute,
    };
    if (old) old.host.dispose(old.id);
    this.#isSettled = true;
    this.#complaint = '';
    if (isNew) this.#isSound = true;
    this.#onVersion(isNew);
    if (isNew) this.#journal.loaded(made.hash);
    // the files may hold something else, which was refused
    else if (this.#isSound) this.#journal.forgive();
    return loaded;
  }

  /** The same code again, where it serves with other settings or elsewhere than it should. */
  async #reinstall(): Promise<void> {
    await this.#installing;
    const version = this.#version;
    if (version === null || this.#isDisposed) return;
    if (version.host === this.#host && version.settings === this.#settings) return;
    const { manifest, trialRoute: route } = version;
    const known = { manifest, failure: null, kind: 'fine', route } as const;
    const loaded = await this.#install(version.bundle, false, known);
    if (loaded !== null && loaded.failure !== null && !this.#isDisposed)
      await this.#refuseVersion(version.bundle, loaded);
  }

  #code(made: Bundle): VersionCode {
    const { timeoutMs, memoryLimitMb, maxResult, databases } = this.#settings;
    return { id: nextVersionId++, code: made.code, databases, memoryLimitMb, maxResult, timeoutMs };
  }

  async #refuseVersion(made: Bundle, { failure, kind }: TrialResult): Promise<void> {
    if (failure === null) return;
    const place = positionsOf(made.map, this.entry).find(failure.stack);
    const places = / must not be async: /.test(failure.message)
      ? (await this.#tools.asyncPlaces(this.tenant, made.inputs, dirname(this.entry)))
          .map((each) => `${each}: `)
          .join('')
      : placed(place);
    if (!this.#isDisposed)
      this.#refuse(kind === 'fine' ? 'mistake' : kind, printable(places + failure.message), {
        place,
        frame: '',
      });
  }

  #refuse(kind: 'mistake' | 'passing' | 'offence', message: string, details: Details): void {
    if (kind === 'passing') return this.#retry(message);
    if (kind === 'offence') this.#tools.blame.add(this.tenant);
    this.#isSettled = true;
    this.#isRefused = true;
    // The file was removed meanwhile, which is no mistake: the next look at its folder finds what takes its place.
    if (this.#version !== null && this.entries.some((file) => !isThere(file) && this.#tools.isSearched(file)))
      return;
    if (message === this.#complaint) return;
    this.#complaint = message;
    this.#journal.refused(this.#version?.bundle.hash ?? '', message, details);
  }

  /** The machine is short of something: that says nothing about the files. Calls go on waiting. */
  #retry(message: string): void {
    this.#isRefused = false;
    const waitMs = Math.min(LOADING.firstRetryMs * 2 ** this.#retries++, LOADING.longestRetryMs);
    if (message !== this.#complaint) {
      this.#complaint = message;
      this.#journal.postponed(
        this.#version?.bundle.hash ?? '',
        `${message}; tried again in ${waitMs / 1000} s`,
      );
    }
    this.#again(waitMs);
  }

  #postpone(waitMs: number): void {
    const message = 'its tenant has slowed down or ended processes that others use';
    this.#isSettled = true;
    if (message !== this.#complaint) {
      this.#complaint = message;
      const when = `loaded in ${Math.ceil(waitMs / 1000)} s, or by RELOAD`;
      this.#journal.postponed(this.#version?.bundle.hash ?? '', `${message}; ${when}`);
    }
    this.#again(waitMs);
  }

  #again(waitMs: number): void {
    if (this.#retryTimer) clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => void this.reload(), waitMs).unref();
  }

  /** Sees to it that changes of what the set is made of are heard of, and builds again when one came before that. */
  async #lookAgain(inputs: readonly string[], startedAt: number): Promise<void> {
    this.#inputs = [...new Set(inputs)];
    const before = this.#trail;
    this.#trail = await trailOf(this.#inputs);
    if (this.#isDisposed) return;
    this.#tools.onTrail(this);
    const now = await trailOf(this.#inputs);
    this.#trail = now;
    if (this.#isDisposed) return;
    this.#warnOfWritable(now);
    if (this.#next === null && hasChangedSince(before, now, startedAt - LOADING.clockMs)) void this.reload();
  }

  #warnOfWritable(trail: Trail): void {
    const paths = [...trail].filter(([path, point]) => point.isWorldWritable && !this.#warned.has(path));
    if (paths.length === 0) return;
    for (const [path] of paths) this.#warned.add(path);
    this.#journal.writable(
      paths.slice(0, LOADING.maxNamed).map(([path]) => path),
      paths.length,
    );
  }
}
