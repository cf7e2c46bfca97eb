/** Against a real directory: Debian's slapd. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { authenticateLdap, LdapError } from '../../src/auth/ldap.ts';
import { parseLdapOptions } from '../../src/auth/ldap-options.ts';
import { freePort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { tlsFile } from './tls-settings.ts';

const SLAPD = '/usr/sbin/slapd';
const reason: string | false = existsSync(SLAPD)
  ? false
  : 'slapd is not installed (Debian: apt-get install slapd)';
const options = { skip: reason };

const ENTRIES = `
dn: dc=example,dc=net
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=net
objectClass: organizationalUnit
ou: people

dn: cn=reader,dc=example,dc=net
objectClass: person
cn: reader
sn: reader
userPassword: library

dn: uid=alice,dc=example,dc=net
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mail: alice@example.net
userPassword: pässword

dn: uid=bob,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
uid: bob
cn: Twin
sn: B
userPassword: bobs

dn: uid=carol,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
uid: carol
cn: Twin
sn: C
userPassword: carols
`;

interface Directory {
  readonly ldap: number;
  readonly ldaps: number;
}

async function startSlapd(): Promise<Directory> {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-slapd-'));
  const file = (name: string): string => join(folder, name);
  mkdirSync(file('data'));
  for (const name of ['server.crt', 'server.key', 'ca.crt']) copyFileSync(tlsFile(name), file(name));
  writeFileSync(file('entries'), ENTRIES);
  writeFileSync(
    file('slapd.conf'),
    `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile ${file('pid')}
TLSCACertificateFile ${file('ca.crt')}
TLSCertificateFile ${file('server.crt')}
TLSCertificateKeyFile ${file('server.key')}
database mdb
suffix "dc=example,dc=net"
directory ${file('data')}
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=people,dc=example,dc=net" by dn.exact="cn=reader,dc=example,dc=net" read by * none
access to * by * read
`,
  );
  const loaded = spawnSync('/usr/sbin/slapadd', ['-f', file('slapd.conf'), '-l', file('entries')]);
  assert.equal(loaded.status, 0, loaded.stderr.toString());
  const directory = { ldap: await freePort(), ldaps: await freePort() };
  const urls = `ldap://127.0.0.1:${directory.ldap}/ ldaps://127.0.0.1:${directory.ldaps}/`;
  const child = spawn(SLAPD, ['-d', '0', '-f', file('slapd.conf'), '-h', urls], { stdio: 'ignore' });
  after(async () => {
    const exited = once(child, 'exit');
    child.kill();
    await exited;
    rmSync(folder, { recursive: true });
  });
  await until('slapd to listen', async () => {
    const socket = connect(directory.ldaps, '127.0.0.1');
    return await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    }).finally(() => socket.destroy());
  });
  return directory;
}

const directory = reason === false ? await startSlapd() : { ldap: 0, ldaps: 0 };
// Certificates are checked as libldap would check them.
process.env['LDAPTLS_CACERT'] = tlsFile('ca.crt');
process.env['LDAPCONF'] = '/nonexistent';

const server = `ldapserver=127.0.0.1 ldapport=${directory.ldap}`;
const SIMPLE = `${server} ldapprefix="uid=" ldapsuffix=",dc=example,dc=net"`;
const SEARCH = `${server} ldapbasedn="dc=example,dc=net"`;
const READER = 'ldapbinddn="cn=reader,dc=example,dc=net" ldapbindpasswd=library';
const PASSWORD = 'pässword';

const check = (user: string, password: string, text: string): Promise<boolean> =>
  authenticateLdap(user, password, parseLdapOptions(text));

const failsWith =
  (message: RegExp) =>
  (error: unknown): boolean =>
    error instanceof LdapError && message.test(error.message);

test('simple bind', options, async () => {
  assert.equal(await check('alice', PASSWORD, SIMPLE), true);
  assert.equal(await check('alice', 'wrong', SIMPLE), false);
  assert.equal(await check('nobody', PASSWORD, SIMPLE), false);
  // slapd would take it for an anonymous bind.
  assert.equal(await check('alice', '', SIMPLE), false);
});

test('a name does not become another DN, or a SASL mechanism', options, async () => {
  assert.equal(await check('x,cn=', PASSWORD, `${server} ldapprefix="uid=" ldapsuffix=""`), false);
  assert.equal(await check('EXTERNAL', 'x', `${server} ldapprefix="" ldapsuffix=""`), false);
});

test('search and bind', options, async () => {
  assert.equal(await check('alice', PASSWORD, SEARCH), true);
  assert.equal(await check('alice', 'wrong', SEARCH), false);
  assert.equal(await check('alice@example.net', PASSWORD, `${SEARCH} ldapsearchattribute=mail`), true);
  const filter = '"(|(mail=$username@example.net)(uid=$username))"';
  assert.equal(await check('alice', PASSWORD, `${SEARCH} ldapsearchfilter=${filter}`), true);
});

test('search as somebody', options, async () => {
  assert.equal(await check('bob', 'bobs', `${SEARCH} ${READER}`), true);
  await assert.rejects(check('bob', 'bobs', SEARCH), failsWith(/LDAP user "bob" does not exist/));
  const wrong = READER.replace('library', 'bookshop');
  await assert.rejects(
    check('bob', 'bobs', `${SEARCH} ${wrong}`),
    failsWith(/could not perform initial LDAP bind/),
  );
});

test('what a search must not find', options, async () => {
  const twins = `${SEARCH} ${READER} ldapsearchattribute=cn`;
  await assert.rejects(check('Twin', 'bobs', twins), failsWith(/"Twin" is not unique/));
  await assert.rejects(check('nobody', 'x', SEARCH), failsWith(/does not exist/));
  await assert.rejects(check('*', PASSWORD, SEARCH), failsWith(/invalid character in user name/));
  await assert.rejects(check('a)(uid=alice', PASSWORD, SEARCH), failsWith(/invalid character/));
  await assert.rejects(
    check('alice', PASSWORD, `${server} ldapbasedn="dc=nowhere"`),
    failsWith(/could not search LDAP for filter/),
  );
});

test('URLs and their scopes', options, async () => {
  const url = (rest: string): string =>
    `ldapurl="ldap://127.0.0.1:${directory.ldap}/dc=example,dc=net${rest}"`;
  assert.equal(await check('alice', PASSWORD, url('?uid?sub')), true);
  assert.equal(await check('alice', PASSWORD, url('?uid?one')), true);
  await assert.rejects(check('alice', PASSWORD, url('')), failsWith(/does not exist/));
  await assert.rejects(check('bob', 'bobs', `${url('?uid?one')} ${READER}`), failsWith(/does not exist/));
});

test('ldaps and StartTLS', options, async () => {
  const secure = SIMPLE.replace(String(directory.ldap), String(directory.ldaps));
  assert.equal(await check('alice', PASSWORD, `${secure} ldapscheme=ldaps`), true);
  assert.equal(await check('alice', 'wrong', `${secure} ldapscheme=ldaps`), false);
  assert.equal(await check('alice', PASSWORD, `${SIMPLE} ldaptls=1`), true);
  assert.equal(await check('alice', PASSWORD, `${SEARCH} ldaptls=1`), true);
  assert.equal(await check('alice', 'wrong', `${SEARCH} ldaptls=1`), false);
});

test('a directory with a certificate of somebody else gets no password', options, async (t) => {
  process.env['LDAPTLS_CACERT'] = tlsFile('other-ca.crt');
  t.after(() => {
    process.env['LDAPTLS_CACERT'] = tlsFile('ca.crt');
    delete process.env['LDAPTLS_REQCERT'];
  });
  await assert.rejects(
    check('alice', PASSWORD, `${SIMPLE} ldaptls=1`),
    failsWith(/could not start LDAP TLS/),
  );
  const secure = `${SIMPLE.replace(String(directory.ldap), String(directory.ldaps))} ldapscheme=ldaps`;
  await assert.rejects(check('alice', PASSWORD, secure), failsWith(/certificate/));
  process.env['LDAPTLS_REQCERT'] = 'never';
  assert.equal(await check('alice', PASSWORD, secure), true);
});

test('the next server is asked when one is not there', options, async () => {
  const dead = await freePort();
  const both = SIMPLE.replace('ldapserver=127.0.0.1', `ldapserver="127.0.0.1:${dead} 127.0.0.1"`);
  assert.equal(await check('alice', PASSWORD, both), true);
  assert.equal(await check('alice', 'wrong', both), false);
  const none = SIMPLE.replace(String(directory.ldap), String(dead));
  await assert.rejects(check('alice', PASSWORD, none), failsWith(/ECONNREFUSED/));
});

/** A directory that accepts connections and says nothing, or hangs up. */
async function mute(hangUp: boolean): Promise<string> {
  const listener = createServer((socket) => {
    socket.on('error', () => {});
    if (hangUp) socket.once('data', () => socket.end());
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  after(() => void listener.close());
  const { port } = listener.address() as AddressInfo;
  return `ldapserver=127.0.0.1 ldapport=${port} ldapprefix=x`;
}

test('a directory that does not answer', async () => {
  const limits = { connectTimeoutMs: 100, requestTimeoutMs: 200 };
  for (const text of [
    await mute(false),
    `${await mute(false)} ldaptls=1`,
    `${await mute(false)} ldapscheme=ldaps`,
  ]) {
    await assert.rejects(authenticateLdap('a', 'b', parseLdapOptions(text), limits), LdapError);
  }
});

test('a directory that hangs up is not sent the password again', async () => {
  await assert.rejects(check('a', 'b', await mute(true)), LdapError);
  await assert.rejects(check('a', 'b', `${await mute(true)} ldaptls=1`), LdapError);
});

test('a domain without directories', async () => {
  const nowhere = 'ldapbasedn="dc=pgswitchyard,dc=invalid"';
  await assert.rejects(check('a', 'b', nowhere), failsWith(/could not find DNS SRV records/));
  await assert.rejects(check('a', 'b', 'ldapbasedn="o=x"'), failsWith(/could not extract domain name/));
});
