/** The npm package: packed, installed into an empty folder as `npm install --global` does it, and started there. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';

const ROOT = join(import.meta.dirname, '..', '..');

test('the npm package, installed into an empty folder, routes a query', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'npm-'));
  t.after(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  const built = join(folder, 'dist');
  execFileSync(process.execPath, [join(ROOT, 'scripts', 'build.ts'), built]);
  // install scripts of packages find this Node, a supported one
  const env = { ...process.env, PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter) };
  const npm = (...args: string[]): string =>
    execFileSync('npm', [...args, '--loglevel=error', '--no-audit', '--no-fund'], {
      cwd: built,
      env,
      encoding: 'utf8',
    }).trim();
  const tarball = join(folder, npm('pack', `--pack-destination=${folder}`).split('\n').at(-1)!);
  const installed = join(folder, 'installed');
  npm('install', '--global', `--prefix=${installed}`, tarball);

  const [one, two] = [await Cluster.start(t), await Cluster.start(t)];
  const bouncer = await Bouncer.start(t, {
    command: join(installed, 'bin', 'pgswitchyard'),
    databases: { dev: one.connectionString(), 'dev.2': two.connectionString() },
    env: { PATH: env.PATH },
    files: {
      'user-functions/routing_rules.ts': `import type { RoutingRules } from 'pgswitchyard';
        export const routing_rules: RoutingRules = (_user, query) => (query.includes('second') ? 'dev.2' : 'dev');`,
    },
  });
  await bouncer.waitForLog(/user functions loaded/);
  const portOf = async (mark: string): Promise<unknown> =>
    (await bouncer.sql(`SELECT current_setting('port') AS port /* ${mark} */`))[0]!['port'];
  assert.equal(await portOf('first'), String(one.port));
  assert.equal(await portOf('second'), String(two.port));
});
