/** The states of a server: which moves are allowed, and the reports to its pool. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Server } from '../../src/pool/server.ts';
import type { ServerState } from '../../src/pool/server-state.ts';
import { clientErrors } from '../../src/wire/errors.ts';
import { parameterStatus } from '../../src/wire/messages.ts';
import { FakePools, FakeWaiter, settled } from './fakes.ts';

const STATES: ServerState[] = ['login', 'idle', 'tested', 'active', 'parked', 'closed'];

/** How a server gets into a state, beginning with the login. */
const WAYS: Readonly<Record<ServerState, readonly ServerState[]>> = {
  login: [],
  idle: ['idle'],
  tested: ['tested'],
  active: ['active'],
  parked: ['active', 'parked'],
  closed: ['closed'],
};

/** The moves that are allowed, one for each line. */
const ALLOWED = `
  login>idle login>tested login>active login>closed
  idle>tested idle>active idle>closed
  tested>idle tested>tested tested>active tested>closed
  active>idle active>tested active>parked active>closed
  parked>active parked>closed
`.match(/\S+/g)!;

/** A server that is logging in. */
function loggingIn(): Server {
  const pools = new FakePools('[databases]\ndb = host=10.0.0.1\n[pgbouncer]\n');
  new FakeWaiter().acquire(pools.pool());
  return pools.attempt.connect();
}

for (const from of STATES) {
  for (const to of STATES) {
    const isAllowed = ALLOWED.includes(`${from}>${to}`);
    test(`a server ${isAllowed ? 'may go' : 'never goes'} from ${from} to ${to}`, () => {
      const server = loggingIn();
      for (const state of WAYS[from]) server.moveTo(state);
      if (isAllowed) {
        server.moveTo(to);
        assert.equal(server.state, to);
      } else {
        assert.throws(() => server.moveTo(to), new RegExp(`from ${from} to ${to}`));
        assert.equal(server.state, from);
      }
    });
  }
}

test('an idle server may report a setting or a notice; its error, or anything else, closes it', async () => {
  const cases: [name: string, bytes: Buffer, state: ServerState][] = [
    ['setting', parameterStatus('TimeZone', 'UTC'), 'idle'],
    ['notice', Buffer.from('N\0\0\0\x05\0', 'latin1'), 'idle'],
    ['error', clientErrors.shuttingDown().encode(), 'closed'],
    ['row', Buffer.from('D\0\0\0\x06\0\0', 'latin1'), 'closed'],
    ['half a message', Buffer.from('N\0\0\0\x20', 'latin1'), 'closed'],
  ];
  for (const [name, bytes, state] of cases) {
    const pools = new FakePools('[databases]\ndb = host=10.0.0.1\n[pgbouncer]\n');
    const waiter = new FakeWaiter().acquire(pools.pool());
    const server = await pools.attempt.succeed();
    pools.pool().give(waiter.server!);
    server.receive(bytes);
    await settled();
    assert.equal(server.state, state, name);
    assert.equal(server.settings.value('TimeZone'), name === 'setting' ? 'UTC' : undefined);
  }
});
