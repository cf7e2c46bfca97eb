/** Reading and writing the files of the state folder. Files are replaced as a whole, and nobody else may read them. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, lstat, mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

/** Creates a folder and the missing ones above it. An existing one stays as it is. */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: FOLDER_MODE });
}

/**
 * The contents of a file that this program wrote.
 * @param maxBytes a longer file is refused
 * @returns null: there is no such file
 * @throws Error if it can't be read, is too long, or belongs to somebody else
 */
export async function readPrivate(path: string, maxBytes: number): Promise<Buffer | null> {
  const file = await openPrivate(path);
  if (file === null) return null;
  try {
    const { size } = await file.stat();
    if (size > maxBytes) throw new Error(`${path} has ${size} bytes, more than it can have`);
    return await readStart(file, size);
  } finally {
    await file.close();
  }
}

/** The first bytes of such a file, at most as many as asked for. */
export async function readPrivateStart(path: string, bytes: number): Promise<Buffer | null> {
  const file = await openPrivate(path);
  if (file === null) return null;
  try {
    return await readStart(file, bytes);
  } finally {
    await file.close();
  }
}

async function openPrivate(path: string): Promise<Awaited<ReturnType<typeof open>> | null> {
  let file;
  try {
    // a FIFO in its place would block
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const stat = await file.stat();
  const isOwn = process.getuid === undefined || stat.uid === process.getuid();
  if (stat.isFile() && isOwn && (stat.mode & 0o022) === 0) return file;
  await file.close();
  throw new Error(`${path} is no file of this user's own, or others may write to it`);
}

async function readStart(file: Awaited<ReturnType<typeof open>>, bytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(bytes);
  let size = 0;
  while (size < bytes) {
    const { bytesRead } = await file.read(buffer, size, bytes - size, size);
    if (bytesRead === 0) break;
    size += bytesRead;
  }
  return buffer.subarray(0, size);
}

/** Replaces a file as a whole: after a crash it has either its old contents or the new ones. */
export async function replaceFile(path: string, contents: string | Uint8Array): Promise<void> {
  const draft = await writeDraft(path, contents);
  try {
    await rename(draft, path);
  } catch (error) {
    await unlink(draft).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(path));
}

/**
 * Creates a file, complete from the start.
 * @returns false: there is one of that name already
 */
export async function createFile(path: string, contents: Uint8Array): Promise<boolean> {
  const draft = await writeDraft(path, contents);
  try {
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await unlink(draft).catch(() => {});
  }
  await syncFolder(dirname(path));
  return true;
}

/** Names of files that were being written when the program ended. */
export function isDraft(name: string): boolean {
  return name.startsWith('.draft-');
}

/** @returns its path, in the same folder */
async function writeDraft(path: string, contents: string | Uint8Array): Promise<string> {
  const draft = join(dirname(path), `.draft-${randomBytes(8).toString('hex')}`);
  const file = await open(draft, 'wx', FILE_MODE);
  try {
    await file.writeFile(contents);
    await file.sync();
  } catch (error) {
    await unlink(draft).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
  return draft;
}

/** A new name in a folder is safe after a crash only when the folder has been written. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } catch {
    // some file systems can't
  } finally {
    await folder.close();
  }
}

/** Whether a path is a folder of this user's own that others can't write to; `none`: there is nothing. */
export async function folderState(path: string): Promise<'own' | 'foreign' | 'none'> {
  try {
    const stat = await lstat(path);
    const isOwn = process.getuid === undefined || stat.uid === process.getuid();
    return stat.isDirectory() && isOwn && (stat.mode & 0o022) === 0 ? 'own' : 'foreign';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'none';
    throw error;
  }
}
