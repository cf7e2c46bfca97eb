/** The connection to the store: TLS, passwords, several hosts, and errors that say what is wrong. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { configFromText } from '../../src/config/load.ts';
import { StoreAway, StoreConnection } from '../../src/fleet/connection.ts';
import type { StoreTarget } from '../../src/fleet/target.ts';
import { Cluster, TLS_FOLDER } from '../support/cluster.ts';

const secure = await Cluster.start(
  { after },
  {
    tls: true,
    sql: `CREATE ROLE fleet LOGIN PASSWORD 'secret';`,
    hba: ['hostssl all fleet all scram-sha-256', 'host all postgres all trust', 'local all postgres trust'],
  },
);
const plain = await Cluster.start({ after });
const { settings } = configFromText(
  `[pgbouncer]\nserver_tls_sslmode = prefer\nserver_tls_ca_file = ${join(TLS_FOLDER, 'ca.crt')}\n`,
);

function connect(target: Partial<StoreTarget> & Pick<StoreTarget, 'hosts'>): Promise<StoreConnection> {
  return StoreConnection.open({
    target: {
      database: 'postgres',
      user: 'postgres',
      password: null,
      sslmode: 'prefer',
      sslnegotiation: 'postgres',
      ...target,
    },
    settings,
    name: 'a name that is longer than a name in pg_stat_activity can be, which has 63 bytes',
    answerMs: 5_000,
  });
}

async function isEncrypted(connection: StoreConnection): Promise<boolean> {
  const [row] = await connection.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
  connection.close();
  return row?.['ssl'] === 't';
}

const { host, port } = secure;

for (const [name, target, expected] of [
  ['disable', { sslmode: 'disable' }, false],
  ['prefer', { sslmode: 'prefer' }, true],
  ['require', { sslmode: 'require' }, true],
  ['require, direct', { sslmode: 'require', sslnegotiation: 'direct' }, true],
  ['verify-full', { sslmode: 'verify-full', hosts: [{ host: 'localhost', port }] }, true],
] as const) {
  test(`sslmode ${name}, with a server that speaks TLS`, async () => {
    assert.equal(await isEncrypted(await connect({ hosts: [{ host, port }], ...target })), expected);
  });
}

test('a server without TLS is used if TLS is optional, and refused otherwise', async () => {
  const hosts = [{ host: plain.host, port: plain.port }];
  assert.equal(await isEncrypted(await connect({ hosts })), false);
  await assert.rejects(connect({ hosts, sslmode: 'require' }), /does not support SSL/);
});

test('a certificate for another name is refused', async () => {
  const wrong = { host: '127.0.0.2', port };
  await assert.rejects(connect({ hosts: [wrong], sslmode: 'verify-full' }), StoreAway);
});

test('a password is used, and a missing or wrong one is reported', async () => {
  const fleet = { hosts: [{ host, port }], user: 'fleet' };
  assert.equal(await isEncrypted(await connect({ ...fleet, password: 'secret' })), true);
  await assert.rejects(connect({ ...fleet, password: 'wrong' }), /password authentication failed/);
  await assert.rejects(connect(fleet), /asks for a password, and none is known for user "fleet"/);
});

test('a Unix socket is used without TLS', async () => {
  const hosts = [{ host: secure.socketFolder, port }];
  assert.equal(await isEncrypted(await connect({ hosts, sslmode: 'verify-full' })), false);
});

test('hosts are tried in turn until one can be written to', async (t) => {
  const writer = await Cluster.start(t);
  const standby = await writer.createStandby();
  const at = (cluster: Cluster) => ({ host: cluster.host, port: cluster.port });
  const connection = await connect({ hosts: [{ host, port: 1 }, at(standby), at(writer)] });
  const [row] = await connection.query(`SELECT current_setting('port') AS port`);
  assert.equal(row?.['port'], String(writer.port));
  connection.close();
  await assert.rejects(
    connect({ hosts: [{ host, port: 1 }, at(standby)] }),
    /ECONNREFUSED.*; .*it is a standby/,
  );
});

test('statements are carried out one after the other, and a failed transaction leaves nothing behind', async () => {
  const connection = await connect({ hosts: [{ host, port }] });
  await connection.query('CREATE TEMP TABLE t (n int)');
  const failing = connection.transaction(async (query) => {
    await query('INSERT INTO t VALUES (1)');
    await query('SELECT 1 / 0');
  });
  const counted = connection.query('SELECT count(*) AS n FROM t');
  await assert.rejects(failing, /division by zero/);
  assert.equal((await counted)[0]?.['n'], '0');
  const many = Array.from({ length: 100 }, () => connection.query('SELECT 1'));
  const results = await Promise.allSettled(many);
  assert.ok(results.some(({ status }) => status === 'rejected'));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 64);
  connection.close();
  await assert.rejects(connection.query('SELECT 1'), StoreAway);
});
