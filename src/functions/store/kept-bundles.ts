/** Bundles that are kept in memory because they could not be written: at most so many bytes, the oldest are dropped first. */
import type { Bundle } from '../build/bundle-job.ts';
import { STORE } from '../limits.ts';
import type { VersionRecord } from './version-record.ts';

export class KeptBundles {
  readonly #bundles = new Map<VersionRecord, Bundle>();
  #bytes = 0;

  get(record: VersionRecord): Bundle | null {
    return this.#bundles.get(record) ?? null;
  }

  /** @returns versions whose bundles had to go */
  add(record: VersionRecord, bundle: Bundle): VersionRecord[] {
    this.#bundles.set(record, bundle);
    this.#bytes += sizeOf(bundle);
    const gone: VersionRecord[] = [];
    for (const oldest of this.#bundles.keys()) {
      if (this.#bytes <= STORE.memoryBytes || oldest === record) break;
      this.delete(oldest);
      gone.push(oldest);
    }
    return gone;
  }

  delete(record: VersionRecord): void {
    const bundle = this.#bundles.get(record);
    if (bundle === undefined) return;
    this.#bundles.delete(record);
    this.#bytes -= sizeOf(bundle);
  }
}

/** Bytes, as far as they matter: text takes one or two for each character. */
function sizeOf({ code, map }: Bundle): number {
  return 2 * code.length + map.mappings.length + map.checkpoints.byteLength;
}
