import { constants, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BUNDLE } from '../limits.ts';

/** A comment that says where the map of a file is that was made from another one: esbuild would read whatever is there. */
const MAP_COMMENT = /(\/[/*][#@]\s*)sourceMappingURL=/g;

/**
 * Files that rules are made of may be whatever their authors put there: what has no end must not be waited for, nor kept in
 * memory.
 */

/**
 * The text of a file that a rule is made of.
 * @throws Error when it can't be read, is too large, or is no file but something that never ends
 */
export async function readSource(path: string): Promise<Uint8Array | string> {
  // a FIFO is opened at once, instead of when somebody writes to it
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error('it is no regular file');
    if (stat.size > BUNDLE.maxFileBytes)
      throw new Error(`it is larger than ${BUNDLE.maxFileBytes / 1024 / 1024} MB`);
    // no further than it was long: it may grow while it is read
    const bytes = Buffer.alloc(stat.size);
    let size = 0;
    while (size < bytes.length) {
      const { bytesRead } = await file.read(bytes, size, bytes.length - size, null);
      if (bytesRead === 0) break;
      size += bytesRead;
    }
    return withoutMapComments(bytes.subarray(0, size));
  } finally {
    await file.close();
  }
}

/** As long as before: places in the file stay what they are. */
function withoutMapComments(bytes: Buffer): Uint8Array | string {
  return bytes.includes('sourceMappingURL=')
    ? bytes.toString().replace(MAP_COMMENT, '$1sourceMappingURL ')
    : bytes;
}

/**
 * The package.json of a folder or of one above it, if it is something that esbuild would never have read to its end.
 * @param looked the folders that need not be looked into again
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
      // nor can esbuild read it
    }
  }
  return null;
}
