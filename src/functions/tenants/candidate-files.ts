/** Where a tenant's candidate comes from: `.next` files, a folder that a command has named, or nowhere. */
import type { SourceFiles } from '../build/bundle-job.ts';
import { filesIn, nextPlaces, watched } from '../build/next-files.ts';
import { haveCommon } from '../build/trail.ts';
import type { TenantContext } from './context.ts';

/** `next`: `.next` files; `folder`: SHADOW FROM */
export interface FoundFiles {
  readonly source: 'next' | 'folder';
  readonly files: SourceFiles;
}

export class CandidateFiles {
  readonly #tenantId: string;
  readonly #context: Pick<TenantContext, 'onPlaces' | 'disk'>;
  /** SHADOW FROM; null: `.next` files count */
  #folder: string | null = null;
  /** SHADOW OFF */
  #isOff = false;
  /** the candidate comes from the fleet */
  #isLent = false;
  /** the paths where `.next` files may appear, as changes are reported */
  #places: ReadonlySet<string> = new Set();

  constructor(tenantId: string, context: Pick<TenantContext, 'onPlaces' | 'disk'>) {
    this.#tenantId = tenantId;
    this.#context = context;
  }

  /** No files are looked for. */
  get isOff(): boolean {
    return this.#isOff;
  }

  /** Whether a file that appears or goes at one of these paths may be the candidate's. */
  areAmong(paths: ReadonlySet<string>): boolean {
    return haveCommon(paths, this.#places);
  }

  /** Looks for the files, and has the places watched where they may appear. @param serving the files that serve */
  find(serving: SourceFiles): FoundFiles | null {
    const places = nextPlaces(serving);
    this.#watch(watched(places));
    if (this.#isOff || this.#isLent) return null;
    const source = this.#folder === null ? 'next' : 'folder';
    const files =
      this.#folder === null ? this.#context.disk.next(serving, places) : filesIn(this.#folder, serving);
    return files === null ? null : { source, files };
  }

  /** @param folder absolute; null: `.next` files count again */
  use(folder: string | null): void {
    this.#folder = folder;
    this.#isOff = this.#isLent = false;
  }

  /** No files count, because the fleet has a candidate. */
  lend(): void {
    this.#folder = null;
    this.#isOff = false;
    this.#isLent = true;
  }

  switchOff(): void {
    this.#folder = null;
    this.#isOff = true;
    this.#isLent = false;
  }

  close(): void {
    this.#watch([]);
  }

  #watch(paths: readonly string[]): void {
    if (paths.length === this.#places.size && paths.every((path) => this.#places.has(path))) return;
    this.#places = new Set(paths);
    this.#context.onPlaces(nextId(this.#tenantId), paths);
  }
}

/** The owner of what is watched for `.next` files. No tenant has this id. */
function nextId(tenantId: string): string {
  return `${tenantId}\0next`;
}
