/** The clean-up after a process that was killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../support/wait.ts';

const SERVERS = new URL('../../src/demo/embedded-postgres.ts', import.meta.url).href;
const REAPER = new URL('../../src/platform/reaper.ts', import.meta.url).href;

test('a folder is removed after SIGKILL, and unregistered ones can be forgotten any number of times', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-reaped-'));
  const script = `
    const { forgetFolder, forgetProcess, reapFolder } = await import(${JSON.stringify(REAPER)});
    reapFolder(process.argv[1]);
    for (let i = 0; i < 64; i++) { forgetFolder('/nonexistent/' + i); forgetProcess(2 ** 30 + i); }
    console.log('up');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  assert.equal(existsSync(folder), true);
  child.kill('SIGKILL');
  await until('the folder to go', () => !existsSync(folder));
});

test('a folder that is just being made when the process ends is removed too', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-reaped-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const script = `
    const { temporaryFolder } = await import(${JSON.stringify(SERVERS)});
    void temporaryFolder('early');
    const begun = performance.now();
    while (performance.now() - begun < 50);
    process.exit();`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: 'inherit',
    env: { ...process.env, TMPDIR: folder },
  });
  await once(child, 'exit');
  await until('the folder to go', () => readdirSync(folder).length === 0);
});
