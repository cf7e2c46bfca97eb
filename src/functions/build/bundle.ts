import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import {
  build,
  formatMessages,
  transform,
  type BuildFailure,
  type Loader,
  type Message,
  type OnResolveArgs,
  type OnResolveResult,
  type PartialMessage,
  type Plugin,
  type PluginBuild,
} from 'esbuild';
import {
  isPassingError,
  isPassingText,
  type Bundle,
  type BundleResult,
  type SourceFiles,
} from './bundle-job.ts';
import { placed, type Details } from './places.ts';
import { endlessManifest, readSource } from './source-file.ts';
import { ENTRY, indexMap } from './source-map.ts';
import { BUNDLE } from '../limits.ts';

/** Bundling as such. It runs in a process of its own (bundler-process.ts): esbuild reads whatever a rule's author put there. */

/** Of its warnings only those about BigInt are asked for: thousands of others would fill the memory. */
const SILENCED = [
  'assert-to-with',
  'assert-type-json',
  'assign-to-constant',
  'assign-to-define',
  'assign-to-import',
  'call-import-namespace',
  'class-name-will-throw',
  'commonjs-variable-in-esm',
  'delete-super-property',
  'different-path-case',
  'direct-eval',
  'duplicate-case',
  'duplicate-class-member',
  'duplicate-object-key',
  'empty-glob',
  'empty-import-meta',
  'equals-nan',
  'equals-negative-zero',
  'equals-new-object',
  'html-comment-in-js',
  'ignored-bare-import',
  'ignored-dynamic-import',
  'import-is-undefined',
  'impossible-typeof',
  'indirect-require',
  'package.json',
  'private-name-will-throw',
  'require-resolve-not-external',
  'semicolon-after-return',
  'suspicious-boolean-not',
  'suspicious-define',
  'suspicious-logical-operator',
  'suspicious-nullish-coalescing',
  'this-is-undefined-in-esm',
  'unsupported-dynamic-import',
  'unsupported-jsx-comment',
  'unsupported-regexp',
  'unsupported-require-call',
];

const BUILTINS = new Set(builtinModules.flatMap((name) => [name, `node:${name}`]));

/** `require('./' + x)` and the like, for which esbuild would take in every file that the name could mean. */
const GLOB = /\b(?:require|import)\s*\(\s*(?:`\.{1,2}\/[^`]*\$\{|(["'])\.{1,2}\/[^"'\n]*\1\s*\+)/;

/** What may be an import. Too many are refused before esbuild resolves each of them. */
const IMPORT_LIKE = /\b(?:(?:import|from)\s*["']|(?:import|require)\s*\()/g;

/** Marks what the plugin itself asks to be resolved. */
const OWN_QUESTION = {};

/** What a build has read and found wanting. */
class Reading {
  /** every file that was read, or looked for in vain */
  readonly looked: Set<string>;
  /** folders whose package.json has been looked at */
  readonly #folders = new Set<string>();
  #imports = 0;
  #files = 0;
  #bytes = 0;
  #failed = 0;
  #refused: string | null = null;
  #turn: Promise<unknown> = Promise.resolve();
  isPassing = false;

  constructor(looked: Set<string>) {
    this.looked = looked;
  }

  /** One after the other: esbuild asks about thousands at once, and the first ones may settle that the build is lost. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** @returns why this import is one too many; null: it is not */
  countImport(importer: string): string | null {
    if (++this.#imports <= BUNDLE.maxImports) return null;
    return this.#refuse(`more than ${BUNDLE.maxImports} imports: ${importer} has the one that is too many`);
  }

  countFile(path: string): string | null {
    if (++this.#files <= BUNDLE.maxFiles) return null;
    return this.#refuse(
      `more than ${BUNDLE.maxFiles} files are imported: ${path} is the one that is too many`,
    );
  }

  countBytes(path: string, bytes: number): string | null {
    this.#bytes += bytes;
    if (this.#bytes <= BUNDLE.maxBytes) return null;
    const limit = `${BUNDLE.maxBytes / 1024 / 1024} MB`;
    return this.#refuse(`the files that are imported are larger than ${limit} together, with ${path}`);
  }

  /** Nothing more needs to be found out: the build fails. */
  get isLost(): boolean {
    return this.#failed >= BUNDLE.maxErrors || this.#refused !== null;
  }

  countFailure(): void {
    this.#failed++;
  }

  endlessManifest(place: string): string | null {
    return endlessManifest(place, this.#folders);
  }

  #refuse(message: string): string {
    this.#refused = message;
    return message;
  }
}

/**
 * How a file is read, whatever the links to it are called; null: not at all. The proxy reads these files with its own
 * rights, and a rule can put what it imports into a query: passwords and keys must not be within reach.
 */
function loaderOf(file: string): Loader | null {
  return (/\.(?:[cm]?([jt]s)|(json))$/.exec(file)?.slice(1).find(Boolean) as Loader | undefined) ?? null;
}

/** Refuses Node's own modules and what is no code, all of it at once, and gives `pgswitchyard` its meaning. */
const sandboxPlugin = (reading: Reading): Plugin => ({
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
    esbuild.onLoad({ filter: /.*/, namespace: 'file' }, async ({ path, with: attributes }) => {
      if (reading.isLost) return { contents: '' };
      reading.looked.add(path);
      const loader = loaderOf(path);
      if (loader === null || (attributes['type'] ?? 'json') !== 'json')
        return failed(`${path} can't be imported: only TypeScript, JavaScript and JSON can`);
      const tooMany = reading.countFile(path);
      if (tooMany !== null) return failed(tooMany);
      try {
        const contents = await readSource(path);
        const tooLarge = reading.countBytes(path, contents.length);
        if (tooLarge !== null) return failed(tooLarge);
        const refused = loader === 'json' ? null : refusedCode(path, contents);
        if (refused !== null) return { errors: [refused] };
        // esbuild reads a large file faster than it is told of it; a text has had something taken out
        const isLarge = typeof contents !== 'string' && contents.length > BUNDLE.largeFileBytes;
        return isLarge ? undefined : { contents, loader };
      } catch (error) {
        reading.isPassing ||= isPassingError(error);
        return failed(`${path} can't be read: ${(error as Error).message}`);
      }
    });
  },
});

/** Where an import leads. Errors are counted here, so that esbuild does not make one for each of thousands. */
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
  if (BUILTINS.has(path) || path.startsWith('node:'))
    return unresolved(
      `"${path}" is not available: a user function has no files, no network and no processes`,
    );
  if (/^(?:[a-z][a-z\d+.-]*:|\/\/)/i.test(path))
    return unresolved(`"${path}" is a URL: a user function imports files and installed packages only`);
  const places = /^\.{0,2}\//.test(path)
    ? [resolve(resolveDir, path), resolve(resolveDir, path, 'index')]
    : packagePlaces(path, resolveDir);
  for (const place of [resolveDir, ...places]) {
    const endless = reading.endlessManifest(place);
    if (endless === null) continue;
    reading.looked.add(endless);
    return unresolved(`${endless} can't be read: it is no regular file, or has no end`);
  }
  const question = { kind, resolveDir, importer, namespace, with: args.with, pluginData: OWN_QUESTION };
  const { errors, ...found } = await esbuild.resolve(path, question);
  if (errors.length === 0) {
    const { path: at, external, sideEffects, suffix } = found;
    return { path: at, external, namespace: found.namespace, sideEffects, suffix };
  }
  for (const place of places) reading.looked.add(place);
  const { text } = errors[0]!;
  reading.isPassing ||= isPassingText(text);
  return unresolved(`${text}${installing(path, places)}`);
}

/** What to do about a package that is not there; '' where that is not what is wrong. */
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

/** A line that is too long, or an import whose name is put together at run time from a path. */
function refusedCode(path: string, contents: Uint8Array | string): PartialMessage | null {
  const text = typeof contents === 'string' ? contents : Buffer.from(contents).toString();
  for (let from = 0, line = 1; from < text.length; line++) {
    const end = text.indexOf('\n', from);
    const length = (end < 0 ? text.length : end) - from;
    if (length > BUNDLE.maxLine)
      return { text: `${path}: line ${line} is longer than ${BUNDLE.maxLine} characters` };
    from += length + 1;
  }
  let imports = 0;
  for (const _ of text.matchAll(IMPORT_LIKE)) {
    if (++imports > BUNDLE.maxImports)
      return { text: `more than ${BUNDLE.maxImports} imports: they are in ${path}` };
  }
  const at = GLOB.exec(text)?.index;
  if (at === undefined) return null;
  const before = text.slice(0, at);
  const line = before.split('\n').length;
  return {
    text: 'An import by a name that is put together at run time is not available: import each file by its name',
    location: { file: path, line, column: at - (before.lastIndexOf('\n') + 1), lineText: '' },
  };
}

/** Where a package is looked for: it may be installed later, its folders one after the other. */
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

/** The package.json that led to a file of a package. */
function manifestsOf(files: readonly string[]): string[] {
  const folders = files.map((file) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0]);
  return [...new Set(folders)]
    .filter((folder) => folder !== undefined)
    .map((folder) => join(folder, 'package.json'));
}

/**
 * Puts a function set's files and all that they import into one script.
 * @param looked is given every file that is read, before that, and every one that was looked for in vain
 */
export async function bundle(files: SourceFiles, looked: Set<string>): Promise<BundleResult> {
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
  const reading = new Reading(looked);
  const fail = ({ message, details }: Complaint): BundleResult => ({
    kind: 'failed',
    message,
    details,
    inputs: [...reading.looked],
    isPassing: reading.isPassing || isPassingText(message),
  });
  try {
    const made = await bundleLines(lines, dirname(first), reading);
    return 'message' in made ? fail(made) : { kind: 'bundle', bundle: made };
  } catch (error) {
    const { errors } = error as BuildFailure;
    reading.isPassing ||= isPassingError(error);
    return fail(
      Array.isArray(errors) ? await complaintOf(errors, dirname(first)) : plain((error as Error).message),
    );
  }
}

/** Why there is no bundle. */
interface Complaint {
  readonly message: string;
  readonly details: Details;
}

function plain(message: string): Complaint {
  return { message, details: { place: null, frame: '' } };
}

/** @throws BuildFailure */
async function bundleLines(lines: string[], folder: string, reading: Reading): Promise<Bundle | Complaint> {
  const result = await build({
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
    logOverride: Object.fromEntries(SILENCED.map((id) => [id, 'silent' as const])),
    plugins: [sandboxPlugin(reading)],
  });
  // it would only warn, and make calls of BigInt() out of them
  const bigints = result.warnings.filter((warning) => warning.id === 'bigint');
  if (bigints.length > 0) return await complaintOf(bigints, folder);
  for (const [file, { imports }] of Object.entries(result.metafile.inputs)) {
    const glob = imports.find(({ path, external }) => external && /^\.{1,2}\/.*\*/.test(path));
    if (glob !== undefined)
      return plain(`${file}: an import of "${glob.path}" is not available: import each file by its name`);
  }
  const files = Object.keys(result.metafile.inputs)
    .filter((path) => path !== ENTRY && !path.startsWith('pgswitchyard:'))
    .map((path) => (isAbsolute(path) ? path : resolve(folder, path)));
  const code = result.outputFiles.find((file) => file.path.endsWith('bundle.js'))!;
  const inputs = [...files, ...manifestsOf(files)];
  if (code.contents.length > BUNDLE.maxBundleBytes) {
    for (const input of inputs) reading.looked.add(input);
    const [largest = ''] = Object.entries(result.metafile.outputs['bundle.js']?.inputs ?? {})
      .sort(([, a], [, b]) => b.bytesInOutput - a.bytesInOutput)
      .map(([file]) => file);
    return plain(
      `${largest}: the bundle is larger than ${BUNDLE.maxBundleBytes / 1024 / 1024} MB, and this file is the largest part of it`,
    );
  }
  const map = indexMap(result.outputFiles.find((file) => file.path.endsWith('.map'))!.text);
  const hash = createHash('sha256').update(code.contents).digest('hex').slice(0, 12);
  return { code: code.text, map, inputs, hash };
}

/** @param folder that the places are relative to */
async function complaintOf(messages: readonly Message[], folder: string): Promise<Complaint> {
  const shown = messages.slice(0, BUNDLE.maxErrors).map(shortened);
  const rest = messages.length - shown.length;
  const more = rest > 0 ? [`(and ${rest} more errors)`] : [];
  const places = shown.map(({ location }) =>
    location
      ? {
          file: relative(folder, resolve(folder, location.file!)),
          line: location.line!,
          column: location.column! + 1,
        }
      : null,
  );
  const lines = shown.map(({ text }, i) => `${placed(places[i]!)}${text!.replaceAll(/\s*\n\s*/g, ' ')}`);
  return {
    message: [...lines, ...more].join('; '),
    details: {
      place: places[0] ?? null,
      frame: [...(await framesOf(shown)), ...more].join('\n\n'),
    },
  };
}

/** esbuild's columns begin with 0, those of editors and of everything else with 1. */
async function framesOf(messages: readonly PartialMessage[]): Promise<string[]> {
  const frames = await formatMessages([...messages], { kind: 'error' });
  return frames.map((frame, i) => {
    const { file, line, column } = messages[i]!.location ?? {};
    return frame.trim().replace(`${file}:${line}:${column}:`, `${file}:${line}:${column! + 1}:`);
  });
}

function shortened(message: Message): PartialMessage {
  const { text, location, notes } = message;
  return {
    text: cut(inOurWords(text)),
    location: shortLocation(location),
    // esbuild's advice to leave an import out would not help here
    notes: notes
      .filter((note) => !/ as external to exclude it /.test(note.text))
      .slice(0, 3)
      .map((note) => ({ text: cut(note.text), location: shortLocation(note.location) })),
  };
}

/** A rule that can't be read is not a mistake in a line of ours, and a line of a packed file is no help. */
function shortLocation(location: Message['location']): Message['location'] {
  if (location === null || location.file === ENTRY) return null;
  return location.lineText.length > BUNDLE.maxShown ? { ...location, lineText: '' } : location;
}

/** What esbuild says of syntax that is left out on purpose is about targets of its own. */
function inOurWords(text: string): string {
  if (text.startsWith('Big integer literals are not available'))
    return "BigInt literals are not allowed in a user function: their arithmetic can't be interrupted";
  return text.replace(
    / (is|are) not available in the configured target environment.*$/s,
    ' $1 not allowed in a user function: it has to answer at once',
  );
}

function cut(text: string): string {
  return text.length > BUNDLE.maxShown ? `${text.slice(0, BUNDLE.maxShown)}…` : text;
}

/** `file:line:column` of each async function in the author's own files, relative to a folder: the isolate knows no places. */
export async function asyncPlaces(inputs: readonly string[], folder: string): Promise<string[]> {
  const places: string[] = [];
  for (const file of inputs) {
    const loader = loaderOf(file);
    if (loader === null || loader === 'json' || file.includes('/node_modules/')) continue;
    try {
      const supported = { 'async-await': false, 'async-generator': false, generator: false };
      await transform(await readSource(file), { loader, logLevel: 'silent', supported });
    } catch (error) {
      for (const { text, location } of (error as Partial<BuildFailure>).errors ?? []) {
        if (text.includes('async'))
          places.push(`${relative(folder, file)}:${location?.line}:${(location?.column ?? 0) + 1}`);
        if (places.length === BUNDLE.maxErrors) return places;
      }
    }
  }
  return places;
}
