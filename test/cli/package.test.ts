/** The package as it is published: JavaScript only, started as its user would. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { removeFolder, temporaryFolder } from '../../src/cli/embedded-postgres.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';

const ROOT = join(import.meta.dirname, '..', '..');

test('what npm run build makes runs a rule, and is a package that rules import', async (t) => {
  const folder = await temporaryFolder('package');
  t.after(() => removeFolder(folder));
  const built = join(folder, 'pgswitchyard');
  const { status, stderr } = spawnSync(process.execPath, [join(ROOT, 'scripts', 'build.ts'), built], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  await chmod(folder, 0o755);
  await symlink(join(ROOT, 'node_modules'), join(built, 'node_modules'));

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
