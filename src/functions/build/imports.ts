/** The targets of a rule's imports: an esbuild plugin that admits code and data, and refuses everything else. */
import { existsSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import type {
  OnLoadArgs,
  OnLoadResult,
  OnResolveArgs,
  OnResolveResult,
  PartialMessage,
  Plugin,
  PluginBuild,
} from 'esbuild';
import { BUNDLE } from '../limits.ts';
import { isPassingError, isPassingText, type Bundle } from './bundle-job.ts';
import { GLOBAL_NAME } from './esbuild-options.ts';
import type { Reading } from './reading.ts';
import { loaderOf, refusedCode } from './source-check.ts';
import { readSource } from './source-file.ts';

const BUILTINS = new Set(builtinModules.flatMap((name) => [name, `node:${name}`]));

/** Marks the plugin's own questions. */
const OWN_QUESTION = {};

/** Refuses Node's modules and files that are not code, reports them together, and provides the module `pgswitchyard`. */
export const sandboxPlugin = (reading: Reading, artifacts: ReadonlyMap<string, Bundle>): Plugin => ({
  name: 'sandbox',
  setup(esbuild) {
    esbuild.onResolve({ filter: /.*/ }, (args) => {
      if (args.kind === 'entry-point' || args.pluginData === OWN_QUESTION) return undefined;
      if (args.path === 'pgswitchyard') return { path: args.path, namespace: 'pgswitchyard' };
      return reading.inTurn(() => resolveImport(esbuild, reading, args));
    });
    esbuild.onLoad({ filter: /.*/, namespace: 'pgswitchyard' }, () => ({
      contents: 'export const reject = globalThis.reject;',
    }));
    esbuild.onLoad({ filter: /.*/, namespace: 'file' }, (args) => {
      const artifact = artifacts.get(args.path);
      return artifact === undefined ? load(reading, args) : loadArtifact(reading, args.path, artifact);
    });
  },
});

/** A module that exports what the code of an artifact sets, with the author's places. */
function loadArtifact(reading: Reading, path: string, { code, map, files }: Bundle): OnLoadResult {
  reading.noteLook(path);
  for (const { sha256 } of files) reading.noteHash(path, sha256);
  const { sources, mappings } = map;
  // the names of variables are not kept, and esbuild uses no map that lacks some: a segment has at least 5 letters if it has one
  const names = Array.from({ length: Math.ceil(mappings.length / 5) }, () => '');
  const json = JSON.stringify({ version: 3, sources, mappings, names });
  const lines = [
    code,
    ...['routing_rules', 'rewrite_query', 'options'].map(
      (name) => `export const ${name} = ${GLOBAL_NAME}.${name};`,
    ),
    `//# sourceMappingURL=data:application/json;base64,${Buffer.from(json).toString('base64')}`,
  ];
  return { contents: lines.join('\n'), loader: 'js' };
}

/** @returns undefined: esbuild reads the file itself */
async function load(
  reading: Reading,
  { path, with: attributes }: OnLoadArgs,
): Promise<OnLoadResult | undefined> {
  if (reading.isLost) return { contents: '' };
  reading.noteLook(path);
  const loader = loaderOf(path);
  if (loader === null || (attributes['type'] ?? 'json') !== 'json')
    return failed(`${path} can't be imported: only TypeScript, JavaScript and JSON can`);
  const tooMany = reading.countFile(path);
  if (tooMany !== null) return failed(tooMany);
  try {
    const { contents, sha256 } = await readSource(path);
    reading.noteHash(path, sha256);
    const tooLarge = reading.countBytes(path, contents.length);
    if (tooLarge !== null) return failed(tooLarge);
    const refused = loader === 'json' ? null : refusedCode(path, contents);
    if (refused !== null) return { errors: [refused] };
    // esbuild reads a large file faster than it takes one over; the text given here has comments blanked out
    const isLarge = typeof contents !== 'string' && contents.length > BUNDLE.largeFileBytes;
    return isLarge ? undefined : { contents, loader };
  } catch (error) {
    reading.notePassing(isPassingError(error));
    return failed(`${path} can't be read: ${(error as Error).message}`);
  }
}

/** Resolves an import. Errors are counted, so that esbuild does not report thousands of them. */
async function resolveImport(
  esbuild: PluginBuild,
  reading: Reading,
  args: OnResolveArgs,
): Promise<OnResolveResult | undefined> {
  const { path, kind, resolveDir, importer, namespace } = args;
  if (reading.isLost) return { path: 'unresolved', external: true };
  const unresolved = (text: string): OnResolveResult => {
    reading.countFailure();
    return failed(text.length > BUNDLE.maxShown ? `${text.slice(0, BUNDLE.maxShown)}…` : text);
  };
  const tooMany = reading.countImport(importer);
  if (tooMany !== null) return failed(tooMany);
  const refusal = refusalOf(path);
  if (refusal !== null) return unresolved(refusal);
  const places = /^\.{0,2}\//.test(path)
    ? [resolve(resolveDir, path), resolve(resolveDir, path, 'index')]
    : packagePlaces(path, resolveDir);
  for (const place of [resolveDir, ...places]) {
    const endless = reading.endlessManifest(place);
    if (endless === null) continue;
    reading.noteLook(endless);
    return unresolved(`${endless} can't be read: it is no regular file, or has no end`);
  }
  const question = { kind, resolveDir, importer, namespace, with: args.with, pluginData: OWN_QUESTION };
  const { errors, ...found } = await esbuild.resolve(path, question);
  if (errors.length === 0) {
    const { path: at, external, sideEffects, suffix } = found;
    return { path: at, external, namespace: found.namespace, sideEffects, suffix };
  }
  for (const place of places) reading.noteLook(place);
  const [{ text } = { text: '' }] = errors;
  reading.notePassing(isPassingText(text));
  return unresolved(`${text}${installing(path, places)}`);
}

/** Why an import is refused wherever it leads; null: it is allowed. */
function refusalOf(path: string): string | null {
  if (BUILTINS.has(path) || path.startsWith('node:'))
    return `"${path}" is not available: a user function has no files, no network and no processes`;
  if (/^(?:[a-z][a-z\d+.-]*:|\/\/)/i.test(path))
    return `"${path}" is a URL: a user function imports files and installed packages only`;
  return null;
}

/** Advice about a package that is not installed; '': something else is wrong. */
function installing(path: string, places: readonly string[]): string {
  const name = /^(?:@[\w.-]+\/)?\w[\w.-]*/.exec(path)?.[0];
  if (
    name === undefined ||
    places.some((place) => place.endsWith(`/node_modules/${name}`) && existsSync(place))
  )
    return '';
  return `: the package is not installed: run "npm install ${name}" in the folder of the rule, or in one above it`;
}

function failed(text: string): { errors: PartialMessage[] } {
  return { errors: [{ text }] };
}

/** All places where a package is looked for. It may be installed later, one folder after the other. */
function packagePlaces(path: string, from: string): string[] {
  const [scopeOrName = '', ...rest] = path.split('/');
  const name = path.startsWith('@') ? join(scopeOrName, rest[0] ?? '') : scopeOrName;
  const places: string[] = [];
  for (let folder = from, last = ''; folder !== last; last = folder, folder = dirname(folder)) {
    const packages = join(folder, 'node_modules');
    places.push(join(packages, scopeOrName), join(packages, name), join(packages, name, 'package.json'));
    if (path !== name) places.push(join(packages, path));
  }
  return places;
}

/** For each file of a package, the package.json that led to it. */
export function manifestsOf(files: readonly string[]): string[] {
  const folders = files.map((file) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0]);
  return [...new Set(folders)]
    .filter((folder) => folder !== undefined)
    .map((folder) => join(folder, 'package.json'));
}
