/** Processes that can't be started. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { startProcess } from '../../src/platform/start-process.ts';

for (const [what, command, args, code] of [
  ['no such program', '/nowhere/program', [], 'ENOENT'],
  ['an error that Node throws', '/bin/sh', ['x'.repeat(4_000_000)], 'E2BIG'],
] as const) {
  test(`${what} is reported as an event`, async () => {
    const child = startProcess(command, args, { stdio: 'ignore' });
    const [error] = (await once(child, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, code);
    assert.deepEqual([child.pid, child.kill('SIGKILL'), child.connected], [undefined, false, false]);
    child.unref();
  });
}
