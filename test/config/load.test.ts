/** Loading a configuration as a whole. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { applySet, diff, reloadConfig } from '../../src/config/change.ts';
import { ConfigError } from '../../src/config/diagnostics.ts';
import { configMarkdown, configSchema } from '../../src/config/docs.ts';
import { configFromText, loadConfig } from '../../src/config/load.ts';
import { OPTION_NAMES } from '../../src/config/options.ts';
import { showConfig } from '../../src/config/show.ts';

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'config-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function problemsOf(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message.split('\n');
  }
  assert.fail('nothing was refused');
}

function shown(config: Parameters<typeof showConfig>[0], key: string): string | null | undefined {
  return showConfig(config).find((row) => row.key === key)?.value;
}

test('a whole file', (t) => {
  const folder = folderOf(t);
  const userlist = join(folder, 'userlist.txt');
  mkdirSync(join(folder, 'user-functions'));
  writeFileSync(userlist, '"app" "secret"\n');
  writeFileSync(join(folder, 'rules.ts'), '');
  const file = join(folder, 'pgbouncer.ini');
  writeFileSync(
    file,
    `[databases]
db = host=h dbname=x rewrite_query_file=rules.ts
* = host=f
[users]
app = pool_mode=session
[peers]
1 = host=/tmp
[pgbouncer]
listen_addr = 127.0.0.1, ::1
auth_file = ${userlist}
query_wait_timeout = 1.5
routing_rules_file = rules.ts
unix_socket_dir =
`,
  );
  const config = loadConfig(file);
  assert.equal(config.file, file);
  assert.deepEqual(config.settings.listen_addr, ['127.0.0.1', '::1']);
  assert.equal(config.settings.query_wait_timeout, 1500);
  assert.equal(config.settings.unix_socket_dir, '');
  assert.equal(config.settings.routing_rules_file, join(folder, 'rules.ts'));
  assert.equal(config.settings.user_functions_dir, join(folder, 'user-functions'));
  assert.equal(config.databases.get('db')?.rewrite_query_file, join(folder, 'rules.ts'));
  assert.equal(config.databases.has('*'), false);
  assert.deepEqual(config.fallback?.hosts, ['f']);
  assert.equal(config.users.get('app')?.pool_mode, 'session');
  assert.equal(config.peers.get(1)?.host, '/tmp');
  assert.deepEqual([...config.userlist], [['app', 'secret']]);
  assert.equal(config.hba, null);
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.settings));
});

test('all mistakes of all kinds are reported together', () => {
  const problems = problemsOf(() =>
    configFromText(
      `[pgbouncer]
pool_mod = session
pool_mode = transactions
listen_port = 70000
log_connections = yes
query_timeout = -1
auth_type = hba
auth_hba_file = /nonexistent/hba.conf
routing_rules_py_module_file = /etc/rules.py
routing_rules_file = /nonexistent/r.ts
user_functions_dir = /nonexistent/f
client_tls_sslmode = require
client_tls_key_file = /nonexistent/k
[databses]
x = y
`,
      'p.ini',
    ),
  );
  const expected = [
    /^p\.ini:2: pool_mod: unknown option \(did you mean pool_mode\?\)$/,
    /^p\.ini:3: pool_mode: invalid value "transactions" \(one of session, transaction, statement\)$/,
    /^p\.ini:4: listen_port: 70000 is out of range \(allowed: 0 to 65535\)$/,
    /^p\.ini:5: log_connections: invalid value "yes" \(write 1\)$/,
    /^p\.ini:6: query_timeout: -1 is out of range/,
    /^p\.ini:9: routing_rules_py_module_file: .*routing_rules_file.*docs\/porting-python-rules\.md/,
    /^p\.ini:14: unknown section: \[databses\] \(did you mean databases\?\)$/,
    /^p\.ini:10: routing_rules_file: could not read/,
    /^p\.ini:11: user_functions_dir: "\/nonexistent\/f" is not a folder$/,
    /^p\.ini:8: auth_hba_file: could not open auth_hba_file "\/nonexistent\/hba.conf": no such file or directory$/,
    /^TLS setup failed: p\.ini:13: client_tls_key_file: could not read .*: No such file or directory$/,
  ];
  assert.equal(problems.length, expected.length, problems.join('\n'));
  expected.forEach((pattern, index) => assert.match(problems[index]!, pattern));
});

test('the main section is required', () => {
  assert.match(
    problemsOf(() => configFromText('[databases]\n'))[0]!,
    /main section missing from config file/,
  );
});

test('a folder for user functions that is only the default may be missing; empty means none', () => {
  assert.equal(configFromText('[pgbouncer]\n', '/nonexistent/p.ini').settings.user_functions_dir, '');
  assert.equal(configFromText('[pgbouncer]\nuser_functions_dir =\n').settings.user_functions_dir, '');
});

test('options that cannot have an effect are named in one warning', () => {
  const config = configFromText(
    '[pgbouncer]\ntopology_refresh = 5\npkt_buf = 8192\npool_mode = session\n[databases]\nd = topology_query=q\n',
  );
  assert.deepEqual(config.warnings, ['options without effect: pkt_buf']);
  assert.deepEqual(configFromText('[pgbouncer]\n').warnings, []);
});

test('a port for HTTP without an address is a mistake; an address without a port is none', () => {
  assert.throws(
    () => configFromText('[pgbouncer]\nhttp_listen_port = 9127\nhttp_listen_addr =\n', 'p.ini'),
    /p\.ini:3: http_listen_addr: http_listen_port needs an address/,
  );
  assert.equal(configFromText('[pgbouncer]\nhttp_listen_addr =\n').settings.http_listen_port, 0);
});

test('a URL of a collector has neither a password nor a query, and its mistake does not show it', () => {
  for (const url of ['http://u:geheim@h', 'ftp://u:geheim@h', 'https://h/?key=geheim', 'https://h/#geheim'])
    assert.throws(
      () => configFromText(`[pgbouncer]\notlp_endpoint = '${url}'\n`),
      (error: Error) => /otlp_endpoint: a URL must/.test(error.message) && !error.message.includes('geheim'),
      url,
    );
});

test('a key that occurs again overrides; a second [pgbouncer] starts from the defaults and says so', () => {
  const config = configFromText(
    '[pgbouncer]\npool_mode = session\npool_mode = statement\nauth_user = a\n[databases]\n[pgbouncer]\nmax_client_conn = 7\n',
    'p.ini',
  );
  assert.equal(config.settings.pool_mode, 'session');
  assert.equal(config.settings.auth_user, 'a');
  assert.equal(config.settings.max_client_conn, 7);
  assert.match(config.warnings[0]!, /^p\.ini:6: a second \[pgbouncer\] section .*: pool_mode$/);
});

test('SHOW CONFIG has the order of the table, pgbouncer’s spelling, and NULL for unset options', () => {
  const config = configFromText(
    '[pgbouncer]\nadmin_users = a,b\nunix_socket_mode = 0700\nauth_ldap_options = ldapbindpasswd=geheim\nverbose = 1\n',
    '/x/p.ini',
  );
  const rows = showConfig(config);
  assert.equal(rows.length, OPTION_NAMES.length - 1, 'all but service_name');
  assert.equal(shown(config, 'admin_users'), 'a,b');
  assert.equal(shown(config, 'unix_socket_mode'), '448');
  assert.equal(shown(config, 'auth_file'), null);
  assert.equal(shown(config, 'verbose'), '1');
  assert.equal(shown(config, 'auth_ldap_options'), '********');
  assert.equal(shown(config, 'conffile'), '/x/p.ini');
  assert.equal(shown(config, 'track_extra_parameters'), 'IntervalStyle');
  assert.deepEqual(
    rows.find((row) => row.key === 'listen_port'),
    {
      key: 'listen_port',
      value: '6432',
      default: '6432',
      changeable: 'no',
    },
  );
});

test('SET changes reloadable options and no others', (t) => {
  const userlist = join(folderOf(t), 'u.txt');
  writeFileSync(userlist, '"new" "x"\n');
  const config = configFromText('[pgbouncer]\n');
  const changed = applySet(config, 'query_timeout', '2.5');
  assert.equal(changed.settings.query_timeout, 2500);
  assert.equal(config.settings.query_timeout, 0);
  assert.deepEqual([...applySet(config, 'auth_file', userlist).userlist], [['new', 'x']]);
  assert.throws(
    () => applySet(config, 'listen_port', '1'),
    /listen_port cannot be changed without a restart/,
  );
  assert.throws(() => applySet(config, 'nonsense', '1'), /unknown option: nonsense/);
  assert.throws(() => applySet(config, 'pool_mode', 'x'), /invalid value "x"/);
  assert.throws(() => applySet(config, 'auth_file', '/nonexistent/u'), ConfigError);
});

test('RELOAD restores defaults where there are any, and keeps options that need a restart', (t) => {
  const file = join(folderOf(t), 'p.ini');
  writeFileSync(
    file,
    '[databases]\na = host=1\nb = host=1\n* = host=1\n[pgbouncer]\nlisten_port = 1000\nauth_user = u\nserver_lifetime = 1\n',
  );
  const old = applySet(loadConfig(file), 'query_timeout', '9');
  writeFileSync(file, '[databases]\nb = host=2\nc = host=1\n[pgbouncer]\nlisten_port = 2000\n');
  const { config, diff: changes } = reloadConfig(old);
  assert.equal(config.settings.query_timeout, 0, 'undoes SET');
  assert.equal(config.settings.server_lifetime, 3600000);
  assert.equal(config.settings.auth_user, 'u', 'has no default');
  assert.equal(config.settings.listen_port, 1000);
  assert.equal(shown(config, 'listen_port'), '1000');
  assert.deepEqual(changes.needRestart, ['listen_port']);
  assert.deepEqual(changes.changed, ['listen_port', 'query_timeout', 'server_lifetime']);
  assert.deepEqual(changes.databases, { added: ['c'], removed: ['a', '*'], changed: ['b'] });
  assert.deepEqual(diff(config, config).changed, []);

  writeFileSync(file, '[pgbouncer]\nnonsense = 1\n');
  assert.throws(() => reloadConfig(config), ConfigError);
});

test('auth_type = hba reads the HBA and ident files, and needs the former', (t) => {
  const folder = folderOf(t);
  writeFileSync(join(folder, 'hba'), 'local all all peer map=m\n');
  writeFileSync(join(folder, 'ident'), 'm root app\n');
  const files = `auth_hba_file = ${join(folder, 'hba')}\nauth_ident_file = ${join(folder, 'ident')}\n`;
  const config = configFromText(`[pgbouncer]\nauth_type = hba\n${files}`);
  assert.equal(config.hba?.[0]?.method, 'peer');
  assert.equal(config.identMaps.get('m')?.[0]?.user, 'app');
  assert.equal(configFromText(`[pgbouncer]\n${files}`).hba, null);
  const [problem] = problemsOf(() => configFromText('[pgbouncer]\nauth_type = hba\n', 'p.ini'));
  assert.equal(problem, 'p.ini:2: auth_type: auth_type = hba needs auth_hba_file');
});

test('unreadable lines of auth files do not count; an auth_file may be missing at the start', (t) => {
  const folder = folderOf(t);
  const at = (name: string): string => join(folder, name);
  writeFileSync(at('users'), '"a" "x"\nb y\n"c" "z"\n');
  writeFileSync(at('hba'), 'host all all samenet trust\nlocal all all trust\n');
  writeFileSync(at('ident'), 'm root\nm root app\n');
  const files = `auth_file = ${at('users')}\nauth_hba_file = ${at('hba')}\nauth_ident_file = ${at('ident')}\n`;
  writeFileSync(at('p.ini'), `[pgbouncer]\nauth_type = hba\n${files}`);
  const config = loadConfig(at('p.ini'));
  assert.deepEqual([...config.userlist.keys()], ['a', 'c']);
  assert.deepEqual(
    config.hba?.map(({ line }) => line),
    [2],
  );
  assert.equal(config.identMaps.get('m')?.length, 1);
  const expected = [
    /^could not parse auth file line 2: /,
    /^could not parse hba config line 1: invalid address/,
  ];
  expected.push(/^could not parse ident map line 1: expected three fields.* \[.*ident\]$/);
  expected.forEach((pattern, index) => assert.match(config.authProblems[index]!, pattern));
  assert.deepEqual(reloadConfig(config).config.authProblems, config.authProblems);

  rmSync(at('users'));
  const first = loadConfig(at('p.ini'));
  assert.match(first.authProblems[0]!, /^could not open auth_file ".*users": no such file or directory$/);
  assert.equal(first.userlist.size, 0);
  assert.deepEqual(reloadConfig(first).config.authProblems, first.authProblems);
  assert.throws(() => reloadConfig(config), /could not open auth_file/);
});

test('the manual and the schema name every option', () => {
  const schema = JSON.parse(configSchema()) as { properties: Record<string, unknown> };
  assert.deepEqual(Object.keys(schema.properties), [...OPTION_NAMES]);
  const manual = configMarkdown();
  for (const name of OPTION_NAMES) assert.ok(manual.includes(`\n| \`${name}\` |`), name);
});
