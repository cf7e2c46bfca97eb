/** The command line with the environment: --from-env, --container, `config` and `config check`. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';

const COMMAND = join(import.meta.dirname, '..', '..', 'bin', 'pgswitchyard');

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(args: readonly string[], env: Record<string, string> = {}): Result {
  return spawnSync(process.execPath, [COMMAND, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], ...env },
  });
}

test('config prints the configuration of the environment', () => {
  const { status, stdout } = run(['config', '--from-env'], {
    PGSWITCHYARD_LISTEN_PORT: '7777',
    listen_port: '1',
  });
  assert.equal(status, 0);
  assert.equal(stdout, '[pgbouncer]\n; PGSWITCHYARD_LISTEN_PORT\nlisten_port = 7777\n');
});

test('--container takes the lower-case names as well', () => {
  const { stdout } = run(['config', '--container'], { default_pool_size: '20' });
  assert.equal(stdout, '[pgbouncer]\n; default_pool_size\ndefault_pool_size = 20\n');
});

test('config check names every problem, and exits with 1', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'check-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, 'pgbouncer.ini');
  await writeFile(
    file,
    '[databases]\ndb = host=h\nother = host=h\n[pgbouncer]\nuser_function_preload = 0\nauth_file = ' +
      `${join(folder, 'userlist.txt')}\n`,
  );
  await writeFile(join(folder, 'userlist.txt'), '"app" "x"\n');
  const valid = run(['config', 'check', file]);
  assert.deepEqual([valid.status, valid.stdout, valid.stderr], [0, 'the configuration is valid\n', '']);

  await writeFile(join(folder, 'userlist.txt'), '"app"\n');
  await mkdir(join(folder, 'user-functions', 'db'), { recursive: true });
  await writeFile(
    join(folder, 'user-functions', 'db', 'routing_rules.ts'),
    'export function routing_rules() {\n',
  );
  const broken = run(['config', 'check', file]);
  assert.equal(broken.status, 1);
  assert.match(broken.stderr, /^could not parse auth file line 1: /m);
  assert.match(broken.stderr, /^user functions in .*\/db: .*routing_rules\.ts:2/m);

  const wrong = run(['config', 'check', '--from-env', file], { PGSWITCHYARD_LISTEN_PORT: 'x' });
  assert.equal(wrong.status, 1);
  assert.match(wrong.stderr, /^PGSWITCHYARD_LISTEN_PORT: listen_port: /);
});

test('a secret that Kubernetes swaps is a reload', async (t) => {
  const bouncer = await Bouncer.prepare(t, {
    args: ['--from-env'],
    settings: { auth_type: 'plain' },
    env: { PGB_ADMIN_USERS: 'ops', PGB_ADMIN_PASSWORDS_FILE: 'secret/passwords' },
  });
  // as kubelet mounts it: the file is a link through ..data, which is replaced as a whole
  await bouncer.writeFile('secret/..one/passwords', 'first');
  await symlink('..one', join(bouncer.folder, 'secret', '..data'));
  await symlink('..data/passwords', join(bouncer.folder, 'secret', 'passwords'));
  await bouncer.start();
  const login = async (password: string): Promise<unknown> =>
    await (await bouncer.connect({ user: 'ops', password, database: 'pgbouncer' })).query('SHOW VERSION');
  await login('first');
  await bouncer.writeFile('secret/..two/passwords', 'second');
  await symlink('..two', join(bouncer.folder, 'secret', '..data_tmp'));
  await rename(join(bouncer.folder, 'secret', '..data_tmp'), join(bouncer.folder, 'secret', '..data'));
  await bouncer.waitForLog(/a file that the environment names has changed/);
  await login('second');
  await assert.rejects(login('first'));
});
