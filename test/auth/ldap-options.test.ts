/** Options of LDAP logins. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ldapOptions, LdapOptionError, ldapTls, parseLdapOptions } from '../../src/auth/ldap-options.ts';

test('simple bind', () => {
  const expected = {
    scheme: 'ldap',
    servers: ['ldap.example.net'],
    port: 389,
    startTls: false,
    bind: { kind: 'simple', prefix: 'cn=', suffix: ', dc=example, dc=net' },
  };
  const text = 'ldapserver=ldap.example.net ldapprefix="cn=" ldapsuffix=", dc=example, dc=net"';
  assert.deepEqual(parseLdapOptions(text), expected);
  assert.deepEqual(parseLdapOptions(text.replaceAll(' ldap', ',ldap')), expected);
  assert.deepEqual(parseLdapOptions(`${text}  `), expected);
  const pairs = new Map([
    ['ldapserver', 'ldap.example.net'],
    ['ldapprefix', 'cn='],
    ['ldapsuffix', ', dc=example, dc=net'],
  ]);
  assert.deepEqual(ldapOptions(pairs), expected);
});

test('search and bind', () => {
  assert.deepEqual(parseLdapOptions('ldapserver="a b" ldaptls=1 ldapbasedn="dc=example,dc=net"'), {
    scheme: 'ldap',
    servers: ['a', 'b'],
    port: 389,
    startTls: true,
    bind: {
      kind: 'search',
      baseDn: 'dc=example,dc=net',
      bindDn: '',
      bindPassword: '',
      scope: 'sub',
      filter: '(uid=$username)',
    },
  });
  const { bind } = parseLdapOptions(
    'ldapbasedn="dc=x" ldapbinddn="cn=""reader""" ldapbindpasswd=secret ldapsearchattribute=mail',
  );
  assert.ok(bind.kind === 'search');
  assert.deepEqual(
    [bind.bindDn, bind.bindPassword, bind.filter],
    ['cn="reader"', 'secret', '(mail=$username)'],
  );
  const filtered = parseLdapOptions(
    'ldapbasedn="dc=x" ldapsearchfilter="(|(uid=$username)(mail=$username))"',
  );
  assert.ok(filtered.bind.kind === 'search');
  assert.equal(filtered.bind.filter, '(|(uid=$username)(mail=$username))');
});

test('ports and schemes', () => {
  const port = (text: string): number => parseLdapOptions(`ldapserver=a ldapprefix=x ${text}`).port;
  assert.equal(port(''), 389);
  assert.equal(port('ldapscheme=ldaps'), 636);
  assert.equal(port('ldapscheme=ldaps ldapport=1636'), 1636);
});

test('URLs', () => {
  const parse = (url: string) => {
    const { bind, ...rest } = parseLdapOptions(`ldapurl="${url}"`);
    assert.ok(bind.kind === 'search');
    return { ...rest, ...bind };
  };
  const full = parse('ldaps://ldap.example.net:1636/dc=example,dc=net?mail?sub');
  assert.equal(full.scheme, 'ldaps');
  assert.deepEqual(full.servers, ['ldap.example.net']);
  assert.equal(full.port, 1636);
  assert.equal(full.baseDn, 'dc=example,dc=net');
  assert.equal(full.filter, '(mail=$username)');
  assert.equal(full.scope, 'sub');
  // "The default is base, which is normally not very useful in this application."
  assert.equal(parse('ldap://a/dc=x').scope, 'base');
  assert.equal(parse('ldap://a/dc=x??one').scope, 'one');
  assert.equal(parse('ldap://a/dc=x??sub?(cn=$username)').filter, '(cn=$username)');
  assert.equal(parse('ldap://a/o=My%20Company').baseDn, 'o=My Company');
  assert.deepEqual(parse('ldap:///dc=x').servers, []);
});

test('options that make no sense are errors', async (t) => {
  const cases: Record<string, RegExp> = {
    '': /requires argument "ldapbasedn"/,
    'ldapserver=a': /requires argument "ldapbasedn"/,
    'ldapprefix=x': /LDAP server not specified/,
    'ldapserver=a ldapprefix=x ldapbasedn=y': /together with ldapprefix/,
    'ldapbasedn=x ldapsearchattribute=a ldapsearchfilter=(b=c)': /together with ldapsearchfilter/,
    'ldapbasedn=x ldapport=0': /invalid LDAP port number/,
    'ldapbasedn=x ldapport=x': /invalid LDAP port number/,
    'ldapbasedn=x ldapscheme=http': /invalid ldapscheme/,
    'ldapbasedn=x ldapcolour=red': /invalid LDAP key parameter: "ldapcolour"/,
    'ldapbasedn=': /ldapbasedn has no value/,
    ldapbasedn: /malformed/,
    'ldapbasedn="x': /malformed/,
    'ldapurl=http://a/dc=x': /malformed|unsupported/,
    'ldapurl="http://a/dc=x"': /unsupported LDAP URL scheme: http/,
    'ldapurl="ldap://a/dc=x??deep"': /could not parse LDAP URL/,
    'ldapurl="ldap://a/%zz"': /bad escape/,
  };
  for (const [text, message] of Object.entries(cases)) {
    await t.test(text, () => {
      assert.throws(
        () => parseLdapOptions(text),
        (error) => error instanceof LdapOptionError && message.test(error.message),
      );
    });
  }
});

test("libldap's own TLS settings", (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-ldap-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const conf = join(folder, 'ldap.conf');
  const ca = join(folder, 'ca');
  writeFileSync(ca, 'certificate');
  writeFileSync(conf, `# comment\nBASE dc=x\nTLS_CACERT\t${ca}\ntls_reqcert never\n`);
  assert.deepEqual(ldapTls({ LDAPCONF: conf }), { ca: Buffer.from('certificate'), verify: false });
  assert.equal(ldapTls({ LDAPCONF: conf, LDAPTLS_REQCERT: 'demand' }).verify, true);
  assert.deepEqual(ldapTls({ LDAPCONF: join(folder, 'missing') }), { ca: null, verify: true });
  assert.throws(() => ldapTls({ LDAPCONF: '', LDAPTLS_CACERT: join(folder, 'missing') }), LdapOptionError);
});
