/** A flushed pipeline is an open transaction: a switchover never lets its Sync commit only the messages after it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as raw from '../support/raw.ts';
import { RawClient } from '../support/raw.ts';
import { setUp } from './pair.ts';

const insert = (n: number): Buffer[] => [
  raw.parse('', `INSERT INTO ledger (writer, n) VALUES (0, ${n})`),
  raw.bind(),
  raw.execute(),
];

for (const how of ['stop', 'kill'] as const) {
  test(`the writer goes away (${how}) in the middle of flushed pipelines: their clients get an error, and nothing is half committed`, async (t) => {
    const { primary, standby, bouncer } = await setUp(t);
    const clients: RawClient[] = [];
    for (let i = 0; i < 3; i++) {
      const client = await RawClient.login(bouncer, { user: 'postgres', database: 'dev' });
      t.after(() => client.destroy());
      client.send(...insert(2 * i), raw.flush());
      assert.equal(raw.types(await client.readUntil('C')), '12C');
      clients.push(client);
    }
    await primary[how]();
    await standby.promote();
    // one client continues the pipeline, one only ends it, and one ends it with a Query, which is skipped
    const [goes, ends, asks] = clients as [RawClient, RawClient, RawClient];
    goes.send(...insert(1), raw.sync());
    ends.send(raw.sync());
    asks.send(raw.query('SELECT 1'), raw.sync());
    for (const client of clients) {
      const frames = await client.readUntil('Z');
      assert.equal(raw.types(frames), 'EZ');
      assert.match(raw.errorFields(frames[0]!)['C']!, /^(57P01|08007)$/);
      assert.equal(raw.types(await client.query('SELECT 2')), 'TDCZ');
    }
    assert.deepEqual(await standby.sql('SELECT n FROM ledger'), []);
  });
}

test('SWITCHOVER waits for the Sync of a flushed pipeline', async (t) => {
  const { standby, bouncer } = await setUp(t);
  const client = await RawClient.login(bouncer, { user: 'postgres', database: 'dev' });
  t.after(() => client.destroy());
  client.send(...insert(1), raw.flush());
  await client.readUntil('C');
  let isOver = false;
  const switchover = bouncer
    .admin(`SWITCHOVER dev TO ${standby.host}:${standby.port}`)
    .then(() => (isOver = true));
  await bouncer.waitForLog(/holding new transactions/);
  client.send(...insert(2), raw.flush());
  assert.equal(raw.types(await client.readUntil('C')), '12C');
  assert.equal(isOver, false);
  client.send(raw.sync());
  assert.equal(raw.types(await client.readUntil('Z')), 'Z');
  await switchover;
  const rows = await standby.sql('SELECT n FROM ledger ORDER BY n');
  assert.deepEqual(
    rows.map((row) => row['n']),
    [1, 2],
  );
});
