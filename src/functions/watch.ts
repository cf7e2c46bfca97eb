import { existsSync, realpathSync, watch as watchFolder, type FSWatcher as FolderWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';
import { watch, type FSWatcher } from 'chokidar';

/** Editors save in several steps, and deployments swap several files. */
const DEBOUNCE_MS = 50;

/**
 * Watches folders, never files: a file that is replaced by renaming, or that is reached through a symbolic link which is
 * swapped (a Kubernetes ConfigMap), goes on under another inode. Whoever is told compares contents.
 */
export class SourceWatcher {
  readonly #onChange: (folders: ReadonlySet<string>) => void;
  #watcher: FSWatcher | null = null;
  readonly #folders = new Set<string>();
  #changed = new Set<string>();
  /** while user_functions_dir is not there: waits for it */
  #awaiting: FolderWatcher | null = null;
  #timer: NodeJS.Timeout | null = null;

  /** @param onChange is told the folders in which something happened */
  constructor(onChange: (folders: ReadonlySet<string>) => void) {
    this.#onChange = onChange;
  }

  /** @param root user_functions_dir, watched with its folders; @param folders where imported files are */
  watch(root: string | null, folders: ReadonlySet<string>): void {
    this.#awaiting?.close();
    this.#awaiting = root === null || existsSync(root) ? null : this.#await(root);
    // Of one that is gone nothing is heard any more, also when it comes again.
    for (const folder of this.#folders) if (!existsSync(folder)) this.#folders.delete(folder);
    const before = new Set(this.#folders);
    for (const folder of [...(root === null ? [] : [root]), ...folders]) {
      if (existsSync(folder)) this.#folders.add(folder).add(realpathSync(folder));
    }
    this.#watcher ??= watch([], {
      // What is found when watching begins may have come since it was read: it is looked at again, which costs little.
      ignoreInitial: false,
      depth: 1,
      // of packages only the folders that something was imported from
      ignored: (path) =>
        path.includes('/node_modules/') && !this.#folders.has(path) && !this.#folders.has(dirname(path)),
    })
      .on('all', (_event, path) => this.#note(path))
      // a folder that went away: that says nothing that a missing event would not
      .on('error', () => {});
    // Those that nothing is imported from any more stay: chokidar would be deaf to whatever is in them from then on.
    const added = [...this.#folders].filter((folder) => !before.has(folder));
    if (added.length > 0) this.#watcher.add(added);
  }

  /** The nearest folder above that is there tells when the next one comes. */
  #await(root: string): FolderWatcher | null {
    let missing = root;
    while (!existsSync(dirname(missing))) missing = dirname(missing);
    try {
      const watcher = watchFolder(dirname(missing), (_event, name) => {
        if (name === basename(missing) && existsSync(missing)) this.#note(missing);
      });
      watcher.on('error', () => watcher.close());
      // it may have come just before
      if (existsSync(missing)) this.#note(missing);
      return watcher;
    } catch {
      // a folder that may not be read: RELOAD looks again
      return null;
    }
  }

  async close(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
    this.#awaiting?.close();
    await this.#watcher?.close();
  }

  #note(path: string): void {
    this.#changed.add(dirname(path));
    this.#changed.add(path);
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const folders = this.#changed;
      this.#changed = new Set();
      // a swapped link changes files that are reached by another path
      for (const folder of [...folders]) if (existsSync(folder)) folders.add(realpathSync(folder));
      this.#onChange(folders);
    }, DEBOUNCE_MS);
  }
}
