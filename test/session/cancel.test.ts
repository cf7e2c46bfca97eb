/** CancelRequest: it cancels only the query that its client runs, and only while it runs. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { FlakyRelay } from '../support/flaky.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues, type Frame } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });
const relay = await FlakyRelay.start({ after }, cluster);
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      one: `${cluster.connectionString()} pool_size=1`,
      many: `${cluster.connectionString()} pool_size=5`,
      relayed: `host=127.0.0.1 port=${relay.port} dbname=postgres pool_size=1`,
    },
    settings: { pool_mode: 'transaction' },
  },
);

interface Cancellable {
  readonly client: RawClient;
  /** Sends the request, and waits until the proxy has dealt with it. */
  cancel(): Promise<void>;
}

async function login(t: Scope, database: string, version = 196_608): Promise<Cancellable> {
  const client = await RawClient.connect(bouncer);
  t.after(() => client.destroy());
  client.send(raw.startup({ user: 'postgres', database }, version));
  const key = (await client.readUntil('Z')).find((frame) => frame.type === 'K')!.payload;
  return {
    client,
    async cancel() {
      const requester = await RawClient.connect(bouncer);
      requester.send(raw.cancelRequest(key.readInt32BE(0), key.subarray(4)));
      assert.deepEqual(await requester.readToEnd(), []);
    },
  };
}

const code = (frames: Frame[]): string | undefined => {
  const error = frames.find((frame) => frame.type === 'E');
  return error && errorFields(error)['C'];
};

async function runs(marker: string): Promise<void> {
  await until('the query to run', async () => {
    const rows = await cluster.sql("select from pg_stat_activity where query like $1 and state = 'active'", [
      `%${marker}%`,
    ]);
    return rows.length > 0;
  });
}

for (const version of [196_608, 196_610]) {
  test(`a running query is cancelled, and the client can continue (protocol 3.${version & 0xffff})`, async (t) => {
    const { client, cancel } = await login(t, 'one', version);
    client.send(raw.query("select pg_sleep(60), 'running'"));
    await runs('running');
    await cancel();
    assert.equal(code(await client.readUntil('Z')), '57014');
    assert.equal(code(await client.query('select 1')), undefined);
  });
}

test('a hundred requests for clients that run nothing cancel no query', async (t) => {
  const busy = await login(t, 'many');
  const idle = await Promise.all(Array.from({ length: 10 }, () => login(t, 'many')));
  for (const { client } of idle) await client.query('select 1');
  busy.client.send(raw.query("select pg_sleep(0.7), 'busy'"));
  await runs('busy');
  await Promise.all(Array.from({ length: 100 }, (_, i) => idle[i % 10]!.cancel()));
  assert.equal(code(await busy.client.readUntil('Z')), undefined);
});

test('requests for short queries never cancel those of other clients', async (t) => {
  const clients = await Promise.all(Array.from({ length: 6 }, () => login(t, 'many')));
  const bystander = await login(t, 'many');
  let isOver = false;
  const noise = clients.map(async ({ client, cancel }) => {
    for (let i = 0; i < 15; i++) {
      client.send(raw.query('select pg_sleep(0.002)'));
      await Promise.all([client.readUntil('Z'), cancel()]);
    }
  });
  const quiet = (async () => {
    while (!isOver) assert.equal(code(await bystander.client.query('select pg_sleep(0.002)')), undefined);
  })();
  await Promise.all(noise);
  isOver = true;
  await quiet;
});

test('a query that waits for a server is cancelled, and the query after it still waits', async (t) => {
  const holder = await login(t, 'one');
  await holder.client.query('begin');
  const { client, cancel } = await login(t, 'one');
  const waits = async (): Promise<boolean> => {
    const rows = await bouncer.admin('SHOW POOLS');
    return rows.some((row) => row['database'] === 'one' && Number(row['cl_waiting']) > 0);
  };
  client.send(raw.query("select 'first'"), raw.query("select 'second'"));
  await until('the client to wait', waits);
  cluster.markLog();
  await cancel();
  assert.equal(code(await client.readUntil('Z')), '57014');
  await holder.client.query('commit');
  assert.equal(rowValues((await client.readUntil('Z'))[1]!)[0], 'second');
  assert.ok(!cluster.logContains(/select 'first'/));

  await holder.client.query('begin');
  client.send(raw.parse('', 'select 1'), raw.bind(), raw.execute(), raw.sync());
  await until('the client to wait', waits);
  await cancel();
  assert.deepEqual(
    (await client.readUntil('Z')).map((frame) => frame.type),
    ['E', 'Z'],
  );

  client.send(raw.sync());
  await until('the client to wait', waits);
  await cancel();
  await holder.client.query('commit');
  assert.deepEqual(
    (await client.readUntil('Z')).map((frame) => frame.type),
    ['Z'],
  );
});

test('a request with an unknown key gets no answer', async () => {
  const requester = await RawClient.connect(bouncer);
  requester.send(raw.cancelRequest(1, Buffer.alloc(4)));
  assert.deepEqual(await requester.readToEnd(), []);
});

async function named(t: Scope, name: string): Promise<Cancellable> {
  const one = await login(t, 'relayed');
  await one.client.query(`set application_name = '${name}'`);
  return one;
}

for (const [what, messages, answers] of [
  ['alone', [raw.query("select 'never'")], 'EZ'],
  ['with another after it', [raw.query("select 'never'"), raw.query("select 'second'")], 'EZTDCZ'],
  [
    'by the extended protocol',
    [raw.parse('', "select 'never'"), raw.bind(), raw.execute(), raw.sync()],
    'EZ',
  ],
] as const) {
  test(`a query that is held while its client’s settings are applied is cancelled (${what})`, async (t) => {
    const other = await named(t, 'other');
    const { client, cancel } = await named(t, 'mine');
    await other.client.query('select 1');
    cluster.markLog();
    relay.toClient.stall = true;
    client.send(...messages);
    await cluster.waitForLog(/SET application_name='mine'/);
    await cancel();
    relay.toClient.stall = false;
    relay.release();
    let seen = '';
    while (seen.length < answers.length) seen += (await client.readFrame()).type;
    assert.equal(seen, answers);
    // the only server is free
    assert.equal(code(await other.client.query('select 1')), undefined);
    assert.ok(!cluster.logContains(/never/));
  });
}

test('the console shows requests that wait apart from those on their way; both end at cancel_wait_timeout', async (t) => {
  await bouncer.reload({ cancel_wait_timeout: 3 });
  t.after(() => bouncer.reload({ cancel_wait_timeout: 10 }));
  const { client, cancel } = await login(t, 'relayed');
  client.send(raw.query("select pg_sleep(60), 'slow'"));
  await runs('slow');
  bouncer.markLog();
  relay.toUpstream.stall = true;
  const requests = Promise.all([cancel(), cancel(), cancel()]);
  const pool = await until('two to be on their way', async () =>
    (await bouncer.admin('SHOW POOLS')).find(
      (row) => row['database'] === 'relayed' && row['cl_active_cancel_req'] === 2,
    ),
  );
  assert.deepEqual(
    [pool['cl_waiting_cancel_req'], pool['sv_active_cancel'], pool['sv_active'], pool['cl_active']],
    [1, 2, 1, 1],
  );
  const clients = (await bouncer.admin('SHOW CLIENTS')).filter((row) =>
    String(row['state']).endsWith('cancel_req'),
  );
  assert.deepEqual(
    clients.map((row) => [row['user'], row['database'], row['state']]).toSorted(),
    ['active_cancel_req', 'active_cancel_req', 'waiting_cancel_req'].map((state) => [
      '(nouser)',
      'relayed',
      state,
    ]),
  );
  const servers = (await bouncer.admin('SHOW SERVERS')).filter((row) => row['state'] === 'active_cancel');
  const links = clients.map((row) => row['link']).filter((link) => link !== '');
  assert.deepEqual(servers.map((row) => row['ptr']).toSorted(), links.toSorted());
  await requests;
  assert.equal(bouncer.logCount(/closing because: cancel_wait_timeout/), 3);
  relay.toUpstream.stall = false;
  relay.release();
});
