/**
 * The state folder: tenants/ has the versions of each tenant, held/ what administrators have fixed for some of them. It is
 * created with the first file.
 */
import { lstat, readdir, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isListOf, isText } from '../build/artifact.ts';
import { STORE } from '../limits.ts';
import { HeldFolder } from './held-folder.ts';
import { folderName, isFolderName } from './names.ts';
import { folderState, isDraft, makeFolder, readPrivate, replaceFile } from './state-files.ts';
import { TenantFolder } from './tenant-folder.ts';

export class StateFolder {
  readonly path: string;
  /** what administrators have fixed */
  readonly held: HeldFolder;

  /** @param path absolute */
  constructor(path: string) {
    this.path = path;
    this.held = new HeldFolder(join(path, 'held'));
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
    for (const other of [this.path, ...(await this.held.folders())]) await removeDrafts(other, nowMs);
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
