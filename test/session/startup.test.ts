/** Start-up: negotiation, parameters, and the errors for bad packets and bad names. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Client as PgClient } from 'pg';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster, TLS_FOLDER } from '../support/cluster.ts';
import { freePort } from '../support/ports.ts';
import * as raw from '../support/raw.ts';
import { errorFields, message, RawClient, rowValues, type Frame } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      dev: cluster.connectionString(),
      missing: cluster.connectionString('no_such_database'),
      nowhere: `host=127.0.0.1 port=${await freePort()} dbname=postgres`,
    },
    settings: {
      auth_type: 'md5',
      pool_mode: 'transaction',
      max_client_conn: 20,
      client_login_timeout: 2,
      ignore_startup_parameters: 'extra_float_digits',
      server_login_retry: 1,
    },
    userlist: { postgres: 'secret', pgbouncer: 'secret' },
  },
);

const tlsFile = (name: string): string => join(TLS_FOLDER, name);

const USER = { user: 'postgres', database: 'dev' };

/** Answers the password request with the plain password's MD5. */
async function logIn(client: RawClient, password = 'secret', user = 'postgres'): Promise<Frame[]> {
  const request = await client.readFrame();
  if (request.type === 'v') return [request, ...(await logIn(client, password, user))];
  if (request.type === 'E') return [request];
  assert.equal(request.payload.readInt32BE(0), 5);
  const { createHash } = await import('node:crypto');
  const md5 = (...parts: (string | Buffer)[]): string =>
    parts.reduce((hash, part) => hash.update(part), createHash('md5')).digest('hex');
  client.send(raw.password(`md5${md5(md5(password, user), request.payload.subarray(4, 8))}`));
  const frames: Frame[] = [];
  for (;;) {
    const frame = await client.readFrame();
    frames.push(frame);
    if (frame.type === 'Z' || frame.type === 'E') return frames;
  }
}

async function connectAs(parameters: Record<string, string>, password?: string): Promise<string> {
  const client = await RawClient.connect(bouncer);
  client.send(raw.startup(parameters));
  const last = (await logIn(client, password, parameters['user'])).at(-1)!;
  client.destroy();
  return last.type === 'Z' ? 'ok' : said(last);
}

function said(frame: Frame): string {
  const { S: severity, C: code, M: text } = errorFields(frame);
  return `${severity} ${code} ${text}`;
}

/** The answer to these bytes before the connection is closed. */
async function refused(...bytes: Buffer[]): Promise<string> {
  const client = await RawClient.connect(bouncer);
  client.send(...bytes);
  const frames = await client.readToEnd();
  return frames.map((frame) => (frame.type === 'E' ? said(frame) : frame.type)).join(', ');
}

test('a wrong password and an unknown user get the same error; only an authenticated client learns whether a database exists', async () => {
  const wrong = 'FATAL 28P01 password authentication failed';
  assert.equal(await connectAs(USER), 'ok');
  assert.equal(await connectAs(USER, 'wrong'), wrong);
  assert.equal(await connectAs({ ...USER, user: 'nobody' }), wrong);
  assert.equal(await connectAs({ ...USER, database: 'none' }, 'wrong'), wrong);
  assert.equal(await connectAs({ ...USER, database: 'none' }), 'FATAL 08P01 no such database: none');
  assert.equal(await connectAs({ user: '', database: 'dev' }), 'FATAL 08P01 no username supplied');
  // for the log only
  assert.ok(bouncer.logContains(/C-0x\w+: dev\/nobody@\S+ no such user: nobody$/m));
  assert.ok(bouncer.logContains(/C-0x\w+: none\/postgres@\S+ login failed: db=none user=postgres$/m));
});

test('an empty password has an error of its own', async () => {
  const client = await RawClient.connect(bouncer);
  client.send(raw.startup(USER));
  await client.readFrame();
  client.send(raw.password(''));
  assert.equal(said(await client.readFrame()), 'FATAL 28P01 empty password returned by client');
});

test('a client gets the error with which a server refuses its database or cannot be reached', async () => {
  assert.equal(
    await connectAs({ ...USER, database: 'missing' }),
    'FATAL 3D000 database "no_such_database" does not exist',
  );
  assert.equal(
    await connectAs({ ...USER, database: 'nowhere' }),
    'FATAL 08P01 client_login_timeout (server down)',
  );
  assert.equal(await connectAs(USER), 'ok');
});

test('tracked start-up parameters apply, ignored ones do not, and others are refused', async () => {
  const client = await RawClient.connect(bouncer);
  client.send(
    raw.startup({
      ...USER,
      application_name: 'mine',
      DateStyle: 'German',
      extra_float_digits: '3',
      options: '-c TimeZone=Asia/Tokyo --intervalstyle=iso_8601',
    }),
  );
  const statuses = (await logIn(client))
    .filter((frame) => frame.type === 'S')
    .map((frame) => frame.payload.toString().split('\0').slice(0, 2).join('='));
  for (const expected of ['application_name=mine', 'TimeZone=Asia/Tokyo'])
    assert.ok(statuses.includes(expected), statuses.join());
  const row = (
    await client.query(
      "select current_setting('application_name'), '2001-02-03'::date, current_setting('TimeZone'), '1 day'::interval",
    )
  ).find((frame) => frame.type === 'D');
  assert.deepEqual(rowValues(row!), ['mine', '03.02.2001', 'Asia/Tokyo', 'P1D']);
  client.destroy();

  const parameter = (more: Record<string, string>): Promise<string> =>
    refused(raw.startup({ ...USER, ...more }));
  assert.equal(await parameter({ work_mem: '1' }), 'FATAL 08P01 unsupported startup parameter: work_mem');
  assert.equal(
    await parameter({ options: '-c work_mem=1' }),
    'FATAL 08P01 unsupported startup parameter in options: work_mem',
  );
  assert.equal(
    await parameter({ options: '-d 5' }),
    "FATAL 08P01 unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed",
  );
  assert.match(bouncer.log(), / WARNING C-0x.* unsupported startup parameter: work_mem=1$/m);
  assert.match(bouncer.log(), / WARNING C-0x.* unsupported startup parameter in options: work_mem=1$/m);
  assert.equal(await parameter({ user: 'u'.repeat(128) }), 'FATAL 08P01 username too long');
});

test('a setting that the server refuses ends both connections, and the log names it', async () => {
  const client = await RawClient.connect(bouncer);
  client.send(raw.startup({ ...USER, client_encoding: 'nosuch' }));
  await logIn(client);
  client.send(raw.query('select 1'));
  assert.equal(said((await client.readToEnd()).at(-1)!), 'FATAL 08P01 invalid server parameter');
  const failed =
    / ERROR S-0x\S+ \S+ varcache_apply failed: ERROR: invalid value for parameter "client_encoding": "nosuch"$/m;
  assert.match(bouncer.log(), failed);
  assert.match(bouncer.log(), / LOG S-0x\S+ \S+ closing because: invalid server parameter \(age=\d+s\)$/m);
});

test('protocol 3.2 is spoken, newer versions and unknown _pq_ options are negotiated', async () => {
  const cases = [
    { minor: 0, options: [], negotiated: null, key: 4 },
    { minor: 2, options: [], negotiated: null, key: 32 },
    { minor: 1, options: [], negotiated: 0x30000, key: 4 },
    { minor: 9999, options: ['_pq_.a', '_pq_.b'], negotiated: 0x30002, key: 32 },
    { minor: 0, options: ['_pq_.x'], negotiated: 0x30000, key: 4 },
  ];
  for (const { minor, options, negotiated, key } of cases) {
    const client = await RawClient.connect(bouncer);
    client.send(
      raw.startup({ ...USER, ...Object.fromEntries(options.map((name) => [name, '1'])) }, 196_608 | minor),
    );
    const frames = await logIn(client);
    const answer = frames.find((frame) => frame.type === 'v')?.payload;
    assert.equal(answer?.readInt32BE(0) ?? null, negotiated, `3.${minor}`);
    if (answer !== undefined) {
      assert.equal(answer.readInt32BE(4), options.length);
      assert.equal(answer.toString('latin1', 8), options.map((name) => `${name}\0`).join(''));
    }
    assert.equal(frames.find((frame) => frame.type === 'K')?.payload.length, 4 + key, `3.${minor}`);
    client.destroy();
  }
});

test('encryption requests are answered N, in either order, and the start-up continues', async () => {
  const client = await RawClient.connect(bouncer);
  client.send(raw.gssEncRequest());
  assert.equal(String(await client.readBytes(1)), 'N');
  client.send(raw.sslRequest());
  assert.equal(String(await client.readBytes(1)), 'N');
  client.send(raw.startup(USER));
  assert.equal((await logIn(client)).at(-1)?.type, 'Z');
  client.destroy();
  const smuggled = [
    await refused(raw.sslRequest(), raw.startup(USER)),
    await refused(raw.gssEncRequest(), raw.startup(USER)),
  ];
  assert.deepEqual(smuggled, [
    'FATAL 08P01 received unencrypted data after SSL request',
    'FATAL 08P01 received unencrypted data after GSSAPI encryption request',
  ]);
});

test('a malformed packet gets an error and ends its connection only', async (t) => {
  const other = await bouncer.connect({ password: 'secret' });
  t.after(() => other.end());
  assert.equal(await refused(raw.startup(USER, 0x20000)), 'FATAL 08P01 old V2 protocol not supported');
  const packets = [raw.startup(USER, 0x40000), raw.startup(USER, 0x10000)];
  for (const length of [0, 3, 7, 10_001]) {
    const bytes = Buffer.alloc(8);
    bytes.writeInt32BE(length, 0);
    packets.push(bytes);
  }
  for (const bytes of packets) {
    const head = bytes.toString('hex', 0, 8);
    assert.equal(await refused(bytes), `FATAL 08P01 bad packet header: '${head}'`);
  }
  const early = [
    raw.query('select 1'),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from([0x16, 3, 1, 2, 0]),
  ];
  assert.deepEqual(await Promise.all(early.map((bytes) => refused(bytes))), [
    'FATAL 08P01 bad packet',
    'FATAL 08P01 client sent partial pkt in startup phase',
    'FATAL 08P01 client sent partial pkt in startup phase',
  ]);
  assert.equal((await other.query('select 1 as one')).rows[0].one, 1);
});

test('Terminate during the login closes the connection without an error or a warning', async () => {
  const tls = { key: tlsFile('server.key'), cert: tlsFile('server.crt') };
  const other = await Bouncer.start(
    { after },
    {
      databases: { dev: cluster.connectionString() },
      settings: {
        auth_type: 'scram-sha-256',
        client_tls_sslmode: 'prefer',
        client_tls_key_file: tls.key,
        client_tls_cert_file: tls.cert,
      },
      userlist: { postgres: 'secret' },
    },
  );
  bouncer.markLog();
  const unix = { path: `${other.folder}/.s.PGSQL.${other.port}` };
  const closing = async (client: RawClient, what: string): Promise<void> =>
    assert.deepEqual(await client.readToEnd(), [], what);
  for (const target of [bouncer, other, unix]) {
    const what = JSON.stringify('path' in target ? 'unix' : target.port);
    const first = await RawClient.connect(target);
    first.send(raw.terminate());
    await closing(first, `first, ${what}`);

    const bytewise = await RawClient.connect(target);
    for (const byte of raw.terminate()) bytewise.send(Buffer.from([byte]));
    await closing(bytewise, `byte by byte, ${what}`);

    for (const request of [raw.sslRequest(), raw.gssEncRequest()]) {
      const together = await RawClient.connect(target);
      together.send(request, raw.terminate());
      await closing(together, `in one piece with an encryption request, ${what}`);
    }
    const refused = await RawClient.connect(target);
    refused.send(raw.gssEncRequest());
    assert.equal((await refused.readBytes(1)).toString(), 'N');
    refused.send(raw.terminate());
    await closing(refused, `after a refused encryption request, ${what}`);

    const asked = await RawClient.connect(target);
    asked.send(raw.startup(USER));
    assert.equal((await asked.readFrame()).type, 'R');
    asked.send(raw.terminate());
    await closing(asked, `instead of a password, ${what}`);
  }
  const early = await RawClient.connect(bouncer);
  early.send(raw.startup({ ...USER, user: 'nobody' }), raw.terminate());
  await closing(early, 'in one piece with the StartupMessage');
  const plain = await RawClient.connect(bouncer);
  plain.send(raw.sslRequest());
  assert.equal((await plain.readBytes(1)).toString(), 'N');
  plain.send(raw.terminate());
  await closing(plain, 'after an SSLRequest that was answered N');
  const encrypted = await RawClient.connect(other);
  encrypted.send(raw.sslRequest());
  assert.equal((await encrypted.readBytes(1)).toString(), 'S');
  await encrypted.startTls();
  encrypted.send(raw.terminate());
  await closing(encrypted, 'after the handshake');
  for (const each of [bouncer, other])
    assert.equal(each.logCount(/ WARNING | ERROR |pooler error|TLS handshake/), 0);

  // node-postgres ends a connection in this way before it has begun
  const client = new PgClient(other.connection({ password: 'secret' }));
  let failure: Error | null = null;
  client.on('error', (error: Error) => (failure = error));
  // the client never learns the end of its login
  client.connect().catch((error: Error) => (failure = error));
  await client.end();
  assert.equal(failure, null);
});

test('bytes that a client sends before its welcome are kept; Terminate ends its wait for a server', async (t) => {
  const trusting = await Bouncer.start(t, {
    databases: {
      dev: cluster.connectionString(),
      slow: `${cluster.connectionString()} connect_query='select pg_sleep(0.2)'`,
      nowhere: `host=127.0.0.1 port=${await freePort()} dbname=postgres`,
    },
    settings: { auth_type: 'trust', server_login_retry: 60 },
  });
  const ahead = await RawClient.connect(trusting);
  ahead.send(raw.startup({ ...USER, database: 'slow' }));
  await trusting.waitForLog(/login attempt: db=slow/);
  ahead.send(raw.query('select 7 as n'));
  await ahead.readUntil('Z');
  const row = (await ahead.readUntil('Z')).find((frame) => frame.type === 'D');
  assert.deepEqual(rowValues(row!), ['7']);
  ahead.destroy();

  const waits = await RawClient.connect(trusting);
  waits.send(raw.startup({ ...USER, database: 'nowhere' }));
  await trusting.waitForLog(/login attempt: db=nowhere/);
  waits.send(raw.terminate());
  assert.deepEqual(await waits.readToEnd(), []);
  assert.ok(trusting.logContains(/nowhere\/postgres@\S+ closing because: client close request/));
});

test('a connect_query that leaves a transaction open fails the connection, and clients get the reason', async (t) => {
  const target = cluster.connectionString();
  const trusting = await Bouncer.start(t, {
    databases: {
      open: `${target} connect_query='BEGIN; SELECT 1'`,
      failed: `${target} connect_query='BEGIN; SELECT wrong'`,
      closed: `${target} connect_query='BEGIN; SELECT 1; COMMIT'`,
      wrong: `${target} connect_query='SELECT wrong'`,
    },
    settings: { auth_type: 'trust' },
  });
  for (const database of ['open', 'failed']) {
    const client = await RawClient.connect(trusting);
    client.send(raw.startup({ ...USER, database }));
    const last = (await client.readToEnd()).at(-1)!;
    const { C: code, M: text } = errorFields(last);
    assert.equal(`${code} ${text}`, '25000 connect_query has left a transaction open');
    assert.ok(trusting.logContains(/server login failed: FATAL connect_query has left a transaction open/));
  }
  for (const database of ['closed', 'wrong']) {
    const client = await RawClient.login(trusting, { ...USER, database });
    assert.equal((await client.query('SELECT 1')).at(-1)!.payload.toString(), 'I');
    client.destroy();
  }
});

test('any other message in place of a password ends the login', async () => {
  const answers = [
    await refused(raw.startup(USER), raw.query('select 1')),
    await refused(raw.startup(USER), message('p', Buffer.alloc(70_000))),
  ];
  assert.match(answers[0]!, /FATAL 08P01 unexpected message during login/);
  assert.match(answers[1]!, /FATAL 08P01 bad password packet/);
});

test('unknown messages and impossible lengths end the connection with an error', async () => {
  const bad = async (bytes: Buffer): Promise<string> => {
    const client = await RawClient.connect(bouncer);
    client.send(raw.startup(USER));
    await logIn(client);
    client.send(bytes);
    return said((await client.readToEnd()).at(-1)!);
  };
  const length = (type: string, value: number): Buffer => {
    const bytes = Buffer.from(`${type}....`);
    bytes.writeInt32BE(value, 1);
    return bytes;
  };
  bouncer.markLog();
  assert.equal(await bad(message('z')), 'FATAL 08P01 unknown pkt');
  assert.ok(bouncer.logContains(/unknown pkt from client: 122\/0x7a/));
  assert.equal(await bad(length('Q', 3)), `FATAL 08P01 bad packet header: '5100000003'`);
  assert.equal(await bad(length('Q', -1)), `FATAL 08P01 bad packet header: '51ffffffff'`);
  assert.equal(await bad(message('P', Buffer.from('no end'))), 'FATAL 08P01 failed to parse packet');
  assert.equal(await bad(message('B', Buffer.from('\0no end'))), 'FATAL 08P01 failed to parse packet');
  assert.ok(bouncer.logContains(/failed to parse prepared statement packet type 'B'/));
  // the messages before it are executed
  assert.equal(
    await bad(Buffer.concat([raw.query('create table kept ()'), message('z')])),
    'FATAL 08P01 unknown pkt',
  );
  await until(
    'the table',
    async () => (await cluster.sql("select to_regclass('kept')::text as t"))[0]!['t'] === 'kept',
  );
});

test('a client that never sends its password is disconnected after client_login_timeout', async () => {
  const client = await RawClient.connect(bouncer);
  client.send(raw.startup(USER));
  assert.equal(said((await client.readToEnd()).at(-1)!), 'FATAL 08P01 client_login_timeout');
});

test('a client over max_client_conn gets an error, and one that leaves makes room', async (t) => {
  const clients = await Promise.all(
    Array.from({ length: 19 }, async () => {
      const client = await RawClient.connect(bouncer);
      t.after(() => client.destroy());
      client.send(raw.startup(USER));
      assert.equal((await logIn(client)).at(-1)?.type, 'Z');
      return client;
    }),
  );
  assert.equal(await connectAs(USER), 'ok');
  const last = await RawClient.connect(bouncer);
  last.send(raw.startup(USER));
  assert.equal((await logIn(last)).at(-1)?.type, 'Z');
  assert.equal(await connectAs(USER), 'FATAL 08P01 no more connections allowed (max_client_conn)');
  clients[0]!.destroy();
  await until('room', async () => (await connectAs(USER)) === 'ok');
  last.destroy();
});
