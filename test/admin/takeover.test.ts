/** Who may take over the listening sockets, tested without a socket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Operator } from '../../src/admin/operator.ts';
import { takeOver } from '../../src/admin/process-commands.ts';

function operator(isOwnProcess: boolean): Operator {
  return {
    terminal: { successor: isOwnProcess ? {} : null },
    requireAdmin: () => {},
    steer: { handOver: () => assert.fail('handed over') },
  } as unknown as Operator;
}

test('TAKEOVER is refused to other users, and on a connection that no descriptors can pass through', () => {
  assert.throws(() => takeOver(operator(false), ''), {
    code: '08P01',
    message: 'only a process of the same user can take over',
  });
  assert.throws(() => takeOver(operator(true), ''), {
    code: '08P01',
    message: 'descriptors cannot be passed here',
  });
});
