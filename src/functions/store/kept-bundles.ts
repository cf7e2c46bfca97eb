/** Bundles that are kept in memory because they could not be written: at most so many bytes, the oldest are dropped first. */
import type { SourceText } from '../build/artifact.ts';
import type { Bundle } from '../build/bundle-job.ts';
import { STORE } from '../limits.ts';
import type { VersionRecord } from './version-record.ts';

export class KeptBundles {
  readonly #bundles = new Map<VersionRecord, Bundle>();
  readonly #texts = new Map<VersionRecord, readonly SourceText[]>();
  #bytes = 0;

  get(record: VersionRecord): Bundle | null {
    return this.#bundles.get(record) ?? null;
  }

  /** The author's files of a version. */
  textsOf(record: VersionRecord): readonly SourceText[] {
    return this.#texts.get(record) ?? [];
  }

  /** @returns versions whose bundles had to go */
  add(record: VersionRecord, bundle: Bundle, texts: readonly SourceText[]): VersionRecord[] {
    this.delete(record);
    this.#bundles.set(record, bundle);
    this.#texts.set(record, texts);
    this.#bytes += sizeOf(bundle, texts);
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
    this.#bytes -= sizeOf(bundle, this.textsOf(record));
    this.#bundles.delete(record);
    this.#texts.delete(record);
  }
}

/** Bytes, as far as they matter: text takes one or two for each character. */
function sizeOf({ code, map }: Bundle, texts: readonly SourceText[]): number {
  const characters = texts.reduce((sum, { text }) => sum + text.length, code.length);
  return 2 * characters + map.mappings.length + map.checkpoints.byteLength;
}
