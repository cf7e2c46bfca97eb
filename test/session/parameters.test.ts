/** Settings that PostgreSQL reports by itself: a client keeps its own on every server that it gets. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { canonicalValue } from '../../src/pool/canonical.ts';
import { TrackedParameters } from '../../src/pool/parameters.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster, noPostgres15, type PostgresVersion } from '../support/cluster.ts';
import { errorFields, query, RawClient, rowValues, startup, type Frame } from '../support/raw.ts';

const SETUP = 'CREATE TABLE written (n int); CREATE ROLE bob LOGIN; GRANT ALL ON written TO PUBLIC';
const cluster = await Cluster.start({ after }, { sql: SETUP });
const old = noPostgres15 ? null : await Cluster.start({ after }, { version: 15, sql: SETUP });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      one: `${cluster.connectionString()} pool_size=1`,
      many: cluster.connectionString(),
      connected: `${cluster.connectionString()} pool_size=1 connect_query='SET search_path = connected; SET default_transaction_read_only = on'`,
      ...(old === null ? {} : { old: `${old.connectionString()} pool_size=1` }),
    },
    settings: { pool_mode: 'transaction' },
  },
);

/** The SQLSTATE of a query's error; ok: no error. */
async function outcome(client: RawClient, sql: string): Promise<string> {
  const error = (await client.query(sql)).find((frame) => frame.type === 'E');
  return error === undefined ? 'ok' : errorFields(error)['C']!;
}

const show = (client: RawClient, name: string): Promise<string | null> =>
  client.value(`SELECT current_setting('${name}')`);

function reported(frames: Frame[]): Record<string, string> {
  const statuses = frames.filter((frame) => frame.type === 'S');
  return Object.fromEntries(statuses.map(({ payload }) => payload.toString().split('\0').slice(0, 2)));
}

const WRITE = 'INSERT INTO public.written VALUES (1)';
const READ_ONLY = '25006';

test('read-only transactions of one client never affect another, however they were requested', async (t) => {
  const ways = [
    ['SET default_transaction_read_only = on'],
    ['SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY'],
    ["SELECT set_config('default_transaction_read_only', 'on', false)"],
    ["DO $$ BEGIN PERFORM set_config('default_transaction_read_only', 'on', false); END $$"],
    ['SET default_transaction_read_only = on; SELECT 1'],
    ['BEGIN', 'SET default_transaction_read_only = on', 'COMMIT'],
    ['BEGIN', "SELECT set_config('default_transaction_read_only', 'on', false)", 'COMMIT'],
    ['BEGIN; SET default_transaction_read_only = true; COMMIT'],
  ];
  for (const way of ways) {
    const [reader, writer] = [await bouncer.login(t, 'one'), await bouncer.login(t, 'one')];
    for (const sql of way) assert.equal(await outcome(reader, sql), 'ok', sql);
    assert.equal(await outcome(writer, WRITE), 'ok', way.join());
    assert.equal(await outcome(reader, WRITE), READ_ONLY, way.join());
    assert.equal(await outcome(writer, WRITE), 'ok', way.join());
    assert.equal(await show(reader, 'default_transaction_read_only'), 'on', way.join());
    reader.destroy();
    assert.equal(await outcome(writer, WRITE), 'ok', way.join());
  }
});

test('a statement that takes a read-only setting back does so for the client that had it', async (t) => {
  const ways: [string[], string[], string][] = [
    [['SET default_transaction_read_only = on'], ['RESET default_transaction_read_only'], 'ok'],
    [['SET default_transaction_read_only = on'], ['RESET ALL'], 'ok'],
    [['SET default_transaction_read_only = on'], ['DISCARD ALL'], 'ok'],
    [['SET default_transaction_read_only = on'], ['SET default_transaction_read_only TO DEFAULT'], 'ok'],
    [['SET default_transaction_read_only = on'], ['SET default_transaction_read_only = off'], 'ok'],
    [['BEGIN', 'SET default_transaction_read_only = on'], ['ROLLBACK'], 'ok'],
    [['BEGIN', 'SET LOCAL default_transaction_read_only = on'], ['COMMIT'], 'ok'],
    [['BEGIN', 'SAVEPOINT s', 'SET default_transaction_read_only = on'], ['ROLLBACK TO s', 'COMMIT'], 'ok'],
    [
      ['SET default_transaction_read_only = on'],
      ['BEGIN', 'SET default_transaction_read_only = off', 'ROLLBACK'],
      READ_ONLY,
    ],
    [
      ['SET default_transaction_read_only = on'],
      ['BEGIN', 'SET LOCAL default_transaction_read_only = off', 'COMMIT'],
      READ_ONLY,
    ],
  ];
  for (const [set, back, expected] of ways) {
    const [client, other] = [await bouncer.login(t, 'one'), await bouncer.login(t, 'one')];
    for (const sql of [...set, ...back]) assert.equal(await outcome(client, sql), 'ok', sql);
    const what = [...set, ...back].join('; ');
    assert.equal(await outcome(other, WRITE), 'ok', what);
    assert.equal(await outcome(client, WRITE), expected, what);
    assert.equal(await outcome(other, WRITE), 'ok', what);
    client.destroy();
  }
});

/** Settings that a client may change and PostgreSQL reports, and the first version that does. */
const SETTINGS: [name: string, value: string, shown: string, since: number][] = [
  ['client_encoding', "'latin1'", 'LATIN1', 14],
  ['DateStyle', "'German'", 'German, DMY', 14],
  ['TimeZone', "'Asia/Tokyo'", 'Asia/Tokyo', 14],
  ['standard_conforming_strings', 'off', 'off', 14],
  ['application_name', "'mine'", 'mine', 14],
  ['IntervalStyle', 'iso_8601', 'iso_8601', 14],
  ['default_transaction_read_only', 'on', 'on', 14],
  ['session_authorization', 'bob', 'bob', 14],
  ['scram_iterations', '5000', '5000', 16],
  ['search_path', 'a, "B", pg_temp', 'a, "B", pg_temp', 18],
];

for (const [version, database] of [
  [18, 'one'],
  [15, 'old'],
] as [PostgresVersion, string][]) {
  test(
    `each setting that PostgreSQL ${version} reports follows its client, and nobody else`,
    {
      skip: version === 15 && noPostgres15,
    },
    async (t) => {
      for (const [name, given, shown, since] of SETTINGS) {
        if (since > version) continue;
        const [client, other] = [await bouncer.login(t, database), await bouncer.login(t, database)];
        const before = await show(other, name);
        assert.notEqual(before, shown, name);
        const answer = await client.query(`SET ${name} = ${given}`);
        assert.equal(reported(answer)[name], shown, name);
        assert.equal(await show(other, name), before, `${name} of another client`);
        assert.equal(await show(client, name), shown, `${name} of its own client`);
        assert.equal(await show(other, name), before, `${name} of another client, again`);
        client.destroy();
        assert.equal(await show(other, name), before, `${name} after its client has left`);
        other.destroy();
      }
    },
  );
}

test('every setting that a server reports at login is tracked', async () => {
  const tracked = new TrackedParameters([]);
  for (const server of old === null ? [cluster] : [cluster, old]) {
    const client = await RawClient.connect(server);
    client.send(startup({ user: 'postgres', database: 'postgres' }));
    const names = Object.keys(reported(await client.readUntil('Z')));
    client.destroy();
    assert.ok(names.length >= 13, names.join());
    assert.deepEqual(
      names.filter((name) => tracked.indexOf(name) < 0),
      [],
    );
  }
});

test('a setting follows its client to a server that it has never used', async (t) => {
  for (const [name, given, shown] of SETTINGS) {
    const client = await bouncer.login(t, 'many');
    await client.query(`SET ${name} = ${given}`);
    // the client that has the server keeps it, so that this client gets another one
    const others: RawClient[] = [];
    for (let i = 0; i < 3; i++) {
      const other = await bouncer.login(t, 'many');
      await other.query('BEGIN');
      others.push(other);
      assert.equal(await show(client, name), shown, name);
    }
    for (const each of [client, ...others]) each.destroy();
  }
});

test('settings that only a server can change are reported to clients, and never SET', async (t) => {
  const listed = await Bouncer.start(t, {
    databases: { one: `${cluster.connectionString()} pool_size=1` },
    settings: {
      pool_mode: 'transaction',
      track_extra_parameters:
        'in_hot_standby, is_superuser, server_version, server_encoding, integer_datetimes, default_transaction_read_only',
    },
  });
  const client = await RawClient.login(listed, {
    user: 'postgres',
    database: 'one',
    default_transaction_read_only: 'true',
  });
  const other = await RawClient.login(listed, { user: 'postgres', database: 'one' });
  cluster.markLog();
  assert.equal(await outcome(client, WRITE), READ_ONLY);
  assert.equal(await outcome(other, WRITE), 'ok');
  assert.equal(await outcome(client, WRITE), READ_ONLY);
  assert.ok(
    !cluster.logContains(
      /SET (in_hot_standby|is_superuser|server_version|server_encoding|integer_datetimes)/i,
    ),
  );
  const refused = await RawClient.connect(listed);
  refused.send(startup({ user: 'postgres', database: 'one', in_hot_standby: 'on' }));
  const [error] = await refused.readToEnd();
  assert.equal(errorFields(error!)['M'], 'unsupported startup parameter: in_hot_standby');
  client.destroy();
  other.destroy();
});

test("a change of the server's configuration is not taken for a client's, and ends with it", async (t) => {
  const clients = [
    await bouncer.login(t, 'one'),
    await bouncer.login(t, 'many'),
    await bouncer.login(t, 'many'),
  ];
  const mine = await bouncer.login(t, 'many');
  await mine.query('SET default_transaction_read_only = on');
  for (const client of clients) assert.equal(await outcome(client, WRITE), 'ok');
  await cluster.configure({ settings: { default_transaction_read_only: 'on' } });
  t.after(() => cluster.configure({ settings: { default_transaction_read_only: 'off' } }));
  for (const client of clients) {
    // the first statement brings the report
    await client.query('SELECT 1');
    assert.equal(await outcome(client, WRITE), READ_ONLY);
    assert.equal(await outcome(client, WRITE), READ_ONLY);
  }
  await cluster.configure({ settings: { default_transaction_read_only: 'off' } });
  // the client that was told first gets a server that has told another client of the end of the change
  for (const client of clients.toReversed()) {
    await client.query('SELECT 1');
    assert.equal(await outcome(client, WRITE), 'ok');
    assert.equal(await outcome(client, WRITE), 'ok');
  }
  assert.equal(await outcome(mine, WRITE), READ_ONLY);
});

test('a setting that connect_query makes is the default of clients that do not set it', async (t) => {
  const [client, other] = [await bouncer.login(t, 'connected'), await bouncer.login(t, 'connected')];
  await client.query('SET search_path = mine; SET default_transaction_read_only = off');
  for (let i = 0; i < 2; i++) {
    assert.equal(await show(other, 'search_path'), 'connected');
    assert.equal(await outcome(other, WRITE), READ_ONLY);
    assert.equal(await show(client, 'search_path'), 'mine');
    assert.equal(await outcome(client, WRITE), 'ok');
  }
});

test('client_encoding and others are reported in PostgreSQL’s spelling, with and without a server', async (t) => {
  const direct = async (more: Record<string, string>): Promise<Record<string, string>> => {
    const client = await RawClient.connect(cluster);
    client.send(startup({ user: 'postgres', database: 'postgres', ...more }));
    const frames = await client.readUntil('Z');
    client.destroy();
    return reported(frames);
  };
  const through = async (more: Record<string, string>, database: string): Promise<Record<string, string>> => {
    const client = await RawClient.connect(bouncer);
    t.after(() => client.destroy());
    client.send(startup({ user: 'postgres', database, ...more }));
    const frames = await client.readUntil('Z');
    assert.equal(await client.value('SELECT 1'), '1');
    return reported(frames);
  };
  const asked: [string, string[]][] = [
    [
      'client_encoding',
      ['utf-8', 'unicode', 'Utf8', 'latin1', 'iso-8859-15', 'windows-1252', 'sql_ascii', 'win', 'shift_jis'],
    ],
    ['DateStyle', ['iso', 'german', 'SQL, dmy', 'ymd', 'Postgres, European', 'German, MDY', 'iso,us']],
    ['standard_conforming_strings', ['true', '0', 'ON', 'of']],
    ['IntervalStyle', ['ISO_8601', 'Postgres_Verbose']],
  ];
  await bouncer.admin('RECONNECT many');
  for (const [name, spellings] of asked) {
    for (const spelling of spellings) {
      const wanted = (await direct({ [name]: spelling }))[name];
      assert.equal((await through({ [name]: spelling }, 'many'))[name], wanted, spelling);
      if (name !== 'client_encoding') continue;
      const options = `-c client_encoding=${spelling}`;
      assert.equal((await through({ options }, 'many'))[name], wanted, options);
    }
  }
});

test('a start-up value with missing parts is completed by the default, not by the value of another client', async (t) => {
  for (const [given, shown] of [
    ['ISO', 'ISO, MDY'],
    ['postgres', 'Postgres, MDY'],
    ['dmy', 'ISO, DMY'],
  ]) {
    const other = await bouncer.login(t, 'one');
    await other.query("SET DateStyle = 'SQL, YMD'");
    const client = await bouncer.login(t, 'one', { DateStyle: given! });
    assert.equal(await show(client, 'DateStyle'), shown);
    assert.equal(await show(other, 'DateStyle'), 'SQL, YMD');
    for (const each of [client, other]) each.destroy();
  }
});

test('a DateStyle that contradicts itself is not normalized, so that PostgreSQL can refuse it', () => {
  for (const value of ['ISO, SQL', 'DMY, MDY', 'German, ISO', 'ISO, nonsense', 'us, european'])
    assert.equal(canonicalValue('DateStyle', value, 'ISO, MDY'), value);
  for (const [value, whole] of [
    ['ISO, iso', 'ISO, MDY'],
    ['German', 'German, DMY'],
    ['MDY, German', 'German, MDY'],
    ['euro, dmy', 'ISO, DMY'],
  ] as const)
    assert.equal(canonicalValue('DateStyle', value, 'ISO, MDY'), whole);
});

test('values that differ only in case are distinguished', async (t) => {
  const [upper, lower] = [
    await bouncer.login(t, 'one', { application_name: 'App' }),
    await bouncer.login(t, 'one'),
  ];
  await lower.query("SET application_name = 'app'");
  assert.equal(await show(upper, 'application_name'), 'App');
  assert.equal(await show(lower, 'application_name'), 'app');
  // PostgreSQL treats them as equal: no SET is sent
  cluster.markLog();
  const zone = await bouncer.login(t, 'one', {
    application_name: 'app',
    TimeZone: 'utc',
    client_encoding: 'utf-8',
  });
  assert.match((await show(zone, 'TimeZone'))!, /^utc$/i);
  assert.ok(!cluster.logContains(/SET TimeZone/));
});

test('settings of clients with pipelined messages are kept apart, too', async (t) => {
  const [client, other] = [await bouncer.login(t, 'one'), await bouncer.login(t, 'one')];
  client.send(query('SET default_transaction_read_only = on'), query('SELECT 1'), query(WRITE));
  other.send(query(WRITE), query(WRITE));
  const codes = async (each: RawClient, count: number): Promise<string[]> => {
    const found: string[] = [];
    for (let i = 0; i < count; i++) {
      const error = (await each.readUntil('Z')).find((frame) => frame.type === 'E');
      found.push(error === undefined ? 'ok' : errorFields(error)['C']!);
    }
    return found;
  };
  assert.deepEqual(await codes(client, 3), ['ok', 'ok', READ_ONLY]);
  assert.deepEqual(await codes(other, 2), ['ok', 'ok']);
});

test(
  'a client that a rule moves to a server of another version is told so, and takes its own settings along',
  { skip: noPostgres15 },
  async (t) => {
    const routed = await Bouncer.start(t, {
      databases: { one: cluster.connectionString(), old: old!.connectionString() },
      settings: { pool_mode: 'transaction' },
      files: {
        'user-functions/routing_rules.ts': `export function routing_rules(username: string, query: string): string | null {
        return query.includes('old') ? 'old' : 'one';
      }`,
      },
    });
    const client = await RawClient.login(routed, { user: 'postgres', database: 'one' });
    t.after(() => client.destroy());
    await client.query('SET default_transaction_read_only = on');
    // PostgreSQL 15 knows neither, or does not report it
    await client.query('SET scram_iterations = 5000; SET search_path = elsewhere');
    const version = async (sql: string): Promise<[string | null, string | undefined]> => {
      const frames = await client.query(sql);
      const row = frames.find((frame) => frame.type === 'D');
      return [rowValues(row!)[0]!.slice(0, 2), reported(frames)['server_version']?.slice(0, 2)];
    };
    assert.deepEqual(await version("SELECT current_setting('server_version') AS old"), ['15', '15']);
    assert.deepEqual(await version("SELECT current_setting('server_version') AS old"), ['15', undefined]);
    assert.equal(await outcome(client, `${WRITE} -- old`), READ_ONLY);
    assert.deepEqual(await version("SELECT current_setting('server_version')"), ['18', '18']);
    assert.equal(await outcome(client, WRITE), READ_ONLY);
    assert.equal(await show(client, 'search_path'), 'elsewhere');
    assert.equal(await show(client, 'scram_iterations'), '5000');
  },
);
