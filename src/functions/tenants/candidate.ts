/**
 * The version that may serve next: a line of its own, with its own counters, breaker, journal and place to run, so that
 * nothing that it does is held against the version that serves.
 */
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import { isSameCode } from '../build/same-code.ts';
import { entriesOf, nameOf } from '../build/sources.ts';
import type { TenantContext } from './context.ts';
import type { Isolation } from './housing.ts';
import { candidateId, type Identity } from './identity.ts';
import { Journal, type FunctionLog } from './journal.ts';
import { Lane } from './lane.ts';
import { Loader } from './loader.ts';
import type { TenantSettings } from './settings.ts';
import type { SoundTrial } from './trials.ts';
import type { Version } from './version.ts';

export interface CandidateOptions {
  readonly identity: Identity;
  /** the files that the candidate is made of, absolute */
  readonly files: SourceFiles;
  /** those that serve: the candidate may name what they may name */
  readonly rights: () => SourceFiles;
  readonly settings: TenantSettings;
  readonly context: TenantContext;
  /** It is loaded, or its files can't be loaded. */
  readonly onSettled: () => void;
  /** Other code is the candidate. */
  readonly onInstalled: (version: Version) => void;
  /** Several clients have run into its limits. */
  readonly onOpened: () => void;
  /** Its decisions are not remembered any more. */
  readonly onDiffered: () => void;
}

export class Candidate {
  readonly lane: Lane;
  readonly #options: CandidateOptions;
  readonly #id: string;
  readonly #owner: string;
  readonly #journal: Journal;
  #files: SourceFiles;
  #loader: Loader;
  #settings: TenantSettings;
  /** clients wait for its answers, so it runs where the serving version does; otherwise never in the proxy itself */
  #isAsked = false;
  /** hash of a bundle that was not made here; '': none */
  #taken = '';

  constructor(options: CandidateOptions) {
    const { identity, files, rights, settings, context } = options;
    this.#options = options;
    this.#id = candidateId(identity.id);
    this.#owner = candidateId(identity.owner);
    this.#files = files;
    this.#settings = settings;
    this.#journal = new Journal(
      marked(context.lines.recorded(identity.owner, context.log)),
      'candidate function',
    );
    this.#journal.name(nameOf(files), entriesOf(files));
    this.lane = new Lane({
      key: identity,
      files: () => this.#files,
      rights,
      settings: this.#ownSettings,
      host: () => context.housing.ofCandidate(identity.id, this.#isolation),
      journal: this.#journal,
      context,
      budget: context.budgets.of(identity.owner),
      isBlocked: () => false,
      noVersion: () => ['overloaded', 'no candidate is loaded'],
      onGiven: (versionId) =>
        context.housing.noteVersion(versionId, {
          owner: this.#owner,
          name: `${nameOf(this.#files)} (candidate)`,
        }),
      onOpened: options.onOpened,
      onCostlyMove: () => context.housing.addBlame(this.#owner),
      onInstalled: (version, isNew) => this.#noteInstalled(version, isNew),
      onDiffered: options.onDiffered,
    });
    this.#loader = this.#newLoader();
  }

  get version(): Version | null {
    return this.lane.version;
  }

  get files(): SourceFiles {
    return this.#files;
  }

  /** The last complaint about its files or its calls; '': none. */
  get lastError(): string {
    return this.#journal.lastError;
  }

  get isBuilding(): boolean {
    return this.#loader.isBusy;
  }

  /** When nothing is being built. */
  idle(): Promise<void> {
    return this.#loader.idle();
  }

  /** Whether a change of one of these paths may change it, as far as is known. */
  areOnTrail(paths: ReadonlySet<string>): boolean {
    return this.#loader.areOnTrail(paths);
  }

  /** Builds its present files (loader.ts). */
  reload(isAsked = false): Promise<void> {
    return this.#loader.reload(isAsked);
  }

  /** Compares the files with their last known state, where changes are not reported. */
  verify(): Promise<void> {
    return this.#loader.verify();
  }

  /** It is made of other files from now on. Its present version stays until these have been loaded. */
  useFiles(files: SourceFiles): void {
    this.#files = files;
    this.#journal.name(nameOf(files), entriesOf(files));
    this.#loader.dispose();
    this.#loader = this.#newLoader();
  }

  /** Takes a bundle that has been made already. */
  async take(bundle: Bundle, trial: SoundTrial | null): Promise<void> {
    this.#taken = bundle.hash;
    if (this.version === null || !isSameCode(bundle, this.version.bundle))
      await this.lane.installer.install(bundle, trial);
  }

  /** Takes over settings, and hosts that may have changed. */
  configure(settings: TenantSettings): Promise<void> {
    this.#settings = settings;
    return this.#move();
  }

  /** Clients are about to wait for its answers, or no longer do. */
  setAsked(isAsked: boolean): Promise<void> {
    this.#isAsked = isAsked;
    if (isAsked) this.lane.batcher.reset();
    return this.#move();
  }

  /** It is the same as the version that serves, and need not be loaded twice. */
  clear(): void {
    this.lane.clear();
  }

  /** It answers the calls that it has. */
  dispose(): void {
    const { context, identity } = this.#options;
    this.#loader.dispose();
    context.onTrail(this.#id, new Map());
    this.lane.close();
    context.housing.releaseCandidate(identity.id);
  }

  get #isolation(): Isolation {
    return this.#isAsked ? this.#settings.isolation : 'process';
  }

  get #ownSettings(): TenantSettings {
    return { ...this.#settings, isolation: this.#isolation };
  }

  async #move(): Promise<void> {
    const { context, identity } = this.#options;
    const { installer } = this.lane;
    installer.configure(this.#ownSettings);
    installer.useHost(context.housing.ofCandidate(identity.id, this.#isolation));
    await this.#loader.renew();
  }

  #newLoader(): Loader {
    return new Loader({
      tenantId: this.#id,
      name: this.#owner,
      files: this.#files,
      installer: this.lane.installer,
      journal: this.#journal,
      context: this.#options.context,
      isNeeded: () => true,
      onKept: () => {},
      onNewer: () => Promise.resolve(),
      onCaughtUp: () => {},
      onSettled: () => {
        this.lane.batcher.open();
        this.#options.onSettled();
      },
    });
  }

  #noteInstalled(version: Version, isNew: boolean): void {
    const { judge, batcher } = this.lane;
    if (isNew) batcher.reset();
    judge.warnOfPassing(version);
    if (isNew) judge.warnOfMisdirected(version);
    if (version.hash !== this.#taken) this.#loader.noteInstalled(version, isNew);
    else if (isNew) this.#journal.loaded(version.hash);
    // a bundle that was not made here has no build whose end would let calls through
    batcher.open();
    if (isNew) this.#options.onInstalled(version);
  }
}

/** Lines about a candidate are told apart by a field. */
function marked(log: FunctionLog): FunctionLog {
  return {
    info: (fields, message) => log.info({ ...fields, candidate: true }, message),
    warn: (fields, message) => log.warn({ ...fields, candidate: true }, message),
    error: (fields, message) => log.error({ ...fields, candidate: true }, message),
  };
}
