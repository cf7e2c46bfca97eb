import { existsSync, lstatSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { SourceFiles } from './bundle.ts';

/** What says where user functions are. All paths are absolute. */
export interface SourceSettings {
  readonly user_functions_dir: string | null;
  readonly routing_rules_file: string | null;
  readonly rewrite_query_file: string | null;
}

/** A database's own overrides. */
export interface DatabaseFunctions {
  readonly name: string;
  readonly routing_rules_file: string | null;
  readonly rewrite_query_file: string | null;
}

const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs'];

function inFolder(folder: string, name: string): string | null {
  for (const extension of EXTENSIONS) {
    const file = join(folder, name + extension);
    if (isThere(file)) return file;
  }
  return null;
}

/**
 * A symbolic link that leads nowhere just now is a rule that can't be read, and not a rule that was taken away; so is what
 * may be in a folder that is there and may not be looked into.
 */
export function isThere(file: string): boolean {
  try {
    lstatSync(file);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' && existsSync(dirname(file));
  }
}

/**
 * Which files apply to a database. The nearest wins, for each function by itself: the database's option, its folder in
 * user_functions_dir, the global option, user_functions_dir itself. Null: none.
 */
export function sourceFiles(
  settings: SourceSettings,
  name: string,
  database: DatabaseFunctions | undefined,
): SourceFiles | null {
  const folder = settings.user_functions_dir || null;
  // a database's name is not a path: `..` and slashes in it lead nowhere
  const own =
    folder !== null && /^[^/\\]+$/.test(name) && name !== '.' && name !== '..' ? join(folder, name) : null;
  const find = (option: 'routing_rules_file' | 'rewrite_query_file', file: string): string | null =>
    database?.[option] ||
    (own && inFolder(own, file)) ||
    settings[option] ||
    (folder && inFolder(folder, file)) ||
    null;
  const routing = find('routing_rules_file', 'routing_rules');
  const rewrite = find('rewrite_query_file', 'rewrite_query');
  return routing === null && rewrite === null ? null : { routing, rewrite };
}
