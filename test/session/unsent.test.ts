/** Bytes that a client has not taken yet stay as its server sent them, whatever happens to the client and server meanwhile. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues, type Frame } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  { databases: { db: cluster.connectionString() }, settings: { pool_mode: 'transaction', query_timeout: 0 } },
);

/** Far more bytes than the sockets between server and client buffer. */
const ROWS = 14_000;
const QUERY = `select i, repeat('x', 1000) from generate_series(1, ${ROWS}) i`;

/** A client that has asked for a large result, and reads nothing until the proxy has stopped reading from its server. */
async function slowClient(t: Scope): Promise<RawClient> {
  const client = await RawClient.login(bouncer, { user: 'postgres', database: 'db' });
  t.after(() => client.destroy());
  client.socket.pause();
  client.send(raw.query(QUERY));
  await until('the server to wait for the client', async () => {
    const [row] = await cluster.sql(
      "select wait_event from pg_stat_activity where query = $1 and state = 'active'",
      [QUERY],
    );
    return row?.['wait_event'] === 'ClientWrite';
  });
  return client;
}

async function operator(t: Scope): Promise<RawClient> {
  const client = await RawClient.login(bouncer, { user: 'pgbouncer', database: 'pgbouncer' });
  t.after(() => client.destroy());
  return client;
}

/** More bytes than the message of one row has. */
const MESSAGE_BYTES = 1100;

/** Checks that the rows are the first ones, and that none is missing or damaged. @returns their number */
function checkRows(frames: readonly Frame[]): number {
  const rows = frames.filter((frame) => frame.type === 'D');
  for (const [i, row] of rows.entries()) assert.deepEqual(rowValues(row), [String(i + 1), 'x'.repeat(1000)]);
  return rows.length;
}

test('a SUSPEND that ends before the client has taken its rows damages none of them', async (t) => {
  const client = await slowClient(t);
  const [first, second] = await Promise.all([operator(t), operator(t)]);
  first.send(raw.query('SUSPEND'));
  await until('SUSPEND to begin', async () => {
    const rows = (await second.query('SHOW STATE')).filter((frame) => frame.type === 'D').map(rowValues);
    return rows.some(([key, value]) => key === 'suspended' && value === 'yes');
  });
  await second.query('RESUME');
  const [ended] = await first.readUntil('Z');
  assert.match(errorFields(ended!)['M']!, /suspend was ended by RESUME/);
  // once another client has been served, everything that is read from this server has been read
  for (let i = 0; i < 20; i++) await second.query('SHOW STATE');
  client.socket.resume();
  const frames = await client.readUntil('Z');
  assert.equal(checkRows(frames), ROWS);
});

test('a client that is disconnected gets the rows that were sent before undamaged', async (t) => {
  const client = await slowClient(t);
  const console = await operator(t);
  await console.query('KILL db');
  await console.query('RESUME db');
  for (let i = 0; i < 20; i++) await console.query('SHOW STATE');
  client.socket.resume();
  await until('the connection to be closed', () => client.closed);
  const frames: Frame[] = [];
  // the last row may be cut
  while (client.available >= MESSAGE_BYTES) frames.push(await client.readFrame());
  assert.ok(checkRows(frames) > 0);
  assert.equal(raw.types(frames).replace(/^TD+/, ''), '');
});
