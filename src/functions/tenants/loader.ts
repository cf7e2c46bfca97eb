/**
 * Turns a tenant's files into a version that serves: bundles them, tries the bundle and installs it. If files can't be loaded,
 * the serving version stays; the reason is logged once, and loading is tried again where that may help.
 */
import { dirname } from 'node:path';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import { BundleError } from '../build/bundlers.ts';
import { placed, positionsOf, printable, type Details } from '../build/places.ts';
import { entriesOf, entryOf } from '../build/sources.ts';
import { LOADING } from '../limits.ts';
import type { RefusalCause } from '../sandbox/load-result.ts';
import { BuildQueue } from './build-queue.ts';
import type { TenantContext } from './context.ts';
import { Inputs } from './inputs.ts';
import type { Installer } from './installer.ts';
import type { Journal } from './journal.ts';
import type { TrialResult } from './trials.ts';
import type { Version } from './version.ts';

export interface LoaderOptions {
  readonly tenantId: string;
  /** the tenant's name, to which blame is recorded */
  readonly name: string;
  readonly files: SourceFiles;
  readonly installer: Installer;
  readonly journal: Journal;
  readonly context: TenantContext;
  /** Calls need not wait for a first version any more: there is one, or a reason why not. */
  readonly onSettled: () => void;
}

/** Stands in for the details of an error that is not a BundleError. */
const UNKNOWN = { kind: 'mistake', inputs: [], details: { place: null, frame: '' } } as const;

export class Loader {
  readonly #options: LoaderOptions;
  readonly #queue = new BuildQueue(
    () => this.#build(),
    () => this.#options.context.onBuilt(),
  );
  readonly #inputs: Inputs;
  #builds = 0;
  /** an operator has asked for the next build */
  #isAsked = false;
  /** the serving version is that of the files as of the last look */
  #isSound = false;
  /** the files as of the last look can't be loaded */
  #isRefused = false;
  /** the last trial was dropped because another build was due: the next one is not, so that constant saving ends */
  #wasDropped = false;
  /** the next version waits until the tenant's debt of processor time has been paid */
  #isPaying = false;
  #isDisposed = false;
  #retries = 0;
  #cancelRetry = (): void => {};
  /** the last complaint about the files, which is not repeated */
  #complaint = '';

  constructor(options: LoaderOptions) {
    this.#options = options;
    const { context, tenantId, files } = options;
    this.#inputs = new Inputs({
      entries: entriesOf(files),
      trailOf: (paths) => context.disk.trailOf(paths),
      onTrail: (trail) => context.onTrail(tenantId, trail),
    });
  }

  /** The number of builds begun. */
  get builds(): number {
    return this.#builds;
  }

  get isBusy(): boolean {
    return this.#queue.isBusy;
  }

  /** What the files held when they were looked at last is what serves. */
  get isSound(): boolean {
    return this.#isSound;
  }

  /** There is no version, because the files can't be loaded as they are. */
  get isRefused(): boolean {
    return this.#isRefused && this.#version === null;
  }

  /** The serving version is older than the files, which can't be loaded as they are now. */
  get isOutdated(): boolean {
    return this.#version !== null && !this.#isSound && this.#options.journal.isRefused;
  }

  /** Whether a change of this path may change the bundle, as far as is known. */
  isOnTrail(path: string): boolean {
    return this.#inputs.isOnTrail(path);
  }

  /** When nothing is being built. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /**
   * Builds the present files, and installs the result if it is new.
   * @param isAsked an operator asked for it: build at once, whatever the tenant has done, and with all complaints
   * @returns when a build that begins after this call has ended
   */
  reload(isAsked = false): Promise<void> {
    if (this.#isDisposed) return Promise.resolve();
    if (isAsked) {
      this.#isAsked = true;
      this.#complaint = '';
    }
    return this.#queue.add();
  }

  /** Compares the files with their last known state, where changes are not reported. */
  async verify(): Promise<void> {
    if (this.#queue.isBusy || this.#isDisposed) return;
    const haveChanged = await this.#inputs.haveChanged();
    if (haveChanged && !this.#queue.isBusy) await this.reload();
  }

  /** Loads the serving version once more, if it should run elsewhere or with other settings. */
  async renew(): Promise<void> {
    const renewed = await this.#options.installer.renew();
    if (renewed !== null) await this.#noteRefusal(renewed.bundle, renewed.result);
  }

  /** A version serves. `isNew`: its code differs. */
  noteInstalled({ hash }: Version, isNew: boolean): void {
    const { journal, onSettled } = this.#options;
    this.#complaint = '';
    if (isNew) {
      this.#isSound = true;
      journal.loaded(hash);
    } else if (this.#isSound) journal.forgive(); // otherwise the files have other contents, which were refused
    onSettled();
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#cancelRetry();
    this.#queue.close();
    this.#inputs.close();
  }

  get #version(): Version | null {
    return this.#options.installer.version;
  }

  /** Hash of the version that serves; '': none. */
  get #servingHash(): string {
    return this.#version?.hash ?? '';
  }

  async #build(): Promise<void> {
    const { context, name, files } = this.#options;
    this.#cancelRetry();
    this.#builds++;
    const isAsked = this.#isAsked;
    this.#isAsked = false;
    const waitMs = isAsked ? 0 : context.housing.waitMs(name);
    if (waitMs > 0)
      return this.#postpone(waitMs, 'its tenant has slowed down or ended processes that others use');
    if (!isAsked && this.#mustPay()) return;
    // RELOAD: hundreds of tenants are not built again without need
    if (isAsked && this.#isSound && !(await this.#inputs.haveChanged())) return await this.renew();
    this.#isSound = false;
    const startedAtMs = context.clock.now();
    try {
      const bundle = await context.builder.bundle(name, context.housing.isSuspect(name), files);
      if (this.#isDisposed) return;
      // the entries by their configured paths too, which may lead over symbolic links
      await this.#follow([...entriesOf(files), ...bundle.inputs], startedAtMs);
      if (this.#isDisposed) return;
      this.#retries = 0;
      if (bundle.hash === this.#version?.hash) await this.#noteUnchanged(bundle.hash);
      else await this.#tryAndInstall(bundle);
    } catch (error) {
      if (this.#isDisposed) return;
      const { kind, inputs, details } = error instanceof BundleError ? error : UNKNOWN;
      await this.#follow([...this.#inputs.paths, ...inputs], startedAtMs);
      if (!this.#isDisposed) this.#refuse(kind, (error as Error).message, details);
    }
  }

  /** Has changes of these files reported, and builds again if one happened before that. */
  async #follow(paths: readonly string[], startedAtMs: number): Promise<void> {
    const haveChanged = await this.#inputs.follow(paths, startedAtMs);
    if (this.#isDisposed) return;
    const writable = this.#inputs.takeWritable();
    if (writable.length > 0)
      this.#options.journal.writable(writable.slice(0, LOADING.maxNamed), writable.length);
    if (haveChanged && !this.#queue.hasNext) void this.reload();
  }

  async #noteUnchanged(hash: string): Promise<void> {
    this.#complaint = '';
    this.#isSound = true;
    this.#options.journal.restored(hash);
    this.#options.onSettled();
    await this.renew();
  }

  async #tryAndInstall(bundle: Bundle): Promise<void> {
    const { context, installer, name, tenantId } = this.#options;
    const isWanted = (): boolean => !this.#isDisposed && (!this.#queue.hasNext || this.#wasDropped);
    const trial = context.housing.trial(
      name,
      installer.settings.isolation,
      installer.codeOf(bundle),
      isWanted,
    );
    const tried = await trial;
    if (this.#isDisposed) return;
    this.#wasDropped = trial !== null && tried === null && !isWanted();
    if (this.#wasDropped) return;
    const result = tried?.result ?? null;
    if (result?.kind === 'refused') return await this.#noteRefusal(bundle, result);
    // a version that is slow to load would delay its neighbours each time that their process is started again
    if (tried?.isSlow) context.housing.separate(tenantId, installer.settings.isolation);
    const installed = await installer.install(bundle, result, () => !this.#isDisposed);
    if (installed !== null) await this.#noteRefusal(bundle, installed);
  }

  /** Does nothing about a trial that succeeded. */
  async #noteRefusal(bundle: Bundle, trial: TrialResult): Promise<void> {
    if (trial.kind === 'sound' || this.#isDisposed) return;
    const { failure, cause } = trial;
    const { files } = this.#options;
    const place = positionsOf(bundle.map, entryOf(files)).find(failure.stack);
    const isAsync = / must not be async: /.test(failure.message);
    const places = isAsync ? await this.#asyncPlaces(bundle) : placed(place);
    if (!this.#isDisposed) this.#refuse(cause, printable(places + failure.message), { place, frame: '' });
  }

  /** The isolate does not know the places of async functions. */
  async #asyncPlaces({ inputs }: Bundle): Promise<string> {
    const { context, name, files } = this.#options;
    const places = await context.builder.asyncPlaces(name, inputs, dirname(entryOf(files)));
    return places.map((each) => `${each}: `).join('');
  }

  #refuse(cause: RefusalCause, message: string, details: Details): void {
    const { context, journal, onSettled, name, files } = this.#options;
    if (cause === 'passing') return this.#retry(message);
    if (cause === 'offence') context.housing.addBlame(name);
    this.#isRefused = true;
    onSettled();
    // A file that was removed meanwhile is not a mistake: the next look at its folder finds its replacement.
    const { disk } = context;
    const wasRemoved = entriesOf(files).some((file) => !disk.isThere(file) && disk.isSearched(file));
    if (this.#version !== null && wasRemoved) return;
    if (message === this.#complaint) return;
    this.#complaint = message;
    journal.refused(this.#servingHash, message, details);
  }

  /** The machine lacks a resource, which says nothing about the files. Calls continue to wait. */
  #retry(message: string): void {
    this.#isRefused = false;
    const waitMs = Math.min(LOADING.firstRetryMs * 2 ** this.#retries++, LOADING.longestRetryMs);
    this.#complainOfDelay(message, `tried again in ${waitMs / 1000} s`);
    this.#reloadAfter(waitMs);
  }

  /** Loading costs processor time. Calls can't put it off for ever: it waits for the present debt only. */
  #mustPay(): boolean {
    const waitMs = Math.min(
      this.#options.context.budgets.of(this.#options.name).waitMs,
      LOADING.longestDebtMs,
    );
    this.#isPaying = waitMs > 0 && !this.#isPaying;
    if (this.#isPaying) this.#postpone(waitMs, 'its tenant has used up its processor time (cpu_limit)');
    return this.#isPaying;
  }

  #postpone(waitMs: number, message: string): void {
    this.#complainOfDelay(message, `loaded in ${Math.ceil(waitMs / 1000)} s, or by RELOAD`);
    this.#options.onSettled();
    this.#reloadAfter(waitMs);
  }

  #complainOfDelay(message: string, what: string): void {
    if (message === this.#complaint) return;
    this.#complaint = message;
    this.#options.journal.postponed(this.#servingHash, `${message}; ${what}`);
  }

  #reloadAfter(delayMs: number): void {
    this.#cancelRetry();
    this.#cancelRetry = this.#options.context.clock.after(delayMs, () => void this.reload());
  }
}
