/** auth_query and auth_user against real servers. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { RawClient, errorFields, startup } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start(
  { after },
  {
    sql: `
      create role app login password 'pencil';
      create role silent login;
      create role expired login password 'pencil' valid until '2001-01-01';
      create role asker login superuser password 'asks';
      create schema evil;
      create function evil.now() returns timestamptz language sql as $$ select '1999-01-01'::timestamptz $$;
      create table public.passwords (name text, secret text);
      insert into public.passwords values ('app', 'elsewhere');
    `,
  },
);
await cluster.sql('create database auth');

const settings = {
  auth_type: 'scram-sha-256',
  auth_user: 'asker',
  pool_mode: 'transaction',
  ignore_startup_parameters: 'search_path',
};
const userlist = { asker: 'asks' };
const databases = { postgres: cluster.connectionString() };

const login = (bouncer: Bouncer, user: string, password: string, database = 'postgres'): Promise<string> =>
  bouncer.sql<{ me: string }>('select current_user as me', { user, password, database }).then(
    ([row]) => row!.me,
    (error: Error) => error.message,
  );

test('secrets from pg_authid: right, wrong, missing and expired passwords, and unknown users', async (t) => {
  const bouncer = await Bouncer.start(t, { databases, settings, userlist });
  assert.equal(await login(bouncer, 'app', 'pencil'), 'app');
  for (const [user, password] of [
    ['app', 'wrong'],
    ['silent', ''],
    ['silent', 'x'],
    ['expired', 'pencil'],
    ['nobody-knows', 'pencil'],
  ] as const) {
    assert.match(await login(bouncer, user, password), /SASL authentication failed|password must be/, user);
  }
  assert.equal((await bouncer.admin<{ user: string }>('SHOW POOLS').catch(() => [])).length, 0);
});

test('an unknown user is refused at once if the method asks for no password, and like a wrong password otherwise', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: { ...settings, auth_type: 'trust', auth_hba_file: 'hba.conf' },
    userlist,
    files: {
      'hba.conf': [
        'local all all peer map=m',
        ...['trust', 'md5', 'password', 'scram-sha-256', 'reject'].map(
          (m) => `host all by-${m},app ::1/128 ${m}`,
        ),
        ...['trust', 'md5', 'password', 'scram-sha-256', 'reject'].map((m) => `host all by-${m} all ${m}`),
        'host all app all trust',
      ].join('\n'),
      ident: 'm root app\nm nobody app\nm root stranger\nm nobody stranger\n',
    },
  });
  const attempt = async (user: string, host = bouncer.host): Promise<string> => {
    const target = host.startsWith('/')
      ? { path: `${host}/.s.PGSQL.${bouncer.port}` }
      : { host, port: bouncer.port };
    const client = await RawClient.connect(target);
    t.after(() => client.destroy());
    client.send(startup({ user, database: 'postgres' }));
    for (;;) {
      const frame = await client.readFrame();
      if (frame.type === 'E') return `${errorFields(frame)['C']} ${errorFields(frame)['M']}`;
      if (frame.type === 'Z') return 'in';
      if (frame.payload.readInt32BE(0) !== 0 && frame.type === 'R') return 'asked for a password';
    }
  };
  // auth_type = trust
  assert.equal(await attempt('nobody-knows'), '08P01 no such user');
  assert.equal(await attempt('app'), 'in');
  bouncer.settings['auth_type'] = 'hba';
  bouncer.settings['auth_ident_file'] = 'ident';
  await bouncer.writeFiles();
  bouncer.signal('SIGHUP');
  await until('the HBA file', async () => (await attempt('by-md5')) === 'asked for a password');
  assert.equal(await attempt('by-trust'), '08P01 no such user');
  for (const method of ['md5', 'password', 'scram-sha-256'])
    assert.equal(await attempt(`by-${method}`), 'asked for a password', method);
  assert.equal(await attempt('by-reject'), '08P01 login rejected');
  assert.equal(await attempt('nobody-knows'), '08P01 no authentication method is found');
  assert.equal(await attempt('stranger', bouncer.folder), '08P01 no such user');
  assert.ok(bouncer.logContains(/C-0x\w+: postgres\/by-trust@\S+ no such user: by-trust$/m));
});

test('a wrong password and an unknown user are 28P01 with each method that asks for one', async (t) => {
  const bouncer = await Bouncer.start(t, { databases, settings, userlist });
  for (const method of ['plain', 'md5', 'scram-sha-256']) {
    bouncer.settings['auth_type'] = method;
    await bouncer.writeFiles();
    bouncer.signal('SIGHUP');
    await until(method, async () => {
      const raw = await RawClient.connect(bouncer);
      raw.send(startup({ user: 'nobody', database: 'postgres' }));
      const code = (await raw.readFrame()).payload.readInt32BE(0);
      raw.destroy();
      return code === { plain: 3, md5: 5, 'scram-sha-256': 10 }[method];
    });
    for (const user of ['asker', 'app', 'silent', 'nobody-knows']) {
      const failing = bouncer.connect({ user, password: 'wrong', database: 'postgres' });
      await assert.rejects(failing, { code: '28P01', severity: 'FATAL' }, `${method}, ${user}`);
    }
  }
});

test('a changed password is used at once', async (t) => {
  await cluster.sql("create role changing login password 'one'");
  const bouncer = await Bouncer.start(t, { databases, settings, userlist });
  assert.equal(await login(bouncer, 'changing', 'one'), 'changing');
  await cluster.sql("alter role changing password 'two'");
  assert.match(await login(bouncer, 'changing', 'one'), /SASL authentication failed/);
  assert.equal(await login(bouncer, 'changing', 'two'), 'changing');
});

test('auth_query and auth_user of a database, and a quoted $1', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: {
      own: `${cluster.connectionString()} auth_user=asker auth_query='select name, secret from public.passwords where name = $1' user=app`,
      ...databases,
    },
    settings: { ...settings, auth_user: 'no-such-role' },
    userlist,
  });
  assert.equal(await login(bouncer, 'app', 'elsewhere', 'own'), 'app');
  assert.match(await login(bouncer, 'app', 'pencil', 'own'), /SASL authentication failed/);
  assert.match(await login(bouncer, "x' or true --", 'elsewhere', 'own'), /SASL authentication failed/);
});

test('auth_dbname: the query runs there, also where the database has a forced user', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: {
      postgres: cluster.connectionString(),
      auth: `host=${cluster.host} port=${cluster.port} dbname=auth user=app`,
    },
    settings: { ...settings, auth_dbname: 'auth' },
    userlist,
  });
  assert.equal(await login(bouncer, 'app', 'pencil'), 'app');
  const who = await cluster.sql<{ usename: string }>(
    "select usename from pg_stat_activity where datname = 'auth' and backend_type = 'client backend'",
  );
  assert.deepEqual(who, [{ usename: 'asker' }]);
});

test('an auth_dbname that does not exist, is disabled, or is the console, is an error', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { ...databases, other: cluster.connectionString() },
    settings: { ...settings, auth_dbname: 'other', admin_users: 'asker' },
    userlist,
  });
  const admin = (sql: string): Promise<unknown> =>
    bouncer.sql(sql, { user: 'asker', password: 'asks', database: 'pgbouncer' });
  await admin('DISABLE other');
  assert.equal(await login(bouncer, 'app', 'pencil'), 'authentication database "other" is disabled');
  await admin('ENABLE other');
  await admin("SET auth_dbname = 'nowhere'");
  assert.equal(await login(bouncer, 'app', 'pencil'), 'bouncer config error');
  await bouncer.waitForLog(/authentication database "nowhere" is not configured/);

  bouncer.databases['own'] = `${cluster.connectionString()} auth_dbname=pgbouncer`;
  await bouncer.writeFiles();
  await admin('RELOAD');
  bouncer.markLog();
  assert.equal(await login(bouncer, 'app', 'pencil', 'own'), 'bouncer config error');
  assert.ok(bouncer.logContains(/cannot use the reserved "pgbouncer" database as an auth_dbname/));
  const wrong = await Bouncer.prepare(t, { databases, settings: { ...settings, auth_dbname: 'pgbouncer' } });
  await assert.rejects(wrong.start(), /cannot use the reserved "pgbouncer" database as an auth_dbname/);
});

test("an unauthenticated client's settings do not reach the query (CVE-2025-12819)", async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: { ...settings, ignore_startup_parameters: '', track_extra_parameters: 'search_path' },
    userlist,
  });
  const raw = await RawClient.connect(bouncer);
  // with it, evil.now() would make an expired password valid
  raw.send(startup({ user: 'expired', database: 'postgres', search_path: 'evil,pg_catalog' }));
  const first = await raw.readFrame();
  assert.equal(first.type, 'R');
  raw.destroy();
  assert.match(await login(bouncer, 'expired', 'pencil'), /SASL authentication failed/);
  assert.ok(!cluster.log().includes('search_path'), 'a SET of it came to the server');
});

test('settings of clients that log in as auth_user do not reach the query', async (t) => {
  await cluster.sql(`create role "jürgen" login password 'pencil'`);
  const bouncer = await Bouncer.start(t, {
    databases: {
      postgres: `${cluster.connectionString()} pool_size=1`,
      shared: `${cluster.connectionString()} user=asker`,
    },
    settings: { ...settings, auth_dbname: 'shared', default_pool_size: 1 },
    userlist,
  });
  const client = await bouncer.connect({ user: 'app', password: 'pencil', database: 'shared' });
  await client.query('set client_encoding = latin1');
  assert.equal(await login(bouncer, 'jürgen', 'pencil'), 'jürgen');
  assert.equal((await client.query('show client_encoding')).rows[0]['client_encoding'], 'LATIN1');
});

test('the two columns of auth_query are read by position', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: {
      same: `${cluster.connectionString()} user=app auth_query='select name as x, secret as x from public.passwords where name = $1'`,
      three: `${cluster.connectionString()} auth_query='select name, secret, 1 from public.passwords where name = $1'`,
    },
    settings,
    userlist,
  });
  assert.equal(await login(bouncer, 'app', 'elsewhere', 'same'), 'app');
  assert.equal(await login(bouncer, 'app', 'elsewhere', 'three'), 'bouncer config error');
  assert.ok(bouncer.logContains(/ERROR .*expected 2 columns from auth_query, not 3/));
});

test('auth_user together with PAM or LDAP is a configuration error', async (t) => {
  for (const auth_type of ['pam', 'ldap']) {
    const bouncer = await Bouncer.start(t, { databases, settings: { ...settings, auth_type }, userlist });
    assert.equal(await login(bouncer, 'app', 'pencil'), 'bouncer config error');
    const reason = `${auth_type.toUpperCase()} can't be used together with database authentication`;
    assert.ok(bouncer.logContains(new RegExp(`ERROR .*${reason}`)));
  }
});

test('a query that fails is an error of the configuration', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: { ...settings, auth_query: 'select no_such_column, $1' },
    userlist,
  });
  const raw = await RawClient.connect(bouncer);
  raw.send(startup({ user: 'app', database: 'postgres' }));
  const error = errorFields((await raw.readToEnd()).at(-1)!);
  assert.equal(error['M'], 'bouncer config error');
  await bouncer.waitForLog(/auth_query failed: .*no_such_column/);
});
