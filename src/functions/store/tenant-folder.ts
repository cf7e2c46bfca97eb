/**
 * The versions of one tenant on disk: an artifact for each, named by its number, and which of them serve. Several processes may
 * share the folder: a number is taken by creating its file, which only one of them can.
 */
import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import {
  decodeArtifact,
  decodeHeader,
  decodeTexts,
  encodeArtifact,
  FIRST_READ_BYTES,
  headerExtent,
  isListOf,
  isRecord,
  isText,
  type ArtifactHeader,
  type SourceText,
} from '../build/artifact.ts';
import type { Bundle } from '../build/bundle-job.ts';
import { ARTIFACT, STORE } from '../limits.ts';
import { basisFrom, type Basis } from './freshness.ts';
import { isCheckedWith, isFindings, isVersionNumber, recordFrom } from './record-check.ts';
import { createFile, makeFolder, readPrivate, readPrivateStart, replaceFile } from './state-files.ts';
import { shortHash } from './names.ts';
import type { VersionFacts, VersionKey, VersionRecord } from './version-record.ts';

/** A version before it has a number. */
export interface DraftVersion {
  readonly key: VersionKey;
  readonly bundle: Bundle;
  readonly facts: VersionFacts;
  readonly timeMs: number;
  /** the author's files */
  readonly texts: readonly SourceText[];
}

/** A version that has served. */
export type ServedVersion = Pick<VersionRecord, 'number' | 'hash'>;

export interface ListedVersion {
  readonly record: VersionRecord;
  /** its bundle is not kept any more */
  readonly isDropped: boolean;
}

/** The last build of a set: what it has depended on, and the version that it made. */
export interface KnownBuild extends Pick<VersionFacts, 'checkedWith' | 'findings'> {
  readonly number: number;
  readonly basis: Basis;
}

const VERSION_NAME = /^([1-9][0-9]{0,8})\.(artifact|record)$/;

export class TenantFolder {
  readonly #path: string;
  readonly #owner: string;

  constructor(path: string, owner: string) {
    this.#path = path;
    this.#owner = owner;
  }

  /**
   * All versions, oldest first.
   * @param onDamaged a file is left out for this reason
   * @throws Error if the folder can't be read
   */
  async list(onDamaged: (file: string, reason: string) => void): Promise<ListedVersion[]> {
    const listed: ListedVersion[] = [];
    for (const { number, isDropped } of await this.#names()) {
      const file = isDropped ? this.#recordFile(number) : this.#file(number);
      try {
        listed.push({ record: await this.#record(number, file), isDropped });
      } catch (error) {
        onDamaged(file, (error as Error).message);
      }
    }
    return listed;
  }

  /**
   * Keeps a version.
   * @param from the number that it gets, if no other process has taken it meanwhile
   * @returns its record, or that of another process that has the same version
   */
  async add(draft: DraftVersion, from: number): Promise<VersionRecord> {
    await makeFolder(this.#path);
    const highest = (await this.#names()).at(-1)?.number ?? 0;
    const artifact = encoded(draft);
    for (let tries = 0, number = Math.max(from, highest); tries < STORE.maxTries; tries++, number++) {
      const file = this.#file(number);
      const isFree = number > highest && (await createFile(file, artifact));
      if (isFree) return await this.#record(number, file);
      const other = await this.#record(number, file).catch(() => null);
      if (other !== null && other.key.id === draft.key.id && other.hash === draft.bundle.hash) return other;
    }
    throw new Error(`no number is free in ${this.#path}`);
  }

  /**
   * @returns the bundle, and the version of this program that has made it
   * @throws Error if it is damaged or missing
   */
  async bundleOf(number: number): Promise<{ readonly bundle: Bundle; readonly program: string }> {
    const bytes = await readPrivate(this.#file(number), ARTIFACT.maxBytes);
    if (bytes === null) throw new Error('it is missing');
    const { bundle, header } = decodeArtifact(bytes);
    return { bundle, program: header.program };
  }

  /** The author's files of a version; none: they were not kept. @throws Error if it is damaged or missing */
  async textsOf(number: number): Promise<readonly SourceText[]> {
    const bytes = await readPrivate(this.#file(number), ARTIFACT.maxBytes);
    if (bytes === null) throw new Error('it is missing');
    return decodeTexts(bytes);
  }

  /** Writes a version again: its file is damaged, or another version of this program has written it. */
  async replace(draft: DraftVersion, number: number): Promise<VersionRecord> {
    await makeFolder(this.#path);
    const file = this.#file(number);
    await replaceFile(file, encoded(draft));
    return await this.#record(number, file);
  }

  /** Keeps the record of a version, without its bundle. */
  async drop(number: number): Promise<void> {
    const start = await readPrivateStart(this.#file(number), ARTIFACT.maxHeaderBytes);
    if (start === null) return;
    await replaceFile(this.#recordFile(number), start.subarray(0, headerExtent(start).to));
    await unlink(this.#file(number)).catch(() => {});
  }

  /** Removes everything about a version. */
  async remove(number: number): Promise<void> {
    for (const file of [this.#file(number), this.#recordFile(number)]) await unlink(file).catch(() => {});
  }

  /** By set, the versions that have served, in that order. */
  async served(): Promise<Map<string, readonly ServedVersion[]>> {
    const value = await this.#json('served.json');
    const served = isRecord(value) && value['owner'] === this.#owner ? value['sets'] : null;
    if (!isRecord(served)) return new Map();
    const entries = Object.entries(served).filter((entry): entry is [string, readonly ServedVersion[]] =>
      isListOf(entry[1], STORE.served, isServed),
    );
    return new Map(entries.slice(0, STORE.maxSets));
  }

  /**
   * Keeps which versions of a set have served, besides those of other processes that share the folder.
   * @param own null: none of them is to be known any more
   */
  async saveServed(id: string, own: readonly ServedVersion[] | null): Promise<void> {
    await makeFolder(this.#path);
    const sets = await this.served();
    const others = (sets.get(id) ?? []).filter(
      ({ hash }) => own?.some((each) => each.hash === hash) === false,
    );
    if (own === null) sets.delete(id);
    else sets.set(id, [...others, ...own].slice(-STORE.served));
    const text = JSON.stringify({ owner: this.#owner, sets: Object.fromEntries(sets) });
    await replaceFile(join(this.#path, 'served.json'), text);
  }

  /** The last build of a set; null: none is known. */
  async lastBuild(id: string): Promise<KnownBuild | null> {
    const value = await this.#json(buildName(id));
    if (!isRecord(value) || value['id'] !== id) return null;
    const basis = basisFrom(value['basis']);
    const { number, checkedWith, findings } = value;
    if (basis === null || !isVersionNumber(number) || !isCheckedWith(checkedWith) || !isFindings(findings))
      return null;
    return { number, checkedWith, findings, basis };
  }

  async saveBuild(id: string, build: KnownBuild): Promise<void> {
    await replaceFile(join(this.#path, buildName(id)), JSON.stringify({ id, ...build }));
  }

  async removeBuild(id: string): Promise<void> {
    await unlink(join(this.#path, buildName(id))).catch(() => {});
  }

  #file(number: number): string {
    return join(this.#path, `${number}.artifact`);
  }

  /** Of a version whose bundle has been dropped. */
  #recordFile(number: number): string {
    return join(this.#path, `${number}.record`);
  }

  /** In ascending order. */
  async #names(): Promise<{ readonly number: number; readonly isDropped: boolean }[]> {
    let names: string[];
    try {
      names = await readdir(this.#path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
    const kinds = new Map<number, boolean>();
    for (const name of names) {
      const found = VERSION_NAME.exec(name);
      if (found === null) continue;
      const number = Number(found[1]);
      // after a crash there may be both
      kinds.set(number, found[2] === 'record' && kinds.get(number) !== false);
    }
    return [...kinds]
      .map(([number, isDropped]) => ({ number, isDropped }))
      .toSorted((a, b) => a.number - b.number)
      .slice(-STORE.maxListed);
  }

  async #record(number: number, file: string): Promise<VersionRecord> {
    const record = recordFrom(number, await readHeader(file));
    if (record === null || record.key.owner !== this.#owner)
      throw new Error('it is not a version of this tenant');
    return record;
  }

  async #json(name: string): Promise<unknown> {
    const bytes = await readPrivate(join(this.#path, name), STORE.maxJsonBytes).catch(() => null);
    if (bytes === null) return null;
    try {
      return JSON.parse(bytes.toString());
    } catch {
      return null;
    }
  }
}

function encoded({ key, bundle, facts, timeMs, texts }: DraftVersion): Buffer {
  const { program, node } = facts.checkedWith;
  const note = { key: { owner: key.owner, id: key.id }, ...facts };
  return encodeArtifact(bundle, { builtAtMs: timeMs, program, node, note }, texts);
}

async function readHeader(file: string): Promise<ArtifactHeader> {
  const start = await readPrivateStart(file, FIRST_READ_BYTES);
  if (start === null) throw new Error('it is missing');
  const { to } = headerExtent(start);
  if (to <= start.length) return decodeHeader(start);
  return decodeHeader((await readPrivateStart(file, to)) ?? start);
}

function isServed(value: unknown): value is ServedVersion {
  return isRecord(value) && isVersionNumber(value['number']) && isText(value['hash']);
}

function buildName(id: string): string {
  return `build-${shortHash(id)}.json`;
}
