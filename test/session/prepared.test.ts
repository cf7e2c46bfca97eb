/** Named prepared statements in pipelines: each part of a pipeline finds them as the previous part has left them. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues } from '../support/raw.ts';

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: { db: cluster.connectionString() },
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
  },
);

const run = (name: string): Buffer[] => [raw.bind(name), raw.execute(), raw.sync()];

for (const command of ['DISCARD ALL', 'deallocate all', 'select 1; deallocate all']) {
  test(`a statement that is prepared right after ${command}, in one pipeline, exists afterwards`, async (t) => {
    const client = await bouncer.login(t, 'db');
    client.send(raw.query(command), raw.parse('s', 'select 7'), raw.sync());
    await client.readUntil('Z');
    assert.equal(raw.types(await client.readUntil('Z')), '1Z');
    client.send(...run('s'));
    assert.equal(raw.types(await client.readUntil('Z')), '2DCZ');
    // again, now that the server has prepared it before
    client.send(raw.query(command), raw.parse('s', 'select 7'), raw.sync());
    await client.readUntil('Z');
    assert.equal(raw.types(await client.readUntil('Z')), '1Z');
    client.send(...run('s'));
    assert.equal(raw.types(await client.readUntil('Z')), '2DCZ');
  });
}

test('a statement that is prepared and used right after DISCARD ALL, in one pipeline, is prepared again', async (t) => {
  const [client, other] = [await bouncer.login(t, 'db'), await bouncer.login(t, 'db')];
  other.send(raw.parse('other', 'select 8'), raw.sync());
  await other.readUntil('Z');
  for (const discard of [
    [raw.query('DISCARD ALL')],
    [raw.parse('', 'DISCARD ALL'), raw.bind(), raw.execute(), raw.sync()],
  ]) {
    client.send(...discard, raw.parse('mine', 'select 8'), ...run('mine'));
    await client.readUntil('Z');
    assert.equal(raw.types(await client.readUntil('Z')), '12DCZ');
  }
  other.send(...run('other'));
  assert.equal(raw.types(await other.readUntil('Z')), '2DCZ');
});

test('a statement that is prepared after DISCARD ALL, without a Sync between them, exists afterwards', async (t) => {
  const client = await bouncer.login(t, 'db');
  const discard = [raw.parse('', 'DISCARD ALL'), raw.bind(), raw.execute()];
  client.send(...discard, raw.parse('s', 'select 9'), raw.sync());
  assert.equal(raw.types(await client.readUntil('Z')), '12C1Z');
  client.send(...run('s'));
  assert.equal(raw.types(await client.readUntil('Z')), '2DCZ');
});

test('a Close that was skipped after an error does not bring back a statement that DEALLOCATE ALL dropped', async (t) => {
  const client = await bouncer.login(t, 'db');
  client.send(raw.parse('s', 'select 1'), raw.sync());
  await client.readUntil('Z');
  client.send(
    raw.query('select 1; deallocate all'),
    raw.execute('no such portal'),
    raw.close('S', 's'),
    raw.sync(),
  );
  await client.readUntil('Z');
  assert.equal(raw.types(await client.readUntil('Z')), 'EZ');
  client.send(raw.parse('s', 'select 2'), ...run('s'));
  assert.deepEqual(rowValues((await client.readUntil('Z'))[2]!), ['2']);
});

test('a name that is closed after a failed part of a pipeline stays closed', async (t) => {
  for (const [target, database] of [
    [cluster, 'postgres'],
    [bouncer, 'db'],
  ] as const) {
    const client = await RawClient.session(t, target, { user: 'postgres', database });
    client.send(raw.parse('s', 'select 1'), raw.sync());
    await client.readUntil('Z');
    client.send(
      raw.execute('no such portal'),
      raw.close('S', 's'),
      raw.parse('s', 'select 2'),
      raw.sync(),
      raw.close('S', 's'),
      raw.sync(),
    );
    assert.equal(raw.types(await client.readUntil('Z')), 'EZ');
    assert.equal(raw.types(await client.readUntil('Z')), '3Z');
    client.send(raw.parse('s', 'select 3'), ...run('s'));
    assert.deepEqual(rowValues((await client.readUntil('Z'))[2]!), ['3']);
  }
});

test('a failed part of a pipeline does not harm the next part, which prepares the same statement', async (t) => {
  const client = await bouncer.login(t, 'db');
  client.send(raw.parse('first', 'select 6'), raw.sync());
  await client.readUntil('Z');
  client.send(
    raw.execute('no such portal'),
    raw.parse('s', 'select 6'),
    raw.close('S', 's'),
    raw.sync(),
    raw.parse('s', 'select 6'),
    raw.sync(),
  );
  assert.equal(raw.types(await client.readUntil('Z')), 'EZ');
  assert.equal(raw.types(await client.readUntil('Z')), '1Z');
  client.send(...run('s'));
  assert.equal(raw.types(await client.readUntil('Z')), '2DCZ');
});

test('a statement whose Parse was skipped is prepared for the next part of the pipeline', async (t) => {
  const other = await bouncer.login(t, 'db');
  other.send(raw.parse('s', 'select 4'), raw.sync());
  await other.readUntil('Z');
  const client = await bouncer.login(t, 'db');
  client.send(raw.execute('no such portal'), raw.parse('s', 'select 4'), raw.sync(), ...run('s'));
  assert.equal(raw.types(await client.readUntil('Z')), 'EZ');
  assert.equal(raw.types(await client.readUntil('Z')), '2DCZ');
});

test('a Query that the server skips, between an error and the Sync, does not drop the unnamed statement', async (t) => {
  const client = await bouncer.login(t, 'db');
  client.send(raw.parse('', 'select 5'), raw.execute('no such portal'), raw.flush());
  await client.readUntil('E');
  client.send(raw.query('select 6'), raw.sync());
  await client.readUntil('Z');
  client.send(...run(''));
  assert.deepEqual(rowValues((await client.readUntil('Z'))[1]!), ['5']);
});

for (const reset of ['RESET ALL', 'SELECT 1; DEALLOCATE ALL', 'DISCARD ALL']) {
  test(`statements can still be used after server_reset_query_always has run ${reset}`, async (t) => {
    const always = await Bouncer.start(t, {
      databases: { db: cluster.connectionString() },
      settings: {
        pool_mode: 'transaction',
        default_pool_size: 1,
        server_reset_query: reset,
        server_reset_query_always: 1,
      },
    });
    const client = await RawClient.login(always, { user: 'postgres', database: 'db' });
    t.after(() => client.destroy());
    client.send(raw.parse('s', 'select 1'), raw.sync());
    await client.readUntil('Z');
    for (let i = 0; i < 2; i++) {
      client.send(...run('s'));
      assert.equal(raw.types(await client.readUntil('Z')), '2DCZ');
    }
  });
}

test('a client that closes a statement whose result has changed, and prepares it again, gets a new one', async (t) => {
  await cluster.sql('CREATE TABLE changing (a int)');
  const clients = [await bouncer.login(t, 'db'), await bouncer.login(t, 'db')];
  for (const client of clients) {
    client.send(raw.parse('s', 'select * from changing'), ...run('s'));
    assert.equal(raw.types(await client.readUntil('Z')), '12CZ');
  }
  await cluster.sql('ALTER TABLE changing ADD b int');
  for (const client of clients) {
    client.send(...run('s'));
    assert.equal(errorFields((await client.readUntil('Z'))[0]!)['C'], '0A000');
    client.send(raw.close('S', 's'), raw.parse('s', 'select * from changing'), ...run('s'));
    assert.equal(raw.types(await client.readUntil('Z')), '312CZ');
  }
});

test('a Describe notices a changed result too, and a statement that is outdated as well is not handed out', async (t) => {
  await cluster.sql('CREATE TABLE described (a int)');
  const text = 'select * from described';
  const [first, second] = [await bouncer.login(t, 'db'), await bouncer.login(t, 'db')];
  for (const client of [first, second]) {
    client.send(raw.parse('s', text), ...run('s'));
    assert.equal(raw.types(await client.readUntil('Z')), '12CZ');
  }
  await cluster.sql('ALTER TABLE described ADD b int');
  first.send(raw.describe('S', 's'), raw.sync());
  assert.equal(errorFields((await first.readUntil('Z'))[1]!)['C'], '0A000');
  first.send(raw.close('S', 's'), raw.parse('s', text), raw.describe('S', 's'), raw.sync());
  assert.equal(raw.types(await first.readUntil('Z')), '31tTZ');
  await cluster.sql('ALTER TABLE described ADD c int');
  // this client's statement is two changes old, and the one that it would get is one change old
  second.send(...run('s'));
  assert.equal(errorFields((await second.readUntil('Z'))[0]!)['C'], '0A000');
  second.send(raw.close('S', 's'), raw.parse('s', text), ...run('s'));
  assert.equal(raw.types(await second.readUntil('Z')), '312CZ');
});

test('a Bind for columns from before a change, on a server that prepared after it, gets the error of PostgreSQL', async (t) => {
  await cluster.sql('CREATE TABLE widened (a int, b int)');
  const client = await bouncer.login(t, 'db');
  client.send(raw.parse('s', 'select * from widened'), ...run('s'));
  await client.readUntil('Z');
  await cluster.sql('ALTER TABLE widened ADD c int');
  await bouncer.admin('RECONNECT');
  // no parameters, and two result formats
  const bind = raw.message('B', Buffer.from('\0s\0\0\0\0\0\0\x02\0\0\0\0', 'latin1'));
  client.send(bind, raw.execute(), raw.sync());
  const [error] = await client.readUntil('Z');
  const { C: code, R: routine } = errorFields(error!);
  assert.deepEqual([code, routine], ['0A000', 'RevalidateCachedQuery']);
});

test('a client that knows the columns of a statement never gets others, whichever server has it', async (t) => {
  await cluster.sql('CREATE TABLE known (a int); INSERT INTO known VALUES (1); CREATE TABLE beside (a int)');
  const text = 'select * from known';
  const client = await bouncer.login(t, 'db');
  const other = await bouncer.login(t, 'db');
  const ask = async (...messages: Buffer[]): Promise<string> => {
    client.send(...messages, raw.sync());
    return raw.shown(await client.readUntil('Z'));
  };
  const prepare = [raw.close('S', 's'), raw.parse('s', text), raw.describe('S', 's')];
  const use = [raw.bind('s'), raw.execute()];
  assert.equal(await ask(...prepare), '3 1 t T ZI');
  // another server, with the same columns, even of another table
  await cluster.sql('DROP TABLE known; CREATE TABLE known (a int); INSERT INTO known VALUES (1)');
  await bouncer.admin('RECONNECT');
  assert.equal(await ask(...use), '2 D C ZI');
  assert.equal(await ask(...use, ...use), '2 D C 2 D C ZI');

  const changes = [
    'ADD b int',
    'DROP b',
    'RENAME a TO c',
    'ALTER c TYPE bigint',
    'ALTER c TYPE numeric(5,2)',
  ];
  for (const change of [...changes, 'ALTER c TYPE numeric(6,2)']) {
    for (const isThere of [false, true]) {
      assert.equal(await ask(...prepare), '3 1 t T ZI');
      await cluster.sql(`ALTER TABLE known ${isThere ? 'ADD x int' : change}`);
      await bouncer.admin('RECONNECT');
      if (isThere) {
        other.send(raw.close('S', 'o'), raw.parse('o', text), ...run('o'));
        assert.equal(raw.shown(await other.readUntil('Z')), '3 1 2 D C ZI');
      }
      assert.equal(await ask(...use), '0A000 ZI', change);
      const insert = [raw.parse('', 'insert into beside values (1)'), raw.bind(), raw.execute()];
      assert.equal(await ask(...insert, ...use), '1 2 C 0A000 ZI');
      await client.query('BEGIN');
      assert.equal(await ask(...use), '0A000 ZE');
      await client.query('ROLLBACK');
      assert.equal(await ask(...prepare, ...use), '3 1 t T 2 D C ZI');
      if (isThere) await cluster.sql('ALTER TABLE known DROP x');
    }
  }
  assert.deepEqual(await cluster.sql('select * from beside'), []);

  // a client that asks for the columns of each portal gets the present ones
  assert.equal(await ask(raw.close('S', 's'), raw.parse('s', text)), '3 1 ZI');
  await cluster.sql('ALTER TABLE known ADD y int');
  await bouncer.admin('RECONNECT');
  assert.equal(await ask(raw.bind('s'), raw.describe('P'), raw.execute()), '2 T D C ZI');
});

test('only the bound statement whose result has changed is prepared again', async (t) => {
  await cluster.sql('CREATE TABLE another (a int)');
  const client = await bouncer.login(t, 'db');
  const prepare = [raw.parse('s', 'select * from another'), raw.parse('u', 'select 1')];
  client.send(...prepare, ...run('s'));
  await client.readUntil('Z');
  await cluster.sql('ALTER TABLE another ADD b int');
  client.send(raw.bind('s'), raw.execute(), raw.bind('u'), raw.execute(), raw.sync());
  assert.equal(raw.types(await client.readUntil('Z')), 'EZ');
  client.send(raw.close('S', 's'), raw.close('S', 'u'), ...prepare, ...run('s'));
  assert.equal(raw.types(await client.readUntil('Z')), '33112CZ');
});
