/** user_functions_dir and the folders of databases in it: the existing ones, and the places where rules may appear. */
import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Clock } from '../../platform/clock.ts';
import { isPassingError } from '../build/bundle-job.ts';
import { isCandidate } from '../build/sources.ts';
import { folderStamp, trailOf, type Trail } from '../build/trail.ts';
import type { Matters } from '../build/watch.ts';
import { WATCH } from '../limits.ts';
import type { FunctionsConfig } from './settings.ts';

export interface FoldersOptions {
  readonly config: () => FunctionsConfig;
  readonly clock: Clock;
  /**
   * Changes there must be reported from now on.
   * @param trail the path to the folders
   * @param matters by folder, the files and folders that matter in it
   */
  readonly onPlaces: (trail: Trail, matters: ReadonlyMap<string, Matters>) => void;
  /** Newly watched folders may have received files before they were watched. */
  readonly onNewPlaces: () => void;
  /** Databases that have a folder, each time that the folders have been listed. */
  readonly onListed: (names: readonly string[]) => void;
}

export class Folders {
  readonly #options: FoldersOptions;
  /** on the way to user_functions_dir and to the folders of databases in it */
  #places: Trail = new Map();
  /** folders in which such places lie */
  #passed: ReadonlySet<string> = new Set();
  /** by their paths without links: folders of databases, as they are configured; null: several of them lead there */
  #real: ReadonlyMap<string, string | null> = new Map();
  /** names of the folders in user_functions_dir; null: not listed yet, or they can't be listed */
  #names: ReadonlySet<string> | null = null;
  /** number of the last listing */
  #look = 0;
  #isClosed = false;

  constructor(options: FoldersOptions) {
    this.#options = options;
  }

  /** The existing folders are known. */
  get areListed(): boolean {
    return this.#names !== null;
  }

  /** Whether a database may have a folder of its own. */
  mayHave(name: string): boolean {
    if (this.#root === null) return false;
    return this.#names === null || this.#names.has(name);
  }

  /** Whether a change of this path may mean that other files apply somewhere. */
  isPlace(path: string): boolean {
    const name = basename(path);
    return isCandidate(name) || this.#places.has(path) || this.#options.config().isOwner(name);
  }

  /**
   * The databases to which other files may apply after these changes.
   * @param places of which `isPlace` is true
   * @returns null: all of them, and the folders may be others
   */
  affected(places: readonly string[]): readonly string[] | null {
    const names = new Set<string>();
    for (const path of places) {
      const folder = this.#folderOf(path);
      // everything that has no files of its own takes those of user_functions_dir
      if (folder === null || folder === this.#root) return null;
      for (const name of this.#options.config().databasesIn(folder)) names.add(name);
    }
    return [...names];
  }

  /** The only folder in which other files may apply after a change, as it is configured; null: there may be others. */
  #folderOf(path: string): string | null {
    const place = this.#places.get(path);
    if (place === undefined)
      return isCandidate(basename(path)) ? (this.#real.get(dirname(path)) ?? null) : null;
    // its owner may change its rights at any time: it is still the same folder
    const isSame = !this.#passed.has(path) && folderStamp(path) === place.stamp;
    return isSame ? (this.#real.get(path) ?? null) : null;
  }

  /** Whether a file is where rules are looked for, without an option that names it. */
  isSearched(file: string): boolean {
    const root = this.#root;
    const folder = dirname(file);
    if (!isCandidate(basename(file))) return false;
    if (this.#options.config().namedFolders.includes(folder)) return true;
    return root !== null && (folder === root || dirname(folder) === root);
  }

  /** user_functions_dir has changed: nothing is known of the new one yet. */
  forget(): void {
    this.#names = null;
  }

  /** Lists the folders for `onListed` only. */
  async list(): Promise<void> {
    const own = this.#root === null ? NOTHING : await namesIn(this.#root);
    if (own !== null && !this.#isClosed) this.#options.onListed(this.#databasesOf(own));
  }

  /** Lists the folders and has changes there reported. A listing that a later one overtakes has no effect. */
  async refresh(isAgain = false): Promise<void> {
    if (this.#isClosed) return;
    const look = ++this.#look;
    const isOvertaken = (): boolean => look !== this.#look || this.#isClosed;
    const root = this.#root;
    const own: Listing | null = root === null ? NOTHING : await namesIn(root);
    if (isOvertaken()) return;
    if (own === null) {
      // until then the same folders stay watched
      this.#options.clock.after(WATCH.retryMs, () => void this.refresh());
      return;
    }
    if (this.#names !== null) this.#names = own.isWhole ? new Set(own.names) : null;
    const config = this.#options.config();
    this.#options.onListed(this.#databasesOf(own));
    const owned = own.names.filter((name) => config.isOwner(name));
    const inRoot = root === null ? [] : owned.map((name) => join(root, name));
    const folders = [...inRoot, ...config.namedFolders];
    const matters = await this.#mattersIn(folders);
    const trail = await trailOf(root === null ? folders : [root, ...folders]);
    if (isOvertaken()) return;
    const isNew = this.#follow(trail, matters);
    if (isNew) this.#options.onNewPlaces();
    if (isNew && !isAgain) return await this.refresh(true);
    if (own.isWhole) this.#names ??= new Set(own.names);
  }

  close(): void {
    this.#isClosed = true;
  }

  get #root(): string | null {
    return this.#options.config().settings.user_functions_dir || null;
  }

  #databasesOf({ names }: Listing): string[] {
    return names.filter((name) => this.#options.config().isDatabase(name));
  }

  /** @returns whether anything is watched that was not watched before */
  #follow(trail: Trail, matters: ReadonlyMap<string, Matters>): boolean {
    const before = this.#places;
    this.#places = trail;
    this.#passed = new Set([...trail.keys()].map((path) => dirname(path)));
    this.#options.onPlaces(trail, matters);
    return [...trail.keys()].some((place) => !before.has(place));
  }

  async #mattersIn(folders: readonly string[]): Promise<Map<string, Matters>> {
    const matters = new Map<string, Matters>();
    const places = new Map<string, string | null>();
    for (const folder of folders) {
      const path = await realpath(folder).catch(() => null);
      if (path === null) continue;
      matters.set(path, isCandidate);
      places.set(path, (places.get(path) ?? folder) === folder ? folder : null);
    }
    this.#real = places;
    const root = this.#root;
    const real = root === null ? null : await realpath(root).catch(() => null);
    if (real !== null)
      matters.set(
        real,
        (name, isNew) => isCandidate(name) || (isNew && this.#options.config().isOwner(name)),
      );
    return matters;
  }
}

interface Listing {
  readonly names: readonly string[];
  /** this list is complete; otherwise the folder may not be listable, although files in it may be readable */
  readonly isWhole: boolean;
}

const NOTHING: Listing = { names: [], isWhole: true };

/** Names of folders, and of links that may lead to some; null: the folder can't be listed now. */
async function namesIn(folder: string): Promise<Listing | null> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    const folders = entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink());
    return { names: folders.map(({ name }) => name), isWhole: true };
  } catch (error) {
    if (isPassingError(error)) return null;
    const { code } = error as NodeJS.ErrnoException;
    return { names: [], isWhole: code === 'ENOENT' || code === 'ENOTDIR' };
  }
}
