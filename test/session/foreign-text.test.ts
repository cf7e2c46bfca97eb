/** Names and error texts from clients and servers, as they appear in the log and in SHOW. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import * as raw from '../support/raw.ts';
import { RawClient } from '../support/raw.ts';
import { until } from '../support/wait.ts';

/** A server that refuses each login with a very long error. */
const server = createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', () => {
    const words = '\u001b]0;title\u0007\u202eno\nFATAL forged '.repeat(30_000);
    socket.end(raw.message('E', Buffer.from(`SFATAL\0C28000\0M${words}\0\0`)));
  });
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
after(() => server.close());
const { port } = server.address() as AddressInfo;

const bouncer = await Bouncer.start(
  { after },
  {
    databases: { long: `host=127.0.0.1 port=${port}`, '*': `host=127.0.0.1 port=${port}` },
    settings: { auth_type: 'trust', server_tls_sslmode: 'disable' },
  },
);

// oxlint-disable-next-line no-control-regex
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/;

test('a login error of a megabyte becomes a short log record, and the client gets an answer', async () => {
  bouncer.markLog();
  const client = await RawClient.connect(bouncer);
  client.send(raw.startup({ user: 'postgres', database: 'long' }));
  const frames = await client.readToEnd();
  assert.equal(frames.at(-1)?.type, 'E');
  await until('the end of the client in the log', () => bouncer.logContains(/C-0x.*closing because/));
  const records = bouncer.log().split(/\n(?!\t)/);
  assert.ok(Math.max(...records.map(({ length }) => length)) < 8_000);
  assert.doesNotMatch(bouncer.log(), UNPRINTABLE);
  assert.doesNotMatch(bouncer.log(), /^FATAL forged/m);
});

test('a name with control and bidirectional characters is shown escaped', async () => {
  const database = 'a\u001b[2J\n\u202eb';
  const client = await RawClient.connect(bouncer);
  client.send(raw.startup({ user: 'postgres', database }));
  await client.readToEnd();
  const rows = await bouncer.admin<{ name: string }>('SHOW DATABASES');
  assert.ok(rows.some(({ name }) => name === String.raw`a\x1b[2J\n\u202eb`));
  assert.doesNotMatch(bouncer.log(), UNPRINTABLE);
  assert.match(bouncer.log(), /login attempt: db=a\\x1b\[2J\\n\\u202eb user=postgres/);
});

test('no line of the log begins with text from a client or a server', async () => {
  const own = '\n\tforged';
  const mark = bouncer.log().length;
  for (const parameters of [
    { user: own, database: 'long' },
    { user: 'postgres', database: own },
    { user: 'postgres', database: 'long', [own]: own },
    { user: 'postgres', database: 'pgbouncer', application_name: own },
  ]) {
    const client = await RawClient.connect(bouncer);
    client.send(raw.startup(parameters), raw.query(own));
    await Promise.race([client.readToEnd(), client.readUntil('Z').catch(() => [])]);
    client.destroy();
  }
  const admin = await RawClient.login(bouncer, { user: 'pgbouncer', database: 'pgbouncer' });
  await admin.query(`SHOW ${own}`);
  admin.destroy();
  const lines = bouncer.log().slice(mark).split('\n');
  assert.ok(lines.some((line) => line.includes(String.raw`\n\tforged`)));
  assert.deepEqual(
    lines.filter((line) => line.startsWith('\t')),
    [],
  );
});
