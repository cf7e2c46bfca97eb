/** Passwords that a directory or the operating system checks, from the client through to PostgreSQL. */
import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { noFfi } from '../support/ffi.ts';
import { noSlapd, startSlapd } from '../support/slapd.ts';

const PASSWORD = 'pässword';
const REFUSED = { severity: 'FATAL', code: '28P01' };

/** A server that requires the same password. */
async function server(t: { after(work: () => Promise<void> | void): void }): Promise<Cluster> {
  return await Cluster.start(t, {
    hba: ['local all all trust', 'host all postgres all trust', 'host all all all scram-sha-256'],
    sql: `CREATE ROLE alice LOGIN PASSWORD '${PASSWORD}'`,
  });
}

test('LDAP: by auth_ldap_options and by a line of the HBA file', { skip: noSlapd }, async (t) => {
  const cluster = await server(t);
  const directory = await startSlapd(t);
  const ldap = `ldapserver=127.0.0.1 ldapport=${directory.ldap}`;
  const simple = `${ldap} ldapprefix="uid=" ldapsuffix=",dc=example,dc=net"`;
  const search = `${ldap} ldapbasedn="dc=example,dc=net"`;
  const bouncer = await Bouncer.start(t, {
    databases: { app: cluster.connectionString() },
    settings: { auth_type: 'ldap', auth_ldap_options: simple, auth_hba_file: 'hba.conf' },
    files: { 'hba.conf': `host all alice all ldap ${search}\nhost all all all trust\n` },
    userlist: { alice: '' },
  });
  const logIn = async (password: string): Promise<unknown> => {
    const client = await bouncer.connect({ database: 'app', user: 'alice', password });
    return (await client.query('SELECT current_user AS user')).rows[0];
  };
  assert.deepEqual(await logIn(PASSWORD), { user: 'alice' });
  await assert.rejects(logIn('wrong'), REFUSED);
  bouncer.settings['auth_type'] = 'hba';
  bouncer.settings['auth_ldap_options'] = '';
  await bouncer.stop();
  await bouncer.writeFiles();
  await bouncer.start();
  assert.deepEqual(await logIn(PASSWORD), { user: 'alice' });
  await assert.rejects(logIn('wrong'), REFUSED);
});

const SERVICE = '/etc/pam.d/pgbouncer';
const noPam: string | false =
  process.getuid?.() !== 0
    ? 'only root can add a PAM service'
    : !existsSync('/etc/pam.d')
      ? 'there is no PAM here'
      : existsSync(SERVICE)
        ? `${SERVICE} is there already`
        : noFfi;

test('PAM: the service is called pgbouncer', { skip: noPam }, async (t) => {
  const cluster = await server(t);
  const bouncer = await Bouncer.start(t, {
    databases: { app: cluster.connectionString() },
    settings: { auth_type: 'pam' },
    userlist: { alice: '' },
  });
  // pam_exec ends the password with a zero byte
  const program = join(bouncer.folder, 'check');
  writeFileSync(program, `#!/bin/sh\n[ "$(tr -d '\\000')" = ${PASSWORD} ]\n`, { mode: 0o755 });
  t.after(() => rmSync(SERVICE, { force: true }));
  writeFileSync(
    SERVICE,
    `auth required pam_exec.so quiet expose_authtok ${program}\naccount required pam_permit.so\n`,
  );
  const client = await bouncer.connect({ database: 'app', user: 'alice', password: PASSWORD });
  assert.deepEqual((await client.query('SELECT current_user AS user')).rows, [{ user: 'alice' }]);
  await assert.rejects(bouncer.connect({ database: 'app', user: 'alice', password: 'wrong' }), REFUSED);
});
