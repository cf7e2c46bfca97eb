/** SWITCHOVER prevents all writes to the old writer before it promotes another node, and does not go back after that. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Client, type DatabaseError } from 'pg';
import { Bouncer, type Settings } from '../support/bouncer.ts';
import { noPostgres15, type Cluster } from '../support/cluster.ts';
import { until, within } from '../support/wait.ts';
import { rejoin, setUp, Writer, type Setup } from './pair.ts';

const NAMES = 'synchronous_standby_names';
const FENCE = /^"pgswitchyard fence, timeline \d+, before: .*"$/;

/** The way in which a writer sends a statement, whichever server it reaches. */
type Write = (client: Client, text: string) => Promise<unknown>;

const plainly: Write = (client, text) => client.query(text);
/** like sessions that know that the default is read-only */
const explicitly: Write = (client, text) => client.query(`BEGIN READ WRITE; ${text}; COMMIT`);

let nextId = 1000;

/** Writes numbers into the ledger, connecting anew after each error, until it is stopped. */
class Insistent {
  readonly id = nextId++;
  readonly done: number[] = [];
  #stopped = false;
  #client: Client | null = null;
  readonly #loop: Promise<void>;

  constructor(connect: () => Promise<Client>, write: Write = plainly) {
    this.#loop = this.#run(connect, write);
  }

  async #run(connect: () => Promise<Client>, write: Write): Promise<void> {
    for (let n = 1; !this.#stopped; n++) {
      try {
        this.#client ??= await connect();
        await write(this.#client, `INSERT INTO ledger (writer, n) VALUES (${this.id}, ${n})`);
        this.done.push(n);
      } catch {
        await this.#client?.end().catch(() => {});
        this.#client = null;
      }
    }
  }

  async progress(more: number): Promise<void> {
    const goal = this.done.length + more;
    await until(`${more} more writes`, () => this.done.length >= goal);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    // it may wait for a commit that is never answered
    (
      this.#client as unknown as { connection?: { stream: { destroy(): void } } } | null
    )?.connection?.stream.destroy();
    await within('the loop to end', this.#loop);
  }

  /** Acknowledged, and missing. */
  async lost(cluster: Cluster): Promise<number[]> {
    const rows = await cluster.sql<{ n: number }>('SELECT n FROM ledger WHERE writer = $1', [this.id]);
    const there = new Set(rows.map(({ n }) => n));
    return this.done.filter((n) => !there.has(n));
  }
}

async function directly(cluster: Cluster): Promise<Client> {
  const client = new Client(cluster.connection());
  client.on('error', () => {});
  await client.connect();
  return client;
}

const settingsOf = async (cluster: Cluster): Promise<unknown> => {
  const [row] = await cluster.sql(
    `SELECT current_setting('default_transaction_read_only') AS read_only, current_setting('${NAMES}') AS names`,
  );
  return row;
};

async function untilWritable(cluster: Cluster, names = ''): Promise<void> {
  await until('the settings to be as before', async () => {
    const client = await directly(cluster);
    try {
      const { rows } = await client.query(
        `SELECT current_setting('default_transaction_read_only') AS read_only, current_setting('${NAMES}') AS names`,
      );
      return rows[0].read_only === 'off' && rows[0].names === names;
    } finally {
      await client.end();
    }
  });
}

/** For tests after which everything is as it was before. */
const shared = await setUp({ after }, { settings: { switchover_timeout: 1 } });

const to = ({ host, port }: Cluster): string => `SWITCHOVER dev TO ${host}:${port}`;

/** Another proxy in front of the same cluster, which knows all nodes. */
async function secondProxy(
  t: Parameters<typeof setUp>[0],
  first: Bouncer,
  settings: Settings = {},
): Promise<Bouncer> {
  const second = await Bouncer.start(t, {
    databases: first.databases,
    settings: { pool_mode: 'transaction', auth_user: 'postgres', polling_frequency: 0.1, ...settings },
  });
  const known = (await first.admin('SHOW TOPOLOGY')).length;
  await until('the second proxy to know all nodes', async () => {
    const rows = await second.admin('SHOW TOPOLOGY');
    return (
      rows.length === known && rows.every((row) => row['state'] === 'ready' || row['state'] === 'serving')
    );
  });
  return second;
}

test('writes of every kind during SWITCHOVER: nothing acknowledged is lost', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, { postgres: { max_prepared_transactions: '20' } });
  const second = await secondProxy(t, bouncer);
  await primary.sql(
    "BEGIN; INSERT INTO ledger (writer, n) VALUES (77, 1); PREPARE TRANSACTION 'prepared before'",
  );
  const own = `dev@127.0.0.1:${primary.port}`;
  const held = await Promise.all(
    ['simple', 'extended', 'prepared'].map((protocol, i) => Writer.start(bouncer, i, protocol as 'simple')),
  );
  const insistent = [
    new Insistent(() => second.connect()),
    new Insistent(() => second.connect(), explicitly),
    new Insistent(() => bouncer.connect({ database: own })),
    new Insistent(() => directly(primary)),
    new Insistent(() => directly(primary), explicitly),
  ];
  await Promise.all([...held, ...insistent].map((each) => each.progress(10)));
  await within('the switchover', bouncer.admin(to(standby)));
  await Promise.all(held.map((each) => each.progress(10)));
  // COMMIT PREPARED is allowed in a read-only transaction: the commit is not answered nevertheless
  const late = await directly(primary);
  const outcome = await Promise.race([
    late.query("COMMIT PREPARED 'prepared before'").then(() => 'answered'),
    until('it to wait', async () => {
      const rows = await primary.sql(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query ~ '^COMMIT P'",
      );
      return rows.length > 0;
    }).then(() => 'waits'),
  ]);
  assert.equal(outcome, 'waits');
  await late.end().catch(() => {});
  await Promise.all([...held, ...insistent].map((each) => each.stop()));
  for (const writer of held) {
    assert.deepEqual(writer.errors, []);
    assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  }
  for (const each of insistent) assert.deepEqual(await each.lost(standby), []);

  assert.deepEqual(await standby.sql('SHOW default_transaction_read_only'), [
    { default_transaction_read_only: 'off' },
  ]);
  const { read_only: readOnly, names } = (await settingsOf(primary)) as { read_only: string; names: string };
  assert.equal(readOnly, 'on');
  assert.match(names, FENCE);
});

test('the old writer that returns as a standby loses its fence, and can be the writer again', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    postgres: { wal_retrieve_retry_interval: '100ms' },
  });
  await primary.sql(`ALTER SYSTEM SET ${NAMES} = 'FIRST 1 ("standby ""x""", standby_${standby.port})'`);
  await primary.sql('ALTER SYSTEM SET synchronous_commit = local');
  await primary.sql('SELECT pg_reload_conf()');
  await bouncer.admin(to(standby));
  // a checkpoint's writes would make it need pg_rewind
  await primary.server.stop('immediate');
  await rejoin(primary, standby);
  await untilWritable(primary, `FIRST 1 ("standby ""x""", standby_${standby.port})`);
  await bouncer.waitForLog(new RegExp(`127.0.0.1:${primary.port} is not fenced any more`));
  const { rows } = await (await directly(primary)).query('SHOW synchronous_commit');
  assert.deepEqual(rows, [{ synchronous_commit: 'local' }]);
});

// the first one: SIGTERM waits for clients
test('a proxy that is shut down before it has asked takes the fence back', async () => {
  const { primary, standby, bouncer } = shared;
  bouncer.markLog();
  const stuck = await directly(primary);
  const { rows } = await stuck.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  process.kill(rows[0]!.pid, 'SIGSTOP');
  try {
    const command = bouncer.admin(to(standby));
    command.catch(() => {});
    await until(
      'the fence',
      async () => ((await settingsOf(primary)) as { read_only: string }).read_only === 'on',
    );
    await bouncer.stop('SIGTERM');
  } finally {
    process.kill(rows[0]!.pid, 'SIGCONT');
  }
  await untilWritable(primary);
  await bouncer.start();
  await bouncer.waitForLog(new RegExp(`:${standby.port} is a reader`));
});

test('a SWITCHOVER that is given up takes the fence back before any client continues', async () => {
  const { primary, standby, bouncer } = shared;
  bouncer.markLog();
  const writer = await Writer.start(bouncer, 1, 'extended');
  await writer.progress(5);
  // a session in a state in which it can't be ended soon: a stopped process
  const stuck = await directly(primary);
  const { rows } = await stuck.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  process.kill(rows[0]!.pid, 'SIGSTOP');
  try {
    await assert.rejects(
      bouncer.admin(to(standby)),
      new RegExp(`sessions do not end there: postgres .*${rows[0]!.pid}`),
    );
  } finally {
    process.kill(rows[0]!.pid, 'SIGCONT');
  }
  await bouncer.waitForLog(/is given up: sessions do not end/);
  assert.ok(!bouncer.logContains(/false alarm/));
  await writer.progress(5);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  await untilWritable(primary);
  assert.deepEqual(await bouncer.admin('SHOW SWITCHOVERS'), []);
});

test('two proxies with SWITCHOVERs to different nodes never promote both', async (t) => {
  const { standbys, bouncer } = await setUp(t, { standbys: 2 });
  const second = await secondProxy(t, bouncer);
  const outcomes = await Promise.all(
    [bouncer, second].map((each, i) =>
      each.admin(to(standbys[i]!)).then(
        () => 'done',
        (error: unknown) => (error as Error).message,
      ),
    ),
  );
  const promoted = await Promise.all(
    standbys.map((each) => each.sql('SELECT pg_is_in_recovery() AS recovering')),
  );
  const count = promoted.filter((rows) => rows[0]?.['recovering'] === false).length;
  assert.equal(count, outcomes.filter((each) => each === 'done').length, outcomes.join('; '));
  assert.ok(count <= 1, outcomes.join('; '));
});

test("clients that asked for the writer by its node's name wait, too, and continue after it is given up", async (t) => {
  const { primary, bouncer, standby } = shared;
  bouncer.markLog();
  const session = await secondProxy(t, bouncer, { switchover_timeout: 1, pool_mode: 'session' });
  const database = `dev@127.0.0.1:${primary.port}`;
  for (const proxy of [bouncer, session]) {
    const own = await proxy.connect({ database });
    await own.query('SELECT 1');
    const open = await proxy.connect();
    await open.query('BEGIN');
    const command = proxy.admin(to(standby));
    command.catch(() => {});
    await proxy.waitForLog(/holding new transactions/);
    const answer = own.query('INSERT INTO ledger (writer, n) VALUES (1, 1)');
    await until('it to wait', async () =>
      (await proxy.admin('SHOW CLIENTS')).some(
        (row) => row['database'] === database && row['state'] === 'waiting',
      ),
    );
    await assert.rejects(command, /transactions are still open/);
    await answer;
    await open.query('COMMIT');
  }
});

test('an administrator who leaves ends a SWITCHOVER that has not asked for the promotion yet', async () => {
  const { primary, standby, bouncer } = shared;
  bouncer.markLog();
  const open = await bouncer.connect();
  await open.query('BEGIN');
  const administrator = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });
  const command = administrator.query(to(standby));
  command.catch(() => {});
  await bouncer.waitForLog(/holding new transactions/);
  const write = bouncer.sql('INSERT INTO ledger (writer, n) VALUES (1, 1)');
  (administrator as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  await bouncer.waitForLog(/is given up: the administrator has left/);
  await write;
  await open.query('COMMIT');
  await untilWritable(primary);
});

test('on PostgreSQL 15 the fence holds, too', { skip: noPostgres15 }, async (t) => {
  const { primary, standby, bouncer } = await setUp(t, { version: 15 });
  const insistent = new Insistent(() => directly(primary), explicitly);
  const writer = await Writer.start(bouncer, 1, 'simple');
  await Promise.all([insistent.progress(10), writer.progress(10)]);
  await bouncer.admin(to(standby));
  await writer.progress(10);
  await Promise.all([insistent.stop(), writer.stop()]);
  assert.deepEqual(writer.errors, []);
  assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  assert.deepEqual(await insistent.lost(standby), []);
});

/**
 * The promotion is requested, and does not happen: the standby's postmaster is frozen. The command and the clients have waited
 * long enough.
 */
async function pending(
  t: Parameters<typeof setUp>[0],
): Promise<Setup & { standby: Cluster; acknowledged: number[]; write: () => Promise<string> }> {
  const setup = await setUp(t, { settings: { switchover_timeout: 1 } });
  const { bouncer, standby } = setup;
  const open = await bouncer.connect();
  await open.query('BEGIN');
  const command = bouncer.admin(to(standby));
  command.catch(() => {});
  await bouncer.waitForLog(/holding new transactions/);
  standby.server.signal('SIGSTOP');
  await open.query('COMMIT');
  await bouncer.waitForLog(/is asked to promote itself; there is no way back/);
  const acknowledged: number[] = [];
  const client = await bouncer.connect();
  let n = 0;
  const write = async (): Promise<string> => {
    n++;
    try {
      await client.query(`INSERT INTO ledger (writer, n) VALUES (1, ${n})`);
      acknowledged.push(n);
      return 'done';
    } catch (error) {
      return (error as DatabaseError).code ?? '';
    }
  };
  // bounded: a client that waits too long gets an error, and stays connected
  assert.equal(await write(), '57P03');
  await assert.rejects(
    command,
    new RegExp(
      `:${standby.port} was asked to promote itself and has not done so within 1 s.*stays fenced.*SWITCHOVER dev TO`,
    ),
  );
  return { ...setup, standby, acknowledged, write };
}

async function audit(cluster: Cluster, acknowledged: number[]): Promise<void> {
  const rows = await cluster.sql<{ n: number }>('SELECT n FROM ledger WHERE writer = 1 ORDER BY n');
  assert.deepEqual(
    rows.map(({ n }) => n),
    acknowledged,
  );
}

test('clients wait for a late promotion, and no write reaches the old writer meanwhile', async (t) => {
  const { primary, standby, bouncer, acknowledged, write } = await pending(t);
  const direct = new Insistent(() => directly(primary));
  assert.equal(await write(), '57P03');
  await assert.rejects(
    bouncer.admin(to(standby)),
    /SWITCHOVER TO .* is under way \(promoting\): to take it back/,
  );
  await assert.rejects(
    bouncer.admin(to(primary)),
    /was asked to promote itself and still answers: stop it before .* is used again/,
  );
  standby.server.signal('SIGCONT');
  await bouncer.waitForLog(new RegExp(`the writer is 127.0.0.1:${standby.port} \\(was`));
  assert.equal(await write(), 'done');
  await direct.stop();
  assert.deepEqual(direct.done, []);
  await audit(standby, acknowledged);
});

test('a standby that restarts before its promotion forgets it: the old writer keeps serving', async (t) => {
  const { primary, standby, bouncer, acknowledged, write } = await pending(t);
  await standby.kill();
  assert.equal(await write(), '57P03');
  await standby.start();
  await bouncer.waitForLog(/was restarted before it had promoted itself/);
  await until('writes to go on', async () => (await write()) === 'done');
  await untilWritable(primary);
  await audit(primary, acknowledged);
  assert.deepEqual(await standby.sql('SELECT pg_is_in_recovery() AS recovering'), [{ recovering: true }]);
  // and it can be done again
  await standby.caughtUpWith(primary);
  await until('the standby to be read from', async () => {
    const rows = await bouncer.admin('SHOW TOPOLOGY');
    return rows.find((row) => row['port'] === standby.port)?.['role'] === 'reader';
  });
  await bouncer.admin(to(standby));
  assert.equal(await write(), 'done');
  await audit(standby, acknowledged);
});

test('only the operator gives up a standby that died after it was asked to promote itself', async (t) => {
  const { primary, standby, bouncer, acknowledged, write } = await pending(t);
  await standby.kill();
  await bouncer.waitForLog(new RegExp(`:${standby.port} does not answer`));
  assert.equal(await write(), '57P03');
  await bouncer.admin(to(primary));
  assert.equal(await write(), 'done');
  await untilWritable(primary);
  await audit(primary, acknowledged);
});

test('a proxy that dies after it has asked leaves the fence: its successor loses nothing, and names the remedy', async (t) => {
  const { primary, standby, bouncer, acknowledged, write } = await pending(t);
  await bouncer.stop('SIGKILL');
  void write;
  await bouncer.start();
  await bouncer.waitForLog(new RegExp(`:${primary.port} is fenced by a SWITCHOVER and takes no writes`));
  const client = await bouncer.connect();
  const refused = client.query('INSERT INTO ledger (writer, n) VALUES (2, 1)').then(
    () => '',
    (error: unknown) => (error as DatabaseError).code,
  );
  assert.equal(await refused, '25006');
  // the operator knows that no node will be promoted
  await standby.kill();
  await bouncer.admin(to(primary));
  await until('writes to go on', () =>
    client.query('INSERT INTO ledger (writer, n) VALUES (2, 2)').then(
      () => true,
      () => false,
    ),
  );
  await untilWritable(primary);
  await audit(primary, acknowledged);
});

test('RELOAD with another entry, after the promotion was asked for, waits for it', async (t) => {
  const { standby, bouncer, acknowledged, write } = await pending(t);
  bouncer.databases['dev'] = `${bouncer.databases['dev'] as string} pool_size=3`;
  await bouncer.reload();
  assert.equal(await write(), '57P03');
  standby.server.signal('SIGCONT');
  await until('writes to go on', async () => (await write()) === 'done');
  await audit(standby, acknowledged);
});

test('a node that cannot take over is refused at once, with numbers, and no client is held', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t, {
    standbys: 2,
    postgres: { wal_retrieve_retry_interval: '100ms' },
  });
  const [delayed, next] = standbys as [Cluster, Cluster];
  const writer = await Writer.start(bouncer, 1, 'extended');
  // far behind: it applies nothing for an hour
  await delayed.configure({ settings: { recovery_min_apply_delay: '1h' } });
  await writer.progress(20);
  await assert.rejects(
    bouncer.admin(to(delayed)),
    /lags behind: \d+ bytes, [\d.]+ s; SWITCHOVER dev TO .* WAIT seconds waits for it/,
  );
  await assert.rejects(bouncer.admin(`${to(delayed)} WAIT 1`), /lags behind: \d+ bytes, .* after 1 s/);
  const waiting = bouncer.admin(`${to(delayed)} WAIT 60`);
  await delayed.sql('ALTER SYSTEM SET recovery_min_apply_delay = 0');
  await delayed.sql('SELECT pg_reload_conf()');
  assert.ok(!bouncer.logContains(/holding new transactions/));
  await writer.progress(20);
  await waiting;
  await writer.progress(20);
  // the other one still follows the old writer
  const isOrphaned = async (): Promise<boolean> =>
    (await bouncer.admin('SHOW TOPOLOGY')).some(
      (row) => row['port'] === next.port && row['state'] === 'orphaned',
    );
  await until('it to be orphaned', isOrphaned);
  bouncer.markLog();
  await assert.rejects(
    bouncer.admin(to(next)),
    /is on timeline 1, streams from .* on timeline 2\. Point it to the writer/,
  );
  await assert.rejects(bouncer.admin(to(primary)), /is not a standby of .*timeline 1, the writer's is 2/);
  assert.ok(!bouncer.logContains(/holding new transactions/));
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  assert.deepEqual(await writer.audit(delayed), { missing: [], doubled: [] });
});

test('the answer names the remaining work: the old writer, and standbys that follow it', async (t) => {
  const { primary, standbys, bouncer } = await setUp(t, { standbys: 2 });
  const [next, left] = standbys as [Cluster, Cluster];
  // the fence of a proxy that died: its target may still be promoted
  await primary.sql(`ALTER SYSTEM SET ${NAMES} = '"pgswitchyard fence, timeline 1, before: "'`);
  await primary.sql('SELECT pg_reload_conf()');
  await bouncer.waitForLog(/is fenced by a SWITCHOVER and takes no writes/);
  await assert.rejects(
    bouncer.admin(to(next)),
    /cannot be fenced: it is fenced by a SWITCHOVER that has not ended/,
  );
  await bouncer.admin(to(primary));
  await untilWritable(primary);
  const console = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });
  const notices: string[] = [];
  console.on('notice', ({ message }) => notices.push(message ?? ''));
  await console.query(to(next));
  assert.equal(notices.length, 2);
  assert.match(notices[0]!, new RegExp(`:${primary.port} is fenced .* pg_rewind .*port=${next.port}`));
  assert.match(
    notices[1]!,
    new RegExp(
      `:${left.port} streams from 127.0.0.1:${primary.port} and has to be pointed to the new writer`,
    ),
  );
});

test('a right that is missing is named, and nothing has changed', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    settings: { auth_user: 'operator' },
    sql: 'CREATE ROLE operator LOGIN; GRANT SELECT ON nodes TO operator; CREATE ROLE app LOGIN',
    postgres: { synchronous_commit: 'off' },
  });
  const grants: [RegExp, string][] = [
    [
      /permission denied for function pg_promote .*GRANT EXECUTE ON FUNCTION pg_promote/,
      'GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO operator',
    ],
    [
      /GRANT EXECUTE ON FUNCTION pg_reload_conf\(\)/,
      'GRANT EXECUTE ON FUNCTION pg_reload_conf() TO operator',
    ],
    [
      /GRANT ALTER SYSTEM ON PARAMETER default_transaction_read_only, synchronous_standby_names, synchronous_commit TO "operator" is missing/,
      'GRANT ALTER SYSTEM ON PARAMETER default_transaction_read_only, synchronous_standby_names TO operator',
    ],
    [
      /GRANT ALTER SYSTEM ON PARAMETER synchronous_commit TO "operator" is missing/,
      'GRANT ALTER SYSTEM ON PARAMETER synchronous_commit TO operator',
    ],
    [/GRANT pg_signal_backend TO "operator"/, 'GRANT pg_signal_backend TO operator'],
    [/GRANT pg_read_all_stats TO "operator"/, 'GRANT pg_read_all_stats TO operator'],
  ];
  for (const [missing, grant] of grants) {
    await assert.rejects(bouncer.admin(to(standby)), missing);
    await primary.sql(grant);
  }
  await standby.caughtUpWith(primary);
  // the session that has granted is a superuser's
  await assert.rejects(
    bouncer.admin(to(standby)),
    /only a superuser may end sessions of superusers: postgres \(test, pid/,
  );
  for (const [name, value] of [
    ['default_transaction_read_only', 'off'],
    ['synchronous_commit', 'local'],
    ['synchronous_commit', 'no'],
  ]) {
    await primary.sql(`ALTER ROLE app SET ${name} = '${value}'`);
    await assert.rejects(
      bouncer.admin(to(standby)),
      new RegExp(`${name} is set to ${value} for role app, which a fence cannot change`),
    );
    await primary.sql(`ALTER ROLE app RESET ${name}`);
  }
  assert.ok(!bouncer.logContains(/holding new transactions/));
  await standby.caughtUpWith(primary);
  await primary.sql('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {});
  bouncer.userlist['app'] = '';
  await bouncer.reload();
  const writer = await bouncer.connect({ user: 'app' });
  await writer.query('SELECT 1');
  await bouncer.admin(to(standby));
  const { rows } = await writer.query('SELECT inet_server_port() AS port');
  assert.deepEqual(rows, [{ port: standby.port }]);
});
