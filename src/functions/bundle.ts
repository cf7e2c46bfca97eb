import { createHash } from 'node:crypto';
import { builtinModules } from 'node:module';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import {
  formatMessages,
  transform,
  type BuildFailure,
  type Loader,
  type Message,
  type Plugin,
} from 'esbuild';
import { buildInTime } from './esbuild.ts';
import { endlessManifest, readSource } from './source-file.ts';

/** The files of a function set; null: it has no such function of its own. Both may be the same file. */
export interface SourceFiles {
  readonly routing: string | null;
  readonly rewrite: string | null;
}

export interface Bundle {
  /** a script that sets `__pgswitchyard` */
  readonly code: string;
  /** source map, as JSON */
  readonly map: string;
  /** every file that is in it, or says where another one is, absolute */
  readonly inputs: readonly string[];
  /** of the code: equal hashes are equal versions */
  readonly hash: string;
}

/** The files can't be bundled: all that is wrong, with file, line and column. */
export class BundleError extends Error {
  /** What was read, or looked for in vain, before that: a change there may mend it. */
  inputs: readonly string[] = [];
}

/** What imports a set's files and gives their functions out: no file of the author's. */
export const ENTRY = 'pgswitchyard-entry.js';

const BUILTINS = new Set(builtinModules.flatMap((name) => [name, `node:${name}`]));

/**
 * How a file is read, whatever the links to it are called; null: not at all. The proxy reads these files with its own
 * rights, and a rule can put what it imports into a query: passwords and keys must not be within reach.
 */
function loaderOf(file: string): Loader | null {
  return (/\.(?:[cm]?([jt]s)|(json))$/.exec(file)?.slice(1).find(Boolean) as Loader | undefined) ?? null;
}

/**
 * Refuses Node's own modules and what is no code, all of it at once, and gives `pgswitchyard` its meaning.
 * @param inputs gets every file that is read or looked for
 */
const sandboxPlugin = (inputs: Set<string>): Plugin => ({
  name: 'sandbox',
  setup({ onResolve, onLoad }) {
    const looked = new Set<string>();
    onResolve({ filter: /.*/ }, ({ path, kind, resolveDir }) => {
      if (kind === 'entry-point') return undefined;
      if (path === 'pgswitchyard') return { path, namespace: 'pgswitchyard' };
      const places = /^\.{0,2}\//.test(path)
        ? [resolve(resolveDir, path), resolve(resolveDir, path, 'index')]
        : packagePlaces(path, resolveDir);
      for (const place of places) inputs.add(place);
      for (const place of [resolveDir, ...places]) {
        const endless = endlessManifest(place, looked);
        if (endless !== null)
          return { errors: [{ text: `${endless} can't be read: it is no regular file, or has no end` }] };
      }
      if (!BUILTINS.has(path) && !path.startsWith('node:')) return undefined;
      return {
        errors: [
          { text: `"${path}" is not available: a user function has no files, no network and no processes` },
        ],
      };
    });
    onLoad({ filter: /.*/, namespace: 'pgswitchyard' }, () => ({
      contents: 'export const reject = globalThis.reject;',
    }));
    onLoad({ filter: /.*/, namespace: 'file' }, async ({ path, with: attributes }) => {
      inputs.add(path);
      const loader = loaderOf(path);
      if (loader === null || (attributes['type'] ?? 'json') !== 'json')
        return { errors: [{ text: `${path} can't be imported: only TypeScript, JavaScript and JSON can` }] };
      try {
        return { contents: await readSource(path), loader };
      } catch (error) {
        return { errors: [{ text: `${path} can't be read: ${(error as Error).message}` }] };
      }
    });
  },
});

/** Where a package is looked for: it may be installed later, its folders one after the other. */
function packagePlaces(path: string, from: string): string[] {
  const [scopeOrName = '', ...rest] = path.split('/');
  const name = path.startsWith('@') ? join(scopeOrName, rest[0] ?? '') : scopeOrName;
  const places: string[] = [];
  for (let folder = from, last = ''; folder !== last; last = folder, folder = dirname(folder)) {
    const packages = join(folder, 'node_modules');
    places.push(join(packages, scopeOrName), join(packages, name), join(packages, name, 'package.json'));
  }
  return places;
}

/** The package.json that led to a file of a package. */
function manifestsOf(files: readonly string[]): string[] {
  const folders = files.map((file) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0]);
  return [...new Set(folders)]
    .filter((folder) => folder !== undefined)
    .map((folder) => join(folder, 'package.json'));
}

/**
 * Puts a function set's files and all that they import into one script.
 * @throws BundleError
 */
export async function bundle(files: SourceFiles): Promise<Bundle> {
  const { routing, rewrite } = files;
  const first = (routing ?? rewrite)!;
  const names = [routing ?? rewrite!, rewrite ?? routing!].map((file) => JSON.stringify(basename(file)));
  const lines = [
    `import * as a from ${JSON.stringify(first)};`,
    `import * as b from ${JSON.stringify(rewrite ?? first)};`,
    // most likely a name that is misspelt, and the rule would never be called
    ...['a', 'b'].map(
      (file, i) =>
        `if (${file}.routing_rules == null && ${file}.rewrite_query == null) throw new Error(${names[i]} + ' exports neither routing_rules nor rewrite_query');`,
    ),
    // a file may hold both functions; a file of its own comes first
    `export const routing_rules = ${routing === null ? 'b.routing_rules' : 'a.routing_rules ?? b.routing_rules'};`,
    `export const rewrite_query = b.rewrite_query ?? a.rewrite_query;`,
  ];
  const folder = dirname(first);
  const looked = new Set<string>();
  try {
    const result = await buildInTime({
      stdin: { contents: lines.join('\n'), resolveDir: folder, sourcefile: ENTRY },
      bundle: true,
      write: false,
      outfile: 'bundle.js',
      format: 'iife',
      globalName: '__pgswitchyard',
      platform: 'neutral',
      mainFields: ['module', 'main'],
      // what packages have for browsers needs nothing of Node's
      conditions: ['browser', 'import', 'default'],
      define: { 'process.env.NODE_ENV': '"production"' },
      target: 'es2024',
      // The promises of async functions are made by the engine, out of the prelude's reach (sandbox/prelude.ts).
      supported: {
        bigint: false,
        'top-level-await': false,
        'async-await': false,
        'async-generator': false,
        'for-await': false,
        'dynamic-import': false,
      },
      // Node takes types away without asking any tsconfig.json, and what one extends may be any file
      tsconfigRaw: '{}',
      sourcemap: 'external',
      sourcesContent: false,
      metafile: true,
      absWorkingDir: folder,
      logLevel: 'silent',
      logOverride: { 'import-is-undefined': 'silent' },
      plugins: [sandboxPlugin(looked)],
    });
    // it would only warn, and make calls of BigInt() out of them
    const bigints = result.warnings.filter((warning) => warning.id === 'bigint');
    if (bigints.length > 0) throw new BundleError(await format(bigints));
    const files = Object.keys(result.metafile.inputs)
      .filter((path) => path !== ENTRY && !path.startsWith('pgswitchyard:'))
      .map((path) => (isAbsolute(path) ? path : resolve(folder, path)));
    const code = result.outputFiles.find((file) => file.path.endsWith('bundle.js'))!.text;
    const map = result.outputFiles.find((file) => file.path.endsWith('.map'))!.text;
    const inputs = [...files, ...manifestsOf(files)];
    return { code, map, inputs, hash: createHash('sha256').update(code).digest('hex').slice(0, 12) };
  } catch (error) {
    const { errors } = error as BuildFailure;
    const { message } = error as Error;
    const refused =
      error instanceof BundleError
        ? error
        : new BundleError(Array.isArray(errors) ? await format(errors) : message);
    refused.inputs = [...looked];
    throw refused;
  }
}

async function format(messages: Message[]): Promise<string> {
  // a rule that can't be read is not a mistake in a line of ours
  const shown = messages.map((each) => (each.location?.file === ENTRY ? { ...each, location: null } : each));
  return (await formatMessages(shown, { kind: 'error' })).join('\n').trim();
}

/** `file:line:column` of each async function in the author's own files, relative to a folder: the isolate knows no places. */
export async function asyncPlaces(inputs: readonly string[], folder: string): Promise<string[]> {
  const places = await Promise.all(
    inputs.map(async (file) => {
      const loader = loaderOf(file);
      if (loader === null || loader === 'json' || file.includes('/node_modules/')) return [];
      try {
        const supported = { 'async-await': false, 'async-generator': false, generator: false };
        await transform(await readSource(file), {
          loader,
          logLevel: 'silent',
          supported,
        });
        return [];
      } catch (error) {
        const found = (error as Partial<BuildFailure>).errors ?? [];
        return found
          .filter(({ text }) => text.includes('async'))
          .map(
            ({ location }) => `${relative(folder, file)}:${location?.line}:${(location?.column ?? 0) + 1}`,
          );
      }
    }),
  );
  return places.flat();
}
