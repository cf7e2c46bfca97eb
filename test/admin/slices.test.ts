/** Tables with a row for each connection are built row by row, so that other clients are served between two slices. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Observe } from '../../src/admin/observe.ts';
import { TABLES } from '../../src/admin/tables.ts';
import { SessionsObserver } from '../../src/session/observe.ts';
import type { Sessions } from '../../src/session/sessions.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { RawClient, rowValues } from '../support/raw.ts';
import { Login } from '../../src/session/state/login.ts';

/** Clients that count how often their properties are read. */
function world(count: number): {
  observe: Observe;
  looks: () => number;
  clients: { state: string; intake: { size: number } }[];
} {
  let looks = 0;
  const counted = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(object, name, receiver) {
        looks++;
        return Reflect.get(object, name, receiver) as unknown;
      },
    });
  const tracked = { indexOf: () => 0 };
  const databases = ['a', 'b', 'c'].map((name) => ({ name }));
  const pools = Array.from({ length: 7 }, (_, i) => ({
    user: `u${i}`,
    database: databases[i % 3]!,
    servers: new Set(),
    opener: { connecting: null },
  }));
  const directory = { allPools: () => pools };
  const context = { directory, tracked, config: { settings: { listen_port: 1 } } };
  const clients = Array.from({ length: count }, (_, i) =>
    counted({
      id: i + 1,
      state: 'idle',
      user: 'u',
      pool: pools[i % 7]!,
      database: pools[i % 7]!.database,
      databaseName: 'x',
      context,
      socket: { writableLength: 0, localAddress: '::1', localPort: 1 },
      settings: { value: () => 'app' },
      intake: { bodyLeft: 0, size: 0 },
      server: null,
      statements: { named: { size: 0 } },
      login: new Login(),
      connection: { host: '::1', port: 2, isUnix: false, since: 0, pid: 0, tls: '' },
      clock: { requestedAt: 0 },
    }),
  );
  const sessions = { directory, tracked, clients: new Set(clients) } as unknown as Sessions;
  const observe = {
    sessions: new SessionsObserver(sessions),
    pools: { servers: () => [], busyServers: () => [] },
    listeners: () => [],
  } as unknown as Observe;
  return { observe, looks: () => looks, clients };
}

for (const name of ['clients', 'sockets', 'fds']) {
  test(`SHOW ${name.toUpperCase()}: the work is proportional to the rows, and a row is built only when it is asked for`, () => {
    const table = TABLES.get(name)!;
    const whole = (count: number): number => {
      const { observe, looks } = world(count);
      assert.equal([...table.rows(observe, () => true)].length, count);
      return looks();
    };
    const [one, two] = [whole(1000), whole(2000)];
    assert.ok(two <= 2.1 * one, `${one} and ${two} looks`);
    const { observe, looks } = world(1000);
    const rows = table.rows(observe, () => true)[Symbol.iterator]();
    rows.next();
    const first = looks();
    rows.next();
    assert.ok(looks() - first < 100, `${looks() - first} looks for one row`);
    // for the order of the rows only the pool of each client is read
    assert.ok(first < one / 2, `${first} of ${one} looks before the first row`);
  });
}

test('SHOW ACTIVE_SOCKETS builds no snapshots of connections that have nothing to do', () => {
  const { observe, looks, clients } = world(1000);
  const [busy] = clients.slice(500);
  busy!.intake.size = 7;
  const rows = [...TABLES.get('active_sockets')!.rows(observe, () => true)];
  assert.deepEqual(
    rows.map((row) => [row[20], row[26]]),
    [[501, 7]],
  );
  assert.ok(looks() < 12 * 1000, `${looks()} looks at 1000 clients`);
});

test('a client that leaves while a table is built has no row in the rest of it', () => {
  const { observe, clients } = world(30);
  const rows = TABLES.get('clients')!
    .rows(observe, () => true)
    [Symbol.iterator]();
  rows.next();
  for (const client of clients) client.state = 'closed';
  assert.equal(rows.next().done, true);
});

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  { databases: { dev: cluster.connectionString() }, settings: { max_client_conn: 500 } },
);

test('a table of several slices is complete and in order, and another operator is answered meanwhile', async () => {
  const target = { path: join(bouncer.folder, `.s.PGSQL.${bouncer.port}`) };
  const clients = await Promise.all(
    Array.from({ length: 350 }, () => RawClient.login(target, { user: 'postgres', database: 'dev' })),
  );
  const CONSOLE = { user: 'pgbouncer', database: 'pgbouncer' };
  const [slow, quick] = [await RawClient.login(target, CONSOLE), await RawClient.login(target, CONSOLE)];
  const order: string[] = [];
  slow.send(raw.query('SHOW CLIENTS'));
  quick.send(raw.query('SHOW VERSION'));
  const [frames] = await Promise.all([
    slow.readUntil('Z').then((all) => {
      order.push('table');
      return all;
    }),
    quick.readUntil('Z').then(() => order.push('version')),
  ]);
  const ids = frames
    .filter(({ type }) => type === 'D')
    .map(rowValues)
    .filter((row) => row[2] === 'dev')
    .map((row) => Number(row[20]));
  assert.deepEqual(
    ids,
    [...ids].sort((a, b) => a - b),
  );
  assert.equal(ids.length, 350);
  assert.equal(frames.filter(({ type }) => type === 'T' || type === 'C').length, 2);
  assert.equal(order.length, 2);
  for (const client of [...clients, slow, quick]) client.destroy();
});
