/** Toward clients: real drivers against the TLS of each mode. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { connect, type ConnectionOptions, type PeerCertificate } from 'node:tls';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { createServer, type AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import { Client } from 'pg';
import { clientTls, serverTls, type ClientTls, type ClientTlsSettings } from '../../src/auth/tls.ts';
import { clientTlsSettings, serverTlsSettings, tlsFile } from './tls-settings.ts';
import { serveClients } from './wire.ts';

const PASSWORD = 'pencil';
const identity = { secret: PASSWORD, exists: true };

function tlsOf(more: Partial<ClientTlsSettings> = {}): ClientTls {
  const tls = clientTls(clientTlsSettings(more));
  assert.ok(tls);
  return tls;
}

const noPsql: string | false = (() => {
  try {
    execFileSync('psql', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'psql is not installed';
  }
})();

async function psql(port: number, options: string): Promise<string> {
  const target = `host=localhost hostaddr=127.0.0.1 port=${port} user=app dbname=x ${options}`;
  const env = { ...process.env, PGPASSWORD: PASSWORD, PGCONNECT_TIMEOUT: '20' };
  try {
    await promisify(execFile)('psql', ['-XAtq', target, '-c', 'select'], { env });
    return 'ok';
  } catch (error) {
    return (error as { stderr: string }).stderr;
  }
}

test('psql logs in with channel binding', { skip: noPsql }, async (t) => {
  const server = await serveClients(t, 'scram-sha-256', identity, tlsOf());
  const secure = `sslmode=verify-full sslrootcert=${tlsFile('ca.crt')}`;
  assert.equal(await psql(server.port, `${secure} channel_binding=require`), 'ok');
  assert.equal(await psql(server.port, `${secure} channel_binding=disable`), 'ok');
  assert.equal(await psql(server.port, 'sslmode=disable'), 'ok');
  assert.match(await psql(server.port, 'sslmode=disable channel_binding=require'), /channel binding/);
});

test('pg logs in with channel binding', async (t) => {
  const server = await serveClients(t, 'scram-sha-256', identity, tlsOf());
  const client = new Client({
    host: '127.0.0.1',
    port: server.port,
    user: 'app',
    password: PASSWORD,
    ssl: { ca: readFileSync(tlsFile('ca.crt')), servername: 'localhost' },
    enableChannelBinding: true,
  } as ConstructorParameters<typeof Client>[0]);
  await client.connect();
  await client.end();
  assert.equal(server.results[0]?.kind, 'ok');
});

test('without TLS there are no certificates', () => {
  assert.equal(clientTls(clientTlsSettings({ client_tls_sslmode: 'disable' })), null);
  assert.equal(serverTls(serverTlsSettings({ server_tls_sslmode: 'disable' }), 'x').mode, 'disable');
});

test('clients without TLS are refused where it is required', () => {
  const required = (client_tls_sslmode: ClientTlsSettings['client_tls_sslmode']): boolean =>
    tlsOf({ client_tls_sslmode, client_tls_ca_file: tlsFile('ca.crt') }).required;
  assert.deepEqual((['allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const).map(required), [
    false,
    false,
    true,
    true,
    true,
  ]);
});

const APP = { key: readFileSync(tlsFile('client.key')), cert: readFileSync(tlsFile('client.crt')) };
/** Signed by an authority that the server does not know. */
const STRANGER = { key: readFileSync(tlsFile('other-ca.key')), cert: readFileSync(tlsFile('other-ca.crt')) };

interface Handshake {
  readonly problem: string | null;
  readonly cn: string | null;
  readonly client: TLSSocket;
}

/** One handshake: the server's opinion of the client. Rejects with the client's error. */
async function shake(t: TestContext, tls: ClientTls, options: ConnectionOptions): Promise<Handshake> {
  const seen = Promise.withResolvers<Omit<Handshake, 'client'>>();
  const server = createServer((socket) => {
    const secure = new TLSSocket(socket, tls.options);
    secure.on('error', () => {});
    secure.on('secure', () =>
      seen.resolve({ problem: tls.verifyPeer(secure), cn: tls.certificateCn(secure) }),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => void server.close());
  const client = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    ca: readFileSync(tlsFile('ca.crt')),
    ...options,
  });
  t.after(() => void client.destroy());
  const failure = once(client, 'error').then(([error]: unknown[]) => {
    throw error;
  });
  failure.catch(() => {});
  await Promise.race([once(client, 'secureConnect'), failure]);
  return { ...(await Promise.race([seen.promise, failure as Promise<never>])), client };
}

test("clients' certificates are verified and give their common name", async (t) => {
  const ca = { client_tls_ca_file: tlsFile('ca.crt') };
  for (const client_tls_sslmode of ['verify-ca', 'verify-full'] as const) {
    await t.test(client_tls_sslmode, async (each) => {
      const tls = tlsOf({ ...ca, client_tls_sslmode });
      const good = await shake(each, tls, APP);
      assert.deepEqual([good.problem, good.cn], [null, 'app']);
      const bad = await shake(each, tls, STRANGER);
      assert.match(bad.problem ?? '', /certificate verify failed \(.+\)$/);
      assert.equal(bad.cn, null);
      await assert.rejects(shake(each, tls, {}), /certificate required/);
    });
  }
  for (const client_tls_sslmode of ['allow', 'prefer', 'require'] as const) {
    await t.test(client_tls_sslmode, async (each) => {
      const tls = tlsOf({ ...ca, client_tls_sslmode });
      const good = await shake(each, tls, APP);
      assert.deepEqual([good.problem, good.cn], [null, 'app']);
      // "Client certificate is not validated", so it proves no identity either.
      const bad = await shake(each, tls, STRANGER);
      assert.deepEqual([bad.problem, bad.cn], [null, null]);
      const none = await shake(each, tls, {});
      assert.deepEqual([none.problem, none.cn], [null, null]);
    });
  }
  await t.test('without a CA file none is taken', async (each) => {
    const { cn } = await shake(each, tlsOf(), APP);
    assert.equal(cn, null);
  });
});

test('direct TLS takes PostgreSQL only', async (t) => {
  const tls = tlsOf();
  const { client } = await shake(t, tls, { ALPNProtocols: ['postgresql'] });
  assert.equal(client.alpnProtocol, 'postgresql');
  await assert.rejects(shake(t, tls, { ALPNProtocols: ['h2'] }), /alert no application protocol/);
});

test('protocols', async (t) => {
  const cases: [string, ConnectionOptions, string | null][] = [
    ['secure', {}, 'TLSv1.3'],
    ['secure', { maxVersion: 'TLSv1.2' }, 'TLSv1.2'],
    ['default', {}, 'TLSv1.3'],
    ['', {}, 'TLSv1.3'],
    ['tlsv1.2', {}, 'TLSv1.2'],
    ['tlsv1.3', { maxVersion: 'TLSv1.2' }, null],
    ['tlsv1.1,tlsv1.3', { maxVersion: 'TLSv1.2' }, null],
    ['all', {}, 'TLSv1.3'],
    ['all:!tlsv1.3', {}, 'TLSv1.2'],
    ['!tlsv1.3', {}, 'TLSv1.2'],
    ['tlsv1.1', { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' }, 'TLSv1.1'],
    ['secure', { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' }, null],
  ];
  for (const [client_tls_protocols, options, expected] of cases) {
    await t.test(`${client_tls_protocols} and ${options.maxVersion ?? 'any'}`, async (each) => {
      const handshake = shake(each, tlsOf({ client_tls_protocols }), options);
      if (expected === null) await assert.rejects(handshake, /alert|version/);
      else assert.equal((await handshake).client.getProtocol(), expected);
    });
  }
});

test('ciphers and curves', async (t) => {
  const cipherOf = async (settings: Partial<ClientTlsSettings>): Promise<string> =>
    (await shake(t, tlsOf(settings), {})).client.getCipher().name;
  const old = { client_tls_protocols: 'tlsv1.2' };
  const chosen = 'ECDHE-ECDSA-CHACHA20-POLY1305';
  assert.equal(await cipherOf({ ...old, client_tls_ciphers: chosen }), chosen);
  assert.match(await cipherOf({ ...old, client_tls_ciphers: 'fast' }), /^ECDHE-ECDSA/);
  assert.match(await cipherOf({ ...old, client_tls_ciphers: 'all' }), /^ECDHE-ECDSA/);
  // A list of older ciphers does not turn TLS 1.3 off.
  assert.match(await cipherOf({ client_tls_ciphers: chosen }), /^TLS_/);
  assert.equal(await cipherOf({ client_tls13_ciphers: 'TLS_AES_128_GCM_SHA256' }), 'TLS_AES_128_GCM_SHA256');
  const { client } = await shake(t, tlsOf({ client_tls_ecdhcurve: 'secp384r1' }), { maxVersion: 'TLSv1.2' });
  assert.deepEqual(client.getEphemeralKeyInfo(), { type: 'ECDH', name: 'secp384r1', size: 384 });
  for (const value of ['none', 'auto', 'legacy']) tlsOf({ client_tls_dheparams: value });
  tlsOf({ client_tls_ecdhcurve: 'none' });
});

test('TLS that cannot be set up is one error that names the option', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-tls-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const rubbish = join(folder, 'rubbish');
  writeFileSync(rubbish, 'rubbish');
  const missing = join(folder, 'missing');
  const cases: [string, Partial<ClientTlsSettings>, string][] = [
    ['no key', { client_tls_key_file: '' }, 'client_tls_key_file and client_tls_cert_file must be set'],
    [
      'no certificate',
      { client_tls_cert_file: null },
      'client_tls_key_file and client_tls_cert_file must be set',
    ],
    [
      'a missing key',
      { client_tls_key_file: missing },
      `failed to open key file "${missing}": No such file or directory`,
    ],
    [
      'a missing certificate',
      { client_tls_cert_file: missing },
      `failed to open certificate file "${missing}"`,
    ],
    ['a missing CA', { client_tls_ca_file: missing }, `failed to open CA file "${missing}"`],
    ['a folder', { client_tls_ca_file: folder }, `failed to open CA file "${folder}": EISDIR`],
    ['a key that is none', { client_tls_key_file: rubbish }, `failed to load key file "${rubbish}"`],
    [
      'a certificate that is none',
      { client_tls_cert_file: rubbish },
      `failed to load certificate file "${rubbish}"`,
    ],
    ['a CA that is none', { client_tls_ca_file: rubbish }, `failed to load CA file "${rubbish}"`],
    [
      "another certificate's key",
      { client_tls_key_file: tlsFile('ca.key') },
      'does not belong to certificate file',
    ],
    ['protocols', { client_tls_protocols: 'tlsv9' }, 'invalid protocols "tlsv9"'],
    ['no protocols', { client_tls_protocols: '!all' }, 'invalid protocols "!all"'],
    ['ciphers', { client_tls_ciphers: 'no-such-cipher' }, 'failed to set ciphers "no-such-cipher"'],
    ['TLS 1.3 ciphers', { client_tls13_ciphers: 'TLS_NONE' }, 'failed to set the TLSv1.3 cipher suites'],
    ['a curve', { client_tls_ecdhcurve: 'flat' }, 'invalid ecdhe curve "flat"'],
  ];
  for (const [name, settings, message] of cases) {
    await t.test(name, () => {
      assert.throws(
        () => clientTls(clientTlsSettings(settings)),
        (error: Error) => error.message.startsWith('TLS setup failed: ') && error.message.includes(message),
      );
    });
  }
  await t.test("half of a server's key pair", () => {
    const half = serverTlsSettings({ server_tls_cert_file: tlsFile('client.crt') });
    assert.throws(() => serverTls(half, 'x'), /key file and certificate file must be set together/);
  });
});

test('a new certificate is taken by the next call, a new CA by the next settings', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-tls-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = (name: string): string => join(folder, name);
  const install = (name: string): void => {
    copyFileSync(tlsFile(`${name}.crt`), file('crt'));
    copyFileSync(tlsFile(`${name}.key`), file('key'));
  };
  const settings = { client_tls_cert_file: file('crt'), client_tls_key_file: file('key') };
  install('server');
  const before = tlsOf(settings).endPointHash;
  assert.deepEqual(tlsOf(settings).endPointHash, before);
  install('client');
  assert.notDeepEqual(tlsOf(settings).endPointHash, before);

  copyFileSync(tlsFile('ca.crt'), file('ca'));
  const loaded = serverTlsSettings({ server_tls_ca_file: file('ca') });
  const { secureContext } = serverTls(loaded, 'a').options;
  assert.equal(serverTls(loaded, 'b').options.secureContext, secureContext);
  assert.notEqual(serverTls({ ...loaded }, 'a').options.secureContext, secureContext);
});

test('verify-full: the names of a certificate', () => {
  const { checkServerIdentity: check } = serverTls(serverTlsSettings(), 'x').options;
  const isRight = (host: string, CN: string, subjectaltname?: string): boolean =>
    check!(host, { subject: { CN }, subjectaltname } as PeerCertificate) === undefined;
  assert.ok(isRight('db.example.com', 'db.example.com'));
  assert.ok(isRight('db.example.com', 'x', 'DNS:*.example.com'));
  assert.ok(isRight('192.0.2.1', 'x', 'IP Address:192.0.2.1'));
  assert.ok(isRight('192.0.2.1', '192.0.2.1'));
  assert.ok(!isRight('192.0.2.1', '192.0.2.2'));
  assert.ok(!isRight('192.0.2.1', '192.0.2.1', 'DNS:db.example.com'));
  assert.ok(!isRight('db.example.com', 'other.example.com'));
});

test('SNI is for names', () => {
  assert.equal(serverTls(serverTlsSettings(), 'db.example.com').options.servername, 'db.example.com');
  assert.equal(serverTls(serverTlsSettings(), '192.0.2.1').options.servername, undefined);
  assert.equal(serverTls(serverTlsSettings(), '2001:db8::1').options.servername, undefined);
});
