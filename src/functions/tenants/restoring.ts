/** Lets a version serve that is kept in the store: the pinned one, or the last one while its files are the same or are broken. */
import type { Bundle } from '../build/bundle-job.ts';
import { printable } from '../build/places.ts';
import { entriesOf } from '../build/sources.ts';
import type { VersionRecord } from '../store/version-record.ts';
import { attempt, type Tried } from './attempt.ts';
import type { FileState } from './file-state.ts';
import type { Inputs } from './inputs.ts';
import type { Journal } from './journal.ts';
import { trialOf, type KeptVersions } from './kept-versions.ts';
import type { Version } from './version.ts';

export interface RestoringOptions {
  readonly tenant: Tried;
  readonly kept: KeptVersions;
  readonly state: FileState;
  readonly inputs: Inputs;
  readonly journal: Journal;
  /** Has changes of files reported that were read at this time at the earliest, in ms since 1970. */
  readonly follow: (paths: readonly string[], startedAtMs: number) => Promise<void>;
  /** Calls need not wait for a first version any more. */
  readonly onSettled: () => void;
}

export class Restoring {
  readonly #options: RestoringOptions;
  #isClosed = false;

  constructor(options: RestoringOptions) {
    this.#options = options;
  }

  /** Loads the last version, if the files have not changed since it was built or since they were refused. */
  async current(): Promise<void> {
    if (this.#version !== null) return;
    const { tenant, state, inputs } = this.#options;
    // while vanished files count as there, nothing can be built
    const isLost = entriesOf(tenant.files).some((file) => !tenant.context.disk.isThere(file));
    if (!isLost && !state.isKnown) return await this.#fresh();
    if (isLost || !(await inputs.haveChanged())) await this.last();
  }

  /** Loads the pinned version, whatever the files hold, if another one serves or none. */
  async pinned(): Promise<void> {
    const { kept, state, journal, onSettled } = this.#options;
    const { pin } = kept;
    if (pin === null || this.#version?.record.number === pin.number) return;
    const complaint = await this.servePinned();
    if (complaint === null || this.#isClosed) return;
    journal.keptRefused({ number: kept.pinnedNumber }, complaint);
    // calls fail until it can be loaded, or the pin is taken away
    if (this.#version === null) state.refuse();
    onSettled();
  }

  /** Lets the pinned version serve. @returns why it can't; null: it serves */
  async servePinned(): Promise<string | null> {
    const { kept } = this.#options;
    await kept.open();
    const { pinned } = kept;
    return pinned === null ? 'it is not known any more' : await this.#install(pinned);
  }

  /** Loads the last version, whatever the files hold now. */
  async last(): Promise<void> {
    const { tenant, kept, journal } = this.#options;
    const { installer } = tenant;
    const tried = await kept.tried(installer.settings);
    if (this.#isClosed) return;
    if (tried !== null) return void (await installer.restore(tried.bundle, tried.record));
    const { wanted } = kept;
    if (wanted === null) return;
    // it was tried under other conditions
    const complaint = await this.#install(wanted);
    if (complaint !== null && !this.#isClosed) {
      const number = tenant.context.fleet.shown(wanted);
      journal.keptRefused({ number }, complaint);
    }
  }

  /** Whether a bundle is the last version, and need not be tried again. */
  isTried({ hash }: Bundle): boolean {
    const { kept, tenant } = this.#options;
    const { latest } = kept;
    return latest?.hash === hash && trialOf(latest, tenant.installer.settings) !== null;
  }

  /** Lets no version serve any more. */
  close(): void {
    this.#isClosed = true;
  }

  get #version(): Version | null {
    return this.#options.tenant.installer.version;
  }

  /** Loads a version that is kept, after a trial if need be. @returns why it can't be loaded; null: it serves */
  async #install(record: VersionRecord): Promise<string | null> {
    const { tenant, kept, state } = this.#options;
    const { installer } = tenant;
    const pinned = kept.pin?.number;
    const isWanted = (): boolean => !this.#isClosed && kept.pin?.number === pinned;
    const bundle = await kept.bundleOf(record);
    if (bundle === null) return 'its bundle is not kept any more, or is damaged';
    if (bundle.hash === this.#version?.hash) return null;
    const known = trialOf(record, installer.settings);
    const trial = known ?? (await attempt(tenant, bundle, isWanted)).result;
    if (trial?.kind === 'refused') return printable(trial.failure.message);
    const installed = await installer.install(bundle, trial, isWanted);
    if (installed === null) return 'another version is wanted meanwhile';
    if (installed.kind === 'refused') return printable(installed.failure.message);
    state.serves(bundle.hash);
    return null;
  }

  /** Loads the last version, if the files still are those of before a restart. */
  async #fresh(): Promise<void> {
    const { tenant, kept, state, follow } = this.#options;
    const { context, files, installer } = tenant;
    const startedAtMs = context.clock.now();
    const fresh = await kept.fresh(installer.settings);
    if (fresh === null || this.#isClosed) return;
    state.bundled(fresh.bundle.hash);
    await installer.restore(fresh.bundle, fresh.record);
    if (this.#version === null || this.#isClosed) return;
    state.serves(fresh.bundle.hash);
    await follow([...entriesOf(files), ...fresh.bundle.inputs], startedAtMs);
  }
}
