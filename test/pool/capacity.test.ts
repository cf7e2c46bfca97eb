/** Connection limits across pools: which pool gets room, which one loses an idle server, and which one waits. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configFromText } from '../../src/config/load.ts';
import { Capacity, type Answer, type CountedPool, type Request } from '../../src/pool/capacity.ts';
import { Context } from '../../src/pool/context.ts';
import { User } from '../../src/pool/users.ts';
import { createLog } from '../../src/telemetry/log.ts';

/** A server that has been idle since then, in ms. */
interface Idle {
  readonly releasedAt: number;
  close(): void;
}

/** Pools by `database/user`, with the number of their servers and when the idle ones of them came free. */
type Pools = Readonly<Record<string, { readonly size: number; readonly idle?: readonly number[] }>>;

function capacityOf(
  pools: Pools,
  limits: { readonly database?: number; readonly user?: number },
): { ask(name: string, request?: Request): Answer; nameOf(answer: Answer): string } {
  const config = configFromText(
    `[databases]\na = host=h\nb = host=h\n[pgbouncer]\nmax_db_connections = ${limits.database ?? 0}\nmax_user_connections = ${limits.user ?? 0}\n`,
  );
  const settings = { ...config.settings, logfile: '' };
  const context = new Context(config, createLog({ settings, quiet: true }));
  const users = new Map<string, User>();
  const databases = new Map<
    string,
    { config: CountedPool['database']['config']; isPrepared: boolean; pools: Map<string, CountedPool> }
  >();
  const all = new Map<string, CountedPool>();
  const idle = new Map<Idle, string>();
  for (const [name, { size, idle: released = [] }] of Object.entries(pools)) {
    const [databaseName, userName] = name.split('/') as [string, string];
    const user = users.get(userName) ?? new User(userName, null);
    users.set(userName, user);
    const database = databases.get(databaseName) ?? {
      config: config.databases.get(databaseName)!,
      isPrepared: true,
      pools: new Map<string, CountedPool>(),
    };
    databases.set(databaseName, database);
    const servers = released.map((releasedAt): Idle => ({ releasedAt, close() {} }));
    for (const server of servers) idle.set(server, `${name}@${server.releasedAt}`);
    const pool: CountedPool = {
      context,
      userState: user,
      database,
      size,
      longestIdle: () => servers.toSorted((a, b) => a.releasedAt - b.releasedAt)[0] ?? null,
    };
    database.pools.set(userName, pool);
    all.set(name, pool);
  }
  const capacity = new Capacity(() => all.values());
  return {
    ask: (name, request = { evict: true }) => capacity.ask(all.get(name)!, request),
    nameOf: (answer) => (typeof answer === 'string' ? answer : (idle.get(answer as Idle) ?? '?')),
  };
}

interface Row {
  readonly situation: string;
  readonly limits: { readonly database?: number; readonly user?: number };
  readonly pools: Pools;
  readonly request?: Request;
  /** `granted`, `no`, or the server to close as `database/user@time at which it came free` */
  readonly answer: string;
}

/** a/joe always asks. */
const ROWS: Row[] = [
  {
    situation: 'without limits there is room',
    limits: {},
    pools: { 'a/joe': { size: 99 } },
    answer: 'granted',
  },
  {
    situation: 'below max_db_connections there is room',
    limits: { database: 3 },
    pools: { 'a/joe': { size: 1 }, 'a/ann': { size: 1 } },
    answer: 'granted',
  },
  {
    situation: 'servers of other databases do not count for max_db_connections',
    limits: { database: 3 },
    pools: { 'a/joe': { size: 2 }, 'b/joe': { size: 9 } },
    answer: 'granted',
  },
  {
    situation: 'a full database gives the place of the server that has been idle longest',
    limits: { database: 3 },
    pools: {
      'a/joe': { size: 1 },
      'a/ann': { size: 1, idle: [20] },
      'a/bob': { size: 1, idle: [30, 10] },
      'b/bob': { size: 1, idle: [1] },
    },
    answer: 'a/bob@10',
  },
  {
    situation: 'a pool never has to evict a server of its own',
    limits: { database: 2 },
    pools: { 'a/joe': { size: 1, idle: [1] }, 'a/ann': { size: 1 } },
    answer: 'no',
  },
  {
    situation: 'a full database without idle servers has no room',
    limits: { database: 2 },
    pools: { 'a/joe': { size: 1 }, 'a/ann': { size: 1 } },
    answer: 'no',
  },
  {
    situation: 'servers that are opened in advance evict nobody',
    limits: { database: 2 },
    pools: { 'a/joe': { size: 1 }, 'a/ann': { size: 1, idle: [1] } },
    request: { evict: false },
    answer: 'no',
  },
  {
    situation: 'max_user_connections counts a user in all databases',
    limits: { user: 3 },
    pools: { 'a/joe': { size: 1 }, 'b/joe': { size: 2, idle: [5] }, 'a/ann': { size: 9, idle: [1] } },
    answer: 'b/joe@5',
  },
  {
    situation: 'room in the database does not help a user that has none',
    limits: { database: 9, user: 2 },
    pools: { 'a/joe': { size: 2 } },
    answer: 'no',
  },
  {
    situation: 'the database makes room before the user does',
    limits: { database: 2, user: 2 },
    pools: { 'a/joe': { size: 1 }, 'a/ann': { size: 1, idle: [9] }, 'b/joe': { size: 1, idle: [1] } },
    answer: 'a/ann@9',
  },
  {
    situation: 'a server that moves between pools of its user needs room in the database only',
    limits: { database: 9, user: 2 },
    pools: { 'a/joe': { size: 1 }, 'b/joe': { size: 1 } },
    request: { evict: false, isMove: true },
    answer: 'granted',
  },
];

for (const { situation, limits, pools, request, answer } of ROWS) {
  test(situation, () => {
    const capacity = capacityOf(pools, limits);
    assert.equal(capacity.nameOf(capacity.ask('a/joe', request)), answer);
  });
}
