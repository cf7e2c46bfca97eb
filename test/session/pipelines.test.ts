/** An open pipeline is a transaction, even if everything in it has been answered: PostgreSQL is the model. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { errorFields, RawClient, rowValues, type Frame } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after }, { sql: 'CREATE TABLE m (n int, tx text)' });
const RULES = {
  'rewrite_query.ts': `import { reject } from 'pgswitchyard';
    export const rewrite_query = (user: string, query: string, in_transaction: boolean): string | null => {
      if (query.includes('forbidden')) reject('forbidden');
      return query.includes('%tx%') ? query.replace('%tx%', String(in_transaction)) : null;
    };`,
  'routing_rules.ts': `export const routing_rules = (user: string, query: string): string | null =>
      /to (one|two)/.exec(query)?.[1] ?? null;`,
};
const POOL_SIZE = 3;
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      plain: cluster.connectionString(),
      one: `${cluster.connectionString()} routing_targets=two`,
      two: `${cluster.connectionString()} routing_targets=one`,
      session: `${cluster.connectionString()} pool_mode=session`,
      statement: `${cluster.connectionString()} pool_mode=statement`,
    },
    settings: { pool_mode: 'transaction', default_pool_size: POOL_SIZE },
    files: Object.fromEntries(
      ['one', 'two'].flatMap((name) =>
        Object.entries(RULES).map(([file, text]) => [`user-functions/${name}/${file}`, text]),
      ),
    ),
  },
);

/** Parse, Bind and Execute of one statement. */
const run = (sql: string): Buffer[] => [raw.parse('', sql), raw.bind(), raw.execute()];

/** Waits until closed servers have ended and no other one has a transaction. Returns the rows in the table. */
async function settled(): Promise<Record<string, unknown>[]> {
  await until('all transactions to be over', async () => {
    const servers = await bouncer.admin('SHOW SERVERS');
    if (servers.some((row) => row['state'] === 'active')) return false;
    const open = await cluster.sql(
      `select from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
        and (xact_start is not null or not pid = any($1))`,
      [servers.map((row) => Number(row['remote_pid']))],
    );
    return open.length === 0;
  });
  const locks = await cluster.sql("select from pg_locks where relation = 'm'::regclass");
  assert.equal(locks.length, 0, 'no lock is left');
  return await cluster.sql('select n, tx from m order by n');
}

for (const database of ['plain', 'session', 'statement', 'one']) {
  for (const how of ['terminate', 'end', 'reset'] as const) {
    test(`${database}: a client that leaves (${how}) with a flushed pipeline leaves nothing for the next client to commit`, async (t) => {
      await cluster.sql('truncate m');
      const client = await bouncer.login(t, database);
      client.send(...run("insert into m values (1, 'lost')"), raw.flush());
      assert.equal(raw.types(await client.readUntil('C')), '12C');
      if (how === 'terminate') client.send(raw.terminate());
      else if (how === 'end') client.end();
      else client.reset();
      assert.deepEqual(await settled(), []);
      const next = await bouncer.login(t, database);
      await next.query("insert into m values (2, 'kept')");
      next.destroy();
      assert.deepEqual(await settled(), [{ n: 2, tx: 'kept' }]);
    });
  }
}

test('user functions see that a pipeline is open, and cannot move its client', async (t) => {
  await cluster.sql('truncate m');
  const client = await bouncer.login(t, 'one');
  bouncer.markLog();
  client.send(...run("insert into m values (1, '%tx%')"), raw.flush());
  await client.readUntil('C');
  client.send(...run("insert into m values (2, '%tx%') -- to two"), raw.flush());
  await client.readUntil('C');
  await bouncer.waitForLog(/routing to two refused inside a transaction/);
  client.send(raw.sync());
  await client.readUntil('Z');
  await client.query("insert into m values (3, '%tx%') -- to two");
  assert.deepEqual(await settled(), [
    { n: 1, tx: 'false' },
    { n: 2, tx: 'true' },
    { n: 3, tx: 'false' },
  ]);
});

test('a rejected statement undoes the flushed pipeline before it', async (t) => {
  await cluster.sql('truncate m');
  const client = await bouncer.login(t, 'one');
  for (const next of [[...run('forbidden'), raw.sync()], [raw.query('forbidden')]]) {
    client.send(...run("insert into m values (1, '')"), raw.flush());
    await client.readUntil('C');
    client.send(...next);
    assert.equal(raw.types(await client.readUntil('Z')), 'EZ');
  }
  assert.deepEqual(await settled(), []);
});

test('a Query or FunctionCall in the middle of a pipeline is answered as by PostgreSQL, and affects no other client', async (t) => {
  const call = raw.message('F', Buffer.from([0, 0, 7, 234, 0, 0, 0, 0, 0, 0]));
  const ends = [raw.query('select 1'), raw.query('select 1; select 2'), call, raw.query('commit')];
  ends.push(raw.query('rollback'), raw.query('select 1/0'), raw.query('begin'), raw.sync());
  for (const end of ends) {
    const answers: string[] = [];
    for (const target of [bouncer, cluster]) {
      await cluster.sql('truncate m');
      const database = target === bouncer ? 'plain' : 'postgres';
      const client = await RawClient.login(target, { user: 'postgres', database });
      t.after(() => client.destroy());
      client.send(...run("insert into m values (1, '')"), raw.flush());
      await client.readUntil('C');
      client.send(end);
      const frames = await client.readUntil('Z');
      client.send(raw.sync());
      frames.push(...(await client.readUntil('Z')));
      const isSeen = (await cluster.sql('select from m')).length > 0;
      answers.push(
        `${frames.map(({ type, payload }) => `${type}${type === 'Z' ? String(payload) : ''}`).join(' ')} ${isSeen}`,
      );
      // all servers of the pool: the one that the client had is among them
      const others = await Promise.all(Array.from({ length: POOL_SIZE }, () => bouncer.login(t, 'plain')));
      if (frames.at(-1)!.payload.toString() === 'I' && target === bouncer)
        for (const frame of await Promise.all(others.map((other) => other.query('select pg_sleep(0.01)'))))
          assert.equal(raw.types(frame), 'TDCZ');
      for (const other of others) other.destroy();
      client.destroy();
      await settled();
    }
    assert.equal(answers[0], answers[1]);
  }
});

test('a pipeline keeps its server, as SHOW reports it, and PAUSE and RECONNECT wait for its Sync', async (t) => {
  await cluster.sql('truncate m');
  const client = await bouncer.login(t, 'plain');
  client.send(...run("insert into m values (1, '')"), raw.flush());
  await client.readUntil('C');
  const states = async (what: string): Promise<unknown[]> =>
    (await bouncer.admin(`SHOW ${what}`))
      .filter((row) => row['database'] === 'plain')
      .map((row) => row['state']);
  assert.deepEqual(await states('CLIENTS'), ['active']);
  assert.ok((await states('SERVERS')).includes('active'));
  await bouncer.admin('RECONNECT plain');
  let isPaused = false;
  const paused = bouncer.admin('PAUSE plain').then(() => (isPaused = true));
  client.send(...run("insert into m values (2, '')"), raw.flush());
  await client.readUntil('C');
  assert.equal(isPaused, false);
  client.send(raw.sync());
  await client.readUntil('Z');
  await paused;
  await bouncer.admin('RESUME plain');
  assert.deepEqual(
    (await settled()).map(({ n }) => n),
    [1, 2],
  );
});

test('a client that does nothing in a flushed pipeline is idle in a transaction', async (t) => {
  await bouncer.reload({ idle_transaction_timeout: '0.5' });
  t.after(() => bouncer.reload({ idle_transaction_timeout: 0 }));
  await cluster.sql('truncate m');
  const client = await bouncer.login(t, 'plain');
  client.send(...run("insert into m values (1, '')"), raw.flush());
  await client.readUntil('C');
  const [error] = await client.readToEnd();
  assert.equal(errorFields(error!)['M'], 'idle transaction timeout');
  assert.deepEqual(await settled(), []);
});

type Op =
  | { kind: 'insert'; form: 'unnamed' | 'named'; to: '' | 'one' | 'two' }
  | { kind: 'simple'; to: '' | 'one' | 'two' }
  | { kind: 'command'; sql: 'begin' | 'commit' | 'rollback' | 'select 1/0' | 'forbidden' }
  | { kind: 'bad'; sql: 'no sql' | 'forbidden' }
  | { kind: 'flush' | 'sync' | 'leave' };

/** One client, and a model of the effects of its messages in PostgreSQL. */
class Session {
  readonly #scope: Scope;
  readonly #committed: Map<number, string>;
  #client: RawClient | null = null;
  #block: 'none' | 'open' | 'failed' = 'none';
  #isPipeline = false;
  #isSkipping = false;
  /** rows that were written and not committed yet */
  #pending: [number, string][] = [];
  /** answers that have not been read yet */
  #expected = '';
  #names = 0;

  constructor(scope: Scope, committed: Map<number, string>) {
    this.#scope = scope;
    this.#committed = committed;
  }

  async run(op: Op, n: number): Promise<void> {
    const client = (this.#client ??= await bouncer.login(this.#scope, 'one'));
    const inTransaction = this.#block !== 'none' || this.#isPipeline;
    switch (op.kind) {
      case 'insert': {
        const sql = `insert into m values ($1, '%tx%')${op.to && ` -- to ${op.to}`}`;
        // the proxy itself answers it, and PostgreSQL would refuse it in a failed transaction
        const isNamed = op.form === 'named' && this.#block !== 'failed';
        const name = isNamed ? `s${this.#names++}` : '';
        client.send(raw.parse(name, sql, [23]), raw.bind(name, [String(n)]), raw.execute());
        if (this.#isSkipping) return;
        this.#isPipeline = true;
        if (this.#block === 'failed') return this.#fail();
        this.#pending.push([n, String(inTransaction)]);
        this.#expected += '12C';
        return;
      }
      case 'bad':
        client.send(...run(op.sql));
        if (this.#isSkipping) return;
        this.#isPipeline = true;
        return this.#fail();
      case 'simple':
      case 'command': {
        // the server would ignore it, or PostgreSQL's own bug would show (Outstanding.mixed)
        const isInsert = op.kind === 'simple';
        if (this.#isSkipping || (isInsert && this.#isPipeline)) await this.#sync(client);
        const sql = isInsert ? `insert into m values (${n}, '%tx%')${op.to && ` -- to ${op.to}`}` : op.sql;
        client.send(raw.query(sql));
        const ends = sql === 'commit' || sql === 'rollback';
        const fails = sql === 'select 1/0' || sql === 'forbidden' || (this.#block === 'failed' && !ends);
        if (isInsert && !fails) this.#pending.push([n, String(this.#block !== 'none' || this.#isPipeline)]);
        this.#isPipeline = false;
        if (fails) {
          this.#pending = [];
          if (this.#block === 'open') this.#block = 'failed';
        } else if (sql === 'begin') this.#block = 'open';
        else if (sql === 'rollback') {
          this.#pending = [];
          this.#block = 'none';
        } else if (sql === 'commit') this.#block = 'none';
        this.#expected += fails ? 'EZ' : 'CZ';
        if (this.#block === 'none') this.#commit();
        return await this.#read(client);
      }
      case 'flush':
        client.send(raw.flush());
        return await this.#read(client);
      case 'sync':
        return await this.#sync(client);
      case 'leave':
        if (n % 2 === 0) client.send(raw.terminate());
        else client.destroy();
        this.#client = null;
        this.#block = 'none';
        this.#isPipeline = this.#isSkipping = false;
        this.#pending = [];
        this.#expected = '';
    }
  }

  async #sync(client: RawClient): Promise<void> {
    client.send(raw.sync());
    this.#expected += 'Z';
    this.#isPipeline = this.#isSkipping = false;
    if (this.#block === 'none') this.#commit();
    await this.#read(client);
  }

  #fail(): void {
    this.#expected += 'E';
    this.#isSkipping = true;
    this.#pending = [];
    if (this.#block === 'open') this.#block = 'failed';
  }

  #commit(): void {
    for (const [n, tx] of this.#pending) this.#committed.set(n, tx);
    this.#pending = [];
  }

  async #read(client: RawClient): Promise<void> {
    let read = '';
    while (read.length < this.#expected.length) {
      const { type } = await client.readFrame();
      // "there is no transaction in progress"
      if (type !== 'N') read += type;
    }
    assert.equal(read, this.#expected);
    this.#expected = '';
  }
}

const to = fc.constantFrom('' as const, 'one' as const, 'two' as const);
const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('insert' as const),
      form: fc.constantFrom('unnamed' as const, 'named' as const),
      to,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('simple' as const), to }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('command' as const),
      sql: fc.constantFrom('begin' as const, 'commit', 'rollback', 'select 1/0', 'forbidden'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('bad' as const),
      sql: fc.constantFrom('no sql' as const, 'forbidden'),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('flush' as const, 'flush', 'sync', 'leave') }) },
);

test('random pipelines, flushes, Syncs and departures have the effects that they have in PostgreSQL', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat({ max: POOL_SIZE - 1 }), op), { minLength: 10, maxLength: 40 }),
      async (program) => {
        await cluster.sql('truncate m');
        const committed = new Map<number, string>();
        const sessions = Array.from({ length: POOL_SIZE }, () => new Session(t, committed));
        for (const [i, [who, what]] of program.entries()) await sessions[who]!.run(what, i);
        for (const [i, session] of sessions.entries()) await session.run({ kind: 'leave' }, i);
        const rows = await settled();
        const expected = [...committed].map(([n, tx]) => ({ n, tx })).toSorted((a, b) => a.n - b.n);
        assert.deepEqual(rows, expected);
      },
    ),
    { seed: 12, numRuns: 25, interruptAfterTimeLimit: 10_000, endOnFailure: true },
  );
});

test('a rule sees the right in_transaction before and after each end of a pipeline', async (t) => {
  const client = await bouncer.login(t, 'one');
  const seen = async (...messages: Buffer[]): Promise<string | null> => {
    client.send(...messages);
    const frames: Frame[] = [];
    do frames.push(await client.readFrame());
    while (frames.at(-1)!.type !== 'D');
    return rowValues(frames.at(-1)!)[0]!;
  };
  const ask = [raw.parse('', "select '%tx%'"), raw.bind(), raw.execute(), raw.flush()];
  assert.equal(await seen(...ask), 'false');
  assert.equal(await seen(...ask), 'true');
  assert.equal(await seen(raw.query("select '%tx%'; select 1")), 'true');
  await client.readUntil('Z');
  assert.equal(await seen(raw.query("select '%tx%'")), 'false');
  await client.readUntil('Z');
  assert.equal(await seen(...ask), 'false');
  client.send(raw.sync());
  await client.readUntil('Z');
  assert.equal(await seen(...ask), 'false');
});
