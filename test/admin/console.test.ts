/** Admission to the console, and the statements that it understands and refuses. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { noPsql, psql } from '../support/psql.ts';
import * as raw from '../support/raw.ts';
import { RawClient, errorFields, rowValues } from '../support/raw.ts';
import { until } from '../support/wait.ts';

// No command here needs a PostgreSQL server.
const bouncer = await Bouncer.start(
  { after },
  {
    databases: { p: 'host=127.0.0.1 port=1' },
    userlist: { watcher: '', nobody: '' },
    settings: { stats_users: 'watcher', admin_users: 'pgbouncer, chief' },
  },
);
const target = { port: bouncer.port, host: bouncer.host };

function login(user = 'pgbouncer', more: Record<string, string> = {}): Promise<RawClient> {
  return RawClient.login(target, { user, database: 'pgbouncer', ...more });
}

async function errorOf(client: RawClient, command: string): Promise<string> {
  const frames = await client.query(command);
  const error = frames.find((frame) => frame.type === 'E');
  assert.ok(error, `${command} did not fail`);
  const fields = errorFields(error);
  assert.equal(fields['S'], 'ERROR');
  assert.equal(fields['C'], '08P01');
  return fields['M']!;
}

async function tagOf(client: RawClient, command: string): Promise<string> {
  const frames = await client.query(command);
  const complete = frames.find((frame) => frame.type === 'C');
  assert.ok(complete, `${command} did not succeed: ${frames.map((frame) => frame.type).join('')}`);
  return complete.payload.toString('utf8', 0, complete.payload.length - 1);
}

test('a login is greeted with pgbouncer’s parameters', async () => {
  const client = await RawClient.connect(target);
  client.send(raw.startup({ user: 'pgbouncer', database: 'pgbouncer', search_path: 'x', made_up: '1' }));
  const frames = await client.readUntil('Z');
  assert.equal(frames.map((frame) => frame.type).join(''), 'RSSSSSSSKZ');
  const parameters = frames
    .filter((frame) => frame.type === 'S')
    .map((frame) => frame.payload.toString('utf8').split('\0').slice(0, 2).join('='));
  assert.deepEqual(parameters, [
    'server_version=1.25.2/bouncer',
    'client_encoding=UTF8',
    'server_encoding=UTF8',
    'DateStyle=ISO',
    'TimeZone=GMT',
    'standard_conforming_strings=on',
    'is_superuser=on',
  ]);
  client.destroy();
});

test('a user in neither admin_users nor stats_users is refused', async () => {
  const client = await RawClient.connect(target);
  client.send(raw.startup({ user: 'nobody', database: 'pgbouncer' }));
  const frames = await client.readToEnd();
  const fields = errorFields(frames.at(-1)!);
  assert.equal(fields['M'], 'not allowed');
  assert.equal(fields['S'], 'FATAL');
  assert.equal(fields['C'], '08P01');
});

test('an unconfigured user is forgotten after leaving the console or being refused', async (t) => {
  const open = await Bouncer.start(t, {
    databases: { p: 'host=127.0.0.1 port=1 user=forced max_db_client_connections=1' },
    settings: { auth_type: 'any', server_login_retry: 60 },
  });
  const waiting = await RawClient.connect(open);
  t.after(() => waiting.destroy());
  waiting.send(raw.startup({ user: 'first', database: 'p' }));
  const isKnown = async (name: string): Promise<boolean> =>
    (await open.admin<{ name: string }>('SHOW USERS')).some((row) => row.name === name);
  await until('the client to have its place', () => isKnown('first'));
  const watcher = await RawClient.login(open, { user: 'watcher', database: 'pgbouncer' });
  assert.ok(await isKnown('watcher'));
  watcher.destroy();
  await until('the watcher to be forgotten', async () => !(await isKnown('watcher')));
  const refused = await RawClient.connect(open);
  refused.send(raw.startup({ user: 'refused', database: 'p' }));
  assert.match(errorFields((await refused.readToEnd()).at(-1)!)['M']!, /max_db_client_connections/);
  assert.ok(!(await isKnown('refused')));
});

test('client limits apply to stats_users and never to administrators', async (t) => {
  const limited = await Bouncer.start(t, {
    databases: { p: 'host=127.0.0.1 port=1' },
    users: { watcher: 'max_user_client_connections=1', second: 'max_user_client_connections=5' },
    userlist: { watcher: '', second: '', third: '', chief: '' },
    settings: {
      stats_users: 'watcher, second, third',
      admin_users: 'pgbouncer, chief',
      max_db_client_connections: 4,
      max_user_client_connections: 2,
    },
  });
  const inTcp = { port: limited.port, host: limited.host };
  const unix = { path: `${limited.folder}/.s.PGSQL.${limited.port}` };
  const attempt = async (
    user: string,
    target: typeof inTcp | typeof unix = inTcp,
  ): Promise<RawClient | string> => {
    const client = await RawClient.connect(target);
    t.after(() => client.destroy());
    client.send(raw.startup({ user, database: 'pgbouncer' }));
    for (;;) {
      const frame = await client.readFrame();
      if (frame.type === 'Z') return client;
      if (frame.type === 'E') return `${errorFields(frame)['C']} ${errorFields(frame)['M']}`;
    }
  };
  const OF_USER = '08P01 client connections exceeded (max_user_client_connections)';
  const OF_DATABASE = '08P01 client connections exceeded (max_db_client_connections)';
  const isIn = (got: RawClient | string): RawClient => {
    if (typeof got === 'string') assert.fail(got);
    return got;
  };
  const first = isIn(await attempt('watcher'));
  assert.equal(await attempt('watcher'), OF_USER);
  isIn(await attempt('second'));
  // administrators count, and are admitted nevertheless
  for (const user of ['chief', 'chief', 'chief', 'pgbouncer', 'pgbouncer', 'pgbouncer'])
    isIn(await attempt(user));
  assert.equal(await attempt('second'), OF_DATABASE);
  // both limits are reached
  assert.equal(await attempt('watcher'), OF_DATABASE);
  isIn(await attempt('pgbouncer', unix));
  const admin = isIn(await attempt('chief'));
  const counted = async (table: string, name: string): Promise<string | null | undefined> => {
    const frames = await admin.query(`SHOW ${table}`);
    const columns = frames.find((frame) => frame.type === 'T')!.payload.toString('latin1');
    assert.ok(columns.includes('current_client_connections'));
    const rows = frames.filter((frame) => frame.type === 'D').map(rowValues);
    const row = rows.find(([first]) => first === name)!;
    return table === 'USERS' ? row.at(-1) : row.at(-3);
  };
  assert.equal(await counted('USERS', 'watcher'), '1');
  assert.equal(await counted('USERS', 'chief'), '4');
  // a place comes free with its client; the database's limit is out of reach
  await admin.query('SET max_db_client_connections = 0');
  assert.equal(await attempt('watcher'), OF_USER);
  first.destroy();
  await until('the place to be free', async () => typeof (await attempt('watcher')) !== 'string');
  // the user's clients of the console and of databases are counted together
  await admin.query('SET max_user_client_connections = 1');
  isIn(await attempt('third'));
  assert.equal(await attempt('third'), OF_USER);
  const ordinary = await RawClient.connect(inTcp);
  ordinary.send(raw.startup({ user: 'third', database: 'p' }));
  assert.equal(errorFields((await ordinary.readToEnd()).at(-1)!)['M'], OF_USER.slice(6));
});

test('stats_users may use SHOW, except SHOW FDS, and no other command', async () => {
  const client = await login('watcher');
  assert.equal(await tagOf(client, 'SHOW STATS'), 'SHOW');
  for (const command of [
    'SHOW FDS',
    'RELOAD',
    'PAUSE',
    'RESUME',
    'SUSPEND',
    'KILL p',
    'KILL_CLIENT 1',
    'DISABLE p',
    'ENABLE p',
    'RECONNECT',
    'WAIT_CLOSE',
    'SHUTDOWN',
    'SHUTDOWN WAIT_FOR_CLIENTS',
    'SET verbose = 1',
  ]) {
    assert.equal(await errorOf(client, command), 'admin access needed', command);
  }
  client.destroy();
});

test('an unknown command is refused with a pointer to SHOW HELP', async () => {
  const client = await login();
  for (const command of [
    'SELECT 1',
    'SELECT version()',
    'BEGIN',
    'SHOW',
    'SHOW nothing',
    'SHOW STATS; SHOW POOLS',
    'SET x',
    'RELOAD now',
    'SUSPEND p',
    'SHUTDOWN soon',
    `SHOW ${'"'.repeat(20_001)}`,
  ]) {
    assert.equal(await errorOf(client, command), `invalid command '${command}', use SHOW HELP;`);
  }
  assert.equal(await errorOf(client, 'SET "" = 1'), 'bad arguments');
  assert.equal(await errorOf(client, 'SET no_such_option = 1'), 'SET failed');
  assert.equal(await errorOf(client, 'SET pool_mode = sometimes'), 'SET failed');
  client.destroy();
});

test('statements may vary in case, quotes, blanks and semicolons, and SELECT stands for SHOW', async () => {
  const client = await login();
  for (const command of [
    'show version',
    ' SHOW\tVERSION ; \n',
    'select Version',
    'SHOW "version";',
    '"show" VERSION',
  ]) {
    const frames = await client.query(command);
    const row = frames.find((frame) => frame.type === 'D');
    assert.ok(row, command);
    assert.deepEqual(rowValues(row), ['PgBouncer 1.25.2']);
  }
  assert.equal(await tagOf(client, 'SET verbose=0'), 'SET verbose=0');
  assert.equal(await tagOf(client, "set verbose TO '0' ;"), 'SET verbose=0');
  assert.equal(await tagOf(client, 'SET "verbose" = "0"'), 'SET verbose=0');
  assert.equal(
    await tagOf(client, "SET server_check_query = 'select ''x'''"),
    "SET server_check_query=select 'x'",
  );
  assert.equal(await tagOf(client, 'SET server_check_query = "<empty>"'), 'SET server_check_query=<empty>');
  client.destroy();
});

test('an empty statement gets an empty answer', async () => {
  const client = await login();
  for (const text of ['', ' ;', '\n']) {
    assert.equal((await client.query(text)).map((frame) => frame.type).join(''), 'IZ');
  }
  client.destroy();
});

test('settings that drivers use at login are accepted and answered', async () => {
  const client = await login();
  for (const name of [
    'client_encoding',
    'DateStyle',
    'timezone',
    'standard_conforming_strings',
    'extra_float_digits',
  ]) {
    const frames = await client.query(`SET ${name} TO 'x'`);
    assert.equal(frames.map((frame) => frame.type).join(''), 'NCZ');
    assert.equal(errorFields(frames[0]!)['M'], 'SET ignored');
    assert.equal(frames[1]!.payload.toString('utf8'), 'SET\0');
  }
  const shown = await client.query('SHOW default_transaction_isolation');
  assert.deepEqual(rowValues(shown[1]!), ['read committed']);
  assert.deepEqual(rowValues((await client.query('SHOW client_encoding'))[1]!), ['UTF-8']);
  client.destroy();
});

test('SHOW HELP is answered by a notice', async () => {
  const client = await login();
  const frames = await client.query('SHOW HELP');
  assert.equal(frames.map((frame) => frame.type).join(''), 'NCZ');
  const fields = errorFields(frames[0]!);
  assert.equal(fields['M'], 'Console usage');
  assert.match(
    fields['D']!,
    /^\n\tSHOW HELP\|CONFIG.*\n\tKILL_CLIENT <client_id>\n.*SWITCHOVER <db> TO <node> \[WAIT <seconds>\]$/s,
  );
  client.destroy();
});

test('the extended protocol is refused, and the connection ends', async () => {
  const client = await login();
  client.send(raw.parse('', 'SHOW STATS'), raw.bind(), raw.execute(), raw.sync());
  const frames = await client.readToEnd();
  assert.equal(frames.map((frame) => frame.type).join(''), 'EZE');
  assert.equal(errorFields(frames[0]!)['M'], 'extended query protocol not supported by admin console');
  assert.equal(errorFields(frames[2]!)['M'], 'bad packet');
  const other = await login();
  bouncer.markLog();
  other.send(raw.sync());
  const message = errorFields((await other.readToEnd())[0]!)['M'];
  assert.equal(message, 'unsupported packet type for admin console: 83');
  assert.ok(bouncer.logContains(/ ERROR unsupported packet type for admin console: 83$/m));
  assert.ok(bouncer.logContains(/ WARNING C-0x\w+: \S+ pooler error: unsupported packet type/));
});

test('a message of a bad length and a query without an end each end the connection', async () => {
  for (const [bytes, message] of [
    [Buffer.from('Q\0\0\0\x03'), 'incomplete pkt'],
    [Buffer.from('Q\x7f\0\0\0'), 'incomplete pkt'],
    [raw.message('Q', Buffer.from('SHOW STATE')), 'incomplete query'],
  ] as const) {
    const client = await login();
    client.send(bytes);
    const [error] = await client.readToEnd();
    assert.equal(errorFields(error!)['S'], 'FATAL');
    assert.equal(errorFields(error!)['M'], message);
  }
});

test('several statements in one write are answered in order, and a fragmented one is reassembled', async () => {
  const client = await login();
  client.send(raw.query('SHOW VERSION'), raw.query('nonsense'), raw.query('SHOW STATE'));
  assert.equal((await client.readUntil('Z')).map((frame) => frame.type).join(''), 'TDCZ');
  assert.equal((await client.readUntil('Z')).map((frame) => frame.type).join(''), 'EZ');
  assert.equal((await client.readUntil('Z')).map((frame) => frame.type).join(''), 'TDDDCZ');
  for (const byte of raw.query('SHOW VERSION')) client.send(Buffer.from([byte]));
  assert.equal((await client.readUntil('Z')).map((frame) => frame.type).join(''), 'TDCZ');
  client.destroy();
});

test('psql can run every SHOW on TCP and on the Unix socket', { skip: noPsql }, async () => {
  const names =
    'clients config databases fds lists peers peer_pools pools servers sockets active_sockets stats stats_totals stats_averages users version totals mem dns_hosts dns_zones state functions help';
  const script = names
    .split(' ')
    .map((name) => `SHOW ${name};\n`)
    .join('');
  for (const host of [bouncer.host, bouncer.folder]) {
    const output = await psql({ host, port: bouncer.port, user: 'pgbouncer', database: 'pgbouncer' }, script);
    assert.match(output, /^PgBouncer 1\.25\.2$/m);
  }
});

test(
  'the user pgbouncer of the proxy’s own uid is an administrator on the Unix socket, whatever auth_type says',
  { skip: noPsql || process.platform !== 'linux' },
  async (t) => {
    const strict = await Bouncer.start(t, { settings: { auth_type: 'scram-sha-256', admin_users: '' } });
    const [, uid] = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${strict.pid}/status`, 'utf8'))!;
    const at = { host: strict.folder, port: strict.port, database: 'pgbouncer', uid: Number(uid) };
    assert.match(await psql({ ...at, user: 'pgbouncer' }, 'SHOW FDS;'), /^\d+\|pooler\|/m);
    assert.match(
      strict.log(),
      /C-0x\w+: pgbouncer\/pgbouncer@unix\(\d+\):\d+ pgbouncer access from unix socket/,
    );
    await assert.rejects(psql({ ...at, user: 'postgres' }, 'SHOW STATE;'), /FATAL/);
    await assert.rejects(
      psql({ ...at, host: strict.host, user: 'pgbouncer' }, 'SHOW STATE;'),
      /FATAL|password/,
    );
  },
);

test('with auth_type = any everybody may use SHOW, and admin_users every command', async (t) => {
  const open = await Bouncer.start(t, { settings: { auth_type: 'any', admin_users: 'chief' } });
  const at = { port: open.port, host: open.host };
  const anybody = await RawClient.login(at, { user: 'whoever', database: 'pgbouncer' });
  assert.equal(await tagOf(anybody, 'SHOW POOLS'), 'SHOW');
  assert.equal(await errorOf(anybody, 'RELOAD'), 'admin access needed');
  const chief = await RawClient.login(at, { user: 'chief', database: 'pgbouncer' });
  assert.equal(await tagOf(chief, 'RELOAD'), 'RELOAD');
  anybody.destroy();
  chief.destroy();
  // `any` needs a forced user, which a nonexistent database does not have
  const stranger = await RawClient.connect(at);
  stranger.send(raw.startup({ user: 'whoever', database: 'none' }));
  assert.equal(errorFields((await stranger.readToEnd())[0]!)['M'], 'bouncer config error');
});

test('the user pgbouncer exists without an auth_file', async (t) => {
  const open = await Bouncer.start(t, { settings: { auth_file: '', auth_type: 'trust' } });
  const operator = await RawClient.login(open, { user: 'pgbouncer', database: 'pgbouncer' });
  assert.equal(await tagOf(operator, 'RELOAD'), 'RELOAD');
  operator.destroy();
});
