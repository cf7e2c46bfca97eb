/**
 * `npm run build`: the package as it is published, in dist/ or the folder that is given. Node strips types in a checkout,
 * but not in node_modules. `npm publish dist` publishes it.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OWN_SCRIPTS } from '../src/functions/sandbox/programs.ts';
import { bundle } from '../src/http/web/files.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = resolve(process.argv[2] ?? join(root, 'dist'));

rmSync(out, { recursive: true, force: true });
const tsc = join(root, 'node_modules', '.bin', 'tsc');
execFileSync(tsc, ['-p', join(root, 'tsconfig.build.json'), '--outDir', out], { stdio: 'inherit' });
cpSync(join(root, 'sandbox', 'globals.d.ts'), join(out, 'sandbox', 'globals.d.ts'));
for (const script of OWN_SCRIPTS) writeFileSync(join(out, script.name), script.text);
mkdirSync(join(out, 'web'));
for (const [made, source] of [
  ['main.js', 'main.tsx'],
  ['style.css', 'style.css'],
] as const)
  writeFileSync(join(out, 'web', made), await bundle(source));
/** about the source, which is not in the package, and for tools that work on it */
const LEFT_OUT = ['docs/architecture.md', 'docs/config.schema.json'].map((path) => join(root, path));
for (const path of ['bin', 'deploy', 'docs', 'user-functions', 'pgbouncer.ini', 'CHANGELOG.md', 'LICENSE'])
  cpSync(join(root, path), join(out, path), { recursive: true, filter: (file) => !LEFT_OUT.includes(file) });
// fields that have no meaning outside of a checkout
const readme = readFileSync(join(root, 'README.md'), 'utf8')
  .replaceAll(/<!-- checkout -->\n[^]*?<!-- \/checkout -->\n\n?/g, '')
  .replaceAll(/^.*\(docs\/architecture\.md\).*\n/gm, '');
writeFileSync(join(out, 'README.md'), readme);

const { name, version, description, license, bin, type, dependencies, engines } = JSON.parse(
  readFileSync(join(root, 'package.json'), 'utf8'),
) as Record<string, unknown>;
const exports = {
  '.': { types: './sandbox/api.d.ts', default: './sandbox/api.js' },
  './sandbox': { types: './sandbox/globals.d.ts' },
  './package.json': './package.json',
};
const published = { name, version, description, license, bin, type, exports, dependencies, engines };
writeFileSync(join(out, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
