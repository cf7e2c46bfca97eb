/**
 * Bundling: puts a tenant's files and everything they import into one script. It runs in a process of its own
 * (bundler-process.ts), because esbuild reads anything that a rule's author put there.
 */
import { basename, dirname, isAbsolute, resolve } from 'node:path';
import { build, type BuildFailure, type Metafile } from 'esbuild';
import { BUNDLE } from '../limits.ts';
import { codeHash } from './artifact.ts';
import {
  isPassingError,
  isPassingText,
  type Bundle,
  type BundleResult,
  type HashedFile,
  type SourceFiles,
} from './bundle-job.ts';
import { complaintOf, plain, type Complaint } from './complaint.ts';
import { BUNDLE_FILE, ESBUILD_OPTIONS } from './esbuild-options.ts';
import { manifestsOf, sandboxPlugin } from './imports.ts';
import { analyse } from './purity/analyse.ts';
import { NOT_ANALYSED } from './purity/purity.ts';
import { reviewedModules } from './purity/reviewed.ts';
import { Reading } from './reading.ts';
import { ENTRY, indexMap } from './source-map.ts';
import { readSource } from './source-file.ts';
import { entryOf, isArtifact } from './sources.ts';

export interface BundleOptions {
  /** artifacts that are bundled together with source, by their paths */
  readonly artifacts: ReadonlyMap<string, Bundle>;
  /** the code is to be analysed where it is used */
  readonly isRaw: boolean;
}

/** @param looked called with every file before it is read, and with every place where a file was not found */
export async function bundle(
  files: SourceFiles,
  looked: Set<string>,
  options: BundleOptions = { artifacts: new Map(), isRaw: false },
): Promise<BundleResult> {
  const folder = dirname(entryOf(files));
  const reading = new Reading(looked);
  try {
    const made = await bundleText(entryText(files), folder, reading, options);
    return 'message' in made ? failedWith(made, reading) : { kind: 'bundle', bundle: made };
  } catch (error) {
    const { errors } = error as Partial<BuildFailure>;
    reading.notePassing(isPassingError(error));
    const complaint = Array.isArray(errors)
      ? await complaintOf(errors, folder)
      : plain((error as Error).message);
    return failedWith(complaint, reading);
  }
}

function failedWith({ message, details }: Complaint, reading: Reading): BundleResult {
  reading.notePassing(isPassingText(message));
  const { looked, isPassing } = reading;
  return { kind: 'failed', message, details, inputs: [...looked], isPassing };
}

/** The module that imports a tenant's files and exports their functions. */
function entryText({ routing, rewrite }: SourceFiles): string {
  const a = routing ?? rewrite ?? '';
  const b = rewrite ?? a;
  return [
    `import * as a from ${JSON.stringify(a)};`,
    `import * as b from ${JSON.stringify(b)};`,
    // probably a misspelt name: the rule would never be called
    exportsOne('a', a),
    exportsOne('b', b),
    // a file may hold both functions; the function that the file is named after comes first
    `export const routing_rules = ${routing === null ? 'b.routing_rules' : 'a.routing_rules ?? b.routing_rules'};`,
    `export const rewrite_query = b.rewrite_query ?? a.rewrite_query;`,
    `export const options = [${a === b ? optionsOf('a', a) : `${optionsOf('a', a)}, ${optionsOf('b', b)}`}];`,
  ].join('\n');
}

function exportsOne(module: string, file: string): string {
  const name = JSON.stringify(basename(file));
  return `if (${module}.routing_rules == null && ${module}.rewrite_query == null) throw new Error(${name} + ' exports neither routing_rules nor rewrite_query');`;
}

function optionsOf(module: string, file: string): string {
  // those of an artifact have their files with them
  return isArtifact(file)
    ? `...(${module}.options ?? [])`
    : `[${JSON.stringify(basename(file))}, ${module}.options]`;
}

/** @throws BuildFailure */
async function bundleText(
  text: string,
  folder: string,
  reading: Reading,
  { artifacts, isRaw }: BundleOptions,
): Promise<Bundle | Complaint> {
  const { warnings, metafile, outputFiles } = await build({
    ...ESBUILD_OPTIONS,
    stdin: { contents: text, resolveDir: folder, sourcefile: ENTRY },
    absWorkingDir: folder,
    plugins: [sandboxPlugin(reading, artifacts)],
  });
  // otherwise esbuild only warns, and turns them into calls of BigInt()
  const bigints = warnings.filter((warning) => warning.id === 'bigint');
  if (bigints.length > 0) return await complaintOf(bigints, folder);
  const glob = globOf(metafile);
  if (glob !== null) return glob;
  const inputs = inputsOf(metafile, folder);
  const script = outputFiles.find((file) => file.path.endsWith(BUNDLE_FILE));
  const map = outputFiles.find((file) => file.path.endsWith('.map'));
  if (script === undefined || map === undefined) return plain('esbuild made no bundle');
  if (script.contents.length > BUNDLE.maxBundleBytes) {
    for (const input of inputs) reading.noteLook(input);
    return tooLarge(metafile);
  }
  const files = await hashedFiles(inputs, reading);
  const index = indexMap(map.text);
  const made = { map: index, inputs, files, isArtifact: false, notUsed: [] };
  if (isRaw) return { ...made, code: script.text, hash: codeHash(script.contents), purity: NOT_ANALYSED };
  const reviewed = reviewedModules(metafile, folder, (path) => reading.hashOf(path));
  const { code, purity } = analyse(script.text, index, folder, (path) => reviewed.has(path));
  return { ...made, code, hash: codeHash(Buffer.from(code)), purity };
}

/** The inputs with their hashes. A package.json that has vanished meanwhile has none. */
async function hashedFiles(inputs: readonly string[], reading: Reading): Promise<HashedFile[]> {
  const files: HashedFile[] = [];
  for (const path of inputs) {
    const sha256 = reading.hashOf(path) ?? (await readSource(path).catch(() => null))?.sha256 ?? '';
    files.push({ path, sha256 });
  }
  return files;
}

/** Complains about an import that stands for many files; null: none. */
function globOf({ inputs }: Metafile): Complaint | null {
  for (const [file, { imports }] of Object.entries(inputs)) {
    const glob = imports.find(({ path, external }) => external && /^\.{1,2}\/.*\*/.test(path));
    if (glob !== undefined)
      return plain(`${file}: an import of "${glob.path}" is not available: import each file by its name`);
  }
  return null;
}

/** The absolute paths of all files in a bundle, and of each package.json that led to one. */
function inputsOf({ inputs }: Metafile, folder: string): string[] {
  const files = Object.keys(inputs)
    .filter((path) => path !== ENTRY && !path.startsWith('pgswitchyard:'))
    .map((path) => (isAbsolute(path) ? path : resolve(folder, path)));
  return [...files, ...manifestsOf(files)];
}

function tooLarge({ outputs }: Metafile): Complaint {
  const [largest = ''] = Object.entries(outputs[BUNDLE_FILE]?.inputs ?? {})
    .sort(([, a], [, b]) => b.bytesInOutput - a.bytesInOutput)
    .map(([file]) => file);
  return plain(
    `${largest}: the bundle is larger than ${BUNDLE.maxBundleBytes / 1024 / 1024} MB, and this file is the largest part of it`,
  );
}
