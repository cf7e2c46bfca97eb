/** An old writer that its operator makes read-only for all, before another node takes over. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { query, shown } from '../support/raw.ts';
import { until } from '../support/wait.ts';
import { planned, setUp, Writer } from './pair.ts';

for (const mode of ['transaction', 'session']) {
  test(`in ${mode} mode only a client that has set read-only itself takes it along to the new writer`, async (t) => {
    const { primary, standby, bouncer } = await setUp(t, { settings: { pool_mode: mode } });
    const [reader, idle] = [await bouncer.connect(), await bouncer.connect()];
    await reader.query('SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY');
    const writers = await Promise.all(
      Array.from({ length: 4 }, (_, i) => Writer.start(bouncer, i, i % 2 === 0 ? 'simple' : 'prepared')),
    );
    await Promise.all(writers.map((each) => each.progress(10)));
    await idle.query('SELECT 1');
    await primary.configure({ settings: { default_transaction_read_only: 'on' } });
    // statements that still go there report it
    await idle.query('SELECT 1');
    await until('the old writer to refuse somebody', () => primary.logContains(/read-only transaction/));
    await planned(primary, standby);
    await Promise.all(writers.map((each) => each.progress(10)));
    await Promise.all(writers.map((each) => each.stop()));
    for (const writer of writers) assert.deepEqual((await writer.audit(standby)).missing, []);
    for (const client of [idle, ...writers.map((each) => each.client)]) {
      const { rows } = await client.query('SHOW default_transaction_read_only');
      assert.equal(rows[0].default_transaction_read_only, 'off');
      await client.query('INSERT INTO ledger VALUES (100, 1)');
    }
    await assert.rejects(reader.query('INSERT INTO ledger VALUES (100, 1)'), { code: '25006' });
  });
}

test('a client that leaves while its server is parked takes the server along', async (t) => {
  const { standby, bouncer } = await setUp(t, { settings: { pool_mode: 'session' } });
  const client = await bouncer.login(t, 'dev');
  await client.query('SET default_transaction_read_only = on');
  // there is no verdict before every node has answered
  standby.freeze();
  client.send(query('INSERT INTO ledger VALUES (1, 1)'));
  const states = async (): Promise<unknown[]> =>
    (await bouncer.admin('SHOW SERVERS'))
      .filter((each) => each['database'] === 'dev')
      .map((each) => each['state']);
  await until('the server to be parked', async () => (await states()).includes('tested'));
  client.destroy();
  await bouncer.waitForLog(/C-.*dev\/postgres.* closing because/);
  standby.thaw();
  await until('the server to be gone', async () => (await states()).length === 0);
});

test('a switchover does not wait for parked servers: their statements go to the new writer', async (t) => {
  const { primary, standby, bouncer } = await setUp(t, {
    settings: { pool_mode: 'session', switchover_timeout: 5 },
  });
  const client = await bouncer.login(t, 'dev');
  await client.query('SELECT 1');
  await primary.configure({ settings: { default_transaction_read_only: 'on' } });
  client.send(query('INSERT INTO ledger VALUES (1, 1)'));
  await until('the server to be parked', async () =>
    (await bouncer.admin('SHOW SERVERS')).some(
      ({ database, state }) => database === 'dev' && state === 'tested',
    ),
  );
  await bouncer.admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`);
  assert.equal(shown(await client.readUntil('Z')).replaceAll('S ', ''), 'C ZI');
  assert.equal((await standby.sql('SELECT 1 FROM ledger')).length, 1);
});
