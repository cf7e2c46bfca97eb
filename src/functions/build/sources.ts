/** The files that hold a database's user functions. */
import { existsSync, lstatSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { SourceFiles } from './bundle-job.ts';

/** Options that locate user functions. All paths are absolute. */
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
  /** names that the database's own functions may return besides those of its own databases; `*`: all */
  readonly routing_targets?: readonly string[];
  /** requests that its clients may send although no function judges them; null: those that [pgbouncer] allows */
  readonly user_functions_allow?: readonly string[] | null;
}

/** The files that hold a tenant's functions, each listed once. */
export function entriesOf({ routing, rewrite }: SourceFiles): string[] {
  return [...new Set([routing, rewrite])].filter((file) => file !== null);
}

/** The file that places in the source are shown relative to. */
export function entryOf({ routing, rewrite }: SourceFiles): string {
  return routing ?? rewrite ?? '';
}

/** The folder that identifies a tenant for blame: its files may be renamed at any time, the folder of a database may not. */
export function nameOf(files: SourceFiles): string {
  return dirname(entryOf(files));
}

export const SOURCE_EXTENSIONS = ['.ts', '.mts', '.js', '.mjs'];
/** An artifact takes precedence over source. */
export const EXTENSIONS = ['.artifact', ...SOURCE_EXTENSIONS];
/** The artifact that holds both functions, without its extension. It takes precedence over everything else in its folder. */
export const BOTH = 'functions';

/** Whether a file is a bundle that has been built already. */
export function isArtifact(file: string): boolean {
  return file.endsWith('.artifact');
}

/** Finds a file by its folder, its name and its possible extensions; null: none. */
export type FindFile = (folder: string, name: string, extensions: readonly string[]) => string | null;

export const inFolder: FindFile = (folder, name, extensions) =>
  extensions.map((extension) => join(folder, name + extension)).find(isThere) ?? null;

const CANDIDATE = /^(?:(?:routing_rules|rewrite_query)\.(?:ts|mts|js|mjs|artifact)|functions\.artifact)$/;

/** Whether a file of this name, in a folder where rules are looked for, is a rule. */
export function isCandidate(name: string): boolean {
  return CANDIDATE.test(name);
}

/**
 * Whether a file exists, or may exist. A symbolic link that leads nowhere is a rule that can't be read, not one that was
 * removed. The same applies to a file in a folder that can't be searched.
 */
export function isThere(file: string): boolean {
  return presenceOf(file) !== 'none';
}

/** `hidden`: it may exist, in a folder that can't be searched */
export function presenceOf(file: string): 'there' | 'hidden' | 'none' {
  try {
    return lstatSync(file, { throwIfNoEntry: false }) === undefined ? 'none' : 'there';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' && existsSync(dirname(file))
      ? 'hidden'
      : 'none';
  }
}

/** The folder of a database or tenant in user_functions_dir; null: there is none. */
export function ownFolder(settings: SourceSettings, name: string): string | null {
  const root = settings.user_functions_dir || null;
  // a name is not a path: `..` and slashes in it lead nowhere
  return root !== null && /^[^/\\]+$/.test(name) && name !== '.' && name !== '..' ? join(root, name) : null;
}

/**
 * The files that apply to a database; null: none. For each function the nearest file wins: the database's option,
 * its own folder or its tenant's, the global option, user_functions_dir itself.
 * @param own the second of these; null: there is none
 */
export function sourceFiles(
  settings: SourceSettings,
  name: string,
  database: DatabaseFunctions | undefined,
  findFile: FindFile = inFolder,
  own: string | null = ownFolder(settings, name),
): SourceFiles | null {
  const folder = settings.user_functions_dir || null;
  const find = (option: 'routing_rules_file' | 'rewrite_query_file', file: string): string | null =>
    database?.[option] ||
    (own && inPlace(findFile, own, file)) ||
    settings[option] ||
    (folder && inPlace(findFile, folder, file)) ||
    null;
  const routing = find('routing_rules_file', 'routing_rules');
  const rewrite = find('rewrite_query_file', 'rewrite_query');
  return routing === null && rewrite === null ? null : { routing, rewrite };
}

/** The file for a function in a folder; null: none. */
export function inPlace(findFile: FindFile, folder: string, name: string): string | null {
  const both = findFile(folder, BOTH, ['.artifact']);
  // in a folder that can't be searched any file may exist, and the complaint should name the author's own
  if (both !== null && presenceOf(both) === 'hidden') return findFile(folder, name, SOURCE_EXTENSIONS);
  return both ?? findFile(folder, name, EXTENSIONS);
}

/**
 * Whether functions are the operator's, not a database's own: all their files are named by [pgbouncer] or lie in
 * user_functions_dir itself. Both functions run in one isolate and could change each other's answers, so one file of the
 * database's own makes both its own.
 */
export function areOperators(settings: SourceSettings, { routing, rewrite }: SourceFiles): boolean {
  return [routing, rewrite].every((file) => file === null || isOperators(settings, file));
}

function isOperators(settings: SourceSettings, path: string): boolean {
  // a candidate belongs to the owner of the file that it may take the place of
  const file = path.replace(/\.next(\.[^./]*)$/, '$1');
  if (file === settings.routing_rules_file || file === settings.rewrite_query_file) return true;
  return dirname(file) === settings.user_functions_dir && isCandidate(basename(file));
}
