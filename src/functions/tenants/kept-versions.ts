/** Versions from the store that may serve a set of functions: the pinned one, or the one that served before a restart. */
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import type { Pin, VersionKey, VersionRecord } from '../store/version-record.ts';
import type { FreshBundle } from '../store/version-store.ts';
import { checkedWith } from './checked-with.ts';
import type { TenantContext } from './context.ts';
import type { TenantSettings } from './settings.ts';
import type { SoundTrial } from './trials.ts';

/** A version that has passed its trial under the conditions of now. */
export type TriedBundle = FreshBundle;

export class KeptVersions {
  readonly #key: VersionKey;
  readonly #files: SourceFiles;
  readonly #context: Pick<TenantContext, 'store' | 'targets' | 'fleet'>;

  constructor(
    key: VersionKey,
    files: SourceFiles,
    context: Pick<TenantContext, 'store' | 'targets' | 'fleet'>,
  ) {
    this.#key = key;
    this.#files = files;
    this.#context = context;
  }

  /** Reads what is kept. The other methods know nothing before. */
  open(): Promise<void> {
    return this.#context.store.open(this.#key.owner);
  }

  /** The pin that applies; null: the files decide. */
  get pin(): Pin | null {
    const pin = this.#context.store.pinOf(this.#key);
    const operators = this.#context.targets.operatorsIn(this.#files);
    // a tenant must not keep a rule of the operator's from joining its own
    if (pin?.by === 'tenant' && operators !== '') return null;
    // nor must another proxy, whose operator may have other rules
    const isFleets = pin?.by === 'fleet';
    if (
      isFleets &&
      (!this.#context.fleet.isOn || this.#context.store.pinned(this.#key)?.operators !== operators)
    )
      return null;
    return pin;
  }

  /** The pinned version; null: none is pinned, or it is not known any more. */
  get pinned(): VersionRecord | null {
    return this.pin === null ? null : this.#context.store.pinned(this.#key);
  }

  /** Its number for people; 0: none is pinned. */
  get pinnedNumber(): number {
    const { pin, pinned } = this;
    return pinned === null ? (pin?.number ?? 0) : this.#context.fleet.shown(pinned);
  }

  /** The version that is to serve whatever the files hold, as long as they can't be loaded: the pinned or the latest one. */
  get wanted(): VersionRecord | null {
    return this.pin === null ? this.latest : this.pinned;
  }

  /** Its bundle; null: it is not kept, or is damaged. */
  bundleOf({ key, number }: VersionRecord): Promise<Bundle | null> {
    return this.#context.store.bundleOf(key.owner, number);
  }

  /** The version that served last, with the same functions of the operator's as now; null: none is known. */
  get latest(): VersionRecord | null {
    const { store, targets } = this.#context;
    const latest = store.latest(this.#key);
    return latest?.operators === targets.operatorsIn(this.#files) ? latest : null;
  }

  /** The wanted version, which need not be tried; null: there is none, or it must be tried. */
  async tried(settings: TenantSettings): Promise<TriedBundle | null> {
    await this.open();
    const record = this.wanted;
    if (record === null || trialOf(record, settings) === null) return null;
    const bundle = await this.#context.store.bundleOf(record.key.owner, record.number);
    return bundle === null ? null : { bundle, record };
  }

  /** The same, if bundling the present files would make it; null: they must be bundled. */
  async fresh(settings: TenantSettings): Promise<TriedBundle | null> {
    const fresh = await this.#context.store.freshBundle(this.#key, this.#files);
    if (fresh === null || trialOf(fresh.record, settings) === null) return null;
    return fresh.record.number === this.wanted?.number ? fresh : null;
  }

  /** A version has passed its trial. It serves as soon as the functions are loaded, unless another one is pinned. */
  async keep(bundle: Bundle, { manifest, route }: SoundTrial, settings: TenantSettings): Promise<void> {
    const { store, targets } = this.#context;
    const record = await store.add(this.#key, bundle, {
      checkedWith: checkedWith(settings),
      findings: { manifest, route },
      operators: targets.operatorsIn(this.#files),
      isArtifact: bundle.isArtifact,
    });
    if (this.pin === null) store.noteServing(this.#key, record.number);
  }

  /**
   * The present files hold the latest version, and have not changed since they were read: they need not be bundled again.
   * @param startedAtMs when they were read at the earliest, in ms since 1970
   */
  noteBuild(bundle: Bundle, settings: TenantSettings, startedAtMs: number): void {
    const { latest } = this;
    if (latest?.hash !== bundle.hash || latest.checkedWith.node === '') return;
    const facts = { checkedWith: checkedWith(settings), findings: latest.findings };
    this.#context.store.noteBuild(latest, { files: this.#files, bundle, facts, startedAtMs });
  }
}

/** The trial that a version need not repeat; null: it was tried under other conditions. */
export function trialOf(
  { checkedWith: then, findings }: VersionRecord,
  settings: TenantSettings,
): SoundTrial | null {
  const now = checkedWith(settings);
  const isSame = Object.entries(now).every(([name, value]) => then[name as keyof typeof now] === value);
  return isSame ? { kind: 'sound', ...findings } : null;
}
