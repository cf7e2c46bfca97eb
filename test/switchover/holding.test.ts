/** Clients that wait for a writer: how long, how many, and their errors. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client, DatabaseError } from 'pg';
import { until } from '../support/wait.ts';
import { setUp } from './pair.ts';

const WRITE = 'INSERT INTO ledger (writer, n) VALUES (1, 1)';

function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error: unknown) => (error as DatabaseError).code,
  );
}

test('without a writer within switchover_timeout clients get an error and stay, and the search continues', async (t) => {
  const { primary, bouncer } = await setUp(t, { settings: { switchover_timeout: 0.5 } });
  const client = await bouncer.connect();
  await client.query(WRITE);
  await primary.stop();
  assert.equal(await codeOf(client.query(WRITE)), '57P03');
  // no client waits any more
  assert.equal(await codeOf(client.query('SELECT $1::int', [1])), '57P03');
  await primary.start();
  await bouncer.waitForLog(/is the writer again/);
  await client.query(WRITE);
});

test('a restart of the writer is a delay for those between transactions', async (t) => {
  const { primary, bouncer } = await setUp(t);
  const client = await bouncer.connect();
  await client.query(WRITE);
  await primary.stop();
  const written = client.query(WRITE);
  await primary.start();
  await written;
  assert.equal((await primary.sql('SELECT 1 FROM ledger')).length, 2);
  // it was asked many times, and refused each of them
  assert.ok(!bouncer.logContains(/closing because: probe failed/));
});

test('switchover_hold_limit: the oldest goes first, with an SQLSTATE of its own', async (t) => {
  const { primary, bouncer } = await setUp(t, { settings: { switchover_hold_limit: 2 } });
  const clients = await Promise.all([bouncer.connect(), bouncer.connect(), bouncer.connect()]);
  const [first, ...others] = clients as [Client, Client, Client];
  await primary.stop();
  await bouncer.waitForLog(/holding new transactions/);
  const codes = new Map<Client, Promise<string | undefined>>();
  for (const [i, client] of [first, ...others].entries()) {
    codes.set(client, codeOf(client.query(WRITE)));
    if (i < 2) await until('the client to wait', async () => (await waiting(bouncer)) === i + 1);
  }
  assert.equal(await codes.get(first), '57S01');
  await primary.start();
  for (const other of others) assert.equal(await codes.get(other), undefined);
  await first.query(WRITE);
});

test('switchover_hold_timeout: no client is held for longer', async (t) => {
  const { primary, bouncer } = await setUp(t, { settings: { switchover_hold_timeout: 0.3 } });
  const client = await bouncer.connect();
  await primary.stop();
  assert.equal(await codeOf(client.query(WRITE)), '57S02');
  await primary.start();
  await client.query(WRITE);
});

test('switchover_dry_run only says what it would do', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    settings: { switchover_dry_run: 1, server_login_retry: 0.1 },
  });
  await primary.stop();
  await bouncer.waitForLog(/switchover_dry_run: nothing is held/);
  await standby.promote();
  await bouncer.waitForLog(new RegExp(`the writer is .*:${standby.port}`));
  await primary.start();
  await until('the configured server to be used', async () => {
    const [row] = await bouncer.sql<{ port: number }>('SELECT inet_server_port() AS port');
    return row?.port === primary.port;
  });
});

async function waiting(bouncer: {
  admin(text: string): Promise<Record<string, unknown>[]>;
}): Promise<number> {
  const rows = await bouncer.admin('SHOW POOLS');
  return rows
    .filter((row) => row['database'] === 'dev')
    .reduce((sum, row) => sum + Number(row['cl_waiting']), 0);
}
