/** Listening: every address that can be bound, and a Unix socket that no other process owns. */
import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';

const hasIpv6 = Object.values(networkInterfaces())
  .flat()
  .some((each) => each?.address === '::1');
const admin = { user: 'pgbouncer', database: 'pgbouncer' };

test('an address that cannot be bound is a warning if another one can', async (t) => {
  const bouncer = await Bouncer.start(t, { settings: { listen_addr: '203.0.113.1, 127.0.0.1' } });
  assert.match(
    bouncer.log(),
    new RegExp(`WARNING cannot listen on 203\\.0\\.113\\.1:${bouncer.port}: bind\\(\\): [A-Z]`),
  );
  assert.equal((await bouncer.admin('SHOW VERSION')).length, 1);
});

test('the start fails if no address can be bound, even with a Unix socket', async (t) => {
  const bouncer = await Bouncer.prepare(t, { settings: { listen_addr: '203.0.113.1' } });
  await assert.rejects(
    bouncer.start(),
    /failed to listen on any address in listen_addr list: 203\.0\.113\.1/,
  );
  assert.equal((await bouncer.exited()).code, 1);
  const nameless = await Bouncer.prepare(t, { settings: { listen_addr: 'nosuch.invalid' } });
  await assert.rejects(nameless.start(), /getaddrinfo\('nosuch\.invalid', '\d+'\) = /);
  const nowhere = await Bouncer.prepare(t, { settings: { listen_addr: '', unix_socket_dir: '' } });
  await assert.rejects(nowhere.start(), /nowhere to listen on/);
});

test('`*` listens on IPv4 and IPv6, each with its own addresses', async (t) => {
  const bouncer = await Bouncer.start(t, { settings: { listen_addr: '*' } });
  assert.match(bouncer.log(), new RegExp(`LOG listening on 0\\.0\\.0\\.0:${bouncer.port}\n`));
  const rows = await bouncer.sql<{ addr: string }>('SHOW CLIENTS', { ...admin, host: '127.0.0.1' });
  assert.deepEqual(
    rows.map(({ addr }) => addr),
    ['127.0.0.1'],
  );
  if (!hasIpv6) return;
  assert.match(bouncer.log(), new RegExp(`LOG listening on \\[::\\]:${bouncer.port}\n`));
  const [row] = await bouncer.sql<{ addr: string }>('SHOW CLIENTS', { ...admin, host: '::1' });
  assert.equal(row?.addr, '::1');
});

test('`::` and `0.0.0.0` can be used together', { skip: !hasIpv6 && 'no IPv6 here' }, async (t) => {
  const bouncer = await Bouncer.start(t, { settings: { listen_addr: '::, 0.0.0.0' } });
  assert.ok(!bouncer.logContains(/WARNING/));
  for (const host of ['127.0.0.1', '::1'])
    assert.equal((await bouncer.sql('SHOW VERSION', { ...admin, host })).length, 1);
});

test('a second process with the same Unix socket does not start and leaves the first one alone', async (t) => {
  const first = await Bouncer.start(t);
  const second = first.prepareSuccessor(t, []);
  await assert.rejects(second.start(), /unix socket is in use, cannot continue/);
  assert.equal((await second.exited()).code, 1);
  assert.equal((await first.sql('SHOW VERSION', { ...admin, host: first.folder })).length, 1);
});

test('a process that accepts no clients at the moment still owns its socket', async (t) => {
  const bouncer = await Bouncer.start(t, { settings: { listen_backlog: 1 } });
  const path = join(bouncer.folder, `.s.PGSQL.${bouncer.port}`);
  bouncer.signal('SIGSTOP');
  try {
    // until the queue is full
    for (let code = ''; code !== 'EAGAIN';) {
      const socket = createConnection({ path });
      t.after(() => socket.destroy());
      code = await new Promise((resolve) => {
        socket.once('connect', () => resolve(''));
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
      });
    }
    const second = bouncer.prepareSuccessor(t, []);
    await assert.rejects(second.start(), /unix socket is in use, cannot continue/);
    assert.ok(existsSync(path));
  } finally {
    bouncer.signal('SIGCONT');
  }
});

test('a socket file that a dead process left is replaced; one of a PostgreSQL server is not', async (t) => {
  const bouncer = await Bouncer.prepare(t, { settings: { unix_socket_mode: '0750' } });
  const path = join(bouncer.folder, `.s.PGSQL.${bouncer.port}`);
  await bouncer.start();
  process.kill(bouncer.pid, 'SIGKILL');
  await bouncer.exited();
  assert.ok(existsSync(path));
  await bouncer.start();
  assert.equal(statSync(path).mode & 0o777, 0o750);
  assert.equal((await bouncer.sql('SHOW VERSION', { ...admin, host: bouncer.folder })).length, 1);
  await bouncer.stop('SIGTERM');

  writeFileSync(`${path}.lock`, '');
  await assert.rejects(bouncer.start(), new RegExp(`unix port ${bouncer.port} is in use`));
});

test(
  'clients can connect through an abstract Unix socket',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const bouncer = await Bouncer.prepare(t);
    bouncer.settings['unix_socket_dir'] = `@${bouncer.folder}`;
    await bouncer.writeFiles();
    await bouncer.start();
    const path = `\0${bouncer.folder}/.s.PGSQL.${bouncer.port}`;
    const taken = createServer().listen({ path });
    const [error] = (await once(taken, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'EADDRINUSE');
    const second = bouncer.prepareSuccessor(t, []);
    await assert.rejects(second.start(), /unix socket is in use, cannot continue/);
  },
);
