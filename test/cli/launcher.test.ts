/** bin/pgswitchyard under an old Node, which starts the proxy as a child. */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { reapProcess } from '../../src/platform/reaper.ts';
import { Bouncer } from '../support/bouncer.ts';
import { until } from '../support/wait.ts';

const ROOT = join(import.meta.dirname, '..', '..');

/** A checkout whose launcher takes its own Node for an old one, and finds another Node beside it. */
async function oldCheckout(): Promise<string> {
  const folder = await temporaryFolder('launcher');
  mkdirSync(join(folder, 'bin'));
  mkdirSync(join(folder, 'node_modules', '.bin'), { recursive: true });
  for (const name of ['pgswitchyard', 'quick-imports.mjs'])
    copyFileSync(join(ROOT, 'bin', name), join(folder, 'bin', name));
  writeFileSync(
    join(folder, 'bin', 'node-version.mjs'),
    `export const SUPPORTED_NODE = 'another';
process.execve = undefined;
const { PGSWITCHYARD_LAUNCHER: launched, PGSWITCHYARD_DAEMON: daemon } = process.env;
export const isSupportedNode = () => launched !== undefined || daemon !== undefined;
`,
  );
  for (const name of ['src', 'sandbox', 'package.json']) symlinkSync(join(ROOT, name), join(folder, name));
  const node = join(folder, 'node_modules', '.bin', 'node');
  writeFileSync(node, `#!/bin/sh\nexec '${process.execPath}' "$@"\n`);
  for (const file of [node, folder]) chmodSync(file, 0o755);
  return join(folder, 'bin', 'pgswitchyard');
}

const command = await oldCheckout();

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function startUnder(): Promise<{ bouncer: Bouncer; proxyPid: number }> {
  const bouncer = await Bouncer.prepare({ after }, { command });
  bouncer.settings['pidfile'] = join(bouncer.folder, 'pid');
  await bouncer.writeFiles();
  await bouncer.start();
  const proxyPid = Number(readFileSync(join(bouncer.folder, 'pid'), 'latin1'));
  reapProcess(proxyPid);
  assert.notEqual(proxyPid, bouncer.pid);
  return { bouncer, proxyPid };
}

test('the proxy ends with a log line when the launcher is killed', async () => {
  const { bouncer, proxyPid } = await startUnder();
  bouncer.signal('SIGKILL');
  await until('the proxy to end', () => !isAlive(proxyPid));
  assert.ok(
    bouncer.logContains(/FATAL the process that started this one is gone without a signal, fast exit/),
  );
});

test('the launcher passes signals on and exits with the proxy’s exit code', async () => {
  const { bouncer, proxyPid } = await startUnder();
  bouncer.signal('SIGTERM');
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
  assert.ok(!isAlive(proxyPid));
  assert.ok(bouncer.logContains(/got SIGTERM/));
});

test('a daemon keeps running after its launcher has ended', async () => {
  const bouncer = await Bouncer.prepare({ after }, { command, args: ['-d'] });
  bouncer.settings['pidfile'] = join(bouncer.folder, 'pid');
  await bouncer.writeFiles();
  bouncer.spawn();
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
  const daemon = Number(readFileSync(join(bouncer.folder, 'pid'), 'latin1'));
  reapProcess(daemon);
  assert.equal((await bouncer.admin('SHOW VERSION')).length, 1);
  process.kill(daemon, 'SIGQUIT');
  await until('the daemon to end', () => !isAlive(daemon));
});
