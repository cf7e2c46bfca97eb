import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildSync, transformSync } from 'esbuild';

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/** The two programs that run outside this process's own module system. */
let compiled: string | null = null;
let hostScript: string | null = null;

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
    external: ['isolated-vm'],
  }).outputFiles[0]!.text;
  return hostScript;
}
