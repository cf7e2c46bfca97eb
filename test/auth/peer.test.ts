/** The process at the other end of a Unix socket. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, chmodSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { peerCredentials, PeerError } from '../../src/auth/peer.ts';

const noPerl: string | false = (() => {
  try {
    execFileSync('perl', ['-e', '1']);
    return false;
  } catch {
    return 'perl is not installed';
  }
})();

/** A listening Unix socket, and a connection to it. */
async function listen(t: TestContext): Promise<{ path: string; next: () => Promise<Socket> }> {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-peer-'));
  chmodSync(folder, 0o755);
  const path = join(folder, 'socket');
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  chmodSync(path, 0o777);
  t.after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  return {
    path,
    next: async () => {
      const [socket] = (await once(server, 'connection')) as [Socket];
      t.after(() => void socket.destroy());
      return socket;
    },
  };
}

test(
  'a connection from this process reports it as the peer, and stays usable',
  { skip: noPerl },
  async (t) => {
    const { path, next } = await listen(t);
    const client = connect(path);
    t.after(() => void client.destroy());
    const socket = await next();
    // Reading, as a session does at this point.
    const received: string[] = [];
    socket.on('data', (chunk: Buffer) => received.push(chunk.toString()));
    client.write('before');
    await once(socket, 'data');
    assert.deepEqual(await peerCredentials(socket), {
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
      user: userInfo().username,
    });
    client.write('after');
    await once(socket, 'data');
    assert.deepEqual(received, ['before', 'after']);
    socket.write('answer');
    assert.equal(String((await once(client, 'data'))[0]), 'answer');
  },
);

const notRoot: string | false = process.getuid?.() === 0 ? false : 'only root can become somebody else';

test(
  'another user is reported by name, or by number if it has no name',
  { skip: noPerl || notRoot },
  async (t) => {
    const { path, next } = await listen(t);
    const program = `use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; <$s>;`;
    const nobody = execFileSync('id', ['-un', '65534'], { encoding: 'utf8' }).trim();
    for (const [uid, user] of [
      [65_534, nobody],
      [65_001, null],
    ] as const) {
      const child = spawn('perl', ['-e', program, path], { uid, gid: uid, stdio: 'ignore' });
      t.after(() => void child.kill());
      const socket = await next();
      assert.deepEqual(await peerCredentials(socket), { pid: child.pid, uid, gid: uid, user });
    }
  },
);

test('a socket that is closed has no peer', async (t) => {
  const { path, next } = await listen(t);
  const client = connect(path);
  const socket = await next();
  client.destroy();
  socket.destroy();
  await once(socket, 'close');
  await assert.rejects(peerCredentials(socket), PeerError);
});

test('without perl the error says so', async (t) => {
  const { path, next } = await listen(t);
  const client = connect(path);
  t.after(() => void client.destroy());
  const socket = await next();
  const old = process.env['PATH'];
  t.after(() => {
    process.env['PATH'] = old;
  });
  process.env['PATH'] = '/nonexistent';
  await assert.rejects(peerCredentials(socket), { message: 'no peer credentials: perl is not installed' });
});
