/** The files from which a tenant's bundle is made, and whether any has changed since it was read. */
import { lstat } from 'node:fs/promises';
import { hasChangedSince, haveCommon, type Trail } from '../build/trail.ts';
import { LOADING } from '../limits.ts';

export interface InputsOptions {
  /** the files that hold the functions, absolute */
  readonly entries: readonly string[];
  readonly trailOf: (paths: readonly string[]) => Promise<Trail>;
  /** Changes along this trail must be reported from now on. */
  readonly onTrail: (trail: Trail) => void;
}

export class Inputs {
  readonly #options: InputsOptions;
  #paths: readonly string[];
  #trail: Trail | null = null;
  #isClosed = false;
  /** world-writable paths that were already named */
  readonly #named = new Set<string>();

  constructor(options: InputsOptions) {
    this.#options = options;
    this.#paths = options.entries;
  }

  get paths(): readonly string[] {
    return this.#paths;
  }

  /** Whether a change of one of these paths may change the bundle, as far as is known. */
  areOnTrail(paths: ReadonlySet<string>): boolean {
    return haveCommon(paths, this.#trail ?? new Set(this.#options.entries));
  }

  /** Whether the files differ from their state at the last look. */
  async haveChanged(): Promise<boolean> {
    return hasChangedSince(this.#trail, await this.#options.trailOf(this.#paths), 0);
  }

  /**
   * Follows the files that a build has read.
   * @param paths absolute
   * @param startedAtMs when the build began, in ms since 1970
   * @returns whether one of them has changed since then: changes before it was followed would not have been reported
   */
  async follow(paths: readonly string[], startedAtMs: number): Promise<boolean> {
    const { trailOf, onTrail } = this.#options;
    this.#paths = [...new Set(paths)];
    const before = this.#trail;
    this.#trail = await trailOf(this.#paths);
    if (this.#isClosed) return false;
    onTrail(this.#trail);
    this.#trail = await trailOf(this.#paths);
    return !this.#isClosed && hasChangedSince(before, this.#trail, startedAtMs - LOADING.clockMs);
  }

  /** World-writable paths, each named once. */
  takeWritable(): string[] {
    const paths = [...(this.#trail ?? [])]
      .filter(([path, point]) => point.isWorldWritable && !this.#named.has(path))
      .map(([path]) => path);
    for (const path of paths) this.#named.add(path);
    return paths;
  }

  close(): void {
    this.#isClosed = true;
  }
}

/** Whether one of these files was written, moved or given other rights after this process began. */
export async function haveChangedSinceStart(paths: readonly string[]): Promise<boolean> {
  for (const path of paths) {
    const stat = await lstat(path).catch(() => null);
    if (stat !== null && stat.ctimeMs > performance.timeOrigin) return true;
  }
  return false;
}
