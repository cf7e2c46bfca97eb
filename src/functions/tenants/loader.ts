/**
 * Turns a tenant's files into a version that serves: bundles them, tries the bundle and installs it. If files can't be loaded,
 * the serving version stays; the reason is logged once, and loading is tried again where that may help. While nobody needs the
 * functions, a changed file is bundled and tried all the same, so that its author hears of mistakes, and the version is kept.
 */
import { dirname } from 'node:path';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import { BundleError } from '../build/bundlers.ts';
import { placed, positionsOf, printable, type Details } from '../build/places.ts';
import { isSameCode } from '../build/same-code.ts';
import { entriesOf, entryOf } from '../build/sources.ts';
import { LOADING } from '../limits.ts';
import type { RefusalCause } from '../sandbox/load-result.ts';
import type { Pin, VersionRecord } from '../store/version-record.ts';
import { BuildQueue } from './build-queue.ts';
import type { TenantContext } from './context.ts';
import { Inputs } from './inputs.ts';
import type { Installer } from './installer.ts';
import type { Journal } from './journal.ts';
import { KeptVersions, trialOf } from './kept-versions.ts';
import type { SoundTrial, TrialResult } from './trials.ts';
import type { Version } from './version.ts';

export interface LoaderOptions {
  readonly tenantId: string;
  /** the tenant's name, to which blame is recorded */
  readonly name: string;
  readonly files: SourceFiles;
  readonly installer: Installer;
  readonly journal: Journal;
  readonly context: TenantContext;
  /** The functions are loaded, or are to be loaded. */
  readonly isNeeded: () => boolean;
  /** A sound version was found that nobody needs yet. */
  readonly onKept: (hash: string, trial: SoundTrial) => void;
  /** Another version is pinned: the files hold other code, which can serve, and must not yet. */
  readonly onNewer: (bundle: Bundle, trial: SoundTrial | null) => Promise<void>;
  /** The files hold the code that is pinned, so it needs no pin any more. */
  readonly onCaughtUp: () => void;
  /** Calls need not wait for a first version any more: there is one, or a reason why not. */
  readonly onSettled: () => void;
}

interface Attempt {
  /** null: it was not tried */
  readonly result: TrialResult | null;
  readonly isSlow: boolean;
  /** it was not tried, although it should have been */
  readonly isDropped: boolean;
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
  readonly #kept: KeptVersions;
  #builds = 0;
  /** the files are to be built, whether or not a version serves */
  #isDue = false;
  /** an operator has asked for the next build */
  #isAsked = false;
  /** the version that serves, or would serve, is that of the files as of the last look */
  #isSound = false;
  /** the files as of the last look can't be loaded */
  #isRefused = false;
  /** hash of the bundle that was made of the files as of the last look; '': none could be made */
  #fileHash = '';
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
    const { context, tenantId, name, files } = options;
    this.#inputs = new Inputs({
      entries: entriesOf(files),
      trailOf: (paths) => context.disk.trailOf(paths),
      onTrail: (trail) => context.onTrail(tenantId, trail),
    });
    this.#kept = new KeptVersions({ owner: name, id: tenantId }, files, context);
  }

  /** The number of builds begun. */
  get builds(): number {
    return this.#builds;
  }

  get isBusy(): boolean {
    return this.#queue.isBusy;
  }

  /** The files have been looked at. */
  get isKnown(): boolean {
    return this.#isSound || this.#isRefused || this.#fileHash !== '';
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

  /** The pin that applies; null: the files decide which version serves. */
  get pin(): Pin | null {
    return this.#kept.pin;
  }

  /** Whether a change of this path may change the bundle, as far as is known. */
  isOnTrail(path: string): boolean {
    return this.#inputs.isOnTrail(path);
  }

  /** When nothing is being built. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /** Sees to it that a version serves, unless the files can't be loaded: the last one, if the files have not changed since. */
  load(): Promise<void> {
    return this.#isDisposed ? Promise.resolve() : this.#queue.add();
  }

  /**
   * Builds the present files, and installs the result if it is new and needed.
   * @param isAsked an operator asked for it: build at once, whatever the tenant has done, and with all complaints
   * @returns when a build that begins after this call has ended
   */
  reload(isAsked = false): Promise<void> {
    if (this.#isDisposed) return Promise.resolve();
    this.#isDue = true;
    if (isAsked) {
      this.#isAsked = true;
      this.#complaint = '';
    }
    return this.#queue.add();
  }

  /** Compares the files with their last known state, where changes are not reported. */
  async verify(): Promise<void> {
    if (this.#queue.isBusy || this.#isDisposed || !this.isKnown) return;
    const haveChanged = await this.#inputs.haveChanged();
    if (haveChanged && !this.#queue.isBusy) await this.reload();
  }

  /** Loads the serving version once more, if it should run elsewhere or with other settings. */
  async renew(): Promise<void> {
    const renewed = await this.#options.installer.renew();
    if (renewed !== null) await this.#noteRefusal(renewed.bundle, renewed.result);
  }

  /** A version serves. `isNew`: its code differs. */
  noteInstalled({ hash, record }: Version, isNew: boolean): void {
    const { journal, onSettled } = this.#options;
    if (isNew && hash !== this.#fileHash) journal.keptServes(record, this.#kept.pin);
    else if (isNew) {
      this.#complaint = '';
      this.#isSound = !this.#isPinned;
      this.#isRefused = false;
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

  /** Hash of the version that serves, or that would serve; '': none. */
  get #servingHash(): string {
    return this.#version?.hash ?? this.#kept.latest?.hash ?? '';
  }

  async #build(): Promise<void> {
    const { context, name, files, isNeeded } = this.#options;
    this.#cancelRetry();
    const isAsked = this.#isAsked;
    const isDue = this.#isDue;
    this.#isAsked = false;
    this.#isDue = false;
    await this.#kept.open();
    if (isNeeded()) await (this.#isPinned ? this.#restorePinned() : this.#restoreCurrent());
    if (this.#isDisposed || (this.#version !== null && !isDue)) return;
    this.#builds++;
    const waitMs = isAsked ? 0 : context.housing.waitMs(name);
    if (waitMs > 0)
      return this.#postpone(waitMs, 'its tenant has slowed down or ended processes that others use');
    if (!isAsked && this.#mustPay()) return;
    // RELOAD: hundreds of tenants are not built again without need
    if (isAsked && this.#isSound && !(await this.#inputs.haveChanged())) return await this.renew();
    this.#isSound = false;
    this.#fileHash = '';
    const startedAtMs = context.clock.now();
    try {
      const bundle = await context.builder.bundle(name, context.housing.isSuspect(name), files);
      for (const reason of bundle.notUsed) this.#options.journal.artifactNotUsed(reason);
      if (this.#isDisposed) return;
      // the entries by their configured paths too, which may lead over symbolic links
      await this.#follow([...entriesOf(files), ...bundle.inputs], startedAtMs);
      if (this.#isDisposed) return;
      this.#retries = 0;
      this.#fileHash = bundle.hash;
      if (this.#isServing(bundle)) await this.#noteUnchanged(bundle.hash);
      else if (this.#version === null && this.#isTried(bundle)) await this.#noteTried(bundle);
      else await this.#tryAndInstall(bundle);
      if (this.#isSound && !this.#queue.hasNext)
        this.#kept.noteBuild(bundle, this.#options.installer.settings, startedAtMs);
    } catch (error) {
      if (this.#isDisposed) return;
      const { kind, inputs, details } = error instanceof BundleError ? error : UNKNOWN;
      await this.#follow([...this.#inputs.paths, ...inputs], startedAtMs);
      if (!this.#isDisposed) await this.#refuse(kind, (error as Error).message, details);
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

  get #isPinned(): boolean {
    return this.#kept.pin !== null;
  }

  /** A promoted version came from other files, whose names are in its code. */
  #isServing(bundle: Bundle): boolean {
    const version = this.#version;
    if (version === null || bundle.hash === version.hash) return version !== null;
    return this.#isPinned && isSameCode(bundle, version.bundle);
  }

  async #noteUnchanged(hash: string): Promise<void> {
    this.#complaint = '';
    this.#isSound = true;
    this.#isRefused = false;
    this.#options.journal.restored(hash);
    if (this.#isPinned) this.#options.onCaughtUp();
    this.#options.onSettled();
    await this.renew();
  }

  // --- kept versions -------------------------------------------------------------------------------------------------------

  /** Loads the last version, if the files have not changed since it was built or since they were refused. */
  async #restoreCurrent(): Promise<void> {
    if (this.#version !== null) return;
    const { disk } = this.#options.context;
    // while vanished files count as there, nothing can be built
    const isLost = entriesOf(this.#options.files).some((file) => !disk.isThere(file));
    if (!isLost && !this.isKnown) return await this.#restoreFresh();
    if (isLost || !(await this.#inputs.haveChanged())) await this.#restore();
  }

  /** Loads the pinned version, whatever the files hold, if another one serves or none. */
  async #restorePinned(): Promise<void> {
    const { pin } = this.#kept;
    if (pin === null || this.#version?.record.number === pin.number) return;
    const complaint = await this.servePinned();
    if (complaint === null || this.#isDisposed) return;
    this.#options.journal.keptRefused(pin, complaint);
    // calls fail until it can be loaded, or the pin is taken away
    if (this.#version === null) this.#isRefused = true;
    this.#options.onSettled();
  }

  /** Lets the pinned version serve. @returns why it can't; null: it serves */
  async servePinned(): Promise<string | null> {
    await this.#kept.open();
    const { pinned } = this.#kept;
    return pinned === null ? 'it is not known any more' : await this.#installKept(pinned);
  }

  /** Loads a version that is kept, after a trial if need be. @returns why it can't be loaded; null: it serves */
  async #installKept(record: VersionRecord): Promise<string | null> {
    const { installer } = this.#options;
    const isWanted = (): boolean =>
      !this.#isDisposed && (this.#kept.pin === null || this.#kept.pin.number === record.number);
    const bundle = await this.#kept.bundleOf(record);
    if (bundle === null) return 'its bundle is not kept any more, or is damaged';
    if (bundle.hash === this.#version?.hash) return null;
    const known = trialOf(record, installer.settings);
    const trial = known ?? (await this.#try(bundle, isWanted)).result;
    if (trial?.kind === 'refused') return printable(trial.failure.message);
    const installed = await installer.install(bundle, trial, isWanted);
    if (installed === null) return 'another version is wanted meanwhile';
    if (installed.kind === 'refused') return printable(installed.failure.message);
    this.#isSound = this.#fileHash === bundle.hash;
    return null;
  }

  /** Loads the last version, if the files still are those of before a restart. */
  async #restoreFresh(): Promise<void> {
    const { context, files, installer } = this.#options;
    const startedAtMs = context.clock.now();
    const fresh = await this.#kept.fresh(installer.settings);
    if (fresh === null || this.#isDisposed) return;
    this.#fileHash = fresh.bundle.hash;
    await installer.restore(fresh.bundle, fresh.record);
    if (this.#version === null || this.#isDisposed) return;
    this.#isSound = true;
    await this.#follow([...entriesOf(files), ...fresh.bundle.inputs], startedAtMs);
  }

  /** Loads the last version, whatever the files hold now. */
  async #restore(): Promise<void> {
    const { installer } = this.#options;
    const kept = await this.#kept.tried(installer.settings);
    if (this.#isDisposed) return;
    if (kept !== null) return void (await installer.restore(kept.bundle, kept.record));
    const { wanted } = this.#kept;
    if (wanted === null) return;
    // it was tried under other conditions
    const complaint = await this.#installKept(wanted);
    if (complaint !== null && !this.#isDisposed) this.#options.journal.keptRefused(wanted, complaint);
  }

  /** Whether a bundle is the last version. */
  #isTried({ hash }: Bundle): boolean {
    const { latest } = this.#kept;
    return latest?.hash === hash && trialOf(latest, this.#options.installer.settings) !== null;
  }

  /** The files hold the last version again, which is not loaded. */
  async #noteTried(bundle: Bundle): Promise<void> {
    if (this.#options.isNeeded()) await this.#restore();
    // it can't be loaded any more
    if (this.#options.isNeeded() && this.#version === null) return await this.#tryAndInstall(bundle);
    await this.#noteUnchanged(bundle.hash);
  }

  /** Nobody needs the version yet: it is loaded when a call arrives. @param tried null: it could not be tried */
  async #keep(bundle: Bundle, tried: TrialResult | null): Promise<void> {
    if (tried?.kind === 'refused') return await this.#noteRefusal(bundle, tried);
    if (tried === null || this.#isDisposed) return;
    await this.#kept.keep(bundle, tried, this.#options.installer.settings);
    this.#complaint = '';
    this.#isSound = true;
    this.#isRefused = false;
    this.#options.journal.kept(bundle.hash);
    this.#options.onKept(bundle.hash, tried);
    // a call has arrived meanwhile
    if (this.#options.isNeeded()) await this.#restore();
  }

  // --- new versions --------------------------------------------------------------------------------------------------------

  async #tryAndInstall(bundle: Bundle): Promise<void> {
    const { context, installer, tenantId, isNeeded } = this.#options;
    const isWanted = (): boolean => !this.#isDisposed && (!this.#queue.hasNext || this.#wasDropped);
    const tried = await this.#try(bundle, isWanted);
    if (this.#isDisposed) return;
    this.#wasDropped = tried.isDropped && !isWanted();
    if (this.#wasDropped) return;
    const { result } = tried;
    if (result?.kind === 'refused') return await this.#noteRefusal(bundle, result);
    if (this.#isPinned) return await this.#offer(bundle, result);
    if (!isNeeded()) return await this.#keep(bundle, result);
    // a version that is slow to load would delay its neighbours each time that their process is started again
    if (tried.isSlow) context.housing.separate(tenantId, installer.settings.isolation);
    const isToServe = (): boolean => !this.#isDisposed && !this.#isPinned;
    const installed = await installer.install(bundle, result, isToServe);
    if (installed !== null) await this.#noteRefusal(bundle, installed);
    else if (!this.#isDisposed) await this.#offer(bundle, result);
  }

  /** Tries a bundle away from the calls of clients. Where it would be loaded into the proxy anyway, it is tried then. */
  async #try(bundle: Bundle, isWanted: () => boolean): Promise<Attempt> {
    const { context, installer, name, isNeeded } = this.#options;
    const { isolation } = installer.settings;
    const trial = context.housing.trial(name, isolation, installer.codeOf(bundle), isWanted);
    if (trial === null)
      return { result: isNeeded() ? null : await installer.try(bundle), isSlow: false, isDropped: false };
    const tried = await trial;
    return { result: tried?.result ?? null, isSlow: tried?.isSlow ?? false, isDropped: tried === null };
  }

  /** The files hold other code than the pinned version: it is a candidate. */
  async #offer(bundle: Bundle, trial: SoundTrial | null): Promise<void> {
    const { onNewer, onSettled, journal, installer } = this.#options;
    const { pin } = this.#kept;
    this.#complaint = '';
    if (trial !== null) await this.#kept.keep(bundle, trial, installer.settings);
    if (pin !== null) journal.newer(bundle.hash, pin);
    await onNewer(bundle, trial);
    onSettled();
  }

  /** Does nothing about a trial that succeeded. */
  async #noteRefusal(bundle: Bundle, trial: TrialResult): Promise<void> {
    if (trial.kind === 'sound' || this.#isDisposed) return;
    const { failure, cause } = trial;
    const { files } = this.#options;
    const place = positionsOf(bundle.map, entryOf(files)).find(failure.stack);
    const isAsync = / must not be async: /.test(failure.message);
    const places = isAsync ? await this.#asyncPlaces(bundle) : placed(place);
    if (!this.#isDisposed)
      await this.#refuse(cause, printable(places + failure.message), { place, frame: '' });
  }

  /** The isolate does not know the places of async functions. */
  async #asyncPlaces({ inputs }: Bundle): Promise<string> {
    const { context, name, files } = this.#options;
    const places = await context.builder.asyncPlaces(name, inputs, dirname(entryOf(files)));
    return places.map((each) => `${each}: `).join('');
  }

  async #refuse(cause: RefusalCause, message: string, details: Details): Promise<void> {
    const { context, journal, onSettled, name, files } = this.#options;
    if (this.#version === null && this.#options.isNeeded() && !this.#isPinned) {
      await this.#restore();
      if (this.#isDisposed) return;
      this.#isSound = false;
    }
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
