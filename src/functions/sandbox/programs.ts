/** The two programs that run outside of this process's modules, and the file that one of them loads. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EXTENSION, OwnScript } from '../../platform/own-script.ts';

function pathOf(file: string): string {
  return fileURLToPath(new URL(`${file}.${EXTENSION}`, import.meta.url));
}

const PRELUDE = new OwnScript('sandbox/prelude.js', {
  entryPoints: [pathOf('../../../sandbox/prelude/main')],
  format: 'iife',
  globalName: 'prelude',
  target: 'es2024',
});

/** A sandbox process has no WebAssembly, which Node needs to strip types. */
const CHILD = new OwnScript('sandbox/child.js', {
  entryPoints: [pathOf('./main')],
  format: 'cjs',
  platform: 'node',
  alias: { 'isolated-vm': pathOf('./host-addon') },
});

/** What `npm run build` makes for the published package. */
export const OWN_SCRIPTS: readonly OwnScript[] = [PRELUDE, CHILD];

/** sandbox/prelude/ as a script that ends in its function `install`. It makes no global. */
export function preludeScript(): string {
  return `(() => {\n${PRELUDE.text}return prelude.install;\n})()`;
}

/** main.ts as the script that a child process runs. */
export function childScript(): string {
  return CHILD.text;
}

/** Makes both scripts while clients are served. */
export async function prepareScripts(): Promise<void> {
  await Promise.all(OWN_SCRIPTS.map((script) => script.prepare()));
}

/** isolated-vm's binary for this version of Node, wherever npm has put the package. A child process may read this file only. */
export function addonFile(): string {
  const entry = createRequire(import.meta.url).resolve('isolated-vm');
  const finder = createRequire(entry)('node-gyp-build') as { path(folder: string): string };
  return finder.path(dirname(entry));
}
