/** Watching the folders of rule files. */
import { watch as watchFolder, type FSWatcher } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { WATCH } from '../limits.ts';

/** Whether a write to this name in a folder matters. `isNew`: it appears or vanishes. */
export type Matters = (name: string, isNew: boolean) => boolean;

export interface WatchEvents {
  /** @param paths the changed paths, without links before their last part */
  onChange(paths: ReadonlySet<string>): void;
  /** All files must be compared now: some folders can't be watched. */
  onPoll(): void;
  /** The kernel refuses to watch a folder. Called once. */
  onBlind(folder: string, error: Error, pollMs: number): void;
}

/** The changes in one folder that one owner is notified of. */
interface Interest {
  readonly names: ReadonlySet<string>;
  /** other names that matter; null: none */
  readonly rest: Matters | null;
}

interface Burst {
  readonly since: number;
  readonly paths: Set<string>;
  timer: NodeJS.Timeout;
}

type WatchOne = (folder: string, onEvent: (isNew: boolean, name: string | null) => void) => FSWatcher;

const watchWithKernel: WatchOne = (folder, onEvent) =>
  watchFolder(folder, (event, name) => onEvent(event === 'rename', name));

/**
 * Watches folders, never files: a file that is replaced by renaming, or that is reached through a symbolic link that is
 * swapped (a Kubernetes ConfigMap), gets another inode. Each folder has a timer of its own with a longest wait, so that
 * constant writing beside one rule delays no other file.
 */
export class SourceWatcher {
  readonly #events: WatchEvents;
  readonly #watchOne: WatchOne;
  /** by folder and owner */
  readonly #interests = new Map<string, Map<string, Interest>>();
  /** by owner, the folders of its interests */
  readonly #folders = new Map<string, ReadonlySet<string>>();
  /** by folder, everything that matters in it; filled when a change in the folder is reported */
  readonly #mattering = new Map<string, { names: ReadonlySet<string>; rest: readonly Matters[] }>();
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #bursts = new Map<string, Burst>();
  /** changed paths that are reported at the end of this turn of the event loop */
  #due = new Set<string>();
  /** folders that the kernel refuses to watch */
  readonly #blind = new Set<string>();
  #poll: NodeJS.Timeout | null = null;
  #saidBlind = false;
  #closed = false;

  /** @param watchOne for tests: simulates the kernel's refusal */
  constructor(events: WatchEvents, watchOne: WatchOne = watchWithKernel) {
    this.#events = events;
    this.#watchOne = watchOne;
  }

  /**
   * Replaces the changes that an owner is notified of.
   * @param points paths without links before their last part
   * @param folders folders in which other names matter too
   */
  watch(owner: string, points: Iterable<string>, folders: ReadonlyMap<string, Matters> = new Map()): void {
    if (this.#closed) return;
    const names = new Map<string, Set<string>>();
    for (const point of points) {
      const folder = dirname(point);
      const known = names.get(folder);
      if (known === undefined) names.set(folder, new Set([basename(point)]));
      else known.add(basename(point));
    }
    const before = this.#folders.get(owner) ?? new Set();
    const now = new Set([...names.keys(), ...folders.keys()]);
    this.#folders.set(owner, now);
    for (const folder of now) {
      const interest = { names: names.get(folder) ?? new Set<string>(), rest: folders.get(folder) ?? null };
      const owners = this.#interests.get(folder);
      if (owners === undefined) this.#interests.set(folder, new Map([[owner, interest]]));
      else owners.set(owner, interest);
      this.#mattering.delete(folder);
      this.#open(folder);
    }
    for (const folder of before) if (!now.has(folder)) this.#leave(owner, folder);
  }

  forget(owner: string): void {
    const before = this.#folders.get(owner) ?? [];
    this.#folders.delete(owner);
    for (const folder of before) this.#leave(owner, folder);
  }

  close(): void {
    this.#closed = true;
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    for (const { timer } of this.#bursts.values()) clearTimeout(timer);
    this.#bursts.clear();
    if (this.#poll) clearInterval(this.#poll);
  }

  #open(folder: string): void {
    if (this.#closed || this.#watchers.has(folder)) return;
    try {
      const watcher = this.#watchOne(folder, (isNew, name) => this.#heard(folder, name, isNew));
      watcher.on('error', () => this.#drop(folder));
      this.#watchers.set(folder, watcher);
      this.#blind.delete(folder);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // gone: the folder above reports its return; not readable: its files are not readable either
      if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES' || code === 'EPERM') return;
      this.#goBlind(folder, error as Error);
    }
  }

  #goBlind(folder: string, error: Error): void {
    this.#blind.add(folder);
    this.#poll ??= setInterval(() => {
      for (const each of [...this.#blind]) this.#open(each);
      this.#events.onPoll();
      if (this.#blind.size > 0 || this.#poll === null) return;
      clearInterval(this.#poll);
      this.#poll = null;
    }, WATCH.pollMs).unref();
    if (this.#saidBlind) return;
    this.#saidBlind = true;
    this.#events.onBlind(folder, error, WATCH.pollMs);
  }

  #drop(folder: string): void {
    this.#watchers.get(folder)?.close();
    this.#watchers.delete(folder);
  }

  /** The folder does not matter to an owner any more. */
  #leave(owner: string, folder: string): void {
    this.#mattering.delete(folder);
    const owners = this.#interests.get(folder);
    owners?.delete(owner);
    if (owners === undefined || owners.size > 0) return;
    this.#interests.delete(folder);
    this.#drop(folder);
    this.#blind.delete(folder);
  }

  #heard(folder: string, name: string | null, isNew: boolean): void {
    if (this.#closed) return;
    const { names, rest } = this.#matteringIn(folder);
    // some systems don't report the name
    if (name === null) for (const each of names) this.#note(folder, each);
    else if (names.has(name) || rest.some((matters) => matters(name, isNew))) this.#note(folder, name);
  }

  /** Kept, because a log with a thousand lines a second may be written in the same folder. */
  #matteringIn(folder: string): { names: ReadonlySet<string>; rest: readonly Matters[] } {
    let known = this.#mattering.get(folder);
    if (known === undefined) {
      const interests = [...(this.#interests.get(folder)?.values() ?? [])];
      known = {
        names: new Set(interests.flatMap(({ names }) => [...names])),
        rest: interests.map(({ rest }) => rest).filter((matters) => matters !== null),
      };
      this.#mattering.set(folder, known);
    }
    return known;
  }

  #note(folder: string, name: string): void {
    const now = performance.now();
    const burst = this.#bursts.get(folder);
    if (burst === undefined) {
      const timer = setTimeout(() => this.#tell(folder), WATCH.quietMs);
      this.#bursts.set(folder, { since: now, paths: new Set([join(folder, name)]), timer });
      return;
    }
    burst.paths.add(join(folder, name));
    clearTimeout(burst.timer);
    const waitMs = Math.max(0, Math.min(WATCH.quietMs, burst.since + WATCH.longestQuietMs - now));
    burst.timer = setTimeout(() => this.#tell(folder), waitMs);
  }

  #tell(folder: string): void {
    const burst = this.#bursts.get(folder);
    this.#bursts.delete(folder);
    if (burst === undefined || this.#closed) return;
    if (this.#due.size === 0) setImmediate(() => this.#report());
    for (const path of burst.paths) this.#due.add(path);
  }

  /** Together: a tenant may have thousands of folders, and change all of them at once. */
  #report(): void {
    const paths = this.#due;
    this.#due = new Set();
    if (this.#closed) return;
    this.#renew(paths);
    this.#events.onChange(paths);
  }

  /** Watches folders at or below these paths again: the old watcher stays with a folder that was renamed or removed. */
  #renew(paths: ReadonlySet<string>): void {
    const known = new Map<string, boolean>();
    const isMoved = (folder: string): boolean => {
      let is = known.get(folder);
      if (is !== undefined) return is;
      const above = dirname(folder);
      is = paths.has(folder) || (above !== folder && isMoved(above));
      known.set(folder, is);
      return is;
    };
    const moved = [...this.#interests.keys()].filter(isMoved);
    for (const folder of moved) this.#drop(folder);
    for (const folder of moved) this.#open(folder);
  }
}
