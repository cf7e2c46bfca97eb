/**
 * Turns a tenant's files into a version that serves: bundles them, tries the bundle and installs it. If files can't be loaded,
 * the serving version stays; the reason is logged once, and loading is tried again where that may help. While nobody needs the
 * functions, a changed file is bundled and tried all the same, so that its author hears of mistakes, and the version is kept.
 */
import type { Bundle } from '../build/bundle-job.ts';
import { BundleError } from '../build/bundlers.ts';
import type { Details } from '../build/places.ts';
import { isSameCode } from '../build/same-code.ts';
import { entriesOf } from '../build/sources.ts';
import { LOADING } from '../limits.ts';
import type { RefusalCause } from '../sandbox/load-result.ts';
import type { Pin } from '../store/version-record.ts';
import { attempt, explain, type Tried } from './attempt.ts';
import { BuildQueue } from './build-queue.ts';
import { Complaints } from './complaints.ts';
import { FileState } from './file-state.ts';
import { haveChangedSinceStart, Inputs } from './inputs.ts';
import type { Journal } from './journal.ts';
import { KeptVersions } from './kept-versions.ts';
import { Postponement } from './postponement.ts';
import { Restoring } from './restoring.ts';
import type { SoundTrial, TrialResult } from './trials.ts';
import type { Version } from './version.ts';

export interface LoaderOptions extends Tried {
  readonly tenantId: string;
  /** as the property: of the same files at another place */
  readonly held?: string | null;
  readonly journal: Journal;
  /** A sound version was found that nobody needs yet. */
  readonly onKept: (hash: string, trial: SoundTrial) => void;
  /** Another version is pinned: the files hold other code, which can serve, and must not yet. */
  readonly onNewer: (bundle: Bundle, trial: SoundTrial | null) => Promise<void>;
  /** The files hold the code that is pinned, so it needs no pin any more. */
  readonly onCaughtUp: () => void;
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
  readonly #state = new FileState();
  readonly #kept: KeptVersions;
  readonly #restoring: Restoring;
  readonly #complaints: Complaints;
  readonly #postponement: Postponement;
  #builds = 0;
  /** the files are to be built, whether or not a version serves */
  #isDue = false;
  /** an operator has asked for the next build */
  #isAsked = false;
  /** the last trial was dropped because another build was due: the next one is not, so that constant saving ends */
  #wasDropped = false;
  #isDisposed = false;
  /** hash of the code that the files held when they were last found sound; null: they have not been */
  #held: string | null;

  constructor(options: LoaderOptions) {
    this.#options = options;
    this.#held = options.held ?? null;
    const { context, tenantId, name, files, journal, onSettled } = options;
    this.#inputs = new Inputs({
      entries: entriesOf(files),
      trailOf: (paths) => context.disk.trailOf(paths),
      onTrail: (trail) => context.onTrail(tenantId, trail),
    });
    this.#kept = new KeptVersions({ owner: name, id: tenantId }, files, context);
    this.#restoring = new Restoring({
      tenant: options,
      kept: this.#kept,
      state: this.#state,
      inputs: this.#inputs,
      journal,
      follow: (paths, startedAtMs) => this.#follow(paths, startedAtMs),
      onSettled,
    });
    this.#complaints = new Complaints(journal, () => this.#servingHash);
    this.#postponement = new Postponement({
      clock: context.clock,
      complaints: this.#complaints,
      debtMs: () => context.budgets.of(name).waitMs,
      onDue: () => void this.reload(),
    });
  }

  /** The number of builds begun. */
  get builds(): number {
    return this.#builds;
  }

  get isBusy(): boolean {
    return this.#queue.isBusy;
  }

  /** Hash of the sound code that the files held last; null: they have not been looked at yet, or never were sound. */
  get held(): string | null {
    return this.#held;
  }

  /** The files have been looked at. */
  get isKnown(): boolean {
    return this.#state.isKnown;
  }

  /** What the files held when they were looked at last is what serves. */
  get isSound(): boolean {
    return this.#state.isSound;
  }

  /** There is no version, because the files can't be loaded as they are. */
  get isRefused(): boolean {
    return this.#state.isRefused && this.#version === null;
  }

  /** The serving version is older than the files, which can't be loaded as they are now. */
  get isOutdated(): boolean {
    return this.#version !== null && !this.#state.isSound && this.#options.journal.isRefused;
  }

  /** The pin that applies; null: the files decide which version serves. */
  get pin(): Pin | null {
    return this.#kept.pin;
  }

  /** Whether a change of one of these paths may change the bundle, as far as is known. */
  areOnTrail(paths: ReadonlySet<string>): boolean {
    return this.#inputs.areOnTrail(paths);
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
      this.#complaints.forget();
    }
    return this.#queue.add();
  }

  /** Lets the pinned version serve, whatever the files hold. @returns why it can't; null: it serves */
  servePinned(): Promise<string | null> {
    return this.#restoring.servePinned();
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
    if (isNew && hash !== this.#state.hash) {
      const number = this.#options.context.fleet.shown(record);
      journal.keptServes({ hash, number }, this.#kept.pin);
    } else if (isNew) {
      this.#complaints.forget();
      this.#state.accept(!this.#isPinned);
      journal.loaded(hash);
    } else if (this.#state.isSound) journal.forgive(); // otherwise the files have other contents, which were refused
    onSettled();
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#postponement.cancel();
    this.#queue.close();
    this.#inputs.close();
    this.#restoring.close();
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
    this.#postponement.cancel();
    const isAsked = this.#isAsked;
    const isDue = this.#isDue;
    this.#isAsked = false;
    this.#isDue = false;
    await this.#kept.open();
    if (isNeeded()) await (this.#isPinned ? this.#restoring.pinned() : this.#restoring.current());
    if (this.#state.isSound) this.#held ??= this.#state.hash;
    // what the files hold beside a pinned version is a candidate
    const isNews = isDue || (this.#isPinned && !this.isKnown);
    if (this.#isDisposed || (this.#version !== null && !isNews)) return;
    this.#builds++;
    const waitMs = isAsked ? 0 : context.housing.waitMs(name);
    if (waitMs > 0)
      this.#postponement.postpone(waitMs, 'its tenant has slowed down or ended processes that others use');
    if (waitMs > 0 || (!isAsked && this.#postponement.mustPay())) return this.#options.onSettled();
    // RELOAD: hundreds of tenants are not built again without need
    if (isAsked && this.#state.isSound && !(await this.#inputs.haveChanged())) return await this.renew();
    this.#state.begin();
    const startedAtMs = context.clock.now();
    try {
      const bundle = await context.builder.bundle(name, context.housing.isSuspect(name), files);
      for (const reason of bundle.notUsed) this.#options.journal.artifactNotUsed(reason);
      if (this.#isDisposed) return;
      // the entries by their configured paths too, which may lead over symbolic links
      await this.#follow([...entriesOf(files), ...bundle.inputs], startedAtMs);
      if (this.#isDisposed) return;
      this.#postponement.bundled();
      this.#state.bundled(bundle.hash);
      if (this.#isServing(bundle)) await this.#noteUnchanged(bundle.hash);
      else if (this.#version === null && this.#restoring.isTried(bundle)) await this.#noteTried(bundle);
      else await this.#tryAndInstall(bundle);
      if (this.#state.isSound && !this.#queue.hasNext)
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
    this.#held = hash;
    this.#complaints.forget();
    this.#state.accept();
    this.#options.journal.restored(hash);
    if (this.#isPinned) this.#options.onCaughtUp();
    this.#options.onSettled();
    await this.renew();
  }

  // --- kept versions -------------------------------------------------------------------------------------------------------

  /** The files hold the last version again, which is not loaded. */
  async #noteTried(bundle: Bundle): Promise<void> {
    if (this.#options.isNeeded()) await this.#restoring.last();
    // it can't be loaded any more
    if (this.#options.isNeeded() && this.#version === null) return await this.#tryAndInstall(bundle);
    await this.#noteUnchanged(bundle.hash);
  }

  /** Nobody needs the version yet: it is loaded when a call arrives. @param tried null: it could not be tried */
  async #keep(bundle: Bundle, tried: TrialResult | null): Promise<void> {
    if (tried?.kind === 'refused') return await this.#noteRefusal(bundle, tried);
    if (tried === null || this.#isDisposed) return;
    await this.#kept.keep(bundle, tried, this.#options.installer.settings);
    this.#complaints.forget();
    this.#state.accept();
    this.#options.journal.kept(bundle.hash);
    this.#options.onKept(bundle.hash, tried);
    // a call has arrived meanwhile
    if (this.#options.isNeeded()) await this.#restoring.last();
  }

  // --- new versions --------------------------------------------------------------------------------------------------------

  async #tryAndInstall(bundle: Bundle): Promise<void> {
    const { context, installer, tenantId, isNeeded } = this.#options;
    const isWanted = (): boolean => !this.#isDisposed && (!this.#queue.hasNext || this.#wasDropped);
    const tried = await attempt(this.#options, bundle, isWanted);
    if (this.#isDisposed) return;
    this.#wasDropped = tried.isDropped && !isWanted();
    if (this.#wasDropped) return;
    const { result } = tried;
    if (result?.kind === 'refused') return await this.#noteRefusal(bundle, result);
    await this.#askFleet(bundle);
    if (this.#isDisposed) return;
    if (this.#isPinned) return await this.#offer(bundle, result);
    if (!isNeeded()) return await this.#keep(bundle, result);
    // a version that is slow to load would delay its neighbours each time that their process is started again
    if (tried.isSlow) context.housing.separate(tenantId, installer.settings.isolation);
    const isToServe = (): boolean => !this.#isDisposed && !this.#isPinned;
    const installed = await installer.install(bundle, result, isToServe);
    if (installed !== null) await this.#noteRefusal(bundle, installed);
    else if (!this.#isDisposed) await this.#offer(bundle, result);
  }

  /** The fleet pins another version, if this one is not to serve, and takes its pin away if it is. */
  async #askFleet({ hash, inputs }: Bundle): Promise<void> {
    const { context, tenantId: id, name: owner } = this.#options;
    if (!context.fleet.isOn) return;
    // functions that nobody has used yet may have been saved all the same
    const before = this.#held ?? ((await haveChangedSinceStart(inputs)) ? '' : null);
    context.fleet.mayServe({ owner, id }, { hash, before });
    this.#held = hash;
  }

  /** The files hold other code than the pinned version: it is a candidate. */
  async #offer(bundle: Bundle, trial: SoundTrial | null): Promise<void> {
    const { onNewer, onSettled, journal, installer, isNeeded } = this.#options;
    if (isNeeded()) await this.#restoring.pinned();
    if (this.#isDisposed) return;
    // another proxy of the fleet has got the same files, and was quicker
    if (this.#isServing(bundle)) return await this.#noteUnchanged(bundle.hash);
    const { pin } = this.#kept;
    this.#complaints.forget();
    if (trial !== null) await this.#kept.keep(bundle, trial, installer.settings);
    if (pin !== null) journal.newer(bundle.hash, { ...pin, number: this.#kept.pinnedNumber });
    await onNewer(bundle, trial);
    onSettled();
  }

  /** Does nothing about a trial that succeeded. */
  async #noteRefusal(bundle: Bundle, trial: TrialResult): Promise<void> {
    if (trial.kind === 'sound' || this.#isDisposed) return;
    const { message, details } = await explain(this.#options, bundle, trial.failure);
    if (!this.#isDisposed) await this.#refuse(trial.cause, message, details);
  }

  async #refuse(cause: RefusalCause, message: string, details: Details): Promise<void> {
    const { context, onSettled, name, files, isNeeded } = this.#options;
    if (this.#version === null && isNeeded() && !this.#isPinned) {
      await this.#restoring.last();
      if (this.#isDisposed) return;
      this.#state.replaced();
    }
    // it says nothing about the files, and calls continue to wait
    if (cause === 'passing') {
      this.#state.doubt();
      return this.#postponement.retry(message);
    }
    if (cause === 'offence') context.housing.addBlame(name);
    this.#state.refuse();
    onSettled();
    // A file that was removed meanwhile is not a mistake: the next look at its folder finds its replacement.
    const { disk } = context;
    const wasRemoved = entriesOf(files).some((file) => !disk.isThere(file) && disk.isSearched(file));
    if (this.#version !== null && wasRemoved) return;
    this.#complaints.refused(message, details);
  }
}
