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
