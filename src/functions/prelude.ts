import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync, transformSync } from 'esbuild';

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/** The two programs that run outside this process's own module system. */
let compiled: string | null = null;
let hostScript: string | null = null;
let addon: string | null = null;

/** sandbox/prelude.ts as the JavaScript that isolates run. Published packages have it compiled already. */
export function preludeSource(): string {
  if (compiled !== null) return compiled;
  const text = readFileSync(new URL(`../../sandbox/prelude.${EXTENSION}`, import.meta.url), 'utf8');
  compiled = transformSync(text, { loader: EXTENSION, target: 'es2024' }).code;
  return compiled;
}

/**
 * host-process.ts and what it imports as one script: Node takes types away with WebAssembly, which a sandbox host does
 * not have.
 */
export function hostProcessScript(): string {
  hostScript ??= buildSync({
    entryPoints: [fileURLToPath(new URL(`./host-process.${EXTENSION}`, import.meta.url))],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    alias: { 'isolated-vm': fileURLToPath(new URL(`./host-addon.${EXTENSION}`, import.meta.url)) },
  }).outputFiles[0]!.text;
  return hostScript;
}

/** isolated-vm's binary for this Node: wherever npm has put the package, the one file that a sandbox host reads. */
export function addonFile(): string {
  if (addon !== null) return addon;
  const entry = createRequire(import.meta.url).resolve('isolated-vm');
  const finder = createRequire(entry)('node-gyp-build') as { path(folder: string): string };
  addon = finder.path(dirname(entry));
  return addon;
}
