/** SHOW FDS: listening sockets, clients and servers, by the descriptors of the process. */
import assert from 'node:assert/strict';
import { readlinkSync } from 'node:fs';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { RawClient, startup } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });

test('SHOW FDS lists listeners, clients that log in, clients and servers, and their links', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { dev: cluster.connectionString() },
    settings: { pool_mode: 'transaction' },
  });
  const linked = await bouncer.connect({ host: bouncer.folder });
  await linked.query(`SET datestyle = 'German'`);
  await linked.query('BEGIN');
  const idle = await RawClient.connect({ port: bouncer.port });
  idle.send(startup({ user: 'postgres', database: 'dev', client_encoding: 'LATIN1' }));
  const key = (await idle.readUntil('Z')).find(({ type }) => type === 'K')!.payload;
  const early = await RawClient.connect({ port: bouncer.port });

  const rows = await until('the third client', async () => {
    const all = await bouncer.admin('SHOW FDS');
    return all.length === 6 ? all : null;
  });
  const [server] = await cluster.sql(`select pid from pg_stat_activity where state = 'idle in transaction'`);
  const descriptor = (i: number): number => rows[i]!['fd'] as number;
  const secrets = { password: null, scram_client_key: null, scram_server_key: null };
  const unset = { client_encoding: null, std_strings: null, datestyle: null, timezone: null, ...secrets };
  const listener = { task: 'pooler', user: null, database: null, cancel: '0', link: 0, ...unset };
  assert.deepEqual(rows.slice(0, 2), [
    { ...listener, fd: descriptor(0), addr: '127.0.0.1', port: bouncer.port },
    { ...listener, fd: descriptor(1), addr: 'unix', port: bouncer.port },
  ]);
  assert.deepEqual(
    { ...rows[2], port: 0 },
    { ...listener, fd: descriptor(2), task: 'client', addr: '127.0.0.1', port: 0 },
  );
  const [unix, tcp, backend] = rows.slice(3);
  assert.deepEqual([unix!['task'], unix!['user'], unix!['database']], ['client', 'postgres', 'dev']);
  assert.deepEqual([unix!['addr'], unix!['port'], unix!['link']], ['unix', bouncer.port, backend!['fd']]);
  assert.deepEqual([unix!['std_strings'], unix!['datestyle']], ['on', 'German, DMY']);
  assert.deepEqual([tcp!['addr'], tcp!['link'], tcp!['client_encoding']], ['127.0.0.1', 0, 'LATIN1']);
  assert.equal(tcp!['cancel'], key.readBigInt64BE().toString());
  assert.deepEqual(
    [backend!['task'], backend!['user'], backend!['link']],
    ['server', 'postgres', unix!['fd']],
  );
  assert.equal(Number(BigInt(backend!['cancel'] as string) >> 32n), server!['pid']);
  for (const { fd } of rows.slice(3))
    assert.match(readlinkSync(`/proc/${bouncer.pid}/fd/${String(fd)}`), /^socket:/);
  assert.equal(new Set(rows.map(({ fd }) => fd)).size, 6);
  early.destroy();
  idle.destroy();
});
