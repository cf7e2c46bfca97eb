import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, buildSync, stop, transform, transformSync, type BuildOptions } from 'esbuild';

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/** The two programs that run outside this process's own module system. */
let compiled: string | null = null;
let hostScript: string | null = null;
let addon: string | null = null;

/** sandbox/prelude.ts as the JavaScript that isolates run. Published packages have it compiled already. */
export function preludeSource(): string {
  if (compiled !== null) return compiled;
  compiled = transformSync(preludeText(), PRELUDE_OPTIONS).code;
  return compiled;
}

const PRELUDE_OPTIONS = { loader: EXTENSION, target: 'es2024' } as const;

function preludeText(): string {
  return readFileSync(new URL(`../../../sandbox/prelude.${EXTENSION}`, import.meta.url), 'utf8');
}

/**
 * main.ts and what it imports as one script: Node takes types away with WebAssembly, which a sandbox host does
 * not have.
 */
export function hostProcessScript(): string {
  hostScript ??= buildSync(HOST_OPTIONS).outputFiles[0]!.text;
  return hostScript;
}

const HOST_OPTIONS: BuildOptions & { write: false } = {
  entryPoints: [fileURLToPath(new URL(`./main.${EXTENSION}`, import.meta.url))],
  bundle: true,
  write: false,
  platform: 'node',
  format: 'cjs',
  alias: { 'isolated-vm': fileURLToPath(new URL(`./host-addon.${EXTENSION}`, import.meta.url)) },
};

/** Makes both programs while clients are served: made when they are needed, they would block this thread for a moment. */
export async function prepareScripts(): Promise<void> {
  if (compiled !== null && hostScript !== null) return;
  const [prelude, host] = await Promise.all([transform(preludeText(), PRELUDE_OPTIONS), build(HOST_OPTIONS)]);
  compiled ??= prelude.code;
  hostScript ??= host.outputFiles[0]!.text;
  await stop();
}

/** isolated-vm's binary for this Node: wherever npm has put the package, the one file that a sandbox host reads. */
export function addonFile(): string {
  if (addon !== null) return addon;
  const entry = createRequire(import.meta.url).resolve('isolated-vm');
  const finder = createRequire(entry)('node-gyp-build') as { path(folder: string): string };
  addon = finder.path(dirname(entry));
  return addon;
}
