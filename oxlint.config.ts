/** The lint configuration. The borders between folders are generated from scripts/layers.ts. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { APART, FUNCTION_LAYERS, LAYERS, SESSION_LAYERS } from './scripts/layers.ts';

const isFile = (name: string): boolean => name.endsWith('.ts');

/** Matches import specifiers of a folder or file in src/, from anywhere below. */
const importsOf = (name: string): string[] => [isFile(name) ? `**/${name}` : `**/${name}/**`];

/** The same in a folder of src/, from its own files and those of its folders. */
const neighboursOf = (name: string): string[] =>
  ['.', '..'].map((path) => (isFile(name) ? `${path}/${name}` : `${path}/${name}/**`));

const filesOf = (path: string): string => (isFile(path) ? path : `${path}/**/*.ts`);

interface Ban {
  readonly group: readonly string[];
  readonly message: string;
}

/** Bans the imports that point up in an ordered list of folders and files. @param match specifiers of one of them */
function bansOf(root: string, layers: readonly string[], match = neighboursOf): Map<string, Ban[]> {
  for (const name of readdirSync(join(import.meta.dirname, root)))
    if (!layers.includes(name)) throw new Error(`${root}/${name} has no place in scripts/layers.ts`);
  const bans = new Map<string, Ban[]>();
  for (const [i, name] of layers.entries()) {
    if (i === 0) continue;
    const message = `imports point down only: ${layers.join(' > ')}`;
    bans.set(`${root}/${name}`, [{ group: layers.slice(0, i).flatMap(match), message }]);
  }
  return bans;
}

/** One override for each folder, with its own bans and those of the folders around it: the last override wins. */
function borders() {
  const bans = new Map([
    ...bansOf('src', LAYERS, importsOf),
    ...bansOf('src/session', SESSION_LAYERS),
    ...bansOf('src/functions', FUNCTION_LAYERS),
  ]);
  for (const { from, to, why } of APART)
    bans.get(`src/${from}`)!.push({ group: importsOf(to), message: why });
  return [...bans].map(([path, own]) => {
    const around = [...bans].filter(([other]) => path.startsWith(`${other}/`)).flatMap(([, list]) => list);
    return {
      files: [filesOf(path)],
      rules: { 'no-restricted-imports': ['error', { patterns: [...around, ...own] }] },
    };
  });
}

export default {
  plugins: ['typescript', 'import', 'node', 'promise', 'unicorn'],
  categories: { correctness: 'error' },
  ignorePatterns: ['dist', 'node_modules', 'user-functions', 'docs'],
  rules: {
    'import/no-cycle': ['error', { ignoreTypes: false }],
    'import/no-default-export': 'error',
    'max-lines': ['error', { max: 600, skipBlankLines: true, skipComments: true }],
    'typescript/no-floating-promises': [
      'error',
      {
        allowForKnownSafeCalls: [
          {
            from: 'package',
            name: ['test', 'describe', 'it', 'suite', 'before', 'after', 'beforeEach', 'afterEach'],
            package: 'node:test',
          },
        ],
      },
    ],
    'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    'typescript/no-explicit-any': 'error',
    'typescript/no-misused-promises': ['error', { checksVoidReturn: false }],
    'promise/always-return': 'off',
    'promise/no-multiple-resolved': 'off',
    'promise/valid-params': 'off',
    'promise/no-callback-in-promise': 'off',
    'typescript/unbound-method': 'off',
    'unicorn/no-useless-spread': 'off',
    'import/no-named-as-default-member': 'off',
    'unicorn/no-new-array': 'off',
    'typescript/no-misused-spread': 'off',
    'typescript/no-meaningless-void-operator': 'off',
  },
  overrides: [
    ...borders(),
    { files: ['src/config/options.ts', 'src/admin/tables.ts'], rules: { 'max-lines': 'off' } },
    // an expression statement at its end is the value of the script
    { files: ['test/**'], rules: { 'typescript/require-array-sort-compare': 'off' } },
    // they must have the export that their reader asks for
    {
      files: ['src/functions/sandbox/host-addon.ts', 'oxlint.config.ts'],
      rules: { 'import/no-default-export': 'off' },
    },
  ],
};
