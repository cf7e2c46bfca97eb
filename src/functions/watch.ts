import { existsSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
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
  #folders = new Set<string>();
  #changed = new Set<string>();
  #timer: NodeJS.Timeout | null = null;

  /** @param onChange is told the folders in which something happened */
  constructor(onChange: (folders: ReadonlySet<string>) => void) {
    this.#onChange = onChange;
  }

  /** @param root user_functions_dir, watched with its folders; @param folders where imported files are */
  watch(root: string | null, folders: ReadonlySet<string>): void {
    const wanted = new Set<string>();
    for (const folder of [...(root === null ? [] : [root]), ...folders]) {
      wanted.add(folder);
      if (existsSync(folder)) wanted.add(realpathSync(folder));
    }
    const before = this.#folders;
    this.#folders = wanted;
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
    const added = [...wanted].filter((folder) => !before.has(folder));
    const removed = [...before].filter((folder) => !wanted.has(folder));
    if (added.length > 0) this.#watcher.add(added);
    if (removed.length > 0) this.#watcher.unwatch(removed);
  }

  async close(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
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
