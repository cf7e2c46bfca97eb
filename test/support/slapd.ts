/** A real directory: Debian's slapd, with a few people in it. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { reapProcess, forgetProcess } from '../../src/platform/reaper.ts';
import { TLS_FOLDER } from './cluster.ts';
import { freePort } from './ports.ts';
import type { Scope } from './scope.ts';
import { until } from './wait.ts';

const SLAPD = '/usr/sbin/slapd';
/** Why tests that need it are skipped; false: they are not. */
export const noSlapd: string | false = existsSync(SLAPD)
  ? false
  : 'slapd is not installed (Debian: apt-get install slapd)';

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

/** Its ports. */
export interface Directory {
  readonly ldap: number;
  readonly ldaps: number;
}

/** Starts one; it is ended when the scope ends. */
export async function startSlapd(scope: Scope): Promise<Directory> {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-slapd-'));
  const file = (name: string): string => join(folder, name);
  mkdirSync(file('data'));
  for (const name of ['server.crt', 'server.key', 'ca.crt']) copyFileSync(join(TLS_FOLDER, name), file(name));
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
  reapProcess(child.pid!);
  scope.after(async () => {
    const exited = once(child, 'exit');
    child.kill();
    await exited;
    forgetProcess(child.pid!);
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
