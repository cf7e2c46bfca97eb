/** Messages that no server should send: the client gets an error, in pgbouncer's words, and the server is closed. */
import assert from 'node:assert/strict';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });
/** Bytes that replace the next answer to a query. */
let answer: Buffer | null = null;
/** The answer to the next connection, instead of a login. */
let greeting: Buffer | null = null;
/** Bytes that replace the answer to one of the proxy's own queries that contains this text. */
let ownAnswer: { readonly to: string; readonly bytes: Buffer } | null = null;
/** The proxy's ends of the connections to the server. */
const proxied = new Set<Socket>();
const upstreams = new Set<Socket>();
const between = createServer((client) => {
  const server = connect(cluster.port, cluster.host);
  proxied.add(client);
  client.on('close', () => proxied.delete(client));
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
    if (ownAnswer !== null && chunk[0] === 0x51 && chunk.includes(ownAnswer.to)) {
      client.write(ownAnswer.bytes);
      ownAnswer = null;
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

/** Headers with an impossible length: below 4, negative, the lowest; and one that is not finished yet. */
const header = (type: string, length: number): Buffer => {
  const bytes = Buffer.alloc(6);
  bytes.write(type, 'latin1');
  bytes.writeInt32BE(length, 1);
  return bytes;
};
const LENGTHS = [-1, -5, -(2 ** 31), 0, 3];

/** Messages that answer no query: impossible lengths, and misplaced messages. */
const NONSENSE: [string, Buffer][] = [
  ['silence', Buffer.alloc(0)],
  ...LENGTHS.map((length): [string, Buffer] => [`a length of ${length}`, header('C', length)]),
  ['a length of 2 GB', header('C', 2 ** 31 - 1)],
  ['a RowDescription that is cut', raw.message('T', Buffer.from([0, 9, 65]))],
  ['a DataRow without description', raw.message('D', Buffer.from([0, 1, 0, 0, 0, 1, 65]))],
  ['a ReadyForQuery without status', raw.message('Z')],
  ['a ReadyForQuery with a status that is none', raw.message('Z', Buffer.from('?'))],
  ['a question for data', raw.message('G', Buffer.from([0, 0, 0]))],
  ['a message that does not exist', raw.message('q')],
  ['another protocol', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
];

async function works(t: { after(cleanUp: () => void): void }): Promise<void> {
  const client = await RawClient.login(bouncer, { user: 'postgres', database: 'db' });
  t.after(() => client.destroy());
  assert.deepEqual(rowValues((await client.query('select 2'))[1]!), ['2']);
  client.destroy();
}

test('an impossible length from an idle server ends its connection and nothing else', async (t) => {
  for (const type of ['S', 'N', 'A', 'E', 'Z', '\0'])
    for (const length of [...LENGTHS, 2 ** 31 - 1]) {
      await works(t);
      bouncer.markLog();
      for (const socket of proxied) socket.write(header(type, length));
      await bouncer.waitForLog(/closing because: (bad pkt header|partial message from an idle server)/);
    }
  await works(t);
});

test('an impossible length during the login makes it fail', async (t) => {
  await bouncer.reload({ server_login_retry: '0.05' });
  for (const length of LENGTHS)
    for (const before of [Buffer.alloc(0), AUTHENTICATED]) {
      await bouncer.admin('RECONNECT');
      bouncer.markLog();
      greeting = Buffer.concat([before, header('S', length)]);
      const client = await RawClient.connect(bouncer);
      t.after(() => client.destroy());
      client.send(raw.startup({ user: 'postgres', database: 'db' }), raw.query('select 1'));
      await bouncer.waitForLog(/closing because: bad pkt header/);
      // the client was refused, or waited for the next attempt
      await until(
        'the next login',
        async () =>
          await works(t).then(
            () => true,
            () => false,
          ),
      );
    }
});

for (const [what, bytes] of NONSENSE) {
  test(`${what}, in place of the answer to a query of the proxy’s own, loses the server, and the client gets another`, async (t) => {
    await bouncer.reload({
      server_reset_query_always: 1,
      server_check_query: 'select 4711',
      server_check_delay: 0,
      // the proxy waits this long for the rest, which never comes
      server_connect_timeout: '0.5',
    });
    t.after(() => bouncer.reload({ server_reset_query_always: 0, server_check_delay: 30 }));
    for (const to of ['SET application_name', 'DISCARD ALL', 'select 4711']) {
      const client = await RawClient.login(bouncer, {
        user: 'postgres',
        database: 'db',
        application_name: `a client of its own`,
      });
      t.after(() => client.destroy());
      await client.query('reset application_name');
      bouncer.markLog();
      ownAnswer = { to, bytes };
      for (let i = 0; i < 2; i++) {
        const other = await RawClient.login(bouncer, {
          user: 'postgres',
          database: 'db',
          application_name: `${i}`,
        });
        assert.deepEqual(rowValues((await other.query("select 'fine'")).find(({ type }) => type === 'D')!), [
          'fine',
        ]);
        other.destroy();
      }
      await bouncer.waitForLog(
        /S-0x\w+: db\/postgres@127.0.0.1:\d+ closing because: .*(bad pkt header|unexpected answer to a query of the proxy|no answer to a query|too long)/,
      );
      assert.equal(ownAnswer, null, `${to} was asked`);
      assert.ok(!bouncer.logContains(/internal error/));
      client.destroy();
    }
  });
}

test('an impossible length while a client is linked or replicates ends both connections', async (t) => {
  for (const length of LENGTHS)
    for (const replication of [undefined, 'database']) {
      const parameters: Record<string, string> = { user: 'postgres', database: 'db' };
      if (replication !== undefined) parameters['replication'] = replication;
      const client = await RawClient.login(bouncer, parameters);
      t.after(() => client.destroy());
      answer = header('C', length);
      client.send(raw.query(replication === undefined ? 'select 1' : 'IDENTIFY_SYSTEM'));
      const frames = await client.readToEnd();
      assert.equal(errorFields(frames.at(-1)!)['M'], 'bad pkt header');
    }
  await works(t);
});

test('a FATAL in the same read as the answer to a query of the proxy’s own does not reach the client', async (t) => {
  await works(t);
  const set = Buffer.concat([
    raw.message('C', Buffer.from('SET\0')),
    raw.message('Z', Buffer.from('I')),
    raw.message('E', Buffer.from('SFATAL\0VFATAL\0C57P01\0Mgoing down\0\0')),
  ]);
  ownAnswer = { to: 'SET application_name', bytes: set };
  const client = await RawClient.login(bouncer, { user: 'postgres', database: 'db', application_name: 'x' });
  t.after(() => client.destroy());
  bouncer.markLog();
  assert.deepEqual(rowValues((await client.query('select 3'))[1]!), ['3']);
  await bouncer.waitForLog(/closing because: going down/);
  assert.equal(ownAnswer, null);
});
