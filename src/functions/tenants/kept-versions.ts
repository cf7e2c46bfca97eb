/** Versions from the store that may serve a set of functions: the pinned one, or the one that served before a restart. */
import type { SourceFiles } from '../build/bundle-job.ts';
import type { Pin, VersionKey, VersionRecord } from '../store/version-record.ts';
import type { TenantContext } from './context.ts';
import type { TenantSettings } from './settings.ts';
import type { SoundTrial } from './trials.ts';
import { checkedWith } from './checked-with.ts';

export class KeptVersions {
  readonly #key: VersionKey;
  readonly #files: SourceFiles;
  readonly #context: Pick<TenantContext, 'store' | 'targets'>;

  constructor(key: VersionKey, files: SourceFiles, context: Pick<TenantContext, 'store' | 'targets'>) {
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
    // a tenant must not keep a rule of the operator's from joining its own
    if (pin?.by === 'tenant' && this.#context.targets.operatorsIn(this.#files) !== '') return null;
    return pin;
  }

  /** The version that served last, with the same functions of the operator's as now; null: none is known. */
  get latest(): VersionRecord | null {
    const { store, targets } = this.#context;
    const latest = store.latest(this.#key);
    return latest?.operators === targets.operatorsIn(this.#files) ? latest : null;
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
