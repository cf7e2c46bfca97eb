/**
 * The options for esbuild to make one script of a rule: for an isolate, which has no Node modules and nothing asynchronous.
 */
import type { BuildOptions } from 'esbuild';

/** esbuild's warnings, without those about BigInt: they are never shown, and thousands of them would fill the memory. */
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

/** The script sets a global variable of this name to what the entry exports. */
export const GLOBAL_NAME = '__pgswitchyard';

export const BUNDLE_FILE = 'bundle.js';

export const ESBUILD_OPTIONS = {
  bundle: true,
  write: false,
  outfile: BUNDLE_FILE,
  format: 'iife',
  globalName: GLOBAL_NAME,
  platform: 'neutral',
  mainFields: ['module', 'main'],
  // a package's build for browsers needs no Node modules
  conditions: ['browser', 'import', 'default'],
  // names of the global object elsewhere, by which packages look for it
  define: { 'process.env.NODE_ENV': '"production"', global: 'globalThis', self: 'globalThis' },
  target: 'es2024',
  // the engine makes the promises of async functions, out of the prelude's reach (sandbox/prelude)
  supported: {
    bigint: false,
    'top-level-await': false,
    'async-await': false,
    'async-generator': false,
    'for-await': false,
    'dynamic-import': false,
  },
  // Node strips types without a tsconfig.json, and the one that a tsconfig.json extends may be any file
  tsconfigRaw: '{}',
  sourcemap: 'external',
  sourcesContent: false,
  metafile: true,
  logLevel: 'silent',
  logOverride: Object.fromEntries(SILENCED.map((id) => [id, 'silent' as const])),
} as const satisfies BuildOptions;
