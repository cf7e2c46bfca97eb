/** Planned switchovers under load: no statement fails, no client is dropped, nothing is lost or done twice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/wait.ts';
import { planned, rejoin, setUp, TOPOLOGY, Writer, type Protocol } from './pair.ts';

const PROTOCOLS: Protocol[] = ['simple', 'extended', 'prepared'];

test('there and back again under load: no failed statement, nothing lost, nothing twice', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const idle = await bouncer.connect();
  await idle.query("SET application_name = 'idler'");
  await idle.query({
    name: 'where',
    text: 'SELECT pg_is_in_recovery() AS recovering, $1::int AS n',
    values: [1],
  });
  const writers = await Promise.all(
    Array.from({ length: 6 }, (_, i) => Writer.start(bouncer, i, PROTOCOLS[i % 3]!)),
  );
  await Promise.all(writers.map((each) => each.progress(20)));

  await planned(primary, standby);
  await Promise.all(writers.map((each) => each.progress(20)));
  await rejoin(primary, standby);
  await primary.caughtUpWith(standby);
  await planned(standby, primary);
  await Promise.all(writers.map((each) => each.progress(20)));

  await Promise.all(writers.map((each) => each.stop()));
  for (const writer of writers) {
    assert.deepEqual(writer.errors, []);
    assert.equal(writer.isLost, false);
    assert.deepEqual(await writer.audit(primary), { missing: [], doubled: [] });
  }
  const { rows } = await idle.query({
    name: 'where',
    text: 'SELECT pg_is_in_recovery() AS recovering, $1::int AS n',
    values: [2],
  });
  assert.deepEqual(rows, [{ recovering: false, n: 2 }]);
  const [setting] = (await idle.query('SHOW application_name')).rows as [{ application_name: string }];
  assert.equal(setting.application_name, 'idler');
});

test('waiting clients get the connections opened to the new writer in advance', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const client = await bouncer.connect();
  await client.query('SELECT 1');
  const spare = await until('a connection to the standby', async () => {
    const servers = await bouncer.admin('SHOW SERVERS');
    const database = `dev@${standby.host}:${standby.port}`;
    return servers.find((each) => each['database'] === database && each['state'] === 'idle');
  });
  await primary.stop();
  const next = client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  await until('the client to wait', async () => {
    const clients = await bouncer.admin('SHOW CLIENTS');
    return clients.some((each) => each['state'] === 'waiting');
  });
  await standby.promote();
  assert.deepEqual((await next).rows, [{ pid: Number(spare['remote_pid']) }]);
  const [server] = (await bouncer.admin('SHOW SERVERS')).filter((each) => each['database'] === 'dev');
  assert.equal(server?.['id'], spare['id']);
});

test('the first client during a search for the writer is welcomed by a connection opened in advance', async (t) => {
  const { primary, standby, bouncer } = await setUp(t);
  const database = `dev@${standby.host}:${standby.port}`;
  await until('a connection to the standby', async () => {
    const servers = await bouncer.admin('SHOW SERVERS');
    return servers.some((each) => each['database'] === database && each['state'] === 'idle');
  });
  await primary.stop();
  await bouncer.waitForLog(/does not answer/);
  const login = bouncer.connect();
  await until('it to wait', async () => {
    const clients = await bouncer.admin('SHOW CLIENTS');
    return clients.some((each) => each['database'] === 'dev' && each['state'] === 'waiting');
  });
  await standby.promote();
  const client = await login;
  const { rows } = await client.query<{ port: number }>('SELECT inet_server_port() AS port');
  assert.equal(rows[0]?.port, standby.port);
});

test('one server under two names: no name vouches for the other', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    database: (cluster) => `host=localhost port=${cluster.port} dbname=postgres ${TOPOLOGY}`,
  });
  await primary.sql("INSERT INTO nodes VALUES ('nowhere.invalid', 5432)");
  await bouncer.admin('NOTIFY TOPOLOGY dev');
  await bouncer.waitForLog(/nowhere.invalid:5432 does not answer/);
  const writer = await Writer.start(bouncer, 1, 'simple');
  await writer.progress(5);
  bouncer.markLog();
  await planned(primary, standby);
  await writer.progress(5);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  assert.deepEqual(await writer.audit(standby), { missing: [], doubled: [] });
  assert.ok(!bouncer.logContains(new RegExp(`the writer is 127.0.0.1:${primary.port} `)));
  const [entry, ...more] = await bouncer.admin('SHOW SWITCHOVERS');
  assert.deepEqual(more, []);
  assert.equal(entry?.['to'], `127.0.0.1:${standby.port}`);
});
