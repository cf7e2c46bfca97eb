/**
 * The state folder: tenants/ has the versions of each tenant, held/ the pins and the PAUSE of those that have some. It is
 * created with the first file.
 */
import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isRecord, isText } from '../build/artifact.ts';
import { STORE } from '../limits.ts';
import { folderName } from './names.ts';
import { pauseFrom, pinFrom } from './record-check.ts';
import { folderState, makeFolder, readPrivate, replaceFile } from './state-files.ts';
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
    await this.#check();
    for (const name of ['tenants', 'held']) await makeFolder(join(this.path, name));
  }

  /**
   * All pins and pauses.
   * @param onDamaged a file is left out for this reason
   * @throws Error if they can't be read
   */
  async held(onDamaged: (file: string, reason: string) => void): Promise<Held[]> {
    if ((await this.#check()) === 'none') return [];
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

  /** Numbers of a tenant's versions that are pinned, as any process has written it. */
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

  async #check(): Promise<'own' | 'none'> {
    const state = await folderState(this.path);
    if (state === 'foreign')
      throw new Error(`${this.path} is no folder of this user's own, or others may write to it`);
    return state;
  }
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
