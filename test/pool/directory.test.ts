/** How names lead to databases and pools, and how a new configuration changes them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Database } from '../../src/pool/database.ts';
import type { Directory } from '../../src/pool/directory.ts';
import { FakePools, FakeWaiter } from './fakes.ts';

const ENTRIES = [
  '[databases]',
  'dev = host=10.0.0.1 topology_query=x',
  'forced = host=10.0.0.1 user=app password=secret',
  '',
].join('\n');
const STRICT = `${ENTRIES}[pgbouncer]\n`;
const OPEN = `${ENTRIES}* = host=10.0.0.2 topology_query=x\n[pgbouncer]\n`;
const LONG = 'x'.repeat(70);

/** dev@readers stands for dev. */
const readers = (name: string, directory: Directory): Database | null =>
  name === 'dev@readers' ? (directory.databases.get('dev') ?? null) : null;

interface Row {
  readonly name: string;
  readonly ini: string;
  /** the name of the database that is found; null: none */
  readonly found: string | null;
  /** the entry whose rules apply, before any client has used the name */
  readonly entry: string | null;
}

const NAMES: Row[] = [
  { name: 'dev', ini: STRICT, found: 'dev', entry: 'dev' },
  { name: 'dev@readers', ini: STRICT, found: 'dev', entry: 'dev' },
  { name: 'other', ini: STRICT, found: null, entry: null },
  { name: 'other', ini: OPEN, found: 'other', entry: 'other' },
  { name: '', ini: OPEN, found: null, entry: null },
  { name: '*', ini: OPEN, found: null, entry: null },
  { name: 'pgbouncer', ini: OPEN, found: null, entry: null },
  // PostgreSQL cuts names after 63 bytes
  { name: LONG, ini: OPEN, found: LONG.slice(0, 63), entry: null },
  // parts of clusters that are not used yet: the search for their nodes begins at the writer
  { name: 'new@writer', ini: OPEN, found: 'new', entry: 'new' },
  { name: 'new@readers', ini: OPEN, found: 'new', entry: 'new' },
  { name: 'new@10.0.0.9:5432', ini: OPEN, found: null, entry: null },
  // forced has no topology_query
  { name: 'forced@readers', ini: OPEN, found: null, entry: null },
];

for (const { name, ini, found, entry } of NAMES) {
  const kind = ini === OPEN ? 'with a * entry' : 'without a * entry';
  test(`"${name.slice(0, 20)}" ${kind} leads to ${found?.slice(0, 20) ?? 'no database'}`, () => {
    const { directory } = new FakePools(ini, readers);
    assert.equal(directory.entryOf(name), entry);
    assert.equal(directory.find(name)?.name ?? null, found);
  });
}

test('a database has a pool for each user, one for all if the user is forced, and auth_query has its own', () => {
  const { directory } = new FakePools(STRICT);
  const dev = directory.find('dev')!;
  assert.notEqual(directory.pool(dev, 'joe'), directory.pool(dev, 'ann'));
  assert.equal(directory.pool(dev, 'joe'), directory.pool(dev, 'joe'));
  const forced = directory.find('forced')!;
  assert.equal(directory.pool(forced, 'joe'), directory.pool(forced, 'ann'));
  assert.equal(directory.pool(forced, 'joe').user, 'app');
  assert.equal(directory.pool(forced, 'joe').credentials.secret, 'secret');
  // the password in the entry is that of the forced user only
  assert.equal(directory.poolOf(forced, 'auth').credentials.secret, null);
});

test('the first pool of a database with a topology_query is announced, and no other one', () => {
  const pools = new FakePools(STRICT);
  for (const [database, user] of [
    ['dev', 'joe'],
    ['dev', 'ann'],
    ['forced', 'joe'],
  ] as const)
    pools.pool(database, user);
  assert.deepEqual(pools.told, ['used dev']);
});

test('a forced user with min_pool_size has its pool from the beginning', () => {
  const { directory } = new FakePools(`${ENTRIES}[pgbouncer]\nmin_pool_size = 1\n`);
  assert.deepEqual(
    [...directory.allPools()].map(({ user }) => user),
    ['app'],
  );
});

interface Reload {
  readonly change: string;
  readonly entry: string;
  /** the state of a lent server after it has come back */
  readonly state: string;
  readonly removed: string[];
}

const RELOADS: Reload[] = [
  { change: 'nothing', entry: 'db = host=10.0.0.1', state: 'idle', removed: [] },
  { change: 'a limit', entry: 'db = host=10.0.0.1 pool_size=7', state: 'idle', removed: [] },
  { change: 'the host', entry: 'db = host=10.0.0.2', state: 'closed', removed: [] },
  {
    change: 'the database at the server',
    entry: 'db = host=10.0.0.1 dbname=x',
    state: 'closed',
    removed: [],
  },
  { change: 'its name', entry: 'db2 = host=10.0.0.1', state: 'closed', removed: ['db'] },
];

for (const { change, entry, state, removed } of RELOADS) {
  test(`RELOAD that changes ${change} of an entry: its server is ${state} when it comes back`, async () => {
    const pools = new FakePools('[databases]\ndb = host=10.0.0.1\n[pgbouncer]\n');
    const pool = pools.pool();
    const waiter = new FakeWaiter().acquire(pool);
    const server = await pools.attempt.succeed();
    assert.deepEqual(pools.reconfigure(`[databases]\n${entry}\n[pgbouncer]\n`), removed);
    assert.equal(server.state, 'active');
    pool.give(waiter.server!);
    assert.equal(server.state, state);
    assert.equal(pools.told.includes('forgotten db'), removed.includes('db'));
  });
}

test('RELOAD keeps auto-databases while there is a * entry', () => {
  const pools = new FakePools(OPEN);
  pools.directory.find('made');
  assert.deepEqual(pools.reconfigure(OPEN), []);
  assert.deepEqual(pools.reconfigure(STRICT), ['made']);
  assert.equal(pools.directory.find('made'), null);
});

test('a host name with other addresses retires the servers at those that vanished', async () => {
  const pools = new FakePools('[databases]\ndb = host=10.0.0.1\n[pgbouncer]\n');
  const waiter = new FakeWaiter().acquire(pools.pool());
  const server = await pools.attempt.succeed();
  pools.directory.hostMoved('10.0.0.1', ['127.0.0.1']);
  assert.equal(server.closeReason, null);
  pools.directory.hostMoved('10.0.0.1', ['127.0.0.2']);
  assert.equal(pools.directory.hasRetired(null), true);
  pools.pool().give(waiter.server!);
  assert.equal(server.state, 'closed');
});
