/**
 * A client sends without end and reads nothing. Whatever part of the proxy answers, it stops reading from the client before
 * much is unsent, and the client gets every answer when it reads again.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Client } from 'pg';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { RawClient } from '../support/raw.ts';
import { until } from '../support/wait.ts';

/** Bytes that may be unsent (src/session/client.ts), plus the answers to one message, or a slice of a table. */
const MOST_UNSENT = 256 * 1024;
/** Bytes that may be read ahead: a buffer of the socket, and the bytes that the intake holds. */
const MOST_HELD = 256 * 1024;

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      plain: cluster.connectionString(),
      ruled: cluster.connectionString(),
      session: `${cluster.connectionString()} pool_mode=session`,
    },
    settings: {
      pool_mode: 'transaction',
      max_prepared_statements: 100,
      default_pool_size: 5,
      client_tls_sslmode: 'disable',
    },
    files: {
      'user-functions/ruled/rewrite_query.ts': `export function rewrite_query(username: string, query: string): string | null {
  if (query.includes('forbidden')) reject('no '.repeat(150));
  return null;
}
`,
    },
  },
);
const admin = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });

/** Unix sockets have small buffers of a fixed size. */
const socket = { path: join(bouncer.folder, `.s.PGSQL.${bouncer.port}`) };

interface SocketRow {
  type: string;
  application_name: string;
  database: string;
  state: string;
  send_avail: number;
  pkt_avail: number;
  id: number;
}

async function sockets(console: Client = admin): Promise<SocketRow[]> {
  return (await console.query<SocketRow>('SHOW SOCKETS')).rows;
}

let names = 0;

/** A client of the proxy, and its row in SHOW SOCKETS. */
async function logIn(database: string): Promise<{ client: RawClient; row: () => Promise<SocketRow> }> {
  const name = `flood${names++}`;
  const before = new Set((await sockets()).map(({ id }) => id));
  const user = database === 'pgbouncer' ? 'pgbouncer' : 'postgres';
  const client = await RawClient.login(socket, { user, database, application_name: name });
  const id = (await sockets()).find((each) => each.type === 'C' && !before.has(each.id))!.id;
  const row = async (): Promise<SocketRow> => {
    const found = (await sockets()).find((each) => each.id === id);
    assert.ok(found !== undefined, 'the client is still there');
    return found;
  };
  return { client, row };
}

/** Sends the bytes again and again without reading, until the proxy reads no more. */
async function flood(client: RawClient, bytes: Buffer, row: () => Promise<SocketRow>): Promise<void> {
  client.socket.pause();
  client.socket.write(bytes);
  let before = -1;
  await until('the proxy to stop reading', async () => {
    const { send_avail: unsent, pkt_avail: held } = await row();
    assert.ok(unsent <= MOST_UNSENT, `${unsent} bytes are unsent`);
    assert.ok(held <= MOST_HELD, `${held} bytes are held`);
    const left = client.socket.writableLength;
    const hasStopped = left > 0 && left === before;
    before = left;
    return hasStopped;
  });
}

/** Reads until so many messages of a type have arrived, including those that arrived before. */
async function count(client: RawClient, type: string, wanted: number): Promise<number> {
  const code = type.charCodeAt(0);
  let found = 0;
  let head = Buffer.alloc(0);
  let body = 0;
  const take = (chunk: Buffer): void => {
    let at = 0;
    for (;;) {
      const part = Math.min(body, chunk.length - at);
      body -= part;
      at += part;
      if (at === chunk.length) return;
      const missing = Math.min(5 - head.length, chunk.length - at);
      head = Buffer.concat([head, chunk.subarray(at, at + missing)]);
      at += missing;
      if (head.length < 5) return;
      if (head[0] === code) found++;
      body = head.readInt32BE(1) - 4;
      head = Buffer.alloc(0);
    }
  };
  client.socket.removeAllListeners('data');
  if (client.available > 0) take(await client.readBytes(client.available));
  client.socket.on('data', take);
  client.socket.resume();
  await until(`${wanted} messages ${type}`, () => found >= wanted);
  return found;
}

function times(number: number, message: Buffer): Buffer {
  return Buffer.alloc(number * message.length, message);
}

test('Close of statements, without a server', async () => {
  const { client, row } = await logIn('plain');
  await flood(client, times(400_000, raw.close('S', 'x')), row);
  assert.equal(await count(client, '3', 400_000), 400_000);
  client.destroy();
});

test('Close of statements, in a transaction', async () => {
  const { client, row } = await logIn('plain');
  await client.query('BEGIN');
  await flood(client, times(400_000, raw.close('S', 'x')), row);
  assert.equal(await count(client, '3', 400_000), 400_000);
  client.destroy();
});

test('Close of statements while the server is busy with something else', async () => {
  const { client, row } = await logIn('plain');
  await cluster.sql('select pg_advisory_lock(1)');
  client.send(raw.query('select pg_advisory_xact_lock(1)'));
  await until('the lock to be waited for', async () => (await row()).state === 'cl_active');
  await flood(client, times(400_000, raw.close('S', 'x')), row);
  await cluster.sql('select pg_advisory_unlock(1)');
  assert.equal(await count(client, '3', 400_000), 400_000);
  client.destroy();
});

test('Close of statements in pieces that end in the middle of one', async () => {
  const { client, row } = await logIn('plain');
  await cluster.sql('select pg_advisory_lock(1)');
  client.send(raw.query('select pg_advisory_xact_lock(1)'));
  await until('the lock to be waited for', async () => (await row()).state === 'cl_active');
  const one = raw.message('C', Buffer.from('Sx\0'), Buffer.alloc(60));
  // so few bytes that they are read at once
  const many = times(3_000, raw.close('S', 'x'));
  const pieces = 60;
  client.socket.pause();
  client.socket.write(one.subarray(0, 20));
  for (let i = 0; i < pieces; i++) {
    // meanwhile the proxy has read the piece before
    await row();
    client.socket.write(Buffer.concat([one.subarray(20), many, one.subarray(0, 20)]));
  }
  let before = -1;
  await until('the proxy to stop reading', async () => {
    await row();
    const left = client.socket.writableLength;
    const hasStopped = left > 0 && left === before;
    before = left;
    return hasStopped;
  });
  client.socket.write(one.subarray(20));
  await cluster.sql('select pg_advisory_unlock(1)');
  const all = pieces * 3_001 + 1;
  assert.equal(await count(client, '3', all), all);
  client.destroy();
});

test('Parse and Close of a statement that the server has', async () => {
  const { client, row } = await logIn('plain');
  await client.query('BEGIN');
  // without this user, the proxy would forget the statement
  client.send(raw.parse('kept', 'select 1'), raw.sync());
  await client.readUntil('Z');
  await flood(client, times(100_000, Buffer.concat([raw.parse('a', 'select 1'), raw.close('S', 'a')])), row);
  assert.equal(await count(client, '3', 100_000), 100_000);
  client.destroy();
});

test('a pipeline without a Sync, with more answers than a server may owe', async () => {
  const { client, row } = await logIn('plain');
  const one = Buffer.concat([raw.parse('', 'select 1'), raw.close('S', 'x')]);
  await flood(client, Buffer.concat([times(60_000, one), raw.sync()]), row);
  assert.equal(await count(client, 'Z', 1), 1);
  client.destroy();
});

test('queries that a rule rejects', async () => {
  const { client, row } = await logIn('ruled');
  // they are held one by one: the unsent bytes are the errors
  await flood(client, times(3_000, raw.query(`forbidden${' '.repeat(1000)}`)), row);
  assert.equal(await count(client, 'Z', 3_000), 3_000);
  client.destroy();
});

test('queries of a server', async () => {
  const { client, row } = await logIn('plain');
  await flood(client, times(10_000, raw.query(`select repeat('x', 500) -- ${'-'.repeat(2000)}`)), row);
  assert.equal(await count(client, 'Z', 10_000), 10_000);
  client.destroy();
});

test('a server that reads nothing', async () => {
  const { client, row } = await logIn('plain');
  await cluster.sql('select pg_advisory_lock(1)');
  client.send(raw.query('select pg_advisory_xact_lock(1)'));
  await until('the lock to be waited for', async () => (await row()).state === 'cl_active');
  await flood(client, times(400, raw.query(`select length('${'x'.repeat(100_000)}')`)), row);
  const unsent = (await sockets()).filter(({ type }) => type === 'S').map(({ send_avail: bytes }) => bytes);
  assert.ok(Math.max(...unsent) <= MOST_UNSENT, String(unsent));
  await cluster.sql('select pg_advisory_unlock(1)');
  assert.equal(await count(client, 'Z', 401), 401);
  client.destroy();
});

test('notices, settings and notifications without end', async () => {
  for (const database of ['plain', 'session']) {
    const { client, row } = await logIn(database);
    client.socket.pause();
    client.send(
      raw.query("DO $$ BEGIN FOR i IN 1..20000 LOOP RAISE NOTICE '%', repeat('n', 500); END LOOP; END $$"),
    );
    let unsent = 0;
    await until('the server not to be read', async () => {
      const before = unsent;
      ({ send_avail: unsent } = await row());
      assert.ok(unsent <= MOST_UNSENT, String(unsent));
      return unsent > 0 && unsent === before;
    });
    assert.equal(await count(client, 'N', 20_000), 20_000);
    client.destroy();
  }
});

for (const [what, statement, number, answer, wanted] of [
  ['tables', `SHOW CONFIG ${' '.repeat(1000)}`, 3_000, 'C', 100],
  ['help', `SHOW HELP ${' '.repeat(1000)}`, 3_000, 'C', 3_000],
  ['errors', `nonsense ${' '.repeat(1000)}`, 3_000, 'E', 3_000],
  ['nothing', '', 100_000, 'I', 100_000],
] as const) {
  test(`the console: ${what}`, async () => {
    const { client, row } = await logIn('pgbouncer');
    await flood(client, times(number, raw.query(statement)), row);
    const found = await count(client, answer, wanted);
    assert.ok(found >= wanted && found <= number, String(found));
    client.destroy();
  });
}

test('a second request for encryption is refused', async () => {
  for (const request of [raw.sslRequest(), raw.gssEncRequest()]) {
    const client = await RawClient.connect(bouncer);
    client.send(request);
    assert.equal((await client.readBytes(1)).toString(), 'N');
    client.send(request);
    assert.match(raw.errorFields(await client.readFrame())['M']!, /second (SSL|GSSAPI encryption) request/);
  }
});
