/** Actions of an init system or an operator on the process: signals, the pidfile, the log file. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Bouncer, type BouncerOptions } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { RawClient } from '../support/raw.ts';
import { until } from '../support/wait.ts';
import type { Scope } from '../support/scope.ts';

const cluster = await Cluster.start({ after });

function start(scope: Scope, options: BouncerOptions = {}): Promise<Bouncer> {
  return Bouncer.start(scope, { databases: { postgres: cluster.connectionString() }, ...options });
}

async function refuses(bouncer: Bouncer): Promise<boolean> {
  try {
    (await RawClient.connect({ host: bouncer.host, port: bouncer.port })).destroy();
    return false;
  } catch {
    return true;
  }
}

test('SIGTERM refuses new clients and ends the process with its last client', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.connect();
  bouncer.signal('SIGTERM');
  await bouncer.waitForLog(/got SIGTERM, shutting down, waiting for all clients disconnect/);
  await until('the listener to close', () => refuses(bouncer));
  assert.deepEqual((await client.query('select 1 as one')).rows, [{ one: 1 }]);
  assert.ok(bouncer.isRunning);
  await client.end();
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
  assert.ok(bouncer.logContains(/LOG client connections dropped, exiting$/m));
  assert.ok(!existsSync(join(bouncer.folder, `.s.PGSQL.${bouncer.port}`)));
});

test('a second SIGTERM ends the process at once', async (t) => {
  const bouncer = await start(t);
  await bouncer.connect();
  bouncer.signal('SIGTERM');
  await bouncer.waitForLog(/got SIGTERM, shutting down/);
  bouncer.signal('SIGTERM');
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
  assert.ok(bouncer.logContains(/got SIGTERM while shutting down, fast exit/));
});

for (const shutdown_delay of ['0', '60'])
  test(`SIGTERM after SHUTDOWN WAIT_FOR_CLIENTS changes nothing, with shutdown_delay = ${shutdown_delay}`, async (t) => {
    const bouncer = await start(t, { settings: { shutdown_delay } });
    const client = await bouncer.connect();
    await bouncer.admin('SHUTDOWN WAIT_FOR_CLIENTS');
    bouncer.signal('SIGTERM');
    await bouncer.waitForLog(/got SIGTERM after SHUTDOWN WAIT_FOR_CLIENTS, which goes on/);
    assert.equal(await refuses(bouncer), shutdown_delay === '0');
    assert.deepEqual((await client.query('select 1 as one')).rows, [{ one: 1 }]);
    // the sender does not want to wait any more
    bouncer.signal('SIGTERM');
    if (shutdown_delay === '60') {
      await bouncer.waitForLog(/got SIGTERM, shutting down, waiting for all clients disconnect/);
      bouncer.signal('SIGTERM');
    }
    assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
    await client.end().catch(() => {});
  });

test('SIGINT waits for transactions and not for idle clients', async (t) => {
  const bouncer = await start(t, { settings: { pool_mode: 'transaction' } });
  await bouncer.connect();
  const busy = await bouncer.connect();
  await busy.query('begin');
  bouncer.signal('SIGINT');
  await bouncer.waitForLog(/got SIGINT, shutting down/);
  assert.ok(bouncer.isRunning);
  await busy.query('commit');
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
  assert.ok(bouncer.logContains(/LOG server connections dropped, exiting$/m));
});

test('SIGQUIT ends the process at once with status 0', async (t) => {
  const bouncer = await start(t);
  const busy = await bouncer.connect();
  await busy.query('begin');
  bouncer.signal('SIGQUIT');
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
  assert.ok(bouncer.logContains(/got SIGQUIT, fast exit/));
});

test('SIGUSR1 pauses and SIGUSR2 resumes', async (t) => {
  const bouncer = await start(t, { settings: { pool_mode: 'transaction' } });
  const client = await bouncer.connect();
  await client.query('select 1');
  bouncer.signal('SIGUSR1');
  await bouncer.waitForLog(/got SIGUSR1, pausing all activity/);
  let isAnswered = false;
  const query = client.query('select 2 as two').then((result) => {
    isAnswered = true;
    return result;
  });
  await until('the query to wait', async () => {
    const pools = await bouncer.admin<{ database: string; cl_waiting: string }>('SHOW POOLS');
    return pools.some((pool) => pool.database === 'postgres' && Number(pool.cl_waiting) === 1);
  });
  assert.equal(isAnswered, false);
  bouncer.signal('SIGUSR1');
  await bouncer.waitForLog(/got SIGUSR1, but already paused\/suspended/);
  bouncer.signal('SIGUSR2');
  assert.deepEqual((await query).rows, [{ two: 2 }]);
  bouncer.signal('SIGUSR2');
  await bouncer.waitForLog(/got SIGUSR2, but not paused\/suspended/);
});

/** The console stays open: SUSPEND ends with it. */
async function suspend(bouncer: Bouncer): Promise<void> {
  const admin = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });
  await admin.query('SUSPEND');
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} during SUSPEND ends the process at once with status 1`, async (t) => {
    const bouncer = await start(t);
    await bouncer.connect();
    await suspend(bouncer);
    bouncer.signal(signal);
    assert.deepEqual(await bouncer.exited(), { code: 1, signal: null });
    assert.ok(bouncer.logContains(/FATAL suspend was in progress, going down immediately/));
    assert.ok(!existsSync(join(bouncer.folder, `.s.PGSQL.${bouncer.port}`)));
  });
}

test('SIGUSR1 does nothing during SUSPEND, and SIGUSR2 ends it', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.connect();
  await suspend(bouncer);
  bouncer.signal('SIGUSR1');
  await bouncer.waitForLog(/got SIGUSR1, but already paused\/suspended/);
  bouncer.signal('SIGUSR2');
  await bouncer.waitForLog(/got SIGUSR2, continuing from SUSPEND/);
  assert.deepEqual((await client.query('select 1 as one')).rows, [{ one: 1 }]);
});

test('SIGUSR2 does nothing during a shutdown', async (t) => {
  const bouncer = await start(t);
  const client = await bouncer.connect();
  await client.query('begin');
  bouncer.signal('SIGINT');
  await bouncer.waitForLog(/got SIGINT, shutting down/);
  bouncer.signal('SIGUSR2');
  await bouncer.waitForLog(/got SIGUSR2 while shutting down, ignoring/);
  await client.query('commit');
  await client.end();
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
});

test('SIGHUP reads the configuration again and reopens the log; a broken file changes nothing', async (t) => {
  const bouncer = await start(t);
  const log = join(bouncer.folder, 'log');
  renameSync(log, `${log}.1`);
  bouncer.settings['default_pool_size'] = 7;
  await bouncer.writeFiles();
  bouncer.markLog();
  bouncer.signal('SIGHUP');
  const poolSize = async (): Promise<string | undefined> =>
    (await bouncer.admin<{ key: string; value: string }>('SHOW CONFIG')).find(
      (row) => row.key === 'default_pool_size',
    )?.value;
  await until('the new value', async () => (await poolSize()) === '7');
  assert.ok(existsSync(log));
  bouncer.settings['default_pool_size'] = 'many';
  await bouncer.writeFiles();
  bouncer.signal('SIGHUP');
  await bouncer.waitForLog(/pgbouncer\.ini:\d+: default_pool_size/);
  assert.equal(await poolSize(), '7');
});

test('the pidfile is written and removed; one of a live process stops the start, a stale one does not', async (t) => {
  const bouncer = await Bouncer.prepare(t, { databases: { postgres: cluster.connectionString() } });
  const pidfile = join(bouncer.folder, 'pid');
  bouncer.settings['pidfile'] = pidfile;
  await bouncer.writeFiles();

  writeFileSync(pidfile, `${process.pid}\n`);
  await assert.rejects(bouncer.start(), /pidfile '.*pid' exists, another instance running\?/);
  assert.equal(readFileSync(pidfile, 'latin1'), `${process.pid}\n`);

  // Above the kernel's limit.
  writeFileSync(pidfile, '4194305\n');
  await bouncer.start();
  assert.ok(bouncer.logContains(/stale pidfile, removing/));
  assert.equal(readFileSync(pidfile, 'latin1'), `${bouncer.pid}\n`);
  await bouncer.stop('SIGTERM');
  assert.ok(!existsSync(pidfile));
});

test('the start exits with 1 and the reason if the address is taken', async (t) => {
  const first = await start(t);
  const second = await Bouncer.prepare(t, {
    settings: { listen_port: first.port, unix_socket_dir: '' },
  });
  await assert.rejects(second.start(), new RegExp(`${first.port}`));
  assert.equal((await second.exited()).code, 1);
});
