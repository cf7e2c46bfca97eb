/** Against a real directory: Debian's slapd. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { authenticateLdap, LdapError } from '../../src/auth/ldap.ts';
import { parseLdapOptions } from '../../src/auth/ldap-options.ts';
import { freePort } from '../support/ports.ts';
import { noSlapd, startSlapd } from '../support/slapd.ts';
import { tlsFile } from './tls-settings.ts';

const options = { skip: noSlapd };
const directory = noSlapd === false ? await startSlapd({ after }) : { ldap: 0, ldaps: 0 };
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

test('search with a bind DN', options, async () => {
  assert.equal(await check('bob', 'bobs', `${SEARCH} ${READER}`), true);
  await assert.rejects(check('bob', 'bobs', SEARCH), failsWith(/LDAP user "bob" does not exist/));
  const wrong = READER.replace('library', 'bookshop');
  await assert.rejects(
    check('bob', 'bobs', `${SEARCH} ${wrong}`),
    failsWith(/could not perform initial LDAP bind/),
  );
});

test('searches that must find nothing log no user in', options, async () => {
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

test("a directory with another's certificate gets no password", options, async (t) => {
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

test('the next server is asked if one cannot be reached', options, async () => {
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

test('a directory that does not answer is an error', async () => {
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

test('a domain without directories is an error', async () => {
  const nowhere = 'ldapbasedn="dc=pgswitchyard,dc=invalid"';
  await assert.rejects(check('a', 'b', nowhere), failsWith(/could not find DNS SRV records/));
  await assert.rejects(check('a', 'b', 'ldapbasedn="o=x"'), failsWith(/could not extract domain name/));
});
