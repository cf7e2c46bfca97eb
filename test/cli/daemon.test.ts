/** `-d`: the command returns once the daemon serves, or reports why it does not. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { killIfThere } from '../../src/demo/embedded-postgres.ts';
import { reapProcess } from '../../src/platform/reaper.ts';
import { Bouncer } from '../support/bouncer.ts';
import { until } from '../support/wait.ts';

test('a daemon serves when the command returns, has left the terminal, and ends by signal', async (t) => {
  const bouncer = await Bouncer.prepare(t, { args: ['-d'] });
  const pidfile = join(bouncer.folder, 'pid');
  bouncer.settings['pidfile'] = pidfile;
  await bouncer.writeFiles();
  bouncer.spawn();
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null }, bouncer.output);
  const pid = Number(readFileSync(pidfile, 'latin1'));
  reapProcess(pid);
  t.after(() => killIfThere(pid, 'SIGKILL'));

  assert.equal((await bouncer.admin('SHOW VERSION')).length, 1);
  for (const descriptor of [0, 1, 2])
    assert.equal(readlinkSync(`/proc/${pid}/fd/${descriptor}`), '/dev/null');
  assert.equal(readFileSync(`/proc/${pid}/comm`, 'latin1'), 'pgswitchyard\n');
  // Its own session: field 6 of stat, after the name in parentheses.
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ');
  assert.equal(Number(fields?.[3]), pid);

  // A second one finds the first.
  bouncer.spawn();
  assert.equal((await bouncer.exited()).code, 1);
  await until('its last words', () => /another instance running|in use/.test(bouncer.output));

  process.kill(pid, 'SIGTERM');
  await until('the daemon to end', () => !existsSync(pidfile));
});

test('the command fails with the reason if the daemon cannot start', async (t) => {
  const bouncer = await Bouncer.prepare(t, { args: ['-d'], settings: { listen_addr: '203.0.113.1' } });
  bouncer.settings['pidfile'] = join(bouncer.folder, 'pid');
  await bouncer.writeFiles();
  bouncer.spawn();
  assert.equal((await bouncer.exited()).code, 1);
  await until('its last words', () => bouncer.output.includes('203.0.113.1'));
  assert.ok(!existsSync(join(bouncer.folder, 'pid')));
});

test('a daemon needs a pidfile and a log destination', async (t) => {
  const noPidfile = await Bouncer.prepare(t, { args: ['-d'] });
  noPidfile.spawn();
  assert.equal((await noPidfile.exited()).code, 1);
  await until('the reason', () => noPidfile.output.includes('daemon needs pidfile configured'));

  const noLog = await Bouncer.prepare(t, { args: ['-d'], settings: { logfile: '' } });
  noLog.settings['pidfile'] = join(noLog.folder, 'pid');
  await noLog.writeFiles();
  noLog.spawn();
  assert.equal((await noLog.exited()).code, 1);
  await until('the reason', () => noLog.output.includes('daemon needs logging configured'));
});
