/** Names of files and folders for tenants, whose own names may hold anything. */
import { createHash } from 'node:crypto';

/** The letters of a name that are readable in any file system, and a hash of all of it. */
export function folderName(owner: string): string {
  const readable = owner.replaceAll(/[^A-Za-z0-9-]+/g, '_').slice(0, 40);
  return `${readable}-${shortHash(owner)}`;
}

/** Whether a name has the form of `folderName`. */
export function isFolderName(name: string): boolean {
  return /^[A-Za-z0-9_-]{0,40}-[0-9a-f]{16}$/.test(name);
}

export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
