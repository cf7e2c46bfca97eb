/** The command line: its output and the exit codes. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { isSupportedNode } from '../../bin/node-version.mjs';
import { Bouncer } from '../support/bouncer.ts';
import { until } from '../support/wait.ts';

const COMMAND = join(import.meta.dirname, '..', '..', 'bin', 'pgswitchyard');

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [COMMAND, ...args], { encoding: 'utf8' });
}

test('the first line of --version is the answer to SHOW VERSION', () => {
  for (const option of ['--version', '-V']) {
    const { status, stdout } = run(option);
    assert.equal(status, 0);
    assert.match(stdout, /^PgBouncer 1\.\d+\.\d+\npgswitchyard \d+\.\d+\.\d+\n/);
    assert.match(stdout, new RegExp(`^node ${process.versions.node}$`, 'm'));
  }
});

test('--help names every option and ends with 0', () => {
  const { status, stdout } = run('--help');
  assert.equal(status, 0);
  for (const option of ['-d, --daemon', '-q, --quiet', '-v, --verbose', '-R, --reboot', '-u, --user=']) {
    assert.ok(stdout.includes(option), option);
  }
});

test('an invalid command line exits with 1 and the reason', () => {
  const missing = run('-v');
  assert.equal(missing.status, 1);
  assert.match(
    missing.stderr,
    /no configuration file specified\nTry "pgswitchyard --help" for more information\./,
  );
  for (const [argument, complaint] of [
    ['--frobnicate', "unrecognized option '--frobnicate'"],
    ['-x', "invalid option -- 'x'"],
    ['-u', "option requires an argument -- 'u'"],
    ['--quiet=1', "option '--quiet' doesn't allow an argument"],
    // verbose or version?
    ['--ver', "unrecognized option '--ver'"],
  ] as const) {
    const { status, stderr } = run(argument);
    assert.equal(status, 1);
    assert.equal(stderr.split('\n')[0], `pgswitchyard: ${complaint}`);
  }
  assert.match(run('--vers').stdout, /^PgBouncer 1\./);
  const absent = run('/nonexistent/pgbouncer.ini');
  assert.equal(absent.status, 1);
  assert.match(absent.stderr, /\/nonexistent\/pgbouncer\.ini.*no such file.*\ncannot load config file\n$/);
  const quiet = run('-q', '/nonexistent/pgbouncer.ini');
  assert.deepEqual([quiet.status, quiet.stdout, quiet.stderr], [1, '', '']);
});

test('a start reuses the compiled code of the one before', (t) => {
  try {
    accessSync(join(dirname(COMMAND), '..', 'node_modules'), constants.W_OK);
  } catch {
    return t.skip('nothing can be kept in this checkout');
  }
  const env: NodeJS.ProcessEnv = { ...process.env, NODE_DEBUG_NATIVE: 'COMPILE_CACHE' };
  delete env['NODE_COMPILE_CACHE'];
  const start = (): string =>
    spawnSync(process.execPath, [COMMAND, '/nonexistent/pgbouncer.ini'], { encoding: 'utf8', env }).stderr;
  start();
  assert.match(
    start(),
    /reading cache from .*\/node_modules\/\.cache\/pgswitchyard\/.*src\/proxy\.ts.*success/,
  );
});

test(
  'root is refused, unless a user to become is named',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const bouncer = await Bouncer.prepare(t);
    const refused = run(bouncer.configFile);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /pgswitchyard should not run as root: start it with -u USER/);
    const unknown = run('-u', 'no-such-user', bouncer.configFile);
    assert.equal(unknown.status, 1);
    assert.match(unknown.stderr, /could not find user 'no-such-user' to switch to/);
  },
);

test('-v applies unless the file sets verbose, and survives a reload', async (t) => {
  const bouncer = await Bouncer.start(t, { args: ['-v', '-v'] });
  const verbose = async (): Promise<string | undefined> => {
    const rows = await bouncer.admin<{ key: string; value: string }>('SHOW CONFIG');
    return rows.find(({ key }) => key === 'verbose')?.value;
  };
  assert.equal(await verbose(), '2');
  await bouncer.reload();
  assert.equal(await verbose(), '2');
  bouncer.markLog();
  await bouncer.admin('SHOW VERSION');
  assert.ok(bouncer.logContains(/ (DEBUG|NOISE) /));
  await bouncer.stop();
  bouncer.settings['verbose'] = 1;
  await bouncer.writeFiles();
  await bouncer.start();
  assert.equal(await verbose(), '1');
});

test('-q writes nothing to stderr and everything to the log', async (t) => {
  const bouncer = await Bouncer.start(t, { args: ['-q'] });
  await bouncer.stop('SIGINT');
  assert.equal(bouncer.output, '');
  assert.match(bouncer.log(), /process up[^]*got SIGINT/);
});

test(
  'the log begins with what the kernel allows and the configuration could need',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const bouncer = await Bouncer.start(t, {
      databases: { own: 'pool_size=7', forced: 'user=x', half: 'user=x pool_size=5' },
      settings: { max_client_conn: 50, default_pool_size: 3 },
      userlist: { a: '', b: '' },
    });
    // four users of the configuration, and two of the harness
    assert.match(
      bouncer.log(),
      /^\S+ \S+ UTC \[\d+\] LOG kernel file descriptor limit: \d+ \(hard: \d+\); max_client_conn: 50, max expected fd use: 96$/m,
    );
  },
);

test('errors in the configuration are also written to its log, with and without -q', async (t) => {
  const bouncer = await Bouncer.prepare(t, { ini: 'pool_mode = sometimes\n', args: ['-q'] });
  await bouncer.writeFile('log', '');
  await assert.rejects(bouncer.start());
  assert.equal(bouncer.output, '');
  assert.match(
    bouncer.log(),
    / ERROR \S+pgbouncer\.ini:\d+: pool_mode: invalid value "sometimes"[^]* FATAL cannot load config file$/m,
  );
});

/** Another Node on this machine that can't run the proxy. */
const olderNode = ((): string | null => {
  for (const node of ['/usr/bin/node', '/usr/local/bin/node']) {
    const { status, stdout } = spawnSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' });
    if (status === 0 && !isSupportedNode(stdout.trim())) return node;
  }
  return null;
})();

test(
  'started by an older Node it runs with the packaged one; signals and exit codes come through',
  { skip: olderNode === null && 'no other Node on this machine' },
  async (t) => {
    const version = spawnSync(olderNode!, [COMMAND, '--version'], { encoding: 'utf8' });
    assert.equal(version.status, 0);
    assert.match(version.stdout, new RegExp(`^node ${process.versions.node}$`, 'm'));
    assert.equal(spawnSync(olderNode!, [COMMAND]).status, 1);

    const bouncer = await Bouncer.prepare(t, { databases: { postgres: 'host=127.0.0.1 port=1' } });
    const user = process.getuid?.() === 0 ? ['-u', 'root'] : [];
    const child = spawn(olderNode!, [COMMAND, ...user, bouncer.configFile], { stdio: 'ignore' });
    const exit = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    await until('the proxy to start', () => bouncer.log().includes('process up'));
    child.kill('SIGUSR1');
    await until('the signal to arrive', () => bouncer.log().includes('got SIGUSR1'));
    child.kill('SIGINT');
    assert.equal(await exit, 0);
    assert.equal(bouncer.log().split('got SIGINT').length, 2);
  },
);
