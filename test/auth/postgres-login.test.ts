/** Toward servers: every kind of secret against real PostgreSQL servers. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { authDialogue } from '../../src/auth/client-auth.ts';
import { md5Secret } from '../../src/auth/md5.ts';
import { ServerAuth, type LearnedSecret } from '../../src/auth/server-auth.ts';
import { serverTls } from '../../src/auth/tls.ts';
import { Cluster } from '../support/cluster.ts';
import { serverTlsSettings, tlsFile } from './tls-settings.ts';
import { logInToServer } from './wire.ts';

const PASSWORD = 'pencil Ⅸ';
const cluster = await Cluster.start(
  { after },
  {
    tls: true,
    hba: [
      'host all clear 127.0.0.1/32 password',
      'host all hashed 127.0.0.1/32 md5',
      'host all scrammed 127.0.0.1/32 scram-sha-256',
      'hostssl all certified 127.0.0.1/32 cert map=certificates',
      'host all passwordless 127.0.0.1/32 scram-sha-256',
      'host all guarded 127.0.0.1/32 ident',
    ],
    sql: `
        create role clear login password '${PASSWORD}';
        set password_encryption = 'md5';
        create role hashed login password '${PASSWORD}';
        set password_encryption = 'scram-sha-256';
        create role scrammed login password '${PASSWORD}';
        create role certified login;
        create role passwordless login;`,
  },
);
await cluster.server.writeDataFile('pg_ident.conf', 'certificates app certified\n');
await cluster.configure({});

const storedSecret = async (role: string): Promise<string> => {
  const [row] = await cluster.sql<{ secret: string }>(
    'select rolpassword as secret from pg_authid where rolname = $1',
    [role],
  );
  return row!.secret;
};

test('a server accepts the right secret and refuses a wrong one, with each method', async (t) => {
  const scram = await storedSecret('scrammed');
  const cases: [string, string, string | null, string | null][] = [
    ['a cleartext request, plain password', 'clear', PASSWORD, null],
    ['a cleartext request, wrong password', 'clear', 'x', 'password authentication failed for user "clear"'],
    ['MD5, plain password', 'hashed', PASSWORD, null],
    ['MD5, stored secret', 'hashed', md5Secret(PASSWORD, 'hashed'), null],
    [
      'MD5, wrong secret',
      'hashed',
      md5Secret('x', 'hashed'),
      'password authentication failed for user "hashed"',
    ],
    ['SCRAM, plain password', 'scrammed', PASSWORD, null],
    ['SCRAM, wrong password', 'scrammed', 'x', 'password authentication failed for user "scrammed"'],
    ['SCRAM, no password', 'scrammed', null, 'password authentication failed for user "scrammed"'],
    [
      'SCRAM, a role without password',
      'passwordless',
      'x',
      'password authentication failed for user "passwordless"',
    ],
  ];
  for (const [name, user, secret, error] of cases) {
    await t.test(name, async (scope) => {
      const login = await logInToServer(scope, cluster.port, { user, secret, learned: null });
      assert.equal(login.error, error);
      assert.equal(login.auth.done, error === null);
    });
  }
  const impossible: [string, string, string, RegExp][] = [
    [
      'a hash where the password is asked for',
      'clear',
      md5Secret(PASSWORD, 'clear'),
      /cleartext authentication: wrong/,
    ],
    ['a SCRAM secret for MD5', 'hashed', scram, /MD5 authentication: wrong password type/],
    ['an MD5 secret for SCRAM', 'scrammed', md5Secret(PASSWORD, 'scrammed'), /SCRAM authentication: wrong/],
    ['a SCRAM secret alone', 'scrammed', scram, /client authentication did not provide SCRAM keys/],
  ];
  for (const [name, user, secret, reason] of impossible) {
    await t.test(name, async (scope) => {
      const login = logInToServer(scope, cluster.port, { user, secret, learned: null });
      await assert.rejects(login, { message: 'server login failed: wrong password type', reason });
    });
  }
});

/** The knowledge that our client side gains if the proxy has this secret. */
async function learn(secret: string): Promise<LearnedSecret> {
  const identity = { user: 'scrammed', secret, exists: true, tls: null };
  const dialogue = authDialogue('scram-sha-256', identity, { scramIterations: 4096 });
  const client = new ServerAuth({ user: 'scrammed', secret: PASSWORD, learned: null, endPointHash: null });
  let step = await dialogue.begin();
  while (step.kind === 'continue')
    step = await dialogue.receive((await client.receive(step.authentication))!);
  assert.ok(step.kind === 'ok' && step.keys !== null);
  return step.keys;
}

test("SCRAM keys from the client's login", async (t) => {
  const secret = await storedSecret('scrammed');
  await t.test('open a server with the same secret', async (scope) => {
    const login = await logInToServer(scope, cluster.port, {
      user: 'scrammed',
      secret,
      learned: await learn(secret),
    });
    assert.equal(login.error, null);
    assert.equal(login.auth.hint, null);
  });
  await t.test(
    'do not open one with another secret of the same password, and there is a hint',
    async (scope) => {
      await cluster.sql(`create role other login password '${PASSWORD}'`);
      const other = await storedSecret('other');
      const login = await logInToServer(scope, cluster.port, {
        user: 'scrammed',
        secret: other,
        learned: await learn(other),
      });
      assert.equal(login.error, 'password authentication failed for user "scrammed"');
      assert.match(login.auth.hint ?? '', /the SCRAM secret of user "scrammed" is not the server's/);
    },
  );
  await t.test('are not needed when the client gave its password', async (scope) => {
    const learned = { password: PASSWORD };
    const login = await logInToServer(scope, cluster.port, { user: 'scrammed', secret, learned });
    assert.equal(login.error, null);
  });
});

test('logins over TLS', async (t) => {
  const scrammed = { user: 'scrammed', secret: PASSWORD, learned: null };
  await t.test('SCRAM is bound to the certificate', async (scope) => {
    const tls = serverTls(serverTlsSettings(), 'localhost');
    const login = await logInToServer(scope, cluster.port, scrammed, tls);
    assert.equal(login.error, null);
    assert.equal(login.mechanism, 'SCRAM-SHA-256-PLUS');
  });
  await t.test('a client certificate logs in', async (scope) => {
    const tls = serverTls(
      serverTlsSettings({
        server_tls_key_file: tlsFile('client.key'),
        server_tls_cert_file: tlsFile('client.crt'),
      }),
      'localhost',
    );
    const certified = { user: 'certified', secret: null, learned: null };
    assert.equal((await logInToServer(scope, cluster.port, certified, tls)).error, null);
  });
  await t.test('what the modes verify', async (each) => {
    const wrongCa = { server_tls_ca_file: tlsFile('other-ca.crt') };
    const cases: [string, Parameters<typeof serverTlsSettings>[0], string, RegExp | null][] = [
      ['verify-full, name', {}, 'localhost', null],
      ['verify-full, address', {}, '127.0.0.1', null],
      ['verify-full, another name', {}, 'db.example.com', /altnames/],
      ['verify-full, another address', {}, '127.0.0.2', /does not match|not in the cert/],
      ['verify-full, another CA', wrongCa, 'localhost', /unable to|self-signed/],
      ['verify-ca, another name', { server_tls_sslmode: 'verify-ca' }, 'db.example.com', null],
      [
        'verify-ca, another CA',
        { ...wrongCa, server_tls_sslmode: 'verify-ca' },
        'localhost',
        /unable to|self-signed/,
      ],
      [
        'verify-ca, the system CAs',
        { server_tls_ca_file: '', server_tls_sslmode: 'verify-ca' },
        'localhost',
        /unable to|self-signed/,
      ],
      ['require, another CA', { ...wrongCa, server_tls_sslmode: 'require' }, 'db.example.com', null],
      ['prefer, no CA', { server_tls_ca_file: '', server_tls_sslmode: 'prefer' }, 'localhost', null],
    ];
    for (const [name, settings, host, problem] of cases) {
      await each.test(name, async (scope) => {
        const login = logInToServer(
          scope,
          cluster.port,
          scrammed,
          serverTls(serverTlsSettings(settings), host),
        );
        if (problem === null) assert.equal((await login).error, null);
        else await assert.rejects(login, problem);
      });
    }
  });
  await t.test('protocols and ciphers', async (scope) => {
    const tls = serverTls(
      serverTlsSettings({
        server_tls_protocols: 'tlsv1.2',
        server_tls_ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256',
      }),
      'localhost',
    );
    const login = await logInToServer(scope, cluster.port, scrammed, tls);
    assert.equal(login.tls?.getProtocol(), 'TLSv1.2');
    assert.equal(login.tls?.getCipher().name, 'ECDHE-ECDSA-AES128-GCM-SHA256');
    const newest = serverTls(
      serverTlsSettings({ server_tls_ciphers: 'HIGH', server_tls13_ciphers: 'TLS_CHACHA20_POLY1305_SHA256' }),
      'localhost',
    );
    const second = await logInToServer(scope, cluster.port, scrammed, newest);
    assert.equal(second.tls?.getProtocol(), 'TLSv1.3');
    assert.equal(second.tls?.getCipher().name, 'TLS_CHACHA20_POLY1305_SHA256');
  });
});
