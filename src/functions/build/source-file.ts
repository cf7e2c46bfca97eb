/**
 * Reading a rule's files. Their authors may put anything there: a file without an end must neither block nor fill the memory.
 */
import { createHash } from 'node:crypto';
import { constants, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BUNDLE } from '../limits.ts';

/** A comment that names the source map of a generated file: esbuild would read any file named there. */
const MAP_COMMENT = /(\/[/*][#@]\s*)sourceMappingURL=/g;

/** A rule's file, as esbuild gets it. */
export interface Source {
  readonly contents: Uint8Array | string;
  /** of the file itself, in hexadecimal */
  readonly sha256: string;
}

/**
 * Reads a rule's file.
 * @throws Error if the file can't be read, is too large, or is not a regular file, which may have no end
 */
export async function readSource(path: string): Promise<Source> {
  // a FIFO opens at once, without waiting for a writer
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error('it is no regular file');
    if (stat.size > BUNDLE.maxFileBytes)
      throw new Error(`it is larger than ${BUNDLE.maxFileBytes / 1024 / 1024} MB`);
    // at first only up to its length: the file may grow while it is read
    const bytes = Buffer.alloc(stat.size);
    let size = 0;
    while (size < bytes.length) {
      const { bytesRead } = await file.read(bytes, size, bytes.length - size, null);
      if (bytesRead === 0) break;
      size += bytesRead;
    }
    const read = bytes.subarray(0, size);
    const sha256 = createHash('sha256').update(read).digest('hex');
    return { contents: withoutMapComments(read), sha256 };
  } finally {
    await file.close();
  }
}

/** Blanks out such comments. Neither the length nor any place in the file changes. */
function withoutMapComments(bytes: Buffer): Uint8Array | string {
  return bytes.includes('sourceMappingURL=')
    ? bytes.toString().replace(MAP_COMMENT, '$1sourceMappingURL ')
    : bytes;
}

/**
 * The package.json of a folder, or of one above it, that esbuild would read without end; null: none.
 * @param looked folders that have been checked already
 */
export function endlessManifest(place: string, looked: Set<string>): string | null {
  for (let folder = place, last = ''; folder !== last && !looked.has(folder); folder = dirname(folder)) {
    looked.add(folder);
    last = folder;
    const manifest = join(folder, 'package.json');
    try {
      const stat = statSync(manifest, { throwIfNoEntry: false });
      if (stat && !stat.isDirectory() && (!stat.isFile() || stat.size > BUNDLE.maxFileBytes)) return manifest;
    } catch {
      // esbuild can't read it either
    }
  }
  return null;
}
