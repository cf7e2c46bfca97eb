/** Other events at a proxy and its configuration while a fence stands. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Client, type DatabaseError } from 'pg';
import { killIfThere } from '../../src/demo/embedded-postgres.ts';
import { Cluster, noPostgres15 } from '../support/cluster.ts';
import { until, within } from '../support/wait.ts';
import { setUp, TOPOLOGY, Writer } from './pair.ts';

/** For tests after which the writer is the same as before. */
const shared = await setUp({ after });

async function directly(cluster: Cluster): Promise<Client> {
  const client = new Client(cluster.connection());
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function isFenced(cluster: Cluster): Promise<boolean> {
  const client = await directly(cluster);
  try {
    const { rows } = await client.query('SHOW default_transaction_read_only');
    return rows[0].default_transaction_read_only === 'on';
  } finally {
    await client.end();
  }
}

/** A session that cannot be ended, so that SWITCHOVER stays in the middle of fencing. */
async function stuckAt(cluster: Cluster): Promise<() => void> {
  const client = await directly(cluster);
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  process.kill(rows[0]!.pid, 'SIGSTOP');
  return () => killIfThere(rows[0]!.pid, 'SIGCONT');
}

test('RELOAD with another entry ends a SWITCHOVER that has not asked yet, and no write fails', async () => {
  const { primary, standby, bouncer } = shared;
  bouncer.markLog();
  const writers = await Promise.all([1, 2, 3].map((id) => Writer.start(bouncer, id, 'extended')));
  await Promise.all(writers.map((each) => each.progress(5)));
  const release = await stuckAt(primary);
  try {
    const command = bouncer.admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`);
    command.catch(() => {});
    await until('the fence', () => isFenced(primary));
    bouncer.databases['dev'] = `${bouncer.databases['dev'] as string} pool_size=4`;
    await bouncer.reload();
    await assert.rejects(command, /RELOAD|not watched/);
    await Promise.all(writers.map((each) => each.progress(5)));
  } finally {
    release();
  }
  assert.equal(await isFenced(primary), false);
  await Promise.all(writers.map((each) => each.stop()));
  for (const writer of writers) {
    assert.deepEqual(writer.errors, []);
    assert.deepEqual(await writer.audit(primary), { missing: [], doubled: [] });
  }
  const [row] = await bouncer
    .admin('SHOW DATABASES')
    .then((rows) => rows.filter((each) => each['name'] === 'dev'));
  assert.equal(row!['pool_size'], 4);
});

test('a fenced writer whose synchronous_commit is off answers no commit', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    postgres: { synchronous_commit: 'off', max_prepared_transactions: '5' },
  });
  await primary.sql("BEGIN; INSERT INTO ledger (writer, n) VALUES (1, 1); PREPARE TRANSACTION 'before'");
  await bouncer.admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`);
  for (const sql of [
    "COMMIT PREPARED 'before'",
    'BEGIN READ WRITE; INSERT INTO ledger VALUES (1, 2); COMMIT',
  ]) {
    const late = await directly(primary);
    const outcome = await Promise.race([
      late.query(sql).then(
        () => 'answered',
        (error: unknown) => (error as Error).message,
      ),
      until('it to wait', async () => {
        const rows = await primary.sql(
          "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = $1",
          [sql],
        );
        return rows.length > 0;
      }).then(() => 'waits'),
    ]);
    assert.equal(outcome, 'waits', sql);
    late.end().catch(() => {});
  }
});

test('an old writer that is still there is not taken for the writer after a RELOAD with another entry', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const client = await bouncer.connect();
  await client.query('SELECT 1');
  // it has not been fenced
  await standby.promote();
  await bouncer.waitForLog(new RegExp(`the writer is 127.0.0.1:${standby.port}`));
  // its postmaster is frozen: the old writer answers first
  standby.server.signal('SIGSTOP');
  const reload = async (poolSize: number): Promise<void> => {
    bouncer.databases['dev'] = `${primary.connectionString()} ${TOPOLOGY} pool_size=${poolSize}`;
    await bouncer.reload();
  };
  await reload(4);
  let isDone = false;
  const write = client.query('INSERT INTO ledger (writer, n) VALUES (1, 1)').then(() => (isDone = true));
  await bouncer.waitForLog(/probe failed.*holding new transactions/);
  // while the writer is searched for, too
  await reload(5);
  await bouncer.waitForLog(new RegExp(`:${primary.port} is a writer`));
  assert.ok(!isDone);
  standby.server.signal('SIGCONT');
  await write;
  const rows = await standby.sql('SELECT n FROM ledger WHERE writer = 1');
  assert.deepEqual(rows, [{ n: 1 }]);
  assert.deepEqual(await primary.sql('SELECT n FROM ledger WHERE writer = 1'), []);
});

test(
  'RELOAD with the host of another cluster, which was among the nodes, leads there',
  { skip: noPostgres15 },
  async (t) => {
    const { primary, standby, bouncer } = await setUp(t);
    // another initdb: the operator's new cluster
    const other = await Cluster.start(t, {
      version: 15,
      sql: 'CREATE TABLE nodes (endpoint text, port int)',
    });
    await other.sql('INSERT INTO nodes VALUES ($1, $2)', [other.host, other.port]);
    await primary.sql('INSERT INTO nodes VALUES ($1, $2)', [other.host, other.port]);
    await bouncer.admin('NOTIFY TOPOLOGY');
    await bouncer.waitForLog(new RegExp(`:${other.port} is a writer`));
    const client = await bouncer.connect();
    const portOf = async (): Promise<unknown> =>
      (await client.query<{ port: number }>('SELECT inet_server_port() AS port')).rows[0]!.port;
    assert.equal(await portOf(), primary.port);
    bouncer.databases['dev'] = `${other.connectionString()} ${TOPOLOGY}`;
    await bouncer.reload();
    await until('it to lead there', async () => (await portOf()) === other.port);
    await until('the others to go', async () =>
      (await bouncer.admin('SHOW TOPOLOGY')).every((row) => row['port'] !== standby.port),
    );
  },
);

test('no database of a cluster takes back the fence of another one, whose standby may still be promoted', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, { settings: { switchover_timeout: 1 } });
  const open = await bouncer.connect();
  await open.query('BEGIN');
  const command = bouncer.admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`);
  command.catch(() => {});
  await bouncer.waitForLog(/holding new transactions/);
  standby.server.signal('SIGSTOP');
  await open.query('COMMIT');
  await assert.rejects(command, /was asked to promote itself and has not done so/);
  // it has come since
  bouncer.databases['other'] = `${primary.connectionString()} ${TOPOLOGY}`;
  await bouncer.reload();
  await until('the other database to know its writer', async () =>
    (await bouncer.admin('SHOW TOPOLOGY')).some(
      (row) => row['database'] === 'other' && row['state'] === 'serving',
    ),
  );
  await assert.rejects(
    bouncer.admin(`SWITCHOVER other TO ${primary.host}:${primary.port}`),
    /was asked to promote itself and still answers/,
  );
  assert.equal(await isFenced(primary), true);
  standby.server.signal('SIGCONT');
  await bouncer.waitForLog(new RegExp(`switchover other: the writer is 127.0.0.1:${standby.port} \\(was`));
});

test('SHOW TOPOLOGY reports the fence that a dead proxy has left, and how to take it back', async () => {
  const { primary, standby, bouncer } = shared;
  bouncer.markLog();
  const release = await stuckAt(primary);
  try {
    bouncer.admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`).catch(() => {});
    await until('the fence', () => isFenced(primary));
    await bouncer.stop('SIGKILL');
  } finally {
    release();
  }
  await bouncer.start();
  await until('it to be told', async () =>
    (await bouncer.admin('SHOW TOPOLOGY')).some(
      (row) =>
        row['port'] === primary.port &&
        /is fenced by a SWITCHOVER.*takes that back/.test(String(row['error'])),
    ),
  );
  const refused = await bouncer.sql('INSERT INTO ledger (writer, n) VALUES (1, 1)').then(
    () => '',
    (error: unknown) => (error as DatabaseError).code,
  );
  assert.equal(refused, '25006');
  await bouncer.admin(`SWITCHOVER dev TO ${primary.host}:${primary.port}`);
  assert.equal(await isFenced(primary), false);
  await until('the message to go', async () =>
    (await bouncer.admin('SHOW TOPOLOGY')).every((row) => row['error'] === ''),
  );
});

test('a proxy that is started while the fenced old writer still runs goes to the new one, whichever answers first', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  await bouncer.admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`);
  await bouncer.stop('SIGTERM');
  bouncer.markLog();
  await bouncer.start();
  await bouncer.sql('INSERT INTO ledger (writer, n) VALUES (1, 1)');
  assert.deepEqual(await standby.sql('SELECT n FROM ledger WHERE writer = 1'), [{ n: 1 }]);
  assert.ok(!bouncer.logContains(new RegExp(`the writer is 127.0.0.1:${primary.port}`)));
});

test('a commit that a fenced writer never answers ends with an error when another node is the writer', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const open = await bouncer.connect();
  await open.query('BEGIN');
  const command = bouncer.admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`);
  await bouncer.waitForLog(/holding new transactions/);
  standby.server.signal('SIGSTOP');
  await open.query('COMMIT');
  await bouncer.waitForLog(/is asked to promote itself/);
  const late = await directly(primary);
  const commit = late.query('BEGIN READ WRITE; INSERT INTO ledger (writer, n) VALUES (1, 1); COMMIT').then(
    () => 'answered',
    (error: unknown) => (error as Error).message,
  );
  await until('it to wait', async () => {
    const rows = await primary.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    return rows.length > 0;
  });
  standby.server.signal('SIGCONT');
  await command;
  // PostgreSQL sends no more messages to such a session
  assert.match(await within('its end', commit), /^Connection terminated/);
});

test('a writer that crashes while it is fenced: writes wait until the fence is taken back', async () => {
  const { primary, standby, bouncer } = shared;
  bouncer.markLog();
  const writers = await Promise.all([11, 12].map((id) => Writer.start(bouncer, id, 'extended')));
  await Promise.all(writers.map((each) => each.progress(5)));
  const release = await stuckAt(primary);
  const command = bouncer.admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`);
  command.catch(() => {});
  await until('the fence', () => isFenced(primary));
  await primary.kill();
  release();
  await primary.start();
  await bouncer.waitForLog(/is not fenced any more/);
  await Promise.all(writers.map((each) => each.progress(5)));
  for (const writer of writers) {
    await writer.stop();
    assert.deepEqual(writer.errors, []);
    assert.deepEqual(await writer.audit(primary), { missing: [], doubled: [] });
  }
});

// the last one: then another node is the writer
test('a standby that still has the fence of its time as a writer loses it before it is promoted', async () => {
  const { standby, bouncer } = shared;
  const writer = await Writer.start(bouncer, 21, 'simple');
  await writer.progress(5);
  // so that the proxy notices it at its next look, and the command comes before that
  await standby.sql(
    `ALTER SYSTEM SET synchronous_standby_names = '"pgswitchyard fence, timeline 9, before: "'`,
  );
  await standby.sql('ALTER SYSTEM SET default_transaction_read_only = on');
  await standby.sql('SELECT pg_reload_conf()');
  await bouncer.admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`);
  await writer.progress(5);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  assert.equal(await isFenced(standby), false);
  assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
});
