/**
 * The files of a candidate: `routing_rules.next.ts` beside `routing_rules.ts`, and the same for any other file that holds
 * functions. A function without such a file stays as it is.
 */
import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { SourceFiles } from './bundle-job.ts';
import { BOTH, EXTENSIONS, inFolder, inPlace, isCandidate } from './sources.ts';

/** The paths where a candidate's files may be, absolute; the first one that exists applies. */
export interface NextPlaces {
  readonly routing: readonly string[];
  readonly rewrite: readonly string[];
}

/** @param files those that serve */
export function nextPlaces({ routing, rewrite }: SourceFiles): NextPlaces {
  return {
    routing: placesOf(routing, rewrite, 'routing_rules'),
    rewrite: placesOf(rewrite, routing, 'rewrite_query'),
  };
}

/**
 * @param file the function's own; null: it has none
 * @param other the other function's: the folder of a tenant may hold a new function beside it
 * @param name the function's
 */
function placesOf(file: string | null, other: string | null, name: string): string[] {
  const folders = [other, file]
    .filter((each) => each !== null && isCandidate(basename(each)))
    .map((each) => dirname(each!));
  // one artifact for both functions takes precedence, as among the files that serve
  const both = folders.map((folder) => join(folder, `${BOTH}.next.artifact`));
  const stems = [
    other !== null && isCandidate(basename(other)) ? join(dirname(other), name) : null,
    file?.replace(/\.[^./]*$/, '') ?? null,
  ].filter((stem) => stem !== null);
  const places = stems.flatMap((stem) => EXTENSIONS.map((extension) => `${stem}.next${extension}`));
  return [...new Set([...both, ...places])];
}

/** The candidate's files, with those that serve for the rest; null: there are none. */
export function nextFiles(files: SourceFiles, { routing, rewrite }: NextPlaces): SourceFiles | null {
  return overlaid(files, routing.find(exists) ?? null, rewrite.find(exists) ?? null);
}

/** The functions in a folder, with the files that serve for the rest; null: the folder holds none. */
export function filesIn(folder: string, files: SourceFiles): SourceFiles | null {
  const find = (name: string): string | null => inPlace(inFolder, folder, name);
  return overlaid(files, find('routing_rules'), find('rewrite_query'));
}

function overlaid(files: SourceFiles, routing: string | null, rewrite: string | null): SourceFiles | null {
  if (routing === null && rewrite === null) return null;
  return { routing: routing ?? files.routing, rewrite: rewrite ?? files.rewrite };
}

/** The same paths without links before their last part, as changes are reported. */
export function watched({ routing, rewrite }: NextPlaces): string[] {
  const folders = new Map<string, string>();
  return [...new Set([...routing, ...rewrite])].map((path) => {
    const folder = dirname(path);
    let real = folders.get(folder);
    if (real === undefined) folders.set(folder, (real = realPath(folder)));
    return join(real, basename(path));
  });
}

/** Whether a folder is another one or lies in it, links followed. */
export function isInside(outer: string, inner: string): boolean {
  const [from, to] = [realPath(outer), realPath(inner)];
  return to === from || to.startsWith(`${from}/`);
}

function realPath(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return folder;
  }
}

/**
 * A link that leads nowhere exists. A file in a folder that can't be searched does not: its tenant's own can't be read
 * either.
 */
function exists(file: string): boolean {
  try {
    return lstatSync(file, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}
