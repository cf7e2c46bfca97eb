/**
 * The versions that a fleet serves, as artifacts in the state folder: the files of tenants that have none of their own on this
 * proxy. They are found, watched, bundled and tried like artifacts that somebody has deployed.
 */
import { existsSync } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { folderName } from '../store/names.ts';
import { createFile, makeFolder, replaceFile } from '../store/state-files.ts';

export class LentFiles {
  readonly #folder: string | null;

  /** @param stateFolder absolute; null: there is none, and no tenant gets files */
  constructor(stateFolder: string | null) {
    this.#folder = stateFolder === null ? null : join(stateFolder, 'fleet');
  }

  /** The folder with a tenant's files, whether or not there are some; null: there can be none. */
  folderOf(owner: string): string | null {
    return this.#folder === null ? null : join(this.#folder, folderName(owner));
  }

  has(owner: string): boolean {
    const file = this.#fileOf(owner);
    return file !== null && existsSync(file);
  }

  /** @throws Error if there is no state folder, or it can't be written */
  async lend(owner: string, artifact: Buffer): Promise<void> {
    const folder = this.folderOf(owner);
    if (folder === null) throw new Error('without user_functions_state_dir it gets no files from the fleet');
    await makeFolder(folder);
    await replaceFile(join(folder, 'functions.artifact'), artifact);
  }

  /**
   * Gives a tenant a file that can't be loaded, unless there is one: its calls fail, as its policies say.
   * @returns whether it has been given one
   */
  async withhold(owner: string): Promise<boolean> {
    const folder = this.folderOf(owner);
    if (folder === null) return false;
    await makeFolder(folder);
    return await createFile(join(folder, 'functions.artifact'), Buffer.alloc(0));
  }

  /** Whether a tenant's file is one that can't be loaded. */
  async isWithheld(owner: string): Promise<boolean> {
    const file = this.#fileOf(owner);
    return file !== null && (await stat(file).catch(() => null))?.size === 0;
  }

  async takeBack(owner: string): Promise<void> {
    const file = this.#fileOf(owner);
    if (file !== null) await rm(file, { force: true });
  }

  #fileOf(owner: string): string | null {
    const folder = this.folderOf(owner);
    return folder === null ? null : join(folder, 'functions.artifact');
  }
}
