/** What was last known of a fleet's values, in the state folder: a proxy that starts without the store goes on with it. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isListOf, isRecord, isText } from '../build/artifact.ts';
import { SHARING, STORE } from '../limits.ts';
import { folderName } from '../store/names.ts';
import { folderState, makeFolder, readPrivate, replaceFile } from '../store/state-files.ts';
import type { SharedEntry } from './store.ts';
import type { Change, KeptTenant } from './tenant-values.ts';

export class KeptValues {
  readonly #folder: string | null;
  readonly #onFailure: (error: Error) => void;
  /** by tenant: what is to be written */
  readonly #due = new Map<string, () => KeptTenant>();
  #writing: Promise<void> | null = null;

  /** @param stateFolder absolute; null: nothing is kept */
  constructor(stateFolder: string | null, onFailure: (error: Error) => void) {
    this.#folder = stateFolder === null ? null : join(stateFolder, 'fleet');
    this.#onFailure = onFailure;
  }

  /** By tenant. Files in another form are left out: the store has what they had. */
  async read(): Promise<Map<string, KeptTenant>> {
    const all = new Map<string, KeptTenant>();
    if (this.#folder === null) return all;
    try {
      if ((await folderState(this.#folder)) !== 'own') return all;
      for (const name of await readdir(this.#folder)) {
        const found = name.endsWith('.json') ? await this.#readOne(name) : null;
        if (found !== null) all.set(...found);
      }
    } catch (error) {
      this.#onFailure(error as Error);
    }
    return all;
  }

  /** @param values asked for when it is written, soon */
  keep(owner: string, values: () => KeptTenant): void {
    if (this.#folder === null) return;
    this.#due.set(owner, values);
    this.#writing ??= this.#write(this.#folder).finally(() => {
      this.#writing = null;
    });
  }

  async flush(): Promise<void> {
    await this.#writing;
  }

  async #write(folder: string): Promise<void> {
    try {
      await makeFolder(folder);
      for (const [owner, values] of this.#due) {
        this.#due.delete(owner);
        await replaceFile(join(folder, `${folderName(owner)}.json`), JSON.stringify({ owner, ...values() }));
      }
    } catch (error) {
      this.#onFailure(error as Error);
    }
  }

  async #readOne(name: string): Promise<[string, KeptTenant] | null> {
    const bytes = await readPrivate(join(this.#folder!, name), STORE.maxJsonBytes).catch(() => null);
    let value: unknown;
    try {
      value = JSON.parse(bytes?.toString() ?? 'null');
    } catch {
      return null;
    }
    if (!isRecord(value) || !isText(value['owner']) || `${folderName(value['owner'])}.json` !== name)
      return null;
    const { owner, entries, applied, changes } = value;
    if (!isListOf(entries, SHARING.maxValues, isEntry) || !isListOf(changes, SHARING.maxValues, isChange))
      return null;
    if (!isListOf(applied, SHARING.maxValues, isApplied)) return null;
    return [owner as string, { entries, applied, changes }];
  }
}

/** Their bodies are checked where they are used. */
function isEntry(value: unknown): value is SharedEntry {
  if (!isRecord(value)) return false;
  const { kind, tenant, key, seq, body } = value;
  return isText(kind) && isText(tenant) && isText(key) && Number.isSafeInteger(seq) && isBody(body);
}

function isChange(value: unknown): value is Change {
  if (!isRecord(value)) return false;
  const { kind, tenant, key, body, user, basedOn, isOffer } = value;
  const isText3 = isText(kind) && isText(tenant) && isText(key) && isText(user);
  return isText3 && Number.isSafeInteger(basedOn) && typeof isOffer === 'boolean' && isBody(body);
}

const isBody = (body: unknown): boolean => body === null || isRecord(body);

function isApplied(value: unknown): value is [string, number] {
  return Array.isArray(value) && value.length === 2 && isText(value[0]) && Number.isSafeInteger(value[1]);
}
