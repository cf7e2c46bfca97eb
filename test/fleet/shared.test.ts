/** What proxies share about tenants, and the audit log, on a real store without proxies. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { configFromText } from '../../src/config/load.ts';
import { Artifacts } from '../../src/fleet/artifacts.ts';
import { AuditLog } from '../../src/fleet/audit.ts';
import { StoreAway, StoreConnection } from '../../src/fleet/connection.ts';
import { AUDIT, SHARED } from '../../src/fleet/limits.ts';
import { readNews } from '../../src/fleet/proxies.ts';
import { RefusedRows } from '../../src/fleet/refused-rows.ts';
import { initializeSchema } from '../../src/fleet/schema.ts';
import { Shared, type SharedRow } from '../../src/fleet/shared.ts';
import { Cluster } from '../support/cluster.ts';
import { until } from '../support/wait.ts';

const store = await Cluster.start({ after });
const { settings } = configFromText('[pgbouncer]\n');

async function connect(onNotification?: (payload: string) => void): Promise<StoreConnection> {
  const { host, port } = store;
  const connection = await StoreConnection.open({
    target: {
      hosts: [{ host, port }],
      database: 'postgres',
      user: 'postgres',
      password: null,
      sslmode: 'prefer',
      sslnegotiation: 'postgres',
    },
    settings,
    name: 'test',
    answerMs: 10_000,
    ...(onNotification && { onNotification }),
  });
  after(() => connection.close());
  return connection;
}

const connection = await connect();
await initializeSchema(connection, null);

/** A proxy's part in what is shared; `seen` lists the changes that it was told of. */
function member(proxy: string, kinds = ['pin']) {
  const complaints: string[] = [];
  const refused = new RefusedRows({ warn: (_fields, message) => complaints.push(message) });
  const shared = new Shared({ proxy, connection: () => connection, refused });
  const seen: SharedRow[] = [];
  let resets = 0;
  shared.follow(kinds, {
    changed: (row) => {
      if (row.body !== null && 'refuse' in row.body) throw new Error('it makes no sense');
      seen.push(row);
    },
    caughtUp: () => {},
    reset: () => {
      resets++;
      seen.length = 0;
    },
  });
  const catchUp = async (): Promise<void> => {
    const { storeId, seq } = await readNews(connection);
    await shared.catchUp(storeId, seq, connection);
  };
  return { shared, seen, complaints, catchUp, resets: () => resets };
}

const value = (tenant: string, body: SharedRow['body']) => ({
  kind: 'pin',
  tenant,
  key: '',
  body,
  user: 'u',
});

test('a follower gets the last value of each key, in the order of the changes', async () => {
  const one = member('one');
  await one.shared.change(value('a', { n: 1 }));
  await one.shared.change(value('b', { n: 2 }));
  await one.shared.change(value('a', { n: 3 }));
  await one.shared.change({ ...value('a', { n: 4 }), kind: 'other' });
  await one.shared.change(value('b', null));
  const two = member('two');
  await two.catchUp();
  assert.deepEqual(
    two.seen.map(({ tenant, body, proxy, user }) => [tenant, body, proxy, user]),
    [
      ['a', { n: 3 }, 'one', 'u'],
      ['b', null, 'one', 'u'],
    ],
  );
  await one.shared.change(value('c', { n: 5 }));
  await two.catchUp();
  assert.equal(two.seen.at(-1)!.tenant, 'c');
  assert.equal(two.seen.length, 3);
});

test('more rows than a page are all read', async () => {
  const one = member('one');
  for (let n = 0; n < SHARED.page + 5; n++) await one.shared.change(value(`many${n}`, { n }));
  const two = member('two');
  await two.catchUp();
  assert.equal(two.seen.filter(({ tenant }) => tenant.startsWith('many')).length, SHARED.page + 5);
});

test('of two that change a value that both have seen, one gets a conflict', async () => {
  const one = member('one');
  const first = await one.shared.change({ ...value('raced', { n: 1 }), after: 0 });
  assert.equal(first.kind, 'done');
  const { seq } = first as { seq: number };
  const results = await Promise.all([
    one.shared.change({ ...value('raced', { n: 2 }), after: seq }),
    member('two').shared.change({ ...value('raced', { n: 3 }), after: seq }),
    one.shared.change({ ...value('raced', { n: 4 }), after: 0 }),
  ]);
  assert.deepEqual(
    results.map(({ kind }) => kind),
    ['done', 'conflict', 'conflict'],
  );
  const [, conflict] = results;
  assert.ok(conflict.kind === 'conflict');
  assert.deepEqual(conflict.present?.body, { n: 2 });
});

test('a change is announced to those who listen', async () => {
  const heard: string[] = [];
  const listening = await connect((payload) => heard.push(payload));
  await listening.query('LISTEN pgswitchyard');
  const { seq } = (await member('one').shared.change(value('heard', {}))) as { seq: number };
  await until('the notification', () => heard.includes(`shared ${seq}`));
});

test('damaged rows are refused, and do not hide the others', async () => {
  await store.sql(`
    ALTER TABLE pgswitchyard.shared DROP CONSTRAINT shared_body_check, DROP CONSTRAINT shared_tenant_check;
    WITH next AS (UPDATE pgswitchyard.store SET seq = seq + 4 RETURNING seq)
    INSERT INTO pgswitchyard.shared (kind, tenant, key, seq, body, proxy, username)
    SELECT 'pin', tenant, '', seq - at, body, 'x', 'x' FROM next, (VALUES
      (3, 'list', '[1]'::jsonb), (2, 'huge', jsonb_build_object('a', repeat('x', 100000))),
      (1, repeat('long', 500), '{}'), (0, 'senseless', '{"refuse": 1}')) AS v (at, tenant, body);
    -- a number that was not given out
    INSERT INTO pgswitchyard.shared (kind, tenant, key, seq, body, proxy, username)
    VALUES ('pin', 'future', '', 1000000, '{}', 'x', 'x')`);
  const two = member('two');
  await two.catchUp();
  await member('one').shared.change(value('after', {}));
  await two.catchUp();
  assert.equal(two.seen.at(-1)!.tenant, 'after');
  assert.ok(!two.seen.some(({ tenant }) => ['list', 'huge', 'senseless', 'future'].includes(tenant)));
  assert.equal(two.complaints.length, 4);
  assert.ok(two.complaints.every((line) => line.length < 600));
});

test('another store, and one from a backup, are read from their beginning', async () => {
  const two = member('two');
  await two.catchUp();
  const { length } = two.seen;
  await store.sql('UPDATE pgswitchyard.store SET id = gen_random_uuid()');
  await two.catchUp();
  assert.deepEqual([two.resets(), two.seen.length], [1, length]);
  await store.sql('DELETE FROM pgswitchyard.shared WHERE seq >= (SELECT seq FROM pgswitchyard.store)');
  await store.sql('UPDATE pgswitchyard.store SET seq = seq - 1');
  await two.catchUp();
  assert.equal(two.resets(), 2);
});

test('rows that have vanished, or are of a backup that was changed since, are noticed', async () => {
  const two = member('two');
  await two.catchUp();
  await two.shared.verify(connection);
  await two.shared.change(value('a', { n: 8 }));
  await two.shared.verify(connection);
  assert.deepEqual([two.resets(), two.seen.at(-1)!.body], [0, { n: 8 }]);
  await store.sql(`DELETE FROM pgswitchyard.shared WHERE tenant = 'raced'`);
  await two.shared.verify(connection);
  assert.equal(two.resets(), 1);
  assert.ok(!two.seen.some(({ tenant }) => tenant === 'raced'));
  await store.sql(`UPDATE pgswitchyard.shared SET seq = -seq WHERE tenant = 'b'`);
  await store.sql(`UPDATE pgswitchyard.shared SET seq = 2 WHERE tenant = 'b'`);
  await two.shared.verify(connection);
  assert.equal(two.resets(), 2);
  await two.shared.verify(connection);
  assert.equal(two.resets(), 2);
});

test('values that would fill the memory are refused, and complained about once', async () => {
  const two = member('two');
  await store.sql(`
    WITH next AS (UPDATE pgswitchyard.store SET seq = seq + 2000 RETURNING seq)
    INSERT INTO pgswitchyard.shared (kind, tenant, key, seq, body, proxy, username)
    SELECT 'pin', 'flood' || n, '', seq - 2000 + n, jsonb_build_object('a', repeat('x', 60000)), 'x', 'x'
    FROM next, generate_series(1, 2000) AS n`);
  await two.catchUp();
  const kept = two.seen.reduce((sum, { body }) => sum + JSON.stringify(body).length, 0);
  assert.ok(kept > SHARED.totalBytes / 2 && kept <= SHARED.totalBytes);
  assert.equal(two.complaints.filter((line) => /all of them have more than/.test(line)).length, 1);
  // the place of a smaller one is free
  await store.sql(`UPDATE pgswitchyard.shared SET body = '{}' WHERE tenant LIKE 'flood%'`);
  await store.sql('UPDATE pgswitchyard.store SET id = gen_random_uuid()');
  await two.catchUp();
  assert.equal(two.seen.filter(({ tenant }) => tenant.startsWith('flood')).length, 2000);
  await store.sql(`DELETE FROM pgswitchyard.shared WHERE tenant LIKE 'flood%'`);
});

test('an answer that a read has overtaken is not taken for an older store', async () => {
  const two = member('two');
  const before = await readNews(connection);
  await two.shared.change(value('overtaking', {}));
  await two.catchUp();
  await two.shared.catchUp(before.storeId, before.seq, connection);
  assert.equal(two.resets(), 0);
});

test('a value that is too large is refused before it is sent', async () => {
  const one = member('one');
  await assert.rejects(one.shared.change(value('a', { text: 'x'.repeat(SHARED.bodyBytes) })), /more than/);
});

test('an artifact comes back as it was stored, whatever its size', async () => {
  const artifacts = new Artifacts(() => connection);
  for (const size of [0, 1, SHARED.pieceBytes - 1, SHARED.pieceBytes, 2 * SHARED.pieceBytes + 7]) {
    const bytes = Buffer.alloc(size, 'artifact ');
    await artifacts.put(`size ${size}`, bytes);
    assert.ok(bytes.equals((await artifacts.get(`size ${size}`))!));
  }
  await artifacts.put('size 1', Buffer.from('other'));
  assert.equal((await artifacts.get('size 1'))!.length, 1);
  assert.equal(await artifacts.has('none'), false);
  assert.equal(await artifacts.get('none'), null);
  await artifacts.delete('size 1');
  assert.equal(await artifacts.has('size 1'), false);
});

test('audit lines wait for the store, are written once, and the oldest of too many are dropped', async () => {
  const complaints: string[] = [];
  const log = { warn: (_fields: object, message: string) => complaints.push(message) };
  let isAway = true;
  const audit = new AuditLog({
    proxy: 'one',
    connection: () => {
      if (isAway) throw new StoreAway('away');
      return connection;
    },
    refused: new RefusedRows(log),
    log,
  });
  const line = (action: string) => ({ user: 'u', source: 'console', tenant: null, action });
  for (let n = 0; n < AUDIT.queue + 3; n++) audit.add(line(`line ${n}`));
  await assert.rejects(audit.flush(), StoreAway);
  assert.deepEqual([audit.waiting, audit.lost, complaints.length], [AUDIT.queue, 3, 1]);
  isAway = false;
  await Promise.all([audit.flush(), audit.flush()]);
  assert.equal(audit.waiting, 0);
  const [row] = await store.sql<{ count: string }>('SELECT count(*) FROM pgswitchyard.audit');
  assert.equal(Number(row!.count), AUDIT.queue);
  audit.add({ ...line(`long \0 ${'ü'.repeat(AUDIT.textLength)}`), user: 'ü'.repeat(300), tenant: 't' });
  await audit.flush();
  const last = (await audit.read()).at(-1)!;
  assert.equal((await audit.read()).length, AUDIT.shown);
  assert.match(last.action, /^long {3}ü+…$/);
  assert.ok(Buffer.byteLength(last.user) <= AUDIT.userBytes);
});

test('a line that the store does not take is dropped, and the others are written', async () => {
  const complaints: string[] = [];
  const log = { warn: (_fields: object, message: string) => complaints.push(message) };
  await store.sql(`ALTER TABLE pgswitchyard.audit ADD CONSTRAINT no_poison CHECK (action <> 'poison')`);
  const audit = new AuditLog({
    proxy: 'one',
    connection: () => connection,
    refused: new RefusedRows(log),
    log,
  });
  for (const action of ['before poison', 'poison', 'after poison'])
    audit.add({ user: 'u', source: 'console', tenant: null, action });
  await audit.flush();
  assert.deepEqual([audit.waiting, audit.lost, complaints.length], [0, 1, 1]);
  const rows = await store.sql(`SELECT FROM pgswitchyard.audit WHERE action LIKE '%poison'`);
  assert.equal(rows.length, 2);
});
