/** The end of SUSPEND for clients that do not read, without a server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sessions } from '../../src/session/sessions.ts';
import { dropUnflushed } from '../../src/session/suspend.ts';
import type { ClientError } from '../../src/wire/errors.ts';

test('suspend_timeout ends the clients and servers that have unsent bytes, except the console’s clients', () => {
  const closed: string[] = [];
  const clientOf = (name: string, writableLength: number, isConsole = false): object => ({
    isConsole,
    socket: { writableLength },
    close: (reason: string, { severity, code, message }: ClientError) =>
      closed.push(`${name}: ${reason}, ${severity} ${code} ${message}`),
  });
  const serverOf = (name: string, writableLength: number): object => ({
    socket: { writableLength },
    close: (reason: string) => closed.push(`${name}: ${reason}`),
  });
  dropUnflushed({
    clients: new Set([clientOf('slow', 1), clientOf('quick', 0), clientOf('operator', 1, true)]),
    directory: { allServers: () => [serverOf('busy server', 1), serverOf('server', 0)] },
  } as unknown as Sessions);
  assert.deepEqual(closed, [
    'slow: suspend_timeout, FATAL 08P01 suspend_timeout',
    'busy server: suspend_timeout',
  ]);
});
