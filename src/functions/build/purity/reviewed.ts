/**
 * Modules of packages that keep state in ways that the analysis can't follow, and that were read line by line: what a call
 * leaves behind in them never changes the result of another. A module counts by its content; another release is not known.
 */
import { resolve } from 'node:path';
import type { Metafile } from 'esbuild';

/** By the end of its path: SHA-256 of the file, and the module that alone may import it, if there is one. */
const REVIEWED: Readonly<Record<string, { readonly sha256: string; readonly onlyFor?: string }>> = {
  // Its lexer and grammars are made once; the lexer is reset, and the grammar's start is set, before each text.
  '/node_modules/pgsql-ast-parser/index.js': {
    sha256: '78134059b32616b8ffad721a39b29453cf9eb76ee0b2aae81932d18ddd1b6995',
  },
  '/node_modules/moo/moo.js': {
    sha256: '71bd0199863a2a2a6c067eaa385c55323ac196df886cbd059d90d968626b73a0',
    onlyFor: '/node_modules/pgsql-ast-parser/index.js',
  },
  '/node_modules/nearley/lib/nearley.js': {
    sha256: '17a3b68b8888291ee265ccf7d155d942fb404341f3567b370ae06134ec79e407',
    onlyFor: '/node_modules/pgsql-ast-parser/index.js',
  },
};

/**
 * The reviewed modules of a bundle: all of them, or none if one is missing, is another, or is used by something else.
 * @param folder the base of esbuild's paths
 * @param hashOf the hash of a file that was read, by its absolute path
 * @returns absolute paths
 */
export function reviewedModules(
  { inputs }: Metafile,
  folder: string,
  hashOf: (path: string) => string | undefined,
): ReadonlySet<string> {
  const found = new Set<string>();
  for (const path of Object.keys(inputs)) {
    const file = resolve(folder, path);
    if (entryOf(file) !== null && hashOf(file) === entryOf(file)!.sha256) found.add(file);
  }
  const areComplete = Object.keys(REVIEWED).every((end) => [...found].some((file) => file.endsWith(end)));
  const areAlone = Object.entries(inputs).every(([importer, { imports }]) =>
    imports.every(({ path }) => {
      const file = resolve(folder, path);
      const onlyFor = found.has(file) ? entryOf(file)?.onlyFor : undefined;
      const from = resolve(folder, importer);
      return onlyFor === undefined || (found.has(from) && from.endsWith(onlyFor));
    }),
  );
  return areComplete && areAlone ? found : new Set();
}

function entryOf(path: string): { readonly sha256: string; readonly onlyFor?: string } | null {
  const end = Object.keys(REVIEWED).find((each) => path.endsWith(each));
  return end === undefined ? null : REVIEWED[end]!;
}
