/** Loads a tenant's bundles into the host where its calls run. The last loaded one serves. */
import type { Bundle } from '../build/bundle-job.ts';
import type { SandboxHost, VersionCode } from '../sandbox/host.ts';
import type { TrialFindings, VersionRecord } from '../store/version-record.ts';
import type { TenantSettings } from './settings.ts';
import { tryVersion, type SoundTrial, type TrialResult } from './trials.ts';
import { Version } from './version.ts';

export interface InstallerOptions {
  /** places in the source are shown relative to this file, absolute */
  readonly entryFile: () => string;
  readonly settings: TenantSettings;
  /** The host for its versions: asked before one is loaded, unless `useHost` names another. */
  readonly host: () => SandboxHost;
  /** the number of the next version, unique in the proxy */
  readonly nextVersionId: () => number;
  /** A version of this number will now be given to the host where it will serve. */
  readonly onGiven: (versionId: number) => void;
  /** A version has been loaded, and gets its place in the tenant's history. */
  readonly record: (
    bundle: Bundle,
    settings: TenantSettings,
    findings: TrialFindings,
  ) => Promise<VersionRecord>;
  /** The tenant has calls: its next version must be ready at once. */
  readonly isInUse: () => boolean;
  /** A serving version could not be loaded elsewhere, because loading it costs too much. */
  readonly onCostlyMove: () => void;
  /** A version serves: another one, or the same once more. */
  readonly onInstalled: (version: Version) => void;
}

const always = (): boolean => true;

export class Installer {
  readonly #options: InstallerOptions;
  #settings: TenantSettings;
  /** null: it has no version, and needs no host */
  #host: SandboxHost | null = null;
  #version: Version | null = null;
  /** loads that have not ended */
  #busy = 0;
  /** one load after the other */
  #loading: Promise<unknown> = Promise.resolve();
  #isDisposed = false;

  constructor(options: InstallerOptions) {
    this.#options = options;
    this.#settings = options.settings;
  }

  /** The version that serves; null: none. */
  get version(): Version | null {
    return this.#version;
  }

  get isBusy(): boolean {
    return this.#busy > 0;
  }

  get settings(): TenantSettings {
    return this.#settings;
  }

  /** Takes effect with the next version. @returns whether the settings have changed */
  configure(settings: TenantSettings): boolean {
    if (JSON.stringify(settings) === JSON.stringify(this.#settings)) return false;
    this.#settings = settings;
    return true;
  }

  /** The next version goes there. Null: its host is asked for when there is one. */
  useHost(host: SandboxHost | null): void {
    this.#host = host;
  }

  /** A bundle in the form that hosts take, under a number of its own. */
  codeOf(bundle: Bundle): VersionCode {
    const { timeoutMs, memoryLimitMb, maxResult, databases } = this.#settings;
    const id = this.#options.nextVersionId();
    return {
      id,
      code: bundle.code,
      isPure: bundle.purity.isPure,
      databases,
      memoryLimitMb,
      maxResult,
      timeoutMs,
    };
  }

  /**
   * Loads new code, which serves from then on.
   * @param trial the trial that it passed elsewhere; null: it was not tried
   * @param isWanted asked when its turn has come, and again when it has been loaded
   * @returns null: the tenant has gone, or the code is not wanted any more
   */
  install(
    bundle: Bundle,
    trial: SoundTrial | null,
    isWanted: () => boolean = always,
  ): Promise<TrialResult | null> {
    return this.#inTurn(() =>
      this.#install(bundle, null, (host, code) => this.#load(host, code, true, trial), isWanted),
    );
  }

  /** Loads a version again that has passed its trial before, under the same conditions. @returns as `install` */
  restore(bundle: Bundle, record: VersionRecord): Promise<TrialResult | null> {
    return this.#inTurn(() =>
      this.#install(bundle, record, (host, code) => this.#loadTried(host, code, record.findings)),
    );
  }

  /** Tries code that nobody needs yet in the host where it would serve. */
  try(bundle: Bundle): Promise<TrialResult> {
    return this.#inTurn(async () => {
      const host = this.#options.host();
      const code = this.codeOf(bundle);
      // it takes processor time
      this.#options.onGiven(code.id);
      const tried = await tryVersion(host, code);
      host.dispose(code.id);
      return tried;
    });
  }

  /**
   * Loads the serving version once more, if it was loaded with other settings or elsewhere.
   * @returns the loaded bundle, and the result; null: there was nothing to load
   */
  renew(): Promise<{ readonly bundle: Bundle; readonly result: TrialResult } | null> {
    // only then is it known which version serves
    return this.#inTurn(async () => {
      const host = this.#host;
      const version = this.#version;
      if (version === null || host === null || this.#isDisposed || version.isAt(host, this.#settings))
        return null;
      const { bundle, manifest, record, trialRoute: route } = version;
      const known = { kind: 'sound', manifest, route } as const;
      const result = await this.#install(bundle, record, (at, code) => this.#load(at, code, false, known));
      return result === null ? null : { bundle, result };
    });
  }

  /** No version is needed any more, until the next one is installed. */
  clear(): void {
    this.#version?.dispose();
    this.#version = null;
  }

  /** As `clear`, and no host is occupied. To be called while it is not busy. */
  unload(): void {
    this.clear();
    this.#host = null;
  }

  dispose(): void {
    this.#isDisposed = true;
    this.unload();
  }

  #inTurn<T>(load: () => Promise<T>): Promise<T> {
    this.#busy++;
    const loaded = this.#loading.then(load).finally(() => this.#busy--);
    this.#loading = loaded.catch(() => {});
    return loaded;
  }

  /** @param known of a version that has served before; null: new code */
  async #install(
    bundle: Bundle,
    known: VersionRecord | null,
    load: (host: SandboxHost, code: VersionCode) => Promise<TrialResult>,
    isWanted: () => boolean = always,
  ): Promise<TrialResult | null> {
    if (this.#isDisposed || !isWanted()) return null;
    const code = this.codeOf(bundle);
    const host = (this.#host ??= this.#options.host());
    const settings = this.#settings;
    this.#options.onGiven(code.id);
    const loaded = await load(host, code);
    if (loaded.kind === 'refused') return loaded;
    const { manifest, route: trialRoute } = loaded;
    const record = known ?? (await this.#options.record(bundle, settings, { manifest, route: trialRoute }));
    if (this.#isDisposed || !isWanted()) {
      host.dispose(code.id);
      return null;
    }
    const entryFile = this.#options.entryFile();
    const last = this.#version;
    const parts = { bundle, entryFile, code, host, settings, manifest, trialRoute, record };
    this.#version = new Version(parts);
    last?.dispose();
    this.#options.onInstalled(this.#version);
    return loaded;
  }

  /** A version that was tried elsewhere and is not in use is loaded with its first call: an isolate takes 2.7 MB. */
  async #load(
    host: SandboxHost,
    code: VersionCode,
    isNew: boolean,
    trial: SoundTrial | null,
  ): Promise<TrialResult> {
    if (trial !== null && host.adopt !== undefined && !this.#options.isInUse()) {
      host.adopt(code);
      return trial;
    }
    const loaded = await tryVersion(host, code);
    if (loaded.kind === 'sound' || loaded.cause !== 'offence' || isNew) return loaded;
    if (trial === null || host.adopt === undefined) return loaded;
    // it already serves, and must leave the process that it shares with others
    this.#options.onCostlyMove();
    host.adopt(code);
    return trial;
  }

  /** As `#load`, without a trial. */
  async #loadTried(host: SandboxHost, code: VersionCode, findings: TrialFindings): Promise<TrialResult> {
    const { manifest, route } = findings;
    if (host.adopt !== undefined && !this.#options.isInUse()) {
      host.adopt(code);
      return { kind: 'sound', manifest, route };
    }
    const loaded = await host.load(code);
    if (loaded.kind === 'loaded') return { kind: 'sound', manifest: loaded.manifest, route };
    const { cause, message, stack } = loaded;
    return { kind: 'refused', cause, failure: { outcome: 'threw', message, stack } };
  }
}
