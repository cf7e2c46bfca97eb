/** The proxy's own queries belong to no client: a server that ends with its answer costs no client anything. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { LastWords, type Fault } from '../support/last-words.ts';
import * as raw from '../support/raw.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after }, { sql: "CREATE ROLE app LOGIN PASSWORD 'secret'" });
const relay = await LastWords.start({ after }, cluster);
const target = `host=${relay.host} port=${relay.port} dbname=postgres`;
const topology = `topology_query='select ''${relay.host}'' as endpoint, ${relay.port} as port'`;
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      dev: `${target} ${topology} pool_size=1`,
      session: `${target} ${topology} pool_size=1 pool_mode=session`,
      checked: `${target} ${topology} pool_size=1 connect_query='select 42'`,
    },
    settings: {
      pool_mode: 'transaction',
      auth_type: 'hba',
      auth_hba_file: 'hba.conf',
      auth_user: 'postgres',
      auth_query: 'SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1',
      topology_refresh: 0.5,
    },
    files: { 'hba.conf': 'host all app all scram-sha-256\nhost all all all trust\n' },
  },
);
await until('the writer to be known', () => bouncer.logContains(/the writer is/));

const WHO = 'SELECT current_setting($1) AS value';

const endings: [string, Omit<Fault, 'query'>][] = [
  ['comes with its answer', {}],
  ['comes with its answer in part', { split: 3 }],
  ['comes with its answer but for the last byte', { split: -1 }],
  ['comes instead of an answer', { answer: raw.message('E', Buffer.from('SFATAL\0C57P01\0Mgone\0\0')) }],
  ['is no message', { answer: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n') }],
];
for (const [what, fault] of endings) {
  test(`the last word of a server, which ${what} to a SET of the proxy, fails no client`, async (t) => {
    const [one, two] = await Promise.all(
      ['one', 'two'].map((name) => bouncer.connect({ database: 'dev', application_name: name })),
    );
    t.after(() => Promise.all([one!.end(), two!.end()]));
    for (const client of [one!, two!]) await client.query('SELECT 1');
    relay.faults.push({ query: /^Q....SET/s, ...fault });
    const { rows } = await one!.query(WHO, ['application_name']);
    assert.deepEqual(rows, [{ value: 'one' }]);
    assert.equal(relay.faults.length, 0);
    assert.deepEqual((await two!.query(WHO, ['application_name'])).rows, [{ value: 'two' }]);
  });
}

test('a server that ends right after its answer to a statement costs the client nothing, for any reason of its end', async () => {
  const client = await bouncer.connect({ database: 'dev' });
  for (const split of [undefined, 3, -1]) {
    relay.faults.push({ query: /SELECT 98/, ...(split === undefined ? {} : { split }) });
    assert.deepEqual((await client.query('SELECT 98 AS n')).rows, [{ n: 98 }]);
    assert.equal(relay.faults.length, 0);
    assert.deepEqual((await client.query('SELECT 99 AS n')).rows, [{ n: 99 }]);
  }
  await client.end();
});

test('a server that ends with its answer to a reset, a check or a connect_query costs no client anything', async () => {
  const first = await bouncer.connect({ database: 'session' });
  await first.query('SELECT 1');
  relay.faults.push({ query: /DISCARD ALL/ });
  await first.end();
  await until('the reset', () => relay.faults.length === 0);
  assert.deepEqual(await bouncer.sql('SELECT 2 AS n', { database: 'session' }), [{ n: 2 }]);

  relay.faults.push({ query: /select 42/ });
  assert.deepEqual(await bouncer.sql('SELECT 3 AS n', { database: 'checked' }), [{ n: 3 }]);
  assert.equal(relay.faults.length, 0);

  await bouncer.reload({ server_check_query: 'select 43', server_check_delay: 0 });
  relay.faults.push({ query: /select 43/ });
  const checked = await bouncer.connect({ database: 'dev' });
  await checked.query('SELECT 1');
  assert.deepEqual((await checked.query('SELECT 4 AS n')).rows, [{ n: 4 }]);
  assert.equal(relay.faults.length, 0);
  await bouncer.reload({ server_check_query: '', server_check_delay: undefined });
});

const nonsense: [string, Omit<Fault, 'query'>][] = [
  ['ends with its answer', {}],
  ['answers nonsense', { answer: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n') }],
];
for (const [what, fault] of nonsense) {
  test(`auth_query is asked again of the next server when the first ${what}`, async () => {
    relay.faults.push({ query: /pg_authid/, ...fault });
    const client = await bouncer.connect({ database: 'dev', user: 'app', password: 'secret' });
    assert.equal(relay.faults.length, 0);
    assert.deepEqual((await client.query('SELECT 5 AS n')).rows, [{ n: 5 }]);
    await client.end();
  });
  test(`the nodes and their roles stay known when a server ${what} to a probe or the topology query`, async () => {
    const client = await bouncer.connect({ database: 'dev' });
    relay.faults.push({ query: /pg_is_in_recovery\(\) AS recovering/, ...fault });
    await until('the probe', () => relay.faults.length === 0);
    relay.faults.push({ query: /as endpoint/, ...fault });
    await until('the topology query', () => relay.faults.length === 0);
    assert.deepEqual((await client.query('SELECT 6 AS n')).rows, [{ n: 6 }]);
    await until('the node to be the writer', async () => {
      const rows = await bouncer.admin('SHOW TOPOLOGY');
      return rows.every((row) => row['role'] === 'writer' && row['error'] === '');
    });
    await client.end();
  });
}

test('none of the tests above caused an internal error', () => {
  assert.ok(!bouncer.logContains(/internal error|unexpected error/i));
});
