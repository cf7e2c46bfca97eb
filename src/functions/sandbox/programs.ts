/** The two programs that run outside of this process's modules, and the file that one of them loads. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync, type BuildOptions } from 'esbuild';
import { bundleText } from '../../platform/esbuild.ts';

/** Sources in a checkout, JavaScript in a published package. */
const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

function pathOf(file: string): string {
  return fileURLToPath(new URL(`${file}.${EXTENSION}`, import.meta.url));
}

/** A module and everything that it imports, as one script. */
class Program {
  readonly #options: BuildOptions & { readonly write: false };
  #text: string | null = null;

  constructor(entry: string, options: BuildOptions) {
    this.#options = { ...options, entryPoints: [entry], bundle: true, write: false };
  }

  /** The script. It is built at the first request, which takes some ms. */
  get text(): string {
    this.#text ??= buildSync(this.#options).outputFiles[0]!.text;
    return this.#text;
  }

  /** Builds it without blocking this thread. */
  async prepare(): Promise<void> {
    this.#text ??= await bundleText(this.#options);
  }
}

const PRELUDE = new Program(pathOf('../../../sandbox/prelude/main'), {
  format: 'iife',
  globalName: 'prelude',
  target: 'es2024',
});

/** A sandbox process has no WebAssembly, which Node needs to strip types. */
const CHILD = new Program(pathOf('./main'), {
  format: 'cjs',
  platform: 'node',
  alias: { 'isolated-vm': pathOf('./host-addon') },
});

/** sandbox/prelude/ as a script that ends in its function `install`. It makes no global. */
export function preludeScript(): string {
  return `(() => {\n${PRELUDE.text}return prelude.install;\n})()`;
}

/** main.ts as the script that a child process runs. */
export function childScript(): string {
  return CHILD.text;
}

/** Builds both scripts while clients are served. */
export async function prepareScripts(): Promise<void> {
  await Promise.all([PRELUDE.prepare(), CHILD.prepare()]);
}

/** isolated-vm's binary for this version of Node, wherever npm has put the package. A child process may read this file only. */
export function addonFile(): string {
  const entry = createRequire(import.meta.url).resolve('isolated-vm');
  const finder = createRequire(entry)('node-gyp-build') as { path(folder: string): string };
  return finder.path(dirname(entry));
}
