/**
 * Features that keep their meaning in the middle of a switchover: PAUSE, RELOAD, timeouts, cancel; and the modes of
 * switchover_retry.
 */
import assert from 'node:assert/strict';
import { once, type EventEmitter } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { Client, DatabaseError } from 'pg';
import type { Bouncer } from '../support/bouncer.ts';
import { cancelRequest } from '../support/raw.ts';
import { until } from '../support/wait.ts';
import { planned, setUp, Writer } from './pair.ts';

const WRITE = 'INSERT INTO ledger (writer, n) VALUES (1, 1)';

function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error: unknown) => (error as DatabaseError).code,
  );
}

async function cancel(bouncer: Bouncer, client: Client): Promise<void> {
  const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
  const key = Buffer.alloc(4);
  key.writeInt32BE(secretKey);
  const socket = connect(bouncer.port, '127.0.0.1');
  socket.end(cancelRequest(processID, key));
  socket.resume();
  await once(socket, 'close');
}

async function waiting(bouncer: Bouncer): Promise<number> {
  const rows = await bouncer.admin('SHOW POOLS');
  return Number(rows.find((row) => row['database'] === 'dev')?.['cl_waiting'] ?? 0);
}

test('PAUSE in the middle of a switchover holds until RESUME', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const client = await bouncer.connect();
  await client.query(WRITE);
  await primary.stop();
  await bouncer.waitForLog(/holding new transactions/);
  const written = client.query(WRITE);
  await bouncer.admin('PAUSE dev');
  await standby.promote();
  await bouncer.waitForLog(/the writer is .* \(was/);
  assert.equal(await waiting(bouncer), 1);
  await bouncer.admin('RESUME dev');
  await written;
});

test('RELOAD in the middle of a switchover changes nothing for waiting clients', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const client = await bouncer.connect();
  await client.query(WRITE);
  await primary.stop();
  await bouncer.waitForLog(/holding new transactions/);
  const written = client.query(WRITE);
  await until('the client to wait', async () => (await waiting(bouncer)) === 1);
  await bouncer.reload({ query_wait_timeout: 100 });
  await standby.promote();
  await written;
  assert.equal((await standby.sql('SELECT 1 FROM ledger')).length, 2);
});

test('query_wait_timeout ends the wait of a client that is held', async (t) => {
  const { primary, bouncer } = await setUp(t, { settings: { query_wait_timeout: 1 } });
  const client = await bouncer.connect();
  client.on('error', () => {});
  await client.query(WRITE);
  await primary.stop();
  const error = await client.query(WRITE).catch((each: unknown) => each as DatabaseError);
  assert.match((error as Error).message, /query_wait_timeout/);
});

test('a client that is held can be cancelled, and its statement is never sent', async (t) => {
  const { primary, bouncer } = await setUp(t);
  const client = await bouncer.connect();
  client.on('error', () => {});
  await client.query(WRITE);
  await primary.stop();
  await bouncer.waitForLog(/holding new transactions/);
  const held = codeOf(client.query(WRITE));
  await until('the client to wait', async () => (await waiting(bouncer)) === 1);
  await cancel(bouncer, client);
  assert.notEqual(await held, undefined);
  await primary.start();
  await bouncer.waitForLog(/is the writer again/);
  assert.equal((await primary.sql('SELECT 1 FROM ledger')).length, 1);
});

for (const mode of ['held_only', 'never'] as const) {
  test(`switchover_retry = ${mode}`, async (t) => {
    const { primary, standby, bouncer } = await setUp(t, { settings: { switchover_retry: mode } });
    const running = await bouncer.connect();
    const held = await bouncer.connect();
    await running.query(WRITE);
    await held.query(WRITE);
    // it is in the middle of its work when the writer shuts down, and would be resent with `safe`
    const sleeper = codeOf(running.query('SELECT pg_sleep(60)'));
    await until('the query to run', async () => {
      const rows = await primary.sql("SELECT 1 FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'");
      return rows.length > 0;
    });
    await primary.stop();
    await bouncer.waitForLog(/holding new transactions/);
    const waited = held.query(WRITE).then(() => '', String);
    await until('the client to wait', async () => (await waiting(bouncer)) === 1);
    await standby.promote();
    assert.equal(await sleeper, '57P01');
    assert.match(await waited, mode === 'never' ? /the server changed while the statement waited/ : /^$/);
    // both stay
    await running.query(WRITE);
    await held.query(WRITE);
    assert.equal((await standby.sql('SELECT 1 FROM ledger')).length, mode === 'never' ? 4 : 5);
  });
}

test('prepared statements and settings are on the new writer as they were on the old one', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    settings: { track_extra_parameters: 'IntervalStyle' },
  });
  const client = await bouncer.connect();
  await client.query("SET application_name = 'kept'");
  await client.query("SET TimeZone = 'Asia/Tokyo'");
  const named = {
    name: 'stay',
    text: "SELECT $1::int AS n, current_setting('application_name') AS app, current_setting('TimeZone') AS zone, inet_server_port() AS port",
  };
  await client.query({ ...named, values: [1] });
  await planned(primary, standby);
  const { rows } = await client.query({ ...named, values: [2] });
  assert.deepEqual(rows, [{ n: 2, app: 'kept', zone: 'Asia/Tokyo', port: standby.port }]);
});

test('session pooling: clients between transactions continue in sessions of the new writer', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, { settings: { pool_mode: 'session' } });
  const idle = await bouncer.connect();
  const where = { name: 'where', text: 'SELECT inet_server_port() AS port, $1::int AS n', values: [1] };
  assert.deepEqual((await idle.query(where)).rows, [{ port: primary.port, n: 1 }]);
  await idle.query("SET application_name = 'kept'");
  const writer = await Writer.start(bouncer, 1, 'prepared');
  await writer.progress(5);
  await planned(primary, standby);
  await writer.progress(5);
  await writer.stop();
  assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  assert.deepEqual((await idle.query(where)).rows, [{ port: standby.port, n: 1 }]);
  assert.deepEqual((await idle.query('SHOW application_name')).rows, [{ application_name: 'kept' }]);
});

test('ROLLBACK of a transaction that had failed before succeeds; anything else gets the error', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const named = (text: string): { name: string; text: string } => ({ name: text, text });
  const ends = [
    'ROLLBACK',
    'abort;',
    { text: 'ROLLBACK', values: [] },
    named('rollback'),
    'COMMIT',
    'SELECT 1',
  ] as const;
  const clients = await Promise.all(ends.map(() => bouncer.connect()));
  await clients[3]!.query(named('rollback'));
  for (const client of clients) {
    await client.query('BEGIN');
    await assert.rejects(client.query('SELECT 1 / 0'));
  }
  await planned(primary, standby);
  for (const [i, client] of clients.entries()) {
    const answer = client.query(ends[i] as string);
    if (i < 4) assert.equal((await answer).command, 'ROLLBACK');
    else await assert.rejects(answer, { code: '57P01' });
    const { rows } = await client.query('SELECT inet_server_port() AS port');
    assert.deepEqual(rows, [{ port: standby.port }]);
  }
});

test('settings of a lost transaction are undone, and reported to the client', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const client = await bouncer.connect();
  await client.query("SET TimeZone = 'Europe/Rome'");
  await client.query('BEGIN');
  await client.query("SET TimeZone = 'Asia/Tokyo'");
  const told: string[] = [];
  (client as unknown as { connection: EventEmitter }).connection.on(
    'parameterStatus',
    (status: { parameterName: string; parameterValue: string }) => {
      if (status.parameterName === 'TimeZone') told.push(status.parameterValue);
    },
  );
  await planned(primary, standby);
  assert.equal(await codeOf(client.query('COMMIT')), '57P01');
  assert.deepEqual((await client.query('SHOW TimeZone')).rows, [{ TimeZone: 'Europe/Rome' }]);
  assert.deepEqual(told, ['Europe/Rome']);
});
