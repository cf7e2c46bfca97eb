/** Changes of rule files, and of the folders in which they may appear: the tenants that are built again because of them. */
import { printable } from '../build/places.ts';
import type { Trail } from '../build/trail.ts';
import { SourceWatcher, type Matters } from '../build/watch.ts';
import type { Catalog } from './catalog.ts';
import type { Folders } from './folders.ts';
import type { FunctionLog } from './journal.ts';

export interface ChangesOptions {
  readonly catalog: Catalog;
  readonly folders: Folders;
  readonly log: FunctionLog;
}

/** Owner of everything that is watched for the folders rather than for a tenant. No tenant has this id. */
const FOLDERS = '';

export class Changes {
  readonly #options: ChangesOptions;
  readonly #watcher: SourceWatcher;

  constructor(options: ChangesOptions) {
    this.#options = options;
    this.#watcher = new SourceWatcher({
      onChange: (paths) => this.#changed(paths),
      onPoll: () => this.#lookAtAll(),
      onBlind: (folder, error, pollMs) =>
        options.log.warn(
          { event: 'rules_unwatched' },
          `cannot watch ${printable(folder)}: ${error.message}; rule files are looked at every ${pollMs / 1000} s instead (on Linux, fs.inotify.max_user_watches and max_user_instances limit this)`,
        ),
    });
  }

  /** Watches the path to a tenant's files. */
  follow(tenantId: string, trail: Trail): void {
    this.#watcher.watch(tenantId, trail.keys());
  }

  /** Watches places where files may appear. */
  followPlaces(owner: string, paths: Iterable<string>): void {
    this.#watcher.watch(owner, paths);
  }

  /** Watches the folders in which rules may appear, and the paths to them. */
  followFolders(trail: Trail, matters: ReadonlyMap<string, Matters>): void {
    this.#watcher.watch(FOLDERS, trail.keys(), matters);
  }

  /** The tenant has gone. */
  forget(tenantId: string): void {
    this.#watcher.forget(tenantId);
  }

  close(): void {
    this.#watcher.close();
  }

  #changed(paths: ReadonlySet<string>): void {
    const { catalog, folders } = this.#options;
    // a tenant that the refresh has created is already being built
    const known = catalog.tenants;
    const places = [...paths].filter((path) => folders.isPlace(path));
    const names = folders.affected(places);
    if (names !== null) catalog.refreshSome(names);
    else {
      catalog.refresh();
      void folders.refresh();
    }
    void catalog.reload(known.filter((tenant) => tenant.areOnTrail(paths)));
    for (const tenant of known) tenant.rollout.noteChanges(paths);
  }

  /** Some folders can't be watched: compares all files with their last known state. */
  #lookAtAll(): void {
    const { catalog, folders } = this.#options;
    catalog.refresh();
    void folders.refresh();
    catalog.verify();
  }
}
