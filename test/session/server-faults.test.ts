/** What no server should send: the client is told, in pgbouncer's words, and the server is closed. */
import assert from 'node:assert/strict';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues } from '../support/raw.ts';

const cluster = await Cluster.start({ after });
/** What is put in the place of the next answer to a query. */
let answer: Buffer | null = null;
/** What the next connection is answered with instead of a login. */
let greeting: Buffer | null = null;
const upstreams = new Set<Socket>();
const between = createServer((client) => {
  const server = connect(cluster.port, cluster.host);
  for (const socket of [client, server]) {
    upstreams.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => client.destroy() && server.destroy());
  }
  server.pipe(client);
  client.on('data', (chunk: Buffer) => {
    if (greeting !== null) {
      client.write(greeting);
      greeting = null;
      return;
    }
    if (answer === null || chunk[0] !== 0x51) return void server.write(chunk);
    client.write(answer);
    answer = null;
  });
});
between.listen(0, '127.0.0.1');
await once(between, 'listening');
after(() => {
  between.close();
  for (const socket of upstreams) socket.destroy();
});
const bouncer = await Bouncer.start(
  { after },
  {
    databases: { db: `host=127.0.0.1 port=${(between.address() as AddressInfo).port} dbname=postgres` },
    settings: { pool_mode: 'transaction', default_pool_size: 1, server_tls_sslmode: 'disable' },
  },
);

const NEGATIVE = Buffer.from([0x54, 0xff, 0xff, 0xff, 0xff, 0]);
const faults: [string, Buffer, string, RegExp][] = [
  [
    'a message that does not exist',
    raw.message('q', Buffer.from('hello')),
    'unknown pkt',
    /unknown pkt: 'q'/,
  ],
  [
    'a question for a password',
    raw.message('R', Buffer.from([0, 0, 0, 3])),
    'unknown pkt',
    /unknown pkt: 'R'/,
  ],
  ['a length that none can have', NEGATIVE, 'bad pkt header', /closing because: bad pkt header/],
];

for (const [what, bytes, said, logged] of faults) {
  test(`${what} ends the server's connection and its client's`, async (t) => {
    const client = await RawClient.login(bouncer, { user: 'postgres', database: 'db' });
    t.after(() => client.destroy());
    bouncer.markLog();
    answer = bytes;
    client.send(raw.query('select 1'));
    const frames = await client.readToEnd();
    assert.deepEqual(
      frames.map((frame) => `${frame.type} ${errorFields(frame)['M']}`),
      [`E ${said}`],
    );
    assert.ok(bouncer.logContains(logged));
    const next = await RawClient.login(bouncer, { user: 'postgres', database: 'db' });
    t.after(() => next.destroy());
    assert.deepEqual(rowValues((await next.query('select 2'))[1]!), ['2']);
  });
}

const AUTHENTICATED = raw.message('R', Buffer.alloc(4));
const refusals: [string, string, Buffer, string][] = [
  ['a message that does not exist', 'disable', raw.message('q'), 'unknown pkt from server'],
  ['what is no message at all', 'disable', Buffer.from('HTTP/1.1 400'), 'bad pkt header'],
  [
    'a cancel key that is none',
    'disable',
    Buffer.concat([AUTHENTICATED, raw.message('K', Buffer.alloc(4))]),
    'bad cancel key',
  ],
  ['neither yes nor no to TLS', 'require', Buffer.from('E'), 'bad sslreq answer'],
  ['more than its yes to TLS', 'require', Buffer.from('S+'), 'received unencrypted data after SSL response'],
];

for (const [what, sslmode, bytes, said] of refusals) {
  test(`a server that answers the login with ${what} is closed with the reason`, async (t) => {
    await bouncer.reload({ server_tls_sslmode: sslmode, server_login_retry: '0.1' });
    t.after(() => bouncer.reload({ server_tls_sslmode: 'disable' }));
    await bouncer.admin('RECONNECT');
    bouncer.markLog();
    greeting = bytes;
    const client = await RawClient.connect(bouncer);
    t.after(() => client.destroy());
    client.send(raw.startup({ user: 'postgres', database: 'db' }), raw.query('select 1'));
    await bouncer.waitForLog(new RegExp(`S-0x\\w+: db\\S+ closing because: ${said} \\(age`));
  });
}
