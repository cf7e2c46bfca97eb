/** Configuration from environment variables. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { applySet, reloadConfig } from '../../src/config/change.ts';
import type { Config } from '../../src/config/config.ts';
import { ConfigError } from '../../src/config/diagnostics.ts';
import { loadConfig } from '../../src/config/load.ts';
import { printConfig } from '../../src/config/print.ts';

type Variables = Record<string, string>;

function fromEnv(variables: Variables, file: string | null = null, hasPlainNames = false): Config {
  return loadConfig({ file, environment: { variables, hasPlainNames } });
}

function problemsOf(variables: Variables): string[] {
  try {
    fromEnv(variables);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message.split('\n');
  }
  assert.fail('nothing was refused');
}

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'environment-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

test('each variable becomes the entry that the ini file would have', () => {
  const config = fromEnv({
    PGSWITCHYARD_DEFAULT_POOL_SIZE: '21',
    PGSWITCHYARD_UNIX_SOCKET_DIR: '',
    PGB_DATABASE2: 'test = host=t port=5433',
    PGB_DATABASE1: 'dev = host=d dbname=x',
    PGB_DATABASE10: "'my db' = host=m",
    PGB_DATABASES: 'host=f',
    PGB_USER1: 'app = pool_mode=session',
    PGB_TENANT1: 'acme = databases=dev',
    PGB_ADMIN_USERS: 'admin, ops',
    PGB_ADMIN_PASSWORDS: 'secret1,secret2',
    PGB_LISTEN_ADDR: '0.0.0.0',
    PGB_LISTEN_PORT: '5432',
    VERBOSE: '2',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
    HOME: '/root',
  });
  assert.deepEqual([...config.databases.keys()], ['dev', 'test', 'my db']);
  assert.deepEqual(config.fallback?.hosts, ['f']);
  assert.equal(config.users.get('app')?.pool_mode, 'session');
  assert.deepEqual(config.tenants.get('acme')?.databases, ['dev']);
  assert.deepEqual(
    [...config.userlist],
    [
      ['admin', 'secret1'],
      ['ops', 'secret2'],
    ],
  );
  const { default_pool_size: size, unix_socket_dir: folder, admin_users: admins } = config.settings;
  assert.deepEqual([size, folder, admins], [21, '', ['admin', 'ops']]);
  const { listen_addr: address, listen_port: port, verbose, conffile } = config.settings;
  assert.deepEqual([address, port, verbose, conffile], [['0.0.0.0'], 5432, 2, null]);
  assert.deepEqual(config.warnings, []);
});

test('PGB_DATABASES may have the name of its entry in front', () => {
  assert.deepEqual(fromEnv({ PGB_DATABASES: '* = host=f' }).fallback?.hosts, ['f']);
});

test('an entry that a template has left empty is no entry', () => {
  const config = fromEnv({
    PGB_DATABASE1: '',
    PGB_DATABASES: ' ',
    PGB_ADMIN_PASSWORDS: '',
    PGB_ADMIN_USERS: '',
  });
  assert.deepEqual([config.databases.size, config.fallback, config.userlist.size], [0, null, 0]);
});

test('our own names override those of the original, and both override the file', (t) => {
  const file = join(folderOf(t), 'pgbouncer.ini');
  writeFileSync(
    file,
    '[databases]\ndev = host=file\nother = host=file\n[pgbouncer]\nlisten_port = 1\nmax_client_conn = 7\n',
  );
  const variables = {
    listen_port: '2',
    PGB_LISTEN_PORT: '3',
    PGSWITCHYARD_LISTEN_PORT: '4',
    PGB_DATABASE1: 'dev = host=env',
  };
  const config = fromEnv(variables, file, true);
  assert.deepEqual([config.settings.listen_port, config.settings.max_client_conn], [4, 7]);
  assert.deepEqual(
    [config.databases.get('dev')?.hosts, config.databases.get('other')?.hosts],
    [['env'], ['file']],
  );
  assert.equal(fromEnv({ listen_port: '2' }, file, true).settings.listen_port, 2);
  assert.equal(fromEnv({ listen_port: '2' }, file).settings.listen_port, 1);
  assert.equal(config.settings.conffile, file);
});

test('_FILE reads a value from a file, without the line end', (t) => {
  const folder = folderOf(t);
  const passwords = join(folder, 'passwords');
  writeFileSync(passwords, 'a ,b\n');
  const users = join(folder, 'users');
  writeFileSync(users, 'x,y');
  const config = fromEnv({ PGB_ADMIN_USERS_FILE: users, PGB_ADMIN_PASSWORDS_FILE: passwords });
  assert.deepEqual(
    [...config.userlist],
    [
      ['x', 'a '],
      ['y', 'b'],
    ],
  );
  assert.deepEqual(config.environment?.files, [users, passwords]);
  writeFileSync(passwords, 'c,d');
  assert.deepEqual([...reloadConfig(config).config.userlist.values()], ['c', 'd']);
});

test('an option whose name ends in _file is itself', (t) => {
  const file = join(folderOf(t), 'userlist.txt');
  writeFileSync(file, '"app" "secret"\n"admin" "old"\n');
  const config = fromEnv({
    PGSWITCHYARD_AUTH_FILE: file,
    PGB_ADMIN_USERS: 'admin',
    PGB_ADMIN_PASSWORDS: 'new',
  });
  assert.deepEqual(
    [...config.userlist],
    [
      ['app', 'secret'],
      ['admin', 'new'],
    ],
  );
  assert.equal(applySet(config, 'auth_file', file).userlist.get('admin'), 'new');
});

for (const [name, variables, problems] of [
  [
    'a wrong value',
    { PGSWITCHYARD_LISTEN_PORT: 'x', PGB_LISTEN_PORT: '1' },
    [
      'PGSWITCHYARD_LISTEN_PORT: listen_port: invalid integer: "x" (digits; a leading 0 means octal, 0x hexadecimal)',
    ],
  ],
  [
    'no entry',
    { PGB_DATABASE1: 'host=x' },
    ['PGB_DATABASE1: host: syntax error in connection string: expected key=value'],
  ],
  [
    'two lines',
    { PGB_DATABASE1: 'a = host=x\nb = host=y' },
    ['PGB_DATABASE1: more than one line (one variable for each entry)'],
  ],
  [
    'fewer passwords than users',
    { PGB_ADMIN_USERS: 'a,b', PGB_ADMIN_PASSWORDS: 'x' },
    [
      'PGB_ADMIN_PASSWORDS: 1 passwords for 2 users of PGB_ADMIN_USERS: there must be one for each (passwords are separated by commas; use auth_file for a password with a comma)',
    ],
  ],
  [
    'an empty password',
    { PGB_ADMIN_USERS: 'a,b', PGB_ADMIN_PASSWORDS: 'x,' },
    ['PGB_ADMIN_PASSWORDS: password 2 is empty'],
  ],
  [
    'a value and a file',
    { PGB_LISTEN_PORT: '1', PGB_LISTEN_PORT_FILE: '/x' },
    ['PGB_LISTEN_PORT_FILE: PGB_LISTEN_PORT is set as well (set one of the two)'],
  ],
  [
    'a file that is not there',
    { PGSWITCHYARD_AUTH_TYPE_FILE: '/nonexistent' },
    ['PGSWITCHYARD_AUTH_TYPE_FILE: could not read "/nonexistent": no such file or directory'],
  ],
] as const) {
  test(`a problem names its variable: ${name}`, () => {
    assert.deepEqual(problemsOf(variables), problems);
  });
}

test('an unknown variable with our prefix is a warning with the nearest name', () => {
  assert.deepEqual(fromEnv({ PGSWITCHYARD_DEFAULT_POOL_SIZ: '1', PGB_LISTEN_PROT: '1' }).warnings, [
    'environment variable PGB_LISTEN_PROT is not known (did you mean PGB_LISTEN_PORT?)',
    'environment variable PGSWITCHYARD_DEFAULT_POOL_SIZ is not known (did you mean PGSWITCHYARD_DEFAULT_POOL_SIZE?)',
  ]);
});

test('variables that Kubernetes sets for a Service called pgswitchyard are not misspelt options', () => {
  const variables = {
    PGSWITCHYARD_PORT: 'tcp://10.0.0.1:5432',
    PGSWITCHYARD_PORT_5432_TCP: 'tcp://10.0.0.1:5432',
    PGSWITCHYARD_PORT_5432_TCP_ADDR: '10.0.0.1',
    PGSWITCHYARD_SERVICE_HOST: '10.0.0.1',
    PGSWITCHYARD_SERVICE_PORT: '5432',
    PGSWITCHYARD_SERVICE_PORT_POSTGRES: '5432',
  };
  assert.deepEqual(fromEnv(variables).warnings, []);
});

test('the printed configuration loads again, and has no secrets', (t) => {
  const folder = folderOf(t);
  const file = join(folder, 'pgbouncer.ini');
  writeFileSync(
    file,
    '[pgbouncer]\nmax_client_conn = 7\n[databases]\na = host=h\na = host=i password=geheim\n',
  );
  const config = fromEnv(
    {
      PGB_DATABASE1: "'my''db' = host=h password='ge heim' connect_query='select ''x'''",
      PGB_ADMIN_USERS: 'admin',
      PGB_ADMIN_PASSWORDS: 'geheim',
      PGSWITCHYARD_AUTH_LDAP_OPTIONS: 'ldapserver=x ldapbindpasswd=geheim',
    },
    file,
  );
  const text = printConfig(config);
  assert.doesNotMatch(text, /geheim|ge heim/);
  assert.equal(
    text,
    `[pgbouncer]
; ${file}:2
max_client_conn = 7
; PGB_ADMIN_USERS
admin_users = admin
; PGSWITCHYARD_AUTH_LDAP_OPTIONS
auth_ldap_options = ********

[databases]
; ${file}:5
a = host=i password=********
; PGB_DATABASE1
'my''db' = host=h password=******** connect_query='select ''x'''

; beside auth_file, the environment has passwords for: admin
`,
  );
  writeFileSync(join(folder, 'again.ini'), text);
  const again = loadConfig(join(folder, 'again.ini'));
  assert.equal(again.databases.get("my'db")?.connect_query, "select 'x'");
});
