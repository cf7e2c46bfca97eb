/** The version of pgswitchyard, from its package.json. */
import { readFileSync } from 'node:fs';

const FILE = new URL('../../package.json', import.meta.url);
let version: string | null = null;

export function programVersion(): string {
  version ??= (JSON.parse(readFileSync(FILE, 'utf8')) as { version: string }).version;
  return version;
}
