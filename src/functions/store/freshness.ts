/**
 * Whether the files that a bundle was made of are still the same, so that bundling them again would make the same bundle: their
 * contents, and everything by which an import could lead elsewhere.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isHashedFile, isListOf, isRecord, isText } from '../build/artifact.ts';
import type { HashedFile, SourceFiles } from '../build/bundle-job.ts';
import { entriesOf } from '../build/sources.ts';
import { ARTIFACT, BUNDLE, LOADING, STORE } from '../limits.ts';

interface StampedFile extends HashedFile {
  /** of the file's state when it had these contents; '': not known, so that its contents must be compared */
  readonly stamp: string;
}

interface ListedFolder {
  readonly path: string;
  /** of the names in it, and of where its symbolic links lead */
  readonly names: string;
}

/** What bundling has depended on. */
export interface Basis {
  readonly files: SourceFiles;
  readonly inputs: readonly StampedFile[];
  readonly folders: readonly ListedFolder[];
}

/**
 * @param startedAtMs when bundling began, in ms since 1970: a file that was changed after that may have been read before
 * @returns null: it can't be told whether they change
 */
export async function basisOf(
  files: SourceFiles,
  inputs: readonly HashedFile[],
  startedAtMs: number,
): Promise<Basis | null> {
  const places = foldersOf(inputs.map(({ path }) => path));
  if (places === null || inputs.some(({ sha256 }) => sha256 === '')) return null;
  const folders: ListedFolder[] = [];
  for (const path of places) {
    const names = await namesIn(path);
    if (names === null) return null;
    folders.push({ path, names });
  }
  const stamped: StampedFile[] = [];
  for (const { path, sha256 } of inputs) {
    const state = await stateOf(path);
    const isOld = state !== null && state.changedAtMs < startedAtMs - LOADING.clockMs;
    stamped.push({ path, sha256, stamp: isOld ? state.stamp : '' });
  }
  return { files, inputs: stamped, folders };
}

/** Whether bundling these files would give what it gave then. */
export async function isFresh(basis: Basis, files: SourceFiles): Promise<boolean> {
  if (basis.files.routing !== files.routing || basis.files.rewrite !== files.rewrite) return false;
  try {
    const inputs = new Set(basis.inputs.map(({ path }) => path));
    // over symbolic links it may be another file
    for (const entry of entriesOf(files)) if (!inputs.has(await realpath(entry))) return false;
    for (const input of basis.inputs) if (!(await isSame(input))) return false;
    for (const { path, names } of basis.folders) if ((await namesIn(path)) !== names) return false;
    return true;
  } catch {
    return false;
  }
}

/** A basis that was read from a file; null: it is none. */
export function basisFrom(value: unknown): Basis | null {
  if (!isRecord(value) || !isRecord(value['files'])) return null;
  const { files, inputs, folders } = value;
  const isFile = (path: unknown): path is string | null => path === null || isText(path);
  if (!isFile(files['routing']) || !isFile(files['rewrite'])) return null;
  if (!isListOf(inputs, ARTIFACT.maxFiles, isStamped) || !isListOf(folders, STORE.folders, isListed))
    return null;
  return { files: { routing: files['routing'], rewrite: files['rewrite'] }, inputs, folders };
}

function isStamped(value: unknown): value is StampedFile {
  return isHashedFile(value) && isText((value as { stamp?: unknown }).stamp);
}

function isListed(value: unknown): value is ListedFolder {
  return isRecord(value) && isText(value['path']) && isText(value['names']);
}

async function isSame({ path, sha256, stamp }: StampedFile): Promise<boolean> {
  const state = await stateOf(path);
  if (state === null || state.size > BUNDLE.maxFileBytes) return false;
  if (stamp !== '' && state.stamp === stamp) return true;
  return (
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex') === sha256
  );
}

/** Null: it is no regular file. */
async function stateOf(path: string): Promise<{ stamp: string; changedAtMs: number; size: number } | null> {
  const found = await stat(path);
  if (!found.isFile()) return null;
  const { ino, size, ctimeMs, mtimeMs } = found;
  return { stamp: `${ino}:${size}:${mtimeMs}:${ctimeMs}`, changedAtMs: ctimeMs, size };
}

const PACKAGES = '/node_modules/';

/**
 * The folders in which a new name could make an import lead elsewhere: those of the files; if these lie apart, the folders above
 * them up to a common one; and those where packages are looked for. Null: there are too many.
 */
function foldersOf(inputs: readonly string[]): string[] | null {
  const folders = new Set(inputs.map((path) => dirname(path)));
  const own = [...folders].filter((folder) => !`${folder}/`.includes(PACKAGES));
  // a package may have been found in any folder above the file that imports it
  const homes = inputs
    .filter((path) => path.includes(PACKAGES))
    .map((path) => path.slice(0, path.indexOf(PACKAGES)));
  const top = commonFolder([...own, ...homes]);
  for (const start of [...own, ...homes])
    for (let folder = start; ; folder = dirname(folder)) {
      folders.add(folder);
      if (homes.length > 0) folders.add(join(folder, 'node_modules'));
      if (folder === top || folder === '/' || folders.size > STORE.folders) break;
    }
  return folders.size > STORE.folders ? null : [...folders];
}

/** The innermost folder that has all of these below it, or is one of them. */
function commonFolder(folders: readonly string[]): string {
  const [first = '/', ...rest] = folders;
  let common = first;
  for (const folder of rest)
    while (common !== '/' && folder !== common && !folder.startsWith(`${common}/`)) common = dirname(common);
  return common;
}

/** A hash; '-': there is no such folder; null: it has too many names. */
async function namesIn(folder: string): Promise<string | null> {
  let entries;
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return '-';
    throw error;
  }
  if (entries.length > STORE.namesInFolder) return null;
  const hash = createHash('sha256');
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const target = entry.isSymbolicLink() ? await readlink(join(folder, entry.name)) : '';
    hash.update(`${entry.name}\0${target}\0`);
  }
  return hash.digest('hex').slice(0, 32);
}
