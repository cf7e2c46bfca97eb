/** Every way to stop the proxy after every way to hold clients: which clients keep waiting, and which are disconnected. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });

type Hold = 'PAUSE' | 'SIGUSR1' | 'PAUSE a' | 'nothing';
type Stop =
  | 'SIGTERM'
  | 'SHUTDOWN WAIT_FOR_CLIENTS'
  | 'SIGINT'
  | 'SHUTDOWN WAIT_FOR_SERVERS'
  | 'SIGTERM twice'
  | 'SHUTDOWN'
  | 'SIGTERM, then SHUTDOWN WAIT_FOR_SERVERS';
type Resume = 'RESUME' | 'SIGUSR2' | 'RESUME a' | 'none';

const THROWN_OUT = 'thrown out';
const ENDED = 'ended with the process';

/** The outcome for the waiting client, and the error of the RESUME if it is refused. */
const CASES: [hold: Hold, stop: Stop, resume: Resume, outcome: string, refusal?: RegExp][] = [
  ['PAUSE', 'SIGTERM', 'RESUME', 'answered'],
  ['PAUSE', 'SIGTERM', 'SIGUSR2', 'answered'],
  ['PAUSE', 'SIGTERM', 'RESUME a', 'waits', /database a is not paused/],
  ['PAUSE', 'SIGTERM', 'none', 'waits'],
  ['PAUSE', 'SHUTDOWN WAIT_FOR_CLIENTS', 'RESUME', 'answered'],
  ['SIGUSR1', 'SIGTERM', 'SIGUSR2', 'answered'],
  ['SIGUSR1', 'SHUTDOWN WAIT_FOR_CLIENTS', 'RESUME', 'answered'],
  ['PAUSE a', 'SIGTERM', 'RESUME a', 'answered'],
  ['PAUSE a', 'SHUTDOWN WAIT_FOR_CLIENTS', 'RESUME a', 'answered'],
  ['PAUSE a', 'SIGTERM', 'RESUME', 'waits', /pooler is shutting down/],
  ['PAUSE', 'SIGINT', 'none', THROWN_OUT],
  ['PAUSE', 'SHUTDOWN WAIT_FOR_SERVERS', 'none', THROWN_OUT],
  ['PAUSE a', 'SIGINT', 'none', THROWN_OUT],
  ['nothing', 'SIGINT', 'RESUME', THROWN_OUT, /pooler is shutting down/],
  ['nothing', 'SHUTDOWN WAIT_FOR_SERVERS', 'SIGUSR2', THROWN_OUT],
  ['nothing', 'SIGTERM, then SHUTDOWN WAIT_FOR_SERVERS', 'RESUME', THROWN_OUT, /pooler is shutting down/],
  ['nothing', 'SIGTERM', 'RESUME', 'answered', /pooler is shutting down/],
  ['PAUSE', 'SIGTERM, then SHUTDOWN WAIT_FOR_SERVERS', 'none', THROWN_OUT],
  ['PAUSE', 'SIGTERM twice', 'none', ENDED],
  ['PAUSE', 'SHUTDOWN', 'none', ENDED],
];

async function play(t: Scope, [hold, stop, resume, outcome, refusal]: (typeof CASES)[number]): Promise<void> {
  const what = `${hold}, ${stop}, ${resume}`;
  const bouncer = await Bouncer.start(t, {
    databases: { a: `${cluster.connectionString()} pool_size=1`, b: cluster.connectionString() },
    settings: { pool_mode: 'transaction' },
  });
  const admin = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });
  const [waiting, holder, sentinel] = [
    await bouncer.connect(),
    await bouncer.connect(),
    await bouncer.connect({ database: 'b' }),
  ];
  if (hold === 'SIGUSR1') {
    bouncer.signal(hold);
    await bouncer.waitForLog(/got SIGUSR1, pausing/);
  } else if (hold !== 'nothing') {
    await admin.query(hold);
  } else {
    // a stop that waits for servers has one to wait for
    await holder.query('BEGIN');
  }
  let answer = '';
  waiting.query('SELECT 1 AS one').then(
    () => (answer = 'answered'),
    (error: Error) => (answer = error.message),
  );
  await until(`the client to wait: ${what}`, async () => {
    const { rows } = await admin.query<Record<string, unknown>>('SHOW POOLS');
    return rows.some((row) => row['database'] === 'a' && Number(row['cl_waiting']) === 1);
  });

  for (const each of stop === 'SIGTERM twice' ? ['SIGTERM', 'SIGTERM'] : stop.split(', then ')) {
    if (each.startsWith('SIG')) {
      bouncer.markLog();
      bouncer.signal(each as NodeJS.Signals);
      await bouncer.waitForLog(new RegExp(`got ${each}`));
    } else {
      await admin.query(each).catch(() => {});
    }
  }
  if (outcome === ENDED) {
    assert.deepEqual(await bouncer.exited(), { code: 0, signal: null }, what);
    assert.notEqual(answer, 'answered', what);
    return;
  }
  if (outcome === THROWN_OUT) {
    if (resume !== 'none') await goOn();
    await until(`the client to be thrown out: ${what}`, () => answer !== '');
    // the second stop, when there is no server left to wait for
    assert.match(answer, /^(server shutting down|pooler is shut down)$/, what);
    if (hold === 'nothing') await holder.query('COMMIT').catch(() => {});
    assert.deepEqual(await bouncer.exited(), { code: 0, signal: null }, what);
    return;
  }
  // a round of maintenance, which disconnects clients
  await admin.query("SET client_idle_timeout = '0.01'");
  await until('a round of maintenance', () => bouncer.logContains(/closing because: client_idle_timeout/));
  await admin.query("SET client_idle_timeout = '0'");
  await sentinel.end().catch(() => {});
  assert.equal(answer, '', what);
  if (resume !== 'none') await goOn();
  if (outcome === 'answered') {
    if (hold === 'nothing') await holder.query('COMMIT').catch(() => {});
    await until(`the answer: ${what}`, () => answer !== '');
    assert.equal(answer, 'answered', what);
    assert.equal((await waiting.query('SELECT 2 AS two')).rows[0].two, 2, what);
    await Promise.all([waiting.end(), holder.end().catch(() => {})]);
    assert.deepEqual(await bouncer.exited(), { code: 0, signal: null }, what);
  } else {
    await admin.query('SHOW STATE');
    assert.equal(answer, '', what);
    assert.ok(bouncer.isRunning, what);
  }

  async function goOn(): Promise<void> {
    if (resume === 'SIGUSR2') {
      bouncer.signal('SIGUSR2');
      await bouncer.waitForLog(
        outcome === 'answered'
          ? /got SIGUSR2, continuing from PAUSE/
          : /got SIGUSR2 while shutting down, ignoring/,
      );
    } else if (refusal === undefined) {
      await admin.query(resume);
    } else {
      await assert.rejects(admin.query(resume), refusal, what);
    }
  }
}

test('only a stop that waits for servers disconnects waiting clients; RESUME lets the others continue', async (t) => {
  const left = [...CASES];
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await play(t, next);
  };
  await Promise.all([worker(), worker(), worker()]);
});

test('SHUTDOWN WAIT_FOR_SERVERS ends a SUSPEND, and WAIT_FOR_CLIENTS leaves that to RESUME', async (t) => {
  for (const mode of ['WAIT_FOR_CLIENTS', 'WAIT_FOR_SERVERS']) {
    const bouncer = await Bouncer.start(t, {
      databases: { a: cluster.connectionString() },
      settings: { pool_mode: 'transaction' },
    });
    const admin = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });
    const client = await bouncer.connect();
    await client.query('BEGIN');
    await admin.query('SUSPEND');
    const query = client.query('SELECT 1 AS one');
    await admin.query(`SHUTDOWN ${mode}`);
    if (mode === 'WAIT_FOR_CLIENTS') await admin.query('RESUME');
    assert.equal((await query).rows[0].one, 1);
    await client.query('COMMIT').catch(() => {});
    await client.end().catch(() => {});
    assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
  }
});

test('after KILL and RESUME no client is held, and SIGTERM ends with the last client', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { a: cluster.connectionString(), b: cluster.connectionString() },
    settings: { pool_mode: 'transaction' },
  });
  const admin = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });
  const [killed, other] = [await bouncer.connect(), await bouncer.connect({ database: 'b' })];
  await admin.query('KILL a');
  await assert.rejects(killed.query('SELECT 1'));
  bouncer.signal('SIGTERM');
  await bouncer.waitForLog(/got SIGTERM/);
  assert.equal((await other.query('SELECT 1 AS one')).rows[0].one, 1);
  await admin.query('RESUME a');
  await other.end();
  assert.deepEqual(await bouncer.exited(), { code: 0, signal: null });
});
