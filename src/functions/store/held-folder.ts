/**
 * What administrators have fixed, on disk: a folder for each tenant that has something. Each change makes another generation
 * of the whole state, in a file that only one process can create: so those that share the folder change it one after the
 * other, and nobody's change is lost. Each generation is written twice, and the one before it stays.
 */
import { createHash } from 'node:crypto';
import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isRecord, isText } from '../build/artifact.ts';
import { STORE } from '../limits.ts';
import { changed, NOTHING_HELD, type Held, type HeldChange } from './held.ts';
import { heldFrom } from './held-check.ts';
import { folderName, isFolderName } from './names.ts';
import { createFile, isDraft, makeFolder, readPrivate } from './state-files.ts';

/** What is known of one tenant's state. */
export interface FoundHeld {
  /** 0: nothing was ever written */
  readonly generation: number;
  /** the tenant's name; null: not known, because nothing can be read */
  readonly owner: string | null;
  readonly held: Held;
  /** why the last generation can't be read, so that this is an older one; null: it was read */
  readonly damage: string | null;
}

const FILE_NAME = /^([1-9][0-9]{0,14})(?:\.copy)?\.json$/;
const NONE: FoundHeld = { generation: 0, owner: null, held: NOTHING_HELD, damage: null };

export class HeldFolder {
  readonly #path: string;

  /** @param path absolute */
  constructor(path: string) {
    this.#path = path;
  }

  /** The names of tenants' folders. @throws Error if they can't be read */
  async names(): Promise<string[]> {
    return (await namesIn(this.#path)).filter(isFolderName);
  }

  /** The state of the tenant that a folder belongs to. @throws Error if the folder can't be read */
  async read(name: string): Promise<FoundHeld> {
    const folder = join(this.#path, name);
    // a generation that has been listed may be removed before it is read
    for (let tries = 0; ; tries++) {
      const generations = await generationsIn(folder);
      const [last] = generations;
      if (last === undefined) return NONE;
      const problems: string[] = [];
      for (const generation of generations) {
        const found = await readEither(folder, generation, problems);
        if (found !== null && folderName(found.owner) === name)
          return { generation: last, ...found, damage: generation === last ? null : problems.join('; ') };
      }
      const isSame = (await generationsIn(folder))[0] === last;
      if (isSame || tries === STORE.maxTries)
        return { ...NONE, generation: last, damage: problems.join('; ') };
    }
  }

  /**
   * Writes changes of one tenant's state, after those of all other processes.
   * @returns the state with them
   */
  async change(owner: string, changes: readonly HeldChange[]): Promise<Held> {
    const name = folderName(owner);
    const folder = join(this.#path, name);
    await makeFolder(folder);
    for (let tries = 0; tries < STORE.maxTries; tries++) {
      const { generation: last, held } = await this.read(name);
      const next = changed(held, changes);
      const generation = last + 1;
      const contents = encoded(owner, next);
      if (!(await createFile(join(folder, fileName(generation)), contents))) continue;
      await createFile(join(folder, fileName(generation, true)), contents);
      const generations = await generationsIn(folder);
      // this process was so slow that the file of this generation had been removed again
      if (generations[0] !== generation) continue;
      for (const old of generations.slice(2)) await remove(folder, old);
      return next;
    }
    throw new Error(`${folder} is changed by others all the time`);
  }

  /** The folders in which interrupted writes may have left something. */
  async folders(): Promise<string[]> {
    return (await this.names()).map((name) => join(this.#path, name));
  }
}

function fileName(generation: number, isCopy = false): string {
  return `${generation}${isCopy ? '.copy' : ''}.json`;
}

/** Highest first. */
async function generationsIn(folder: string): Promise<number[]> {
  const found = new Set<number>();
  for (const name of await namesIn(folder)) {
    const generation = isDraft(name) ? undefined : FILE_NAME.exec(name)?.[1];
    if (generation !== undefined) found.add(Number(generation));
  }
  return [...found].toSorted((a, b) => b - a);
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** @returns null: neither the file nor its copy can be read, for reasons that are added to the problems */
async function readEither(
  folder: string,
  generation: number,
  problems: string[],
): Promise<{ readonly owner: string; readonly held: Held } | null> {
  for (const isCopy of [false, true]) {
    const file = join(folder, fileName(generation, isCopy));
    try {
      const bytes = await readPrivate(file, STORE.maxJsonBytes);
      if (bytes === null) throw new Error('it is missing');
      return decoded(bytes.toString());
    } catch (error) {
      problems.push(`${file}: ${(error as Error).message}`);
    }
  }
  return null;
}

async function remove(folder: string, generation: number): Promise<void> {
  for (const isCopy of [true, false])
    await unlink(join(folder, fileName(generation, isCopy))).catch(() => {});
}

/** The first line is a hash of the second one. */
function encoded(owner: string, { pause, sets }: Held): Buffer {
  const text = JSON.stringify({ owner, pause, sets: Object.fromEntries(sets) });
  return Buffer.from(`${hashOf(text)}\n${text}\n`);
}

/** @throws Error if it is damaged */
function decoded(contents: string): { readonly owner: string; readonly held: Held } {
  const [hash, text = ''] = contents.split('\n', 2);
  if (hash !== hashOf(text)) throw new Error('its hash does not fit');
  const value: unknown = JSON.parse(text);
  if (!isRecord(value) || !isText(value['owner'])) throw new Error('it has another form');
  return { owner: value['owner'], held: heldFrom(value) };
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
