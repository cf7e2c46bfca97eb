/** Small options of [pgbouncer]: each one's effect, as a client sees it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { after, test } from 'node:test';
import type { ClientConfig } from 'pg';
import type { Socket } from 'node:net';
import { hasSocketOptions } from '../../src/platform/socket-options.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { noFfi } from '../support/ffi.ts';
import { RawClient, errorFields, query, startup } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });
const databases = { postgres: cluster.connectionString() };

test('login_notify_message is a NOTICE at login, and SET changes it', async (t) => {
  const bouncer = await Bouncer.start(t, { databases, settings: { login_notify_message: 'be gentle' } });
  const notices = async (): Promise<(string | undefined)[]> => {
    const raw = await RawClient.connect(bouncer);
    raw.send(startup({ user: 'postgres', database: 'postgres' }));
    const frames = await raw.readUntil('Z');
    raw.destroy();
    return frames.filter((frame) => frame.type === 'N').map((frame) => errorFields(frame)['M']);
  };
  assert.deepEqual(await notices(), ['be gentle']);
  await bouncer.admin("SET login_notify_message = ''");
  assert.deepEqual(await notices(), []);
});

test('max_packet_size: neither a longer query nor a longer row comes through', async (t) => {
  const bouncer = await Bouncer.start(t, { databases, settings: { max_packet_size: 10_000 } });
  const client = await bouncer.connect();
  assert.equal((await client.query("select repeat('x', 9000) as text")).rows[0].text.length, 9000);
  await assert.rejects(client.query("select repeat('x', 11000)"));
  await assert.rejects(bouncer.sql(`select '${'x'.repeat(11_000)}'`), /bad packet header: '5100002b/);
});

test('server_fast_close: after RECONNECT a session ends with its transaction', async (t) => {
  const bouncer = await Bouncer.start(t, { databases, settings: { server_fast_close: 1 } });
  const [idle, busy] = await Promise.all([bouncer.connect(), bouncer.connect()]);
  const ended = new Map<string, string>();
  idle.once('error', (error) => ended.set('idle', error.message));
  busy.once('error', (error) => ended.set('busy', error.message));
  await idle.query('select 1');
  await busy.query('begin');
  await bouncer.admin('RECONNECT');
  await until('the idle session to end', () => ended.has('idle'));
  assert.equal((await busy.query('select 2 as n')).rows[0].n, 2);
  await busy.query('commit');
  await until('the busy session to end', () => ended.has('busy'));
  assert.equal(ended.get('idle'), 'database configuration changed');
  assert.equal(ended.get('busy'), 'database configuration changed');
});

test('without server_fast_close the session continues', async (t) => {
  const bouncer = await Bouncer.start(t, { databases });
  const client = await bouncer.connect();
  await client.query('select 1');
  await bouncer.admin('RECONNECT');
  assert.equal((await client.query('select 2 as n')).rows[0].n, 2);
});

test('transaction_timeout, of all and of one user', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    users: { postgres: 'transaction_timeout=600' },
    settings: { transaction_timeout: 0.4, pool_mode: 'transaction' },
    userlist: { limited: '' },
  });
  await cluster.sql('create role limited login');
  const patient = await bouncer.connect();
  const limited = await bouncer.connect({ user: 'limited' });
  let message = '';
  limited.on('error', (error) => (message ||= error.message));
  await patient.query('begin');
  await limited.query('begin');
  await until('the limited transaction to end', () => message !== '');
  assert.match(message, /transaction timeout/);
  assert.equal((await patient.query('select 1 as n')).rows[0].n, 1);
});

test('query_wait_notify and query_wait_timeout, also for the first client of a pool', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { postgres: `${cluster.connectionString()} pool_size=1` },
    settings: {
      pool_mode: 'transaction',
      query_wait_notify: 1,
      query_wait_timeout: 2,
      max_db_connections: 1,
    },
    userlist: { other: '' },
  });
  const holder = await bouncer.connect();
  const waiter = await RawClient.login(bouncer, { user: 'postgres', database: 'postgres' });
  await holder.query('begin');
  waiter.send(query('select 1'));
  const newcomer = await RawClient.connect(bouncer);
  newcomer.send(startup({ user: 'other', database: 'postgres' }));
  const [notice, error] = await waiter.readToEnd();
  assert.equal(
    errorFields(notice!)['M'],
    'No server connection available in postgres backend, client being queued',
  );
  assert.equal(errorFields(error!)['M'], 'query_wait_timeout');
  const frames = await newcomer.readToEnd();
  assert.deepEqual(frames.map(({ type }) => type).at(-1), 'E');
  assert.equal(errorFields(frames.at(-1)!)['M'], 'query_wait_timeout');
});

test('pool_idle_timeout frees empty pools, autodb_idle_timeout automatic databases', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { '*': `host=${cluster.host} port=${cluster.port}` },
    settings: { server_idle_timeout: 0.2, pool_idle_timeout: 0.2, autodb_idle_timeout: 1 },
  });
  await bouncer.sql('select 1', { database: 'postgres' });
  await bouncer.waitForLog(/registered new auto-database: postgres/);
  await bouncer.waitForLog(/postgres\/postgres.*cleaning up idle pool/);
  await until('the database to go', async () => {
    const rows = await bouncer.admin<{ name: string }>('SHOW DATABASES');
    return !rows.some(({ name }) => name === 'postgres');
  });
  assert.equal((await bouncer.sql<{ n: number }>('select 3 as n', { database: 'postgres' }))[0]!.n, 3);
});

test('a paused automatic database is not forgotten', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { '*': `host=${cluster.host} port=${cluster.port}` },
    settings: { autodb_idle_timeout: 0.5 },
  });
  const names = async (): Promise<string[]> =>
    (await bouncer.admin<{ name: string }>('SHOW DATABASES')).map(({ name }) => name);
  await bouncer.admin('PAUSE postgres');
  await bouncer.admin('RECONNECT template1');
  await until('the later one to go', async () => !(await names()).includes('template1'));
  assert.ok((await names()).includes('postgres'));
});

test('disable_pqexec refuses simple queries', async (t) => {
  const bouncer = await Bouncer.start(t, { databases, settings: { disable_pqexec: 1 } });
  await assert.rejects(bouncer.sql('select 1'), /PQexec disallowed/);
  const client = await bouncer.connect();
  assert.equal((await client.query('select $1::int as n', [4])).rows[0].n, 4);
});

test('unix_socket_mode and unix_socket_group', async (t) => {
  // the group of the user that runs the proxy: only root can set others
  const uid = execFileSync('id', ['-u'], { encoding: 'utf8' }).trim();
  const group = execFileSync('id', uid === '0' ? ['-gn', 'nobody'] : ['-gn'], { encoding: 'utf8' }).trim();
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: { unix_socket_mode: '0750', unix_socket_group: group },
  });
  const found = statSync(`${bouncer.folder}/.s.PGSQL.${bouncer.port}`);
  assert.equal(found.mode & 0o777, 0o750);
  assert.equal(
    execFileSync('getent', ['group', String(found.gid)], { encoding: 'utf8' }).split(':')[0],
    group,
  );
  const wrong = await Bouncer.prepare(t, { databases, settings: { unix_socket_group: 'no-such-group' } });
  await assert.rejects(wrong.start(), /could not find group 'no-such-group'/);
});

test('scram_iterations applies to logins that are checked against a plain password', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: { auth_type: 'scram-sha-256', scram_iterations: 5000 },
    userlist: { postgres: 'pencil' },
  });
  const raw = await RawClient.connect(bouncer);
  raw.send(startup({ user: 'postgres', database: 'postgres' }));
  await raw.readFrame();
  const first = Buffer.from('n,,n=,r=abcdefghijklmnopqrstuvwx');
  const body = Buffer.concat([Buffer.from('SCRAM-SHA-256\0'), Buffer.from([0, 0, 0, first.length]), first]);
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length + 4);
  raw.send(Buffer.concat([Buffer.from('p'), length, body]));
  assert.match((await raw.readFrame()).payload.toString('latin1'), /,i=5000$/);
  raw.destroy();
  const rows = await bouncer.sql<{ n: number }>('select 1 as n', { password: 'pencil' });
  assert.equal(rows[0]!.n, 1);
});

const noSs = ((): string | false => {
  if (!hasSocketOptions()) return 'node:ffi is not available';
  try {
    execFileSync('ss', ['-V'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'ss is not installed (Debian: apt-get install iproute2)';
  }
})();

test('tcp_keepalive and its relatives are set on both sides', { skip: noSs }, async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: { tcp_keepidle: 90, tcp_keepintvl: 7, tcp_keepcnt: 3, tcp_user_timeout: 5000 },
  });
  const client = await bouncer.connect();
  await client.query('select 1');
  for (const filter of [`( sport = :${bouncer.port} )`, `( dport = :${cluster.port} )`]) {
    const list = (): string =>
      execFileSync('ss', ['-tno', 'state', 'established', filter], { encoding: 'utf8' });
    // other timers show while data is in flight
    await until('the keep-alive timer', () => /timer:\(keepalive,1min(2\d|30)/.test(list()));
  }
});

test(
  'tcp_socket_buffer is there before the handshake, so that a small one still moves a megabyte',
  { skip: noSs },
  async (t) => {
    const bouncer = await Bouncer.start(t, {
      databases: { ...databases, named: `host=localhost port=${cluster.port} dbname=postgres` },
      settings: { tcp_socket_buffer: 8192 },
    });
    const ends = (filter: string): { buffers: string; scale: number }[] => {
      const text = execFileSync('ss', ['-tnmiOH', 'state', 'established', filter], { encoding: 'utf8' });
      return text
        .trim()
        .split('\n')
        .map((line) => ({
          buffers: /rb\d+.*?tb\d+/.exec(line)![0].replace(/,t\d+/, ''),
          // the window that the other side was told; without the size it is at least 5
          scale: Number(/wscale:\d+,(\d+)/.exec(line)![1]),
        }));
    };
    const megabyte = 'x'.repeat(1 << 20);
    const check = async (host: string, database: string, twice: number): Promise<void> => {
      const client = await bouncer.connect({ host, database });
      const { rows } = await client.query('select $1::text as x, pg_backend_pid() as pid', [megabyte]);
      assert.equal(rows[0].x, megabyte);
      const [address] = await cluster.sql<{ port: number }>(
        'select client_port as port from pg_stat_activity where pid = $1',
        [rows[0].pid],
      );
      const { localPort } = (client as unknown as { connection: { stream: Socket } }).connection.stream;
      const found = [
        ...ends(`( dport = :${localPort} and sport = :${bouncer.port} )`),
        ...ends(`( sport = :${address!.port} )`),
      ];
      // the kernel doubles the sizes
      const expected = { buffers: `rb${twice},tb${twice}`, scale: 0 };
      assert.deepEqual(found, [expected, expected], `${host}, ${database}`);
      await client.end();
    };
    await check('127.0.0.1', 'postgres', 16_384);
    await check('127.0.0.1', 'named', 16_384);
    // the option can be changed
    await bouncer.admin('SET tcp_socket_buffer = 12288');
    await bouncer.admin('RECONNECT');
    await check('127.0.0.1', 'postgres', 24_576);
    for (const size of [1, 2147483647]) {
      await bouncer.admin(`SET tcp_socket_buffer = '${size}'`);
      await bouncer.admin('RECONNECT');
      assert.equal(
        (await bouncer.sql('select $1::text as x'.replace('$1', `'${megabyte}'`)))[0]!['x'],
        megabyte,
      );
    }
  },
);

test('listening sockets of each kind have tcp_socket_buffer', { skip: noSs }, async (t) => {
  const bouncer = await Bouncer.prepare(t, {
    databases,
    settings: { tcp_socket_buffer: 8192, listen_addr: '127.0.0.1, ::1, localhost', so_reuseport: 1 },
  });
  await bouncer.start();
  const text = execFileSync('ss', ['-tlnmOH', `( sport = :${bouncer.port} )`], { encoding: 'utf8' });
  assert.ok(text.includes(`127.0.0.1:${bouncer.port}`), text);
  for (const line of text.trim().split('\n')) assert.match(line, /rb16384,.*tb16384,/);
  assert.equal((await bouncer.sql('select 1 as n'))[0]!['n'], 1);
  // an address that is in use is reported as before
  const second = await Bouncer.prepare(t, {
    databases,
    settings: { tcp_socket_buffer: 8192, listen_port: bouncer.port, unix_socket_dir: '' },
  });
  await assert.rejects(second.start(), /cannot listen on 127\.0\.0\.1:\d+: bind\(\): Address already in use/);
});

test('max_client_conn, max_db_client_connections and max_user_client_connections', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: {
      postgres: cluster.connectionString(),
      few: `${cluster.connectionString()} max_db_client_connections=1`,
    },
    users: { rationed: 'max_user_client_connections=1' },
    settings: { max_client_conn: 3, pool_mode: 'transaction' },
    userlist: { rationed: '' },
  });
  await cluster.sql('create role rationed login');
  const first = await bouncer.connect({ database: 'few', user: 'rationed' });
  await assert.rejects(bouncer.sql('select 1', { database: 'few' }), /max_db_client_connections/);
  await assert.rejects(bouncer.sql('select 1', { user: 'rationed' }), /max_user_client_connections/);
  await first.end();
  await until('the place to be free', async () => {
    const rows = await bouncer.admin<{ name: string; current_client_connections: number }>('SHOW DATABASES');
    return rows.find(({ name }) => name === 'few')?.current_client_connections === 0;
  });
  for (let i = 0; i < 3; i++) await bouncer.connect();
  await assert.rejects(bouncer.sql('select 1'), /no more connections allowed \(max_client_conn\)/);
});

test(
  'application_name_add_host, and the process at the other end of a Unix socket',
  { skip: noFfi },
  async (t) => {
    const bouncer = await Bouncer.start(t, { databases, settings: { application_name_add_host: 1 } });
    const name = async (more: ClientConfig): Promise<unknown> =>
      (await bouncer.sql('show application_name', more))[0]!['application_name'];
    assert.match(String(await name({ application_name: 'shop' })), /^shop - 127\.0\.0\.1:\d+$/);
    assert.match(String(await name({})), /^app - 127\.0\.0\.1:\d+$/);
    const unix = { host: bouncer.folder, application_name: 'shop' };
    assert.equal(await name(unix), `shop - unix(${process.pid}):${bouncer.port}`);
    assert.match(
      bouncer.log(),
      new RegExp(`C-0x\\w+: .+/postgres@unix\\(${process.pid}\\):${bouncer.port} login attempt`),
    );

    const client = await bouncer.connect(unix);
    const row = (await bouncer.admin('SHOW CLIENTS')).find(({ addr }) => addr === 'unix');
    assert.deepEqual([row?.['remote_pid'], row?.['port']], [process.pid, bouncer.port]);
    await client.end();
  },
);
