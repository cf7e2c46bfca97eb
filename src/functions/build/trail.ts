/** Everything on the way to some files: folders, symbolic links, and places where something is missing. */
import { lstatSync, type Stats } from 'node:fs';
import { lstat, readlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { WATCH } from '../limits.ts';

export interface TrailPoint {
  /** changes when this is written or replaced; '': nothing exists there */
  readonly stamp: string;
  /** time of the last change, in ms since 1970; 0: nothing exists there, or a folder */
  readonly changedAt: number;
  /** any user may write this or replace it */
  readonly isWorldWritable: boolean;
}

/**
 * The points on the way to some files, as paths that have no links before their last part. If one of them changes, the same
 * paths may lead to other files.
 */
export type Trail = ReadonlyMap<string, TrailPoint>;

/** @param paths absolute */
export async function trailOf(paths: Iterable<string>): Promise<Trail> {
  const walk = new Walk();
  const queue = [...new Set(paths)].values();
  await Promise.all(
    Array.from({ length: WATCH.atOnce }, async () => {
      for (const path of queue) await walk.follow(path);
    }),
  );
  return walk.points;
}

interface Found {
  readonly link: string | null;
  readonly isThere: boolean;
}

class Walk {
  readonly points = new Map<string, TrailPoint>();
  readonly #asked = new Map<string, Promise<Found>>();

  async follow(path: string): Promise<void> {
    let at = '/';
    let parts = path.split('/').filter(Boolean);
    for (let links = 0; parts.length > 0;) {
      const [part = '', ...rest] = parts;
      const next = join(at, part);
      const { link, isThere } = await this.#examine(next);
      if (!isThere) return;
      if (link === null) {
        at = next;
        parts = rest;
        continue;
      }
      if (++links > WATCH.maxLinks) return;
      at = '/';
      parts = [...resolve(dirname(next), link).split('/').filter(Boolean), ...rest];
    }
  }

  #examine(path: string): Promise<Found> {
    let found = this.#asked.get(path);
    if (found === undefined) this.#asked.set(path, (found = this.#ask(path)));
    return found;
  }

  async #ask(path: string): Promise<Found> {
    try {
      const stat = await lstat(path);
      const isLink = stat.isSymbolicLink();
      const isSticky = stat.isDirectory() && (stat.mode & 0o1000) !== 0;
      this.points.set(path, {
        stamp: stampOf(stat),
        changedAt: stat.isDirectory() ? 0 : stat.ctimeMs,
        isWorldWritable: !isLink && !isSticky && (stat.mode & 0o002) !== 0,
      });
      return { link: isLink ? await readlink(path) : null, isThere: true };
    } catch {
      this.points.set(path, { stamp: '', changedAt: 0, isWorldWritable: false });
      return { link: null, isThere: false };
    }
  }
}

/** For a folder only its identity: files in it have points of their own. */
function stampOf(stat: Stats): string {
  const identity = `${stat.dev}:${stat.ino}`;
  return stat.isDirectory() ? identity : `${identity}:${stat.ctimeMs}:${stat.size}`;
}

/** The stamp of a folder; '': there is none. */
export function folderStamp(path: string): string {
  try {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    return stat?.isDirectory() === true ? stampOf(stat) : '';
  } catch {
    return '';
  }
}

/** Whether some paths include one of the others. There may be thousands of either. */
export function haveCommon(
  paths: ReadonlySet<string>,
  others: Pick<ReadonlySet<string>, 'has' | 'keys' | 'size'>,
): boolean {
  const [few, many] = paths.size < others.size ? [paths, others] : [others, paths];
  for (const path of few.keys()) if (many.has(path)) return true;
  return false;
}

/**
 * Whether something has changed since a moment, even if nothing was watched then.
 * @param since ms since 1970
 */
export function hasChangedSince(before: Trail | null, now: Trail, since: number): boolean {
  for (const [path, { stamp, changedAt }] of now) {
    const last = before?.get(path);
    // a missing path and a folder have no time of change
    if (last?.stamp !== stamp && (changedAt >= since || (last !== undefined && changedAt === 0))) return true;
  }
  return false;
}
