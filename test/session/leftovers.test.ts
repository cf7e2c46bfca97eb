/** The unfinished work of one client must not reach the next client of the server, nor keep the server from it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { FlakyRelay } from '../support/flaky.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues, type Frame } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after }, { sql: 'CREATE TABLE t (n int)' });
const relay = await FlakyRelay.start({ after }, cluster);
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      plain: cluster.connectionString(),
      one: cluster.connectionString(),
      relayed: `host=127.0.0.1 port=${relay.port} dbname=postgres`,
      other: cluster.connectionString(),
    },
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    files: {
      'user-functions/one/routing_rules.ts':
        'export const routing_rules = (user: string, query: string): string | null => query.includes("other") ? "other" : "one";',
    },
  },
);

const first = (frames: Frame[]): string | null => {
  const row = frames.find((frame) => frame.type === 'D');
  assert.ok(row, `no row in ${frames.map((frame) => frame.type).join('')}`);
  return rowValues(row)[0]!;
};

/** Requests a row of so many bytes, and reads nothing until the server has sent it or can't send more. */
async function askUnread(client: RawClient, bytes: number): Promise<void> {
  client.socket.pause();
  client.send(raw.query(`select repeat('x', ${bytes})`));
  await until('the server to be done or stuck', async () => {
    const rows = await cluster.sql(
      `select from pg_stat_activity where query = $1 and (state = 'idle' or wait_event = 'ClientWrite')`,
      [`select repeat('x', ${bytes})`],
    );
    return rows.length > 0;
  });
}

async function bytesSent(database: string): Promise<number> {
  const rows = await bouncer.admin('SHOW STATS_TOTALS');
  return Number(rows.find((row) => row['database'] === database)?.['bytes_sent']);
}

/** The number of bytes that the kernel and the proxy buffer for a client that reads nothing. */
async function capacity(t: Scope): Promise<number> {
  const client = await bouncer.login(t, 'plain');
  const before = await bytesSent('plain');
  await askUnread(client, 30_000_000);
  let [last, same] = [0, 0];
  await until('everything to be full', async () => {
    const now = await bytesSent('plain');
    same = now === last ? same + 1 : 0;
    last = now;
    return same === 5;
  });
  client.destroy();
  return last - before;
}

for (const database of ['plain', 'one']) {
  test(`a client that asks for more before it has read an answer affects no other client (${database})`, async (t) => {
    const edge = await capacity(t);
    for (let bytes = edge - 40_000; bytes <= edge + 40_000; bytes += 4000) {
      const [slow, neighbour] = [await bouncer.login(t, database), await bouncer.login(t, database)];
      await askUnread(slow, bytes);
      slow.send(raw.query("select 'other', 'mine'"));
      neighbour.send(raw.query("select 'other', 'theirs'"));
      await turn();
      slow.socket.resume();
      assert.equal(first(await slow.readUntil('Z')), 'x'.repeat(bytes));
      assert.equal((await slow.readUntil('Z')).at(1)!.payload.toString('latin1').slice(-4), 'mine');
      assert.match((await neighbour.readUntil('Z')).at(1)!.payload.toString('latin1'), /theirs$/);
      slow.destroy();
      neighbour.destroy();
    }
  });
}

test('a COPY that fails in the middle of a message frees its server at the end of the message', async (t) => {
  const [copier, other] = [await bouncer.login(t, 'relayed'), await bouncer.login(t, 'relayed')];
  copier.send(raw.query('copy t from stdin'), raw.copyData('no number\n'));
  const long = raw.copyData('1\n'.repeat(10_000));
  copier.send(long.subarray(0, 5000));
  await copier.readUntil('Z');
  copier.send(long.subarray(5000));
  assert.equal(first(await other.query("select 'free'")), 'free');
  copier.send(raw.copyDone());
  assert.equal(first(await copier.query("select 'still here'")), 'still here');
});

test('a client whose COPY fails while its data is stopped can continue', async (t) => {
  const copier = await bouncer.login(t, 'relayed');
  copier.send(raw.query('copy t from stdin'), raw.copyData('no number\n'));
  const data = raw.copyData('1\n'.repeat(100_000));
  for (let i = 0; i < 50; i++) copier.send(data);
  await copier.readUntil('Z');
  copier.send(raw.copyDone());
  assert.equal(first(await copier.query("select 'still here'")), 'still here');
});

test('a client that leaves while its settings are applied leaves no answers behind', async (t) => {
  const [here, leaving] = [
    await bouncer.login(t, 'relayed', { application_name: 'here' }),
    await bouncer.login(t, 'relayed', { application_name: 'leaving' }),
  ];
  await here.query('select 1');
  relay.toClient.stall = true;
  cluster.markLog();
  leaving.send(raw.query("select 'not mine'"));
  await cluster.waitForLog(/SET application_name='leaving'/);
  bouncer.markLog();
  leaving.destroy();
  await bouncer.waitForLog(/client unexpected eof|closing because/);
  here.send(raw.query("select 'mine', current_setting('application_name')"));
  relay.toClient.stall = false;
  relay.release();
  const frames = await here.readUntil('Z');
  assert.deepEqual(rowValues(frames.find((frame) => frame.type === 'D')!), ['mine', 'here']);
});

test('a server that is lost in the middle of a row ends the connection, without an error that looks like its rest', async (t) => {
  const client = await bouncer.login(t, 'relayed');
  await client.query('select 1');
  relay.toClient.dropAfterBytes = 300_000;
  client.send(raw.query("select repeat('x', 1000000)"));
  const bytes = await new Promise<Buffer>((resolve) => {
    const chunks: Buffer[] = [];
    client.socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    client.socket.on('close', () => resolve(Buffer.concat(chunks)));
  });
  delete relay.toClient.dropAfterBytes;
  assert.ok(bytes.length <= 300_000, `${bytes.length} bytes`);
  assert.doesNotMatch(bytes.toString('latin1'), /server conn crashed/);
  assert.ok(bouncer.logContains(/closing because: server conn crashed\?/));
});

test('a server that is lost between messages ends the connection with an error', async (t) => {
  const client = await bouncer.login(t, 'relayed');
  client.send(raw.query('select pg_sleep(60)'));
  await cluster.waitForLog(/pg_sleep\(60\)/);
  relay.reset();
  const error = (await client.readToEnd()).find((frame) => frame.type === 'E');
  assert.deepEqual(
    { ...errorFields(error!), V: undefined },
    { S: 'FATAL', V: undefined, C: '08P01', M: 'server conn crashed?' },
  );
});

test('messages that arrive in one packet with Terminate are carried out', async (t) => {
  const client = await bouncer.login(t, 'relayed');
  client.send(raw.query('create table goodbye ()'), raw.terminate());
  await until('the table', () =>
    cluster.sql("select 1 from pg_class where relname = 'goodbye'").then((rows) => rows.length),
  );
  if (!client.closed) await once(client.socket, 'close');
});

test('after an error, a message about a statement that the error prevented is skipped, and is not fatal', async (t) => {
  const client = await bouncer.login(t, 'relayed');
  client.send(raw.parse('s', 'no sql'), raw.flush());
  await client.readUntil('E');
  client.send(raw.describe('S', 's'), raw.bind('s'), raw.execute(), raw.parse('s', 'select 1'), raw.sync());
  assert.deepEqual(
    (await client.readUntil('Z')).map((frame) => frame.type),
    ['Z'],
  );
  client.send(raw.parse('s', "select 'again'"), raw.bind('s'), raw.execute(), raw.sync());
  assert.equal(first(await client.readUntil('Z')), 'again');
});

test('while an error is on its way, a message with an unknown or duplicate name is skipped, and is not fatal', async (t) => {
  const client = await bouncer.login(t, 'plain');
  // names of statements whose Parse, or whose Close, the error prevents
  client.send(raw.parse('s', "select 'first'"), raw.sync());
  await client.readUntil('Z');
  client.send(
    ...[
      raw.parse('', 'no sql'),
      raw.bind('unknown'),
      raw.parse('s', 'select 2'),
      raw.close('S', 's'),
      raw.sync(),
    ],
    ...[raw.parse('new', 'select 3'), raw.bind('s'), raw.execute(), raw.sync()],
  );
  const frames = [...(await client.readUntil('Z')), ...(await client.readUntil('Z'))];
  assert.equal(frames.map((frame) => frame.type).join(''), 'EZ12DCZ');
  assert.equal(first(frames), 'first');
});

for (const [what, message, error] of [
  ['unknown', raw.bind('unknown'), 'prepared statement "unknown" does not exist'],
  ['taken', raw.parse('s', 'select 2'), 'prepared statement "s" already exists'],
] as const) {
  test(`a name that is ${what} in a pipeline without an error gets an error after the answers before it`, async (t) => {
    const client = await bouncer.login(t, 'plain');
    client.send(raw.parse('s', 'select 1'), raw.describe('S', 's'), message, raw.execute(), raw.sync());
    const frames = await client.readUntil('Z');
    assert.equal(frames.map((frame) => frame.type).join(''), '1tTEZ');
    assert.deepEqual([errorFields(frames[3]!)['S'], errorFields(frames[3]!)['M']], ['ERROR', error]);
  });
}

test('a statement that a failed part of a pipeline was to prepare is prepared by the next part', async (t) => {
  const text = 'select 4711';
  const client = await bouncer.login(t, 'plain');
  client.send(raw.execute('nothing'), raw.parse('a', text), raw.sync());
  client.send(raw.parse('b', text), raw.bind('b'), raw.execute(), raw.sync());
  // the client has the statement and this server does not: the proxy adds the Parse
  client.send(raw.query('deallocate all'));
  const frames: Frame[] = [];
  for (let i = 0; i < 3; i++) frames.push(...(await client.readUntil('Z')));
  assert.equal(frames.map((frame) => frame.type).join(''), 'EZ12DCZCZ');
  client.send(raw.parse('c', text), raw.sync());
  await client.readUntil('Z');
  await bouncer.admin('RECONNECT');
  client.send(raw.execute('nothing'), raw.bind('c'), raw.sync());
  client.send(raw.bind('c'), raw.execute(), raw.sync());
  const again = [...(await client.readUntil('Z')), ...(await client.readUntil('Z'))];
  assert.equal(again.map((frame) => frame.type).join(''), 'EZ2DCZ');
});

test('an unknown name in the middle of a COPY ends the connection, whether or not the server has asked for data', async (t) => {
  for (const isAhead of [true, false]) {
    const client = await bouncer.login(t, 'plain');
    client.send(raw.query('copy t from stdin'));
    if (!isAhead) await client.readUntil('G');
    client.send(raw.bind('unknown'), raw.copyDone(), raw.sync());
    const frames = await client.readToEnd();
    assert.match(errorFields(frames.at(-1)!)['M']!, /unexpected message .* during COPY/);
  }
});

test('a COPY that fails before or on its data, with a Sync sent ahead, keeps its server', async (t) => {
  await cluster.sql('CREATE OR REPLACE VIEW readonly AS SELECT 1 AS n GROUP BY 1');
  const pid = async (): Promise<string | null> => first(await client.query('select pg_backend_pid()'));
  const client = await bouncer.login(t, 'plain');
  const before = await pid();
  bouncer.markLog();
  for (const table of ['t', 'readonly']) {
    client.send(raw.parse('', `copy ${table} from stdin`), raw.bind(), raw.execute(), raw.sync());
    await client.readUntil('G');
    client.send(raw.copyData('no number\n'), raw.copyDone(), raw.sync());
    client.send(raw.query("select 'next'"));
    // the two Syncs get one answer more or less
    const frames = await client.readUntil('C');
    assert.equal(first(frames), 'next');
    await client.readUntil('Z');
    assert.equal(await pid(), before, table);
  }
  assert.ok(!bouncer.logContains(/client disconnect|out of step/));
});

test('a statement whose Parse and Close were skipped after an error exists as if it had not been closed', async (t) => {
  const client = await bouncer.login(t, 'plain');
  const lost = [raw.parse('b', "select 'b'"), raw.close('S', 'b'), raw.bind('b')];
  client.send(raw.parse('', 'no sql'), ...lost, raw.sync(), raw.bind('b'), raw.sync());
  const frames = [...(await client.readUntil('Z')), ...(await client.readUntil('Z'))];
  assert.equal(frames.map((frame) => frame.type).join(''), 'EZ2Z');
});

test('the log says why a server is closed with its client: an unfinished query or transaction', async (t) => {
  const closing = (reason: string): RegExp =>
    new RegExp(`S-0x\\w+: plain/postgres@\\S+ closing because: ${reason} \\(age=`);
  const [open, busy] = [await bouncer.login(t, 'plain'), await bouncer.login(t, 'plain')];
  await open.query('begin');
  bouncer.markLog();
  open.send(raw.terminate());
  await bouncer.waitForLog(closing('client disconnect while server was not ready'));
  assert.ok(!bouncer.logContains(/query in progress/), 'there was none');

  busy.send(raw.query('select pg_sleep(61)'));
  await until('the query to run', async () => {
    const rows = await cluster.sql("select from pg_stat_activity where query = 'select pg_sleep(61)'");
    return rows.length > 0;
  });
  busy.end();
  await bouncer.waitForLog(closing('client disconnected with query in progress'));
  await cluster.sql(
    "select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(61)'",
  );
});
