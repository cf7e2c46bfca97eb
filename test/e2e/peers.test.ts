/** Several proxies behind one address. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { FlakyRelay } from '../support/flaky.ts';
import { RawClient, cancelRequest, errorFields, query, startup, type Frame } from '../support/raw.ts';
import { until } from '../support/wait.ts';

/** Two processes on one port that know each other through their Unix sockets. */
const cluster = await Cluster.start({ after });
const options = (peerId: number) => ({
  databases: { postgres: cluster.connectionString() },
  settings: { so_reuseport: 1, peer_id: peerId, pool_mode: 'transaction' },
  ini: '%include peers.ini\n',
});
const one = await Bouncer.prepare({ after }, options(1));
const two = await Bouncer.prepare({ after }, options(2));
const { port } = one;
two.settings['listen_port'] = port;
// speaks for process 1 on TCP
const relay = await FlakyRelay.start({ after }, { port });
const peers = `[peers]\n1 = host=${one.folder} port=${port}\n2 = host=${two.folder} port=${port} pool_size=3\n9 = host=${one.folder} port=${port}\n8 = host=127.0.0.1 port=${relay.port}\n`;
for (const each of [one, two]) {
  await each.writeFiles();
  await each.writeFile('peers.ini', peers);
  await each.start();
}

const socket = (bouncer: Bouncer): { path: string } => ({ path: `${bouncer.folder}/.s.PGSQL.${port}` });

interface Running {
  readonly raw: RawClient;
  readonly pid: number;
  readonly secret: Buffer;
}

/** A client whose query runs until it is cancelled. */
async function sleeper(target: { path: string } | { port: number }, version: number): Promise<Running> {
  const raw = await RawClient.connect(target);
  raw.send(startup({ user: 'postgres', database: 'postgres' }, version));
  const hello = await raw.readUntil('Z');
  const key = hello.find((frame) => frame.type === 'K')!.payload;
  raw.send(query(`select pg_sleep(60) /* ${key.toString('hex')} */`));
  await until('the query to run', async () => {
    const rows = await cluster.sql('select 1 from pg_stat_activity where state = $1 and query like $2', [
      'active',
      `%${key.toString('hex')}%`,
    ]);
    return rows.length === 1;
  });
  return { raw, pid: key.readInt32BE(0), secret: key.subarray(4) };
}

async function send(target: { path: string } | { port: number }, pid: number, secret: Buffer): Promise<void> {
  const raw = await RawClient.connect(target);
  raw.send(cancelRequest(pid, secret));
  await raw.readToEnd();
}

const sqlstate = (frames: Frame[]): string | undefined =>
  errorFields(frames.find((frame) => frame.type === 'E')!)['C'];

for (const [name, version, bytes] of [
  ['3.0', 196_608, 4],
  ['3.2', 196_610, 32],
] as const) {
  test(`protocol ${name}: a cancel request that came to the wrong process finds its way`, async () => {
    const { raw, pid, secret } = await sleeper(socket(one), version);
    assert.equal(secret.length, bytes);
    const key = Buffer.alloc(4);
    key.writeInt32BE(pid);
    assert.equal(key.readUInt16LE(1), 1);
    assert.equal(secret.at(-1)! & 3, 3);
    await send(socket(two), pid, secret);
    assert.equal(sqlstate(await raw.readUntil('Z')), '57014');
    raw.destroy();
  });
}

test('on the common port every request finds its client', async () => {
  for (let i = 0; i < 6; i++) {
    const { raw, pid, secret } = await sleeper({ port }, 196_608);
    await send({ port }, pid, secret);
    assert.equal(sqlstate(await raw.readUntil('Z')), '57014');
    raw.destroy();
  }
});

test('a request that has no hops left, and one for an unknown process, end', async () => {
  const header = Buffer.from([0, 1, 0, 7]);
  two.markLog();
  await send(socket(two), header.readInt32BE(0), Buffer.from([1, 2, 3, 0]));
  await two.waitForLog(/failed cancel request: too many hops/);
  // peer 9 is process 1 under a wrong number: it sends the request to itself until the hops are used up
  one.markLog();
  const wrong = Buffer.from([0, 9, 0, 7]);
  await send(socket(one), wrong.readInt32BE(0), Buffer.from([1, 2, 3, 3]));
  await one.waitForLog(/failed cancel request: too many hops/);
});

test('SHOW PEERS and SHOW PEER_POOLS', async () => {
  const console = { host: two.folder, port, user: 'pgbouncer', database: 'pgbouncer' };
  assert.deepEqual(await two.sql('SHOW PEERS', console), [
    { peer_id: 1, host: one.folder, port, pool_size: 20 },
    { peer_id: 2, host: two.folder, port, pool_size: 3 },
    { peer_id: 9, host: one.folder, port, pool_size: 20 },
    { peer_id: 8, host: '127.0.0.1', port: relay.port, pool_size: 20 },
  ]);
  const idle = { cl_active_cancel_req: 0, cl_waiting_cancel_req: 0, sv_active_cancel: 0, sv_login: 0 };
  assert.deepEqual(
    await two.sql('SHOW PEER_POOLS', console),
    [1, 2, 9, 8].map((peer_id) => ({ peer_id, ...idle })),
  );
  const row = async (): Promise<Record<string, unknown> | undefined> =>
    (await two.sql('SHOW PEER_POOLS', console)).find(({ peer_id: id }) => id === 8);
  // its answer to the request for TLS is awaited
  relay.toUpstream.stall = true;
  const sending = send(socket(two), Buffer.from([0, 8, 0, 7]).readInt32BE(0), Buffer.from([1, 2, 3, 3]));
  await until('a connection to be made', async () => (await row())?.['sv_login'] === 1);
  assert.deepEqual(await row(), { peer_id: 8, ...idle, cl_waiting_cancel_req: 1, sv_login: 1 });
  relay.toUpstream.stall = false;
  relay.release();
  await sending;
  assert.deepEqual(await row(), { peer_id: 8, ...idle });
});
