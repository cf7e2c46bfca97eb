/** TLS modes toward clients and servers. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp, createServer, type AddressInfo } from 'node:net';
import { after, test, type TestContext } from 'node:test';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { tlsFile } from '../auth/tls-settings.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { RawClient, sslRequest, startup } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const trusted = ['local all all trust', 'host all all all trust'];
const [plain, both, tlsOnly] = await Promise.all([
  Cluster.start({ after }),
  Cluster.start({ after }, { tls: true, hba: trusted }),
  Cluster.start({ after }, { tls: true, hba: ['hostssl all app all trust'], sql: 'create role app login' }),
]);

const databases = {
  plain: plain.connectionString(),
  both: both.connectionString(),
  tls: `${tlsOnly.connectionString()} user=app`,
  direct: `${tlsOnly.connectionString()} user=app sslnegotiation=direct`,
};

/** A relay before a server that records the first bytes of each connection. */
async function tap(t: TestContext, port: number): Promise<{ port: number; starts: Buffer[] }> {
  const starts: Buffer[] = [];
  const relay = createServer((client) => {
    const server = connectTcp(port, '127.0.0.1');
    client.once('data', (bytes: Buffer) => starts.push(bytes));
    for (const socket of [client, server]) socket.on('error', () => {});
    client.pipe(server).pipe(client);
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  t.after(() => relay.close());
  return { port: (relay.address() as AddressInfo).port, starts };
}

test('server_tls_sslmode: each mode with servers of each kind', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: {
      server_tls_sslmode: 'disable',
      server_tls_ca_file: tlsFile('ca.crt'),
      server_login_retry: 0,
      query_wait_timeout: '0.5',
    },
  });
  /** true: encrypted, false: plain, text: the error, or why no connection to the server was made */
  const ssl = async (database: string): Promise<boolean | string> => {
    const mark = bouncer.log().length;
    try {
      const rows = await bouncer.sql<{ ssl: boolean }>(
        'select ssl from pg_stat_ssl where pid = pg_backend_pid()',
        { database },
      );
      return rows[0]!.ssl;
    } catch (error) {
      const { message } = error as Error;
      if (message !== 'query_wait_timeout') return message;
      return (
        /S-0x\w+: \S+ closing because: (?!database)(.*) \(age=/.exec(bouncer.log().slice(mark))?.[1] ??
        message
      );
    }
  };
  const expected: Record<string, (boolean | RegExp)[]> = {
    disable: [false, false, /no encryption/],
    allow: [false, true, true],
    prefer: [false, true, true],
    require: [/server refused SSL/, true, true],
    'verify-ca': [/server refused SSL/, true, true],
    'verify-full': [/server refused SSL/, true, true],
  };
  for (const [mode, results] of Object.entries(expected)) {
    // it is one of the options whose change closes servers
    await bouncer.admin(`SET server_tls_sslmode = '${mode}'`);
    for (const [i, database] of ['plain', 'both', 'tls'].entries()) {
      const got = await ssl(database);
      const wanted = results[i]!;
      if (wanted instanceof RegExp) assert.match(String(got), wanted, `${mode}, ${database}`);
      else assert.equal(got, wanted, `${mode}, ${database}`);
    }
  }
  await bouncer.admin(`SET server_tls_ca_file = '${tlsFile('other-ca.crt')}'`);
  const problem = /TLS handshake error: handshake failed: certificate verify failed \(.+\)/;
  assert.match(String(await ssl('tls')), problem);
  const line = new RegExp(`WARNING S-0x\\w+: tls/app@127\\.0\\.0\\.1:\\d+ ${problem.source}$`, 'm');
  assert.ok(bouncer.logContains(line));
  await bouncer.admin("SET server_tls_sslmode = 'require'");
  assert.equal(await ssl('tls'), true);
  assert.equal(await ssl('direct'), true);
  await bouncer.waitForLog(/new connection to server \(from .*\) tls=TLSv1\.3/);
});

test('cancel requests are encrypted when the server connection is, with and without sslnegotiation=direct', async (t) => {
  const relay = await tap(t, tlsOnly.port);
  const entry = `host=127.0.0.1 port=${relay.port} dbname=postgres`;
  const bouncer = await Bouncer.start(t, {
    databases: { asked: entry, direct: `${entry} sslnegotiation=direct` },
    settings: { server_tls_sslmode: 'require' },
  });
  for (const [database, start] of [
    ['asked', Buffer.from('0000000804d2162f', 'hex')],
    ['direct', Buffer.from([0x16, 0x03])],
  ] as const) {
    relay.starts.length = 0;
    const client = await bouncer.connect({ database });
    const running = client.query('select pg_sleep(60)').then(
      () => 'finished',
      (error: { code?: string }) => error.code,
    );
    await until('the query to run', async () => {
      const [row] = await tlsOnly.sql(
        "select 1 from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'",
      );
      return row !== undefined;
    });
    const key = client as unknown as { processID: number; secretKey: number | Buffer };
    const secret = Buffer.isBuffer(key.secretKey) ? key.secretKey : Buffer.alloc(4);
    if (!Buffer.isBuffer(key.secretKey)) secret.writeInt32BE(key.secretKey);
    const request = Buffer.alloc(12 + secret.length);
    request.writeInt32BE(request.length, 0);
    request.writeInt32BE(80_877_102, 4);
    request.writeInt32BE(key.processID, 8);
    secret.copy(request, 12);
    const raw = await RawClient.connect(bouncer);
    raw.send(request);
    assert.equal(await running, '57014');
    await until('the server connection and the cancel request', () => relay.starts.length === 2);
    for (const bytes of relay.starts) assert.deepEqual(bytes.subarray(0, start.length), start, database);
  }
});

const clientTls = {
  client_tls_key_file: tlsFile('server.key'),
  client_tls_cert_file: tlsFile('server.crt'),
  client_tls_ca_file: tlsFile('ca.crt'),
};
const own = { key: readFileSync(tlsFile('client.key')), cert: readFileSync(tlsFile('client.crt')) };

/** The outcome of a login that requests TLS. */
async function logIn(bouncer: Bouncer, options: ConnectionOptions | null): Promise<string> {
  const raw = await RawClient.connect(bouncer);
  try {
    if (options !== null) {
      raw.send(sslRequest());
      const answer = (await raw.readBytes(1)).toString();
      if (answer === 'N') return 'no TLS';
      await raw.startTls(options);
    }
    raw.send(startup({ user: 'postgres', database: 'plain' }));
    await raw.readUntil('Z');
    return 'ok';
  } catch (error) {
    return (error as Error).message;
  } finally {
    raw.destroy();
  }
}

test('client_tls_sslmode: each mode with clients of each kind', async (t) => {
  const bouncer = await Bouncer.start(t, { databases, settings: clientTls });
  const expected: Record<string, [withoutTls: RegExp, withTls: RegExp, withCertificate: RegExp]> = {
    disable: [/^ok$/, /^no TLS$/, /^no TLS$/],
    allow: [/^ok$/, /^ok$/, /^ok$/],
    prefer: [/^ok$/, /^ok$/, /^ok$/],
    require: [/SSL required/, /^ok$/, /^ok$/],
    'verify-ca': [/SSL required/, /^(?!ok)/, /^ok$/],
    'verify-full': [/SSL required/, /^(?!ok)/, /^ok$/],
  };
  for (const [mode, [withoutTls, withTls, withCertificate]] of Object.entries(expected)) {
    // the console's own connections are plain: through the Unix socket
    await bouncer.sql(`SET client_tls_sslmode = '${mode}'`, {
      host: bouncer.folder,
      user: 'pgbouncer',
      database: 'pgbouncer',
    });
    assert.match(await logIn(bouncer, null), withoutTls, mode);
    assert.match(await logIn(bouncer, {}), withTls, mode);
    assert.match(await logIn(bouncer, own), withCertificate, mode);
  }
});

test('a handshake that fails is a warning', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: { ...clientTls, client_tls_sslmode: 'verify-ca' },
  });
  const strange = { cert: readFileSync(tlsFile('other-ca.crt')), key: readFileSync(tlsFile('other-ca.key')) };
  for (const options of [{}, strange]) assert.notEqual(await logIn(bouncer, options), 'ok');
  const raw = await RawClient.connect(bouncer);
  raw.send(sslRequest());
  await raw.readBytes(1);
  raw.send(Buffer.from('no TLS at all'));
  await raw.readToEnd();
  const gone = await RawClient.connect(bouncer);
  gone.send(sslRequest());
  await gone.readBytes(1);
  gone.destroy();
  for (const reason of [
    'peer did not return a certificate',
    'certificate verify failed \\(.+\\)',
    'wrong version number',
    'unexpected eof while reading',
  ]) {
    const line = ` WARNING C-0x[0-9a-f]+: \\(nodb\\)/\\(nouser\\)@127\\.0\\.0\\.1:\\d+ TLS handshake error: handshake failed: ${reason}$`;
    await bouncer.waitForLog(new RegExp(line, 'm'));
  }
});

function direct(bouncer: Bouncer, options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      host: '127.0.0.1',
      port: bouncer.port,
      rejectUnauthorized: false,
      ...options,
    });
    socket.once('error', reject);
    socket.once('secureConnect', () => resolve(socket));
  });
}

test('direct TLS from clients, with the right ALPN or none, but not with another', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: { ...clientTls, client_tls_sslmode: 'require' },
  });
  for (const options of [{ ALPNProtocols: ['postgresql'] }, {}]) {
    const socket = await direct(bouncer, options);
    socket.write(startup({ user: 'postgres', database: 'plain' }));
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    assert.equal(bytes.toString('latin1', 0, 1), 'R');
    socket.destroy();
  }
  await assert.rejects(direct(bouncer, { ALPNProtocols: ['h2'] }));
});

test('new certificates are used after RELOAD, and no client is disconnected', async (t) => {
  const bouncer = await Bouncer.prepare(t, {
    databases,
    settings: { ...clientTls, client_tls_sslmode: 'prefer' },
  });
  const copy = async (name: string): Promise<void> => {
    await bouncer.writeFile('tls.crt', readFileSync(tlsFile(`${name}.crt`), 'utf8'));
    await bouncer.writeFile('tls.key', readFileSync(tlsFile(`${name}.key`), 'utf8'));
  };
  await copy('server');
  bouncer.settings['client_tls_cert_file'] = `${bouncer.folder}/tls.crt`;
  bouncer.settings['client_tls_key_file'] = `${bouncer.folder}/tls.key`;
  await bouncer.writeFiles();
  await bouncer.start();
  const before = await bouncer.connect({ database: 'plain', ssl: { rejectUnauthorized: false } });
  await before.query('begin');
  await copy('client');
  await bouncer.reload();
  const renewed = await direct(bouncer, {});
  assert.equal(renewed.getPeerCertificate().subject.CN, 'app');
  renewed.destroy();
  assert.equal((await before.query('select 5 as n')).rows[0].n, 5);
  // mismatched files: everything stays
  await bouncer.writeFile('tls.key', readFileSync(tlsFile('server.key'), 'utf8'));
  await assert.rejects(bouncer.reload(), /RELOAD failed/);
  const still = await direct(bouncer, {});
  assert.equal(still.getPeerCertificate().subject.CN, 'app');
  still.destroy();
  assert.equal((await before.query('select 6 as n')).rows[0].n, 6);
});

test('a RELOAD that finds a TLS file missing says so in one line, with file and line of the option', async (t) => {
  const bouncer = await Bouncer.prepare(t, {
    databases,
    settings: { ...clientTls, client_tls_sslmode: 'prefer' },
  });
  await bouncer.start();
  for (const option of [
    'client_tls_key_file',
    'client_tls_cert_file',
    'client_tls_ca_file',
    'server_tls_ca_file',
  ]) {
    const before = bouncer.settings[option];
    for (const how of ['RELOAD', 'SIGHUP']) {
      bouncer.settings[option] = '/nowhere/file.pem';
      await bouncer.writeFiles();
      bouncer.markLog();
      if (how === 'RELOAD') await assert.rejects(bouncer.admin('RELOAD'), /RELOAD failed/);
      else bouncer.signal('SIGHUP');
      await bouncer.waitForLog(
        new RegExp(
          ` ERROR TLS setup failed: ${bouncer.configFile}:\\d+: ${option}: .*"/nowhere/file\\.pem".*: No such file or directory$`,
          'm',
        ),
      );
    }
    if (before === undefined) delete bouncer.settings[option];
    else bouncer.settings[option] = before;
  }
  await bouncer.reload();
  bouncer.markLog();
  await bouncer.admin("SET server_tls_ca_file = '/nowhere/file.pem'");
  assert.ok(
    bouncer.logContains(
      / ERROR TLS setup failed: (?!TLS).*"\/nowhere\/file\.pem".*: No such file or directory$/m,
    ),
  );
});

test('a SET of TLS options that make no sense leaves TLS as it was, until they make sense', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases,
    settings: {
      server_tls_sslmode: 'verify-ca',
      server_tls_ca_file: tlsFile('ca.crt'),
      client_tls_sslmode: 'prefer',
      client_tls_key_file: tlsFile('server.key'),
      client_tls_cert_file: tlsFile('server.crt'),
      server_login_retry: 0,
      query_wait_timeout: 1,
    },
  });
  const ssl = { rejectUnauthorized: false };
  const isEncrypted = async (): Promise<unknown> => {
    await bouncer.admin('RECONNECT');
    const sql = 'select ssl from pg_stat_ssl where pid = pg_backend_pid()';
    return (await bouncer.sql(sql, { database: 'both', ssl }))[0]!['ssl'];
  };
  for (const sql of [
    "SET server_tls_ca_file = '/nonexistent'",
    'SET log_stats = 0',
    `SET server_tls_key_file = '${tlsFile('client.key')}'`,
    "SET client_tls_cert_file = '/nonexistent'",
    'SET log_stats = 1',
  ]) {
    await bouncer.admin(sql);
    assert.equal(await isEncrypted(), true, sql);
  }
  // the last of several matching ones
  await bouncer.admin(`SET server_tls_cert_file = '${tlsFile('client.crt')}'`);
  await bouncer.admin(`SET server_tls_ca_file = '${tlsFile('other-ca.crt')}'`);
  await assert.rejects(isEncrypted(), /query_wait_timeout/);
  assert.match(bouncer.log(), /certificate verify failed/);
});

test('a certificate with another name is not accepted either', async (t) => {
  const relay = createServer((client) => {
    const server = connectTcp(both.port, '127.0.0.1');
    for (const socket of [client, server]) socket.on('error', () => {});
    client.pipe(server).pipe(client);
  });
  relay.listen(0, '127.0.0.2');
  await once(relay, 'listening');
  t.after(() => relay.close());
  const bouncer = await Bouncer.start(t, {
    databases: { named: `host=127.0.0.2 port=${(relay.address() as AddressInfo).port} dbname=postgres` },
    settings: {
      server_tls_sslmode: 'verify-full',
      server_tls_ca_file: tlsFile('ca.crt'),
      server_login_retry: 0.1,
    },
  });
  bouncer.connect().catch(() => {});
  await bouncer.waitForLog(
    /WARNING S-0x\w+: named\/\S+ TLS handshake error: handshake failed: certificate verify failed \(.*127\.0\.0\.2.*\)$/m,
  );
});
