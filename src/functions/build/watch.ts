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

/** The changes that one owner is notified of. */
interface Interest {
  /** by folder, names */
  readonly names: ReadonlyMap<string, ReadonlySet<string>>;
  readonly folders: ReadonlyMap<string, Matters>;
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
  readonly #interests = new Map<string, Interest>();
  /** by folder, everything that matters in it; filled when a change in the folder is reported */
  readonly #mattering = new Map<string, { names: ReadonlySet<string>; rest: readonly Matters[] }>();
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #bursts = new Map<string, Burst>();
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
    const before = this.#interests.get(owner);
    this.#interests.set(owner, { names, folders });
    this.#mattering.clear();
    for (const folder of [...names.keys(), ...folders.keys()]) this.#open(folder);
    if (before !== undefined) this.#closeUnused(before);
  }

  forget(owner: string): void {
    const before = this.#interests.get(owner);
    this.#interests.delete(owner);
    this.#mattering.clear();
    if (before !== undefined) this.#closeUnused(before);
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

  #closeUnused({ names, folders }: Interest): void {
    for (const folder of [...names.keys(), ...folders.keys()]) {
      if (this.#isWanted(folder)) continue;
      this.#drop(folder);
      this.#blind.delete(folder);
    }
  }

  #isWanted(folder: string): boolean {
    for (const { names, folders } of this.#interests.values())
      if (names.has(folder) || folders.has(folder)) return true;
    return false;
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
      const interests = [...this.#interests.values()];
      known = {
        names: new Set(interests.flatMap(({ names }) => [...(names.get(folder) ?? [])])),
        rest: interests.map(({ folders }) => folders.get(folder)).filter((matters) => matters !== undefined),
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
    for (const path of burst.paths) this.#renew(path);
    this.#events.onChange(burst.paths);
  }

  /** Watches a path again: the old watcher stays with a folder that was renamed or removed. */
  #renew(path: string): void {
    for (const folder of [...this.#watchers.keys()]) {
      if (folder === path || folder.startsWith(`${path}/`)) this.#drop(folder);
    }
    for (const { names, folders } of this.#interests.values()) {
      for (const folder of [...names.keys(), ...folders.keys()]) {
        if (folder === path || folder.startsWith(`${path}/`)) this.#open(folder);
      }
    }
  }
}
