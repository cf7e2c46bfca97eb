/** The interfaces to systemd: sockets, notifications, the watchdog. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

/** Starts the process with these descriptors as systemd does. */
function activate(scope: Scope, bouncer: Bouncer, fds: number[]): ChildProcess {
  const command = bouncer
    .commandLine()
    .map((word) => `'${word}'`)
    .join(' ');
  const marks = `LISTEN_PID=$$ LISTEN_FDS=${fds.length} LISTEN_FDNAMES=${fds.map(() => 'x').join(':')}`;
  // the shell knows its own process ID, which stays the same when it becomes the proxy
  const child = spawn('/bin/sh', ['-c', `${marks} exec ${command}`], {
    stdio: ['ignore', 'ignore', 'ignore', ...fds],
  });
  scope.after(async () => {
    if (child.exitCode === null && child.kill('SIGQUIT')) await once(child, 'exit');
  });
  return child;
}

test('with socket activation the proxy listens on systemd’s sockets only', async (t) => {
  const sockets = [createServer(), createServer(), createServer()];
  t.after(() => sockets.forEach((each) => each.close()));
  // a rule, so that the proxy starts a child process
  const bouncer = await Bouncer.prepare(t, {
    databases: { dev: 'host=127.0.0.1 port=1' },
    files: { 'user-functions/rewrite_query.ts': 'export const rewrite_query = () => null;\n' },
  });
  const path = join(bouncer.folder, '.s.PGSQL.1234');
  sockets[0]!.listen(0, '127.0.0.1');
  sockets[1]!.listen(0, '127.0.0.2');
  sockets[2]!.listen(path);
  await Promise.all(sockets.map((each) => once(each, 'listening')));
  const ports = sockets.slice(0, 2).map((each) => (each.address() as { port: number }).port);
  const fds = sockets.map((each) => (each as unknown as { _handle: { fd: number } })._handle.fd);
  const inodes = fds.map((fd) => readlinkSync(`/proc/self/fd/${fd}`));
  const child = activate(t, bouncer, fds);
  await bouncer.waitForLog(/process up/);
  assert.ok(bouncer.logContains(/LOG socket passed from service manager \(fd 3\)/));
  for (const name of ['cf_listen_addr', 'cf_unix_socket_dir'])
    assert.ok(
      bouncer.logContains(new RegExp(`WARNING sockets passed from service manager, ${name} ignored`)),
    );
  // otherwise this process would accept clients as well; unlike systemd's, the socket's file is removed with it
  const kept = `${path}.kept`;
  linkSync(path, kept);
  for (const each of sockets) each.close();
  renameSync(kept, path);

  const admin = { user: 'pgbouncer', database: 'pgbouncer' };
  const targets = [
    ...ports.map((port, i) => ({ host: `127.0.0.${i + 1}`, port })),
    { host: bouncer.folder, port: 1234 },
  ];
  for (const target of targets) {
    const rows = await bouncer.sql<{ addr: string }>('SHOW FDS', { ...admin, ...target });
    assert.deepEqual(
      rows.map((row) => row.addr),
      ['127.0.0.1', '127.0.0.2', 'unix'],
    );
  }
  await assert.rejects(bouncer.connect(admin));

  // a child that lived longer would keep the port open, with no process to answer
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'latin1')
    .split(' ')
    .filter(Boolean);
  assert.ok(children.length > 0);
  for (const pid of children) {
    const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    assert.deepEqual(
      open.filter((each) => inodes.includes(each)),
      [],
    );
  }
  child.kill('SIGTERM');
  await once(child, 'exit');
  assert.ok(existsSync(path));
});

test('-R is refused with socket activation, because the sockets belong to systemd', async (t) => {
  const socket = createServer().listen(0, '127.0.0.1');
  await once(socket, 'listening');
  t.after(() => socket.close());
  const bouncer = await Bouncer.prepare(t, { args: ['-R'] });
  const child = activate(t, bouncer, [(socket as unknown as { _handle: { fd: number } })._handle.fd]);
  const [code] = (await once(child, 'exit')) as [number];
  assert.equal(code, 1);
  assert.ok(bouncer.logContains(/FATAL cannot reboot under service manager/));
});

test('lines for the journal begin with priorities instead of times', async (t) => {
  const bouncer = await Bouncer.prepare(t, { settings: { listen_addr: '203.0.113.1, 127.0.0.1' } });
  const file = join(bouncer.folder, 'journal');
  const fd = openSync(file, 'a');
  t.after(() => closeSync(fd));
  const { dev, ino } = statSync(file, { bigint: true });
  const [program, ...args] = bouncer.commandLine();
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', fd],
    env: { ...process.env, JOURNAL_STREAM: `${dev}:${ino}` },
  });
  t.after(async () => {
    if (child.exitCode === null && child.kill('SIGQUIT')) await once(child, 'exit');
  });
  await bouncer.waitForLog(/process up/);
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => !line.includes('file descriptor limit'));
  assert.match(lines[0]!, /^<4>cannot listen on 203\.0\.113\.1:\d+: bind\(\): /);
  assert.match(lines[1]!, /^<6>listening on 127\.0\.0\.1:\d+$/);
  // the file is pgbouncer's, unchanged
  assert.match(bouncer.log(), /^\d{4}-.* WARNING cannot listen on /m);
});

test('systemd is notified of the start, reloads, statistics, the end, and by the watchdog', async (t) => {
  const bouncer = await Bouncer.prepare(t, { settings: { stats_period: 1 } });
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
  await until('the statistics', () => /^STATUS=stats: \d+ xacts\/s, .* wait \d+ μs$/m.test(heard));
  heard = '';
  await bouncer.admin('RELOAD');
  await until('the reload', () => /^RELOADING=1\n[^]*^READY=1$/m.test(heard));
  // it may end while the console's connection is being closed
  const ended = once(child, 'exit');
  await bouncer.admin('SHUTDOWN WAIT_FOR_CLIENTS');
  await ended;
  await until('STOPPING=1', () => /^STOPPING=1$/m.test(heard));
});
