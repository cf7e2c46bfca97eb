/** `npm start`: the first impression of a new user. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client } from 'pg';
import { removeFolder, temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { forgetProcess, reapProcess } from '../../src/platform/reaper.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const COMMAND = join(import.meta.dirname, '..', '..', 'bin', 'pgswitchyard');

interface Demo {
  child: ChildProcess;
  exit: Promise<number | null>;
  /** Its own temporary files, and no others. */
  folder: string;
  output(): string;
}

async function start(scope: Scope, args: string[] = []): Promise<Demo> {
  const folder = await temporaryFolder('demo-test');
  await chmod(folder, 0o755);
  const child = spawn(process.execPath, [COMMAND, 'demo', ...args], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { pid } = child;
  if (pid !== undefined) reapProcess(pid);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const exit = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  scope.after(async () => {
    child.kill('SIGKILL');
    await exit;
    if (pid !== undefined) forgetProcess(pid);
    await until('the temporary files to go', () => readdirSync(folder).length === 0);
    await removeFolder(folder);
  });
  return { child, exit, folder, output: () => output };
}

test('it shows one session that two servers answer, and a rewritten query', async (t) => {
  const demo = await start(t, ['--once']);
  assert.equal(await demo.exit, 0, demo.output());
  const output = demo.output();
  assert.match(output, /FROM tablea\n\s+-> tablea on server 1/);
  assert.match(output, /FROM tableb\n\s+-> tableb on server 2/);
  assert.match(output, /the query was rewritten/);
  assert.match(output, /psql -h 127\.0\.0\.1 -p \d+ -U postgres dev/);
  assert.deepEqual(readdirSync(demo.folder), []);
});

test('it takes other ports when its own are in use, serves until Ctrl-C, and leaves nothing behind', async (t) => {
  const blocker = createServer();
  // Another process may already use it, which serves as well.
  blocker.on('error', () => {});
  blocker.listen(6433, '127.0.0.1');
  t.after(() => void blocker.close());
  await Promise.race([once(blocker, 'listening'), once(blocker, 'error')]);

  const demo = await start(t);
  await until(
    'the demo to be ready',
    () => /Ctrl-C ends/.test(demo.output()) || demo.child.exitCode !== null,
    60_000,
  );
  assert.match(demo.output(), /in use: taking/);
  const port = Number(/psql -h 127\.0\.0\.1 -p (\d+) -U postgres dev/.exec(demo.output())?.[1]);
  const client = new Client({ host: '127.0.0.1', port, user: 'postgres', database: 'dev' });
  client.on('error', () => {});
  await client.connect();
  assert.deepEqual((await client.query('SELECT said_by FROM tableb')).rows, [
    { said_by: 'tableb on server 2' },
  ]);

  // on any server that the session is on
  const report =
    'SELECT storename, SUM(total) FROM sales JOIN store USING (storeid) GROUP BY storename ORDER BY storename';
  assert.equal((await client.query(report)).rows.length, 2);

  process.kill(Number(/kill -9 (\d+)/.exec(demo.output())?.[1]), 'SIGKILL');
  // its backends notice that after a while
  await until('server 2 to be gone', () =>
    client.query('SELECT said_by FROM tableb').then(
      () => false,
      () => true,
    ),
  );
  const another = new Client({ host: '127.0.0.1', port, user: 'postgres', database: 'dev' });
  another.on('error', () => {});
  await another.connect();
  assert.equal((await another.query('SELECT said_by FROM tablea')).rows.length, 1);
  const asked = performance.now();
  await assert.rejects(
    another.query('SELECT said_by FROM tableb'),
    /query_wait_timeout|server login has been failing/,
  );
  assert.ok(performance.now() - asked < 15_000);

  demo.child.kill('SIGINT');
  assert.equal(await demo.exit, 0, demo.output());
  assert.deepEqual(readdirSync(demo.folder), []);
  await assert.rejects(new Client({ host: '127.0.0.1', port, user: 'postgres', database: 'dev' }).connect());
});
