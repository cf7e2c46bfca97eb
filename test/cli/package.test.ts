/** The package as it is published: JavaScript only, started as a user would start it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { removeFolder, temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';

const ROOT = join(import.meta.dirname, '..', '..');

test('the package that npm run build builds runs a rule, and rules can import it', async (t) => {
  const folder = await temporaryFolder('package');
  t.after(() => removeFolder(folder));
  const built = join(folder, 'pgswitchyard');
  const { status, stderr } = spawnSync(process.execPath, [join(ROOT, 'scripts', 'build.ts'), built], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  await chmod(folder, 0o755);
  await symlink(join(ROOT, 'node_modules'), join(built, 'node_modules'));

  // the links and commands of its pages are valid
  const names = await readdir(join(built, 'docs'), { recursive: true });
  const pages = [
    'README.md',
    ...names.filter((name) => name.endsWith('.md')).map((name) => join('docs', name)),
  ];
  for (const page of pages) {
    const text = await readFile(join(built, page), 'utf8');
    for (const [, target] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g))
      assert.ok(existsSync(join(built, dirname(page), target!)), `${page} links to ${target}`);
  }
  assert.doesNotMatch(await readFile(join(built, 'README.md'), 'utf8'), /npm run demo|<!--|architecture\.md/);
  assert.ok(!existsSync(join(built, 'docs', 'config.schema.json')));

  // the manual's tsconfig.json finds the existing globals, and no others
  const rules = join(folder, 'rules');
  const [, tsconfig] = /`tsconfig\.json`:\n\n```json\n([^]*?)```/.exec(
    await readFile(join(built, 'docs', 'install.md'), 'utf8'),
  )!;
  await mkdir(join(rules, 'node_modules'), { recursive: true });
  await symlink(built, join(rules, 'node_modules', 'pgswitchyard'));
  await writeFile(join(rules, 'tsconfig.json'), tsconfig!);
  const tsc = (text: string): string => {
    writeFileSync(join(rules, 'routing_rules.ts'), text);
    return spawnSync(join(ROOT, 'node_modules', '.bin', 'tsc'), ['-p', rules], { encoding: 'utf8' }).stdout;
  };
  const sound =
    "import type { RoutingRules } from 'pgswitchyard';\nexport const routing_rules: RoutingRules = (user) => { console.log(user.at(0)); return null; };";
  assert.equal(tsc(sound), '');
  for (const name of [
    'setTimeout',
    'fetch',
    'Atomics',
    'SharedArrayBuffer',
    'WeakRef',
    'process',
    'require',
    'WebAssembly',
  ])
    assert.match(tsc(`${sound}\n${name};`), new RegExp(`Cannot find name '${name}'`));

  const cluster = await Cluster.start(t);
  const bouncer = await Bouncer.start(t, {
    command: join(built, 'bin', 'pgswitchyard'),
    databases: { dev: cluster.connectionString() },
    files: {
      'user-functions/routing_rules.ts': `import { reject } from 'pgswitchyard';
        export function routing_rules(_user, query) { if (query.includes('forbidden')) reject('no'); return null; }`,
    },
  });
  await bouncer.waitForLog(/user functions loaded/);
  assert.deepEqual(await bouncer.sql('SELECT 1 AS one'), [{ one: 1 }]);
  await assert.rejects(bouncer.sql('SELECT 1 AS forbidden'), { message: 'no', code: '42501' });
});
