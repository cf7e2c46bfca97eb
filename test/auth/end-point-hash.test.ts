/** The hash of a certificate for channel binding. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { hash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { endPointHash } from '../../src/auth/end-point-hash.ts';
import { tlsFile } from './tls-settings.ts';

const noOpenssl: string | false = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'openssl is not installed';
  }
})();

test('the hash function is that of the signature', { skip: noOpenssl }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-certificates-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const rsa = ['-newkey', 'rsa:2048'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const pss = [...rsa, '-sigopt', 'rsa_padding_mode:pss'];
  const cases: [string, string[], string | null][] = [
    // "If the certificate's signatureAlgorithm uses ... MD5 or SHA-1 ... use SHA-256" (RFC 5929, 4.1)
    ['RSA, MD5', [...rsa, '-md5'], 'sha256'],
    ['RSA, SHA-1', [...rsa, '-sha1'], 'sha256'],
    ['RSA, SHA-224', [...rsa, '-sha224'], 'sha224'],
    ['RSA, SHA-256', [...rsa, '-sha256'], 'sha256'],
    ['RSA, SHA-384', [...rsa, '-sha384'], 'sha384'],
    ['RSA, SHA-512', [...rsa, '-sha512'], 'sha512'],
    ['RSA-PSS, SHA-1', [...pss, '-sha1'], 'sha256'],
    ['RSA-PSS, SHA-256', [...pss, '-sha256'], 'sha256'],
    ['RSA-PSS, SHA-512', [...pss, '-sha512'], 'sha512'],
    ['ECDSA, SHA-1', [...curve, '-sha1'], 'sha256'],
    ['ECDSA, SHA-384', [...curve, '-sha384'], 'sha384'],
    ['Ed25519', ['-newkey', 'ed25519'], null],
  ];
  for (const [name, options, expected] of cases) {
    await t.test(name, () => {
      const file = join(folder, 'certificate');
      const args = ['req', '-x509', '-nodes', '-subj', '/CN=x', '-keyout', join(folder, 'key'), '-out', file];
      execFileSync('openssl', [...args, ...options], { stdio: 'ignore' });
      const { raw } = new X509Certificate(readFileSync(file));
      assert.deepEqual(endPointHash(raw), expected === null ? null : hash(expected, raw, 'buffer'));
    });
  }
});

test('a cut certificate has none', () => {
  const { raw } = new X509Certificate(readFileSync(tlsFile('server.crt')));
  for (let length = 0; length < raw.length; length++)
    assert.equal(endPointHash(raw.subarray(0, length)), null);
});
