/**
 * The state folder: tenants/ has the versions of each tenant, held/ the pins and the PAUSE of those that have some. It is
 * created with the first file.
 */
import { lstat, readdir, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isListOf, isRecord, isText } from '../build/artifact.ts';
import { STORE } from '../limits.ts';
import { folderName, isFolderName } from './names.ts';
import { pauseFrom, pinFrom } from './record-check.ts';
import { folderState, isDraft, makeFolder, readPrivate, replaceFile } from './state-files.ts';
import { TenantFolder } from './tenant-folder.ts';
import type { Pause, Pin } from './version-record.ts';

/** What administrators have fixed for one tenant. */
export interface Held {
  readonly owner: string;
  readonly pause: Pause | null;
  /** by set */
  readonly pins: ReadonlyMap<string, Pin>;
}

export class StateFolder {
  readonly path: string;

  /** @param path absolute */
  constructor(path: string) {
    this.path = path;
  }

  tenant(owner: string): TenantFolder {
    return new TenantFolder(join(this.path, 'tenants', folderName(owner)), owner);
  }

  /**
   * Creates what is missing.
   * @throws Error if it belongs to somebody else, or can't be created
   */
  async make(): Promise<void> {
    await this.check();
    for (const name of ['tenants', 'held']) await makeFolder(join(this.path, name));
  }

  /**
   * All pins and pauses.
   * @param onDamaged a file is left out for this reason
   * @throws Error if they can't be read
   */
  async held(onDamaged: (file: string, reason: string) => void): Promise<Held[]> {
    if ((await this.check()) === 'none') return [];
    const folder = join(this.path, 'held');
    const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    const all: Held[] = [];
    for (const name of names.filter((each) => each.endsWith('.json'))) {
      const file = join(folder, name);
      try {
        all.push(await readHeld(file, name));
      } catch (error) {
        onDamaged(file, (error as Error).message);
      }
    }
    return all;
  }

  /** The numbers of a tenant's pinned versions, those that other processes have written included. */
  async pinnedIn(owner: string): Promise<number[]> {
    const name = heldName(owner);
    const held = await readHeld(join(this.path, 'held', name), name).catch(() => null);
    return [...(held?.pins.values() ?? [])].map(({ number }) => number);
  }

  async saveHeld({ owner, pause, pins }: Held): Promise<void> {
    const file = join(this.path, 'held', heldName(owner));
    if (pause === null && pins.size === 0) return await unlink(file).catch(() => {});
    await this.make();
    await replaceFile(file, JSON.stringify({ owner, pause, pins: Object.fromEntries(pins) }));
  }

  /**
   * Removes what has not been written to for long: the versions of tenants that are gone, and what interrupted writes have left.
   * @param owners tenants that are not gone
   */
  async tidy(owners: readonly string[], nowMs: number): Promise<void> {
    if ((await this.check()) === 'none') return;
    const kept = new Set(owners.map(folderName));
    const folder = join(this.path, 'tenants');
    for (const name of await namesIn(folder)) {
      const path = join(folder, name);
      if (!isFolderName(name)) continue;
      if (!kept.has(name) && (await isOlder(path, nowMs - STORE.goneMs))) await rm(path, { recursive: true });
      else await removeDrafts(path, nowMs);
    }
    for (const other of [this.path, join(this.path, 'held')]) await removeDrafts(other, nowMs);
  }

  /** The files that applied last, by their paths without the extension. */
  async knownFiles(): Promise<[place: string, file: string][]> {
    if ((await this.check()) === 'none') return [];
    const bytes = await readPrivate(join(this.path, 'known.json'), STORE.maxJsonBytes);
    const value: unknown = bytes === null ? [] : JSON.parse(bytes.toString());
    if (!isListOf(value, STORE.knownFiles, isKnownFile)) throw new Error('known.json has another form');
    return [...value];
  }

  async saveKnownFiles(known: readonly (readonly [string, string])[]): Promise<void> {
    await this.make();
    await replaceFile(join(this.path, 'known.json'), JSON.stringify(known));
  }

  /**
   * Whether there is such a folder.
   * @throws Error if it belongs to somebody else, or others may write to it: then nothing in it is used
   */
  async check(): Promise<'own' | 'none'> {
    const state = await folderState(this.path);
    if (state === 'foreign')
      throw new Error(`${this.path} is no folder of this user's own, or others may write to it`);
    return state;
  }
}

/** Nothing: there is no such folder. */
async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch(() => []);
}

async function isOlder(path: string, sinceMs: number): Promise<boolean> {
  const stat = await lstat(path).catch(() => null);
  return stat !== null && stat.mtimeMs < sinceMs;
}

async function removeDrafts(folder: string, nowMs: number): Promise<void> {
  for (const name of (await namesIn(folder)).filter(isDraft)) {
    const path = join(folder, name);
    // another process may be writing it
    if (await isOlder(path, nowMs - STORE.draftMs)) await unlink(path).catch(() => {});
  }
}

function isKnownFile(value: unknown): value is [string, string] {
  return Array.isArray(value) && value.length === 2 && value.every(isText);
}

function heldName(owner: string): string {
  return `${folderName(owner)}.json`;
}

async function readHeld(file: string, name: string): Promise<Held> {
  const bytes = await readPrivate(file, STORE.maxJsonBytes);
  const value: unknown = bytes === null ? null : JSON.parse(bytes.toString());
  if (!isRecord(value) || !isText(value['owner']) || heldName(value['owner']) !== name)
    throw new Error('it is not about a tenant of this name');
  const pause = value['pause'] === null ? null : pauseFrom(value['pause']);
  if (pause === null && value['pause'] !== null) throw new Error('its pause has another form');
  const pins = new Map<string, Pin>();
  for (const [id, each] of Object.entries(isRecord(value['pins']) ? value['pins'] : {})) {
    const pin = pinFrom(each);
    if (pin === null) throw new Error('one of its pins has another form');
    pins.set(id, pin);
  }
  return { owner: value['owner'], pause, pins };
}
