/** What systemd gives to the process and hears from it: sockets, notifications, the watchdog. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client } from 'pg';
import { Bouncer } from '../support/bouncer.ts';
import { until } from '../support/wait.ts';

test('socket activation: listens on what systemd has opened, and on nothing else', async (t) => {
  const sockets = [createServer(), createServer()];
  t.after(() => sockets.forEach((each) => each.close()));
  const bouncer = await Bouncer.prepare(t, {});
  sockets[0]!.listen(0, '127.0.0.1');
  sockets[1]!.listen(0, '127.0.0.2');
  await Promise.all(sockets.map((each) => once(each, 'listening')));
  const ports = sockets.map((each) => (each.address() as { port: number }).port);
  const fds = sockets.map((each) => (each as unknown as { _handle: { fd: number } })._handle.fd);
  const command = bouncer
    .commandLine()
    .map((word) => `'${word}'`)
    .join(' ');
  // the shell knows its own number, which stays when it becomes the proxy
  const child = spawn('/bin/sh', ['-c', `LISTEN_PID=$$ LISTEN_FDS=2 exec ${command}`], {
    stdio: ['ignore', 'ignore', 'ignore', ...fds],
  });
  t.after(async () => {
    if (child.exitCode === null && child.kill('SIGQUIT')) await once(child, 'exit');
  });
  await bouncer.waitForLog(/process up/);
  // or this process would accept clients as well
  for (const each of sockets) each.close();
  for (const [i, port] of ports.entries()) {
    const client = new Client({
      host: `127.0.0.${i + 1}`,
      port,
      user: 'pgbouncer',
      database: 'pgbouncer',
    });
    await client.connect();
    const { rows } = await client.query<{ addr: string }>('SHOW FDS');
    assert.deepEqual(
      rows.map((row) => row.addr),
      ['127.0.0.1', '127.0.0.2'],
    );
    await client.end();
  }
  await assert.rejects(bouncer.connect({ database: 'pgbouncer' }));
});

test('systemd hears of the start, of reloads, of the end, and that it is alive', async (t) => {
  const bouncer = await Bouncer.prepare(t, {});
  const path = join(bouncer.folder, 'notify');
  // Node can't listen on a datagram socket of this kind
  const perl = spawn('perl', [
    '-MIO::Socket::UNIX',
    '-e',
    '$|=1; $s=IO::Socket::UNIX->new(Type=>SOCK_DGRAM, Local=>$ARGV[0]) or die; chmod 0777, $ARGV[0]; print "up\n"; while (defined $s->recv($_, 4096)) { print "$_\n" }',
    path,
  ]);
  t.after(() => perl.kill());
  let heard = '';
  perl.stdout.setEncoding('utf8').on('data', (text: string) => {
    heard += text;
  });
  await until('the receiver', () => heard.includes('up'));
  const [program, ...args] = bouncer.commandLine();
  const child = spawn(program, args, {
    stdio: 'ignore',
    env: { ...process.env, NOTIFY_SOCKET: path, WATCHDOG_USEC: '200000' },
  });
  t.after(async () => {
    if (child.exitCode === null && child.kill('SIGKILL')) await once(child, 'exit');
  });
  await until('READY=1', () => /^READY=1$/m.test(heard));
  await until('WATCHDOG=1', () => /^WATCHDOG=1$/m.test(heard));
  child.kill('SIGHUP');
  await until('the reload', () => /^RELOADING=1\nMONOTONIC_USEC=\d+$[^]*^READY=1$/m.test(heard));
  child.kill('SIGTERM');
  await once(child, 'exit');
  await until('STOPPING=1', () => /^STOPPING=1$/m.test(heard));
});
