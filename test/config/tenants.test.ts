/** The section [tenants]: its entries, its defaults, and the complaints about it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isTenantAdmin } from '../../src/admin/entrance.ts';
import { ConfigError } from '../../src/config/diagnostics.ts';
import { configFromText } from '../../src/config/load.ts';
import type { Config } from '../../src/config/config.ts';

const HEAD = `[pgbouncer]
[databases]
acme = host=a
acme_ro = host=a
beta = host=b reader_database=beta_ro
cluster = host=c topology_query=x
[tenants]
`;

function config(tenants: string): Config {
  return configFromText(HEAD + tenants, '/etc/x/pgbouncer.ini');
}

/** The complaints, without the file's folder. */
function problems(tenants: string): string {
  try {
    config(tenants);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message.replaceAll('/etc/x/', '');
  }
  return '';
}

test('an entry has all keys, and `*` gives what it does not name', () => {
  const { tenants, tenantDefaults } = config(`* = timeout=30 admin_users=root log_limit=5
acme = databases=acme,acme_ro functions_dir=/tmp targets=beta,beta_ro,cluster@writer timeout=50 memory_limit=32 cpu_limit=150 cache=4 \
shadow_limit=20 canary_tolerance=2 canary_duration=60 isolation=inline on_routing_failure=error on_rewrite_failure=disconnect admin_users=acme_ops,two
beta = databases=beta`);
  assert.deepEqual(tenants.get('acme'), {
    name: 'acme',
    databases: ['acme', 'acme_ro'],
    functions_dir: '/tmp',
    targets: ['beta', 'beta_ro', 'cluster@writer'],
    timeout: 50,
    memory_limit: 32,
    cache: 4,
    cpu_limit: 150,
    shadow_limit: 20,
    canary_tolerance: 2,
    canary_duration: 60_000,
    isolation: 'inline',
    on_routing_failure: 'error',
    on_rewrite_failure: 'disconnect',
    admin_users: ['acme_ops', 'two'],
    log_limit: 5,
  });
  const beta = tenants.get('beta')!;
  assert.deepEqual([beta.timeout, beta.admin_users, beta.log_limit, beta.isolation], [30, ['root'], 5, null]);
  assert.deepEqual([...tenants.keys()], ['acme', 'beta']);
  assert.equal(tenantDefaults.timeout, 30);
});

test('functions_dir starts at the folder of the configuration file', () => {
  assert.match(problems('acme = databases=acme functions_dir=rules'), /"\/?rules" is not a folder/);
});

const WRONG: readonly (readonly [entry: string, complaint: string])[] = [
  ['t = timeout=5', 'pgbouncer.ini:8: t: a tenant without databases (name them: databases=NAME,NAME)'],
  ['t = databases=acm', 'pgbouncer.ini:8: t: databases: no such database: "acm" (did you mean acme?)'],
  [
    't = databases=acme targets=betta',
    'pgbouncer.ini:8: t: targets: no such database: "betta" (did you mean beta?)',
  ],
  ['t = databases=acme targets=acme@writer', 'pgbouncer.ini:8: t: targets: no such database: "acme@writer"'],
  [
    't = databases=acme\nu = databases=beta,acme',
    'pgbouncer.ini:9: u: database "acme" belongs to the tenant t already (name it here or in pgbouncer.ini:8, not in both)',
  ],
  [
    't = databases=acme functions_dir=/no/such',
    'pgbouncer.ini:8: t: functions_dir: "/no/such" is not a folder (create it, or correct the path)',
  ],
  [
    '* = databases=acme',
    'pgbouncer.ini:8: *: databases belongs to one tenant, and * sets defaults for all (move it to the entry of that tenant)',
  ],
  [
    'beta = databases=acme',
    `pgbouncer.ini:8: beta: the database "beta" has this tenant's name and is in no tenant (add it to databases=, or give the tenant another name)`,
  ],
  [
    "'(operator)' = databases=acme",
    `pgbouncer.ini:8: (operator): tenant name "(operator)" is reserved (the options of [pgbouncer] are those of the operator's own functions)`,
  ],
  ['t = databases=acme timeout=0', 'pgbouncer.ini:8: t: timeout: 0 is out of range, allowed: 1 to 3600000'],
  [
    't = databases=acme isolation=vm',
    'pgbouncer.ini:8: t: isolation: invalid value "vm", one of process, inline',
  ],
  ['t = databases=acme cpus=5', 'pgbouncer.ini:8: t: unrecognized connection parameter: cpus'],
  [
    't = databases=acme cpu_limit=-1',
    'pgbouncer.ini:8: t: cpu_limit: -1 is out of range, allowed: 0 to 1000000',
  ],
  [
    "'\u001b[2J' = timeout=5",
    'pgbouncer.ini:8: \\x1b[2J: a tenant without databases (name them: databases=NAME,NAME)',
  ],
];
for (const [entry, complaint] of WRONG)
  test(`refused: ${JSON.stringify(entry)}`, () => {
    const text = problems(entry);
    assert.ok(text.startsWith(complaint), text);
  });

test('a database that only the entry `*` of [databases] knows may belong to a tenant', () => {
  const { tenants } = configFromText('[pgbouncer]\n[databases]\n* = host=a\n[tenants]\nt = databases=any');
  assert.deepEqual(tenants.get('t')?.databases, ['any']);
});

test("a tenant's administrators are those of its entry, or else those of `*`", () => {
  const conf = config('* = admin_users=root\nacme = databases=acme admin_users=ops\nbeta = databases=beta');
  const admins = (tenant: string): string[] =>
    ['root', 'ops', 'x'].filter((user) => isTenantAdmin(user, tenant, conf));
  assert.deepEqual(admins('acme'), ['ops']);
  assert.deepEqual(admins('beta'), ['root']);
  assert.deepEqual(admins('folder'), ['root']);
  assert.deepEqual(admins('(operator)'), []);
});

test('a functions_dir that can’t be examined is reported with file and line', () => {
  assert.match(
    problems(`acme = databases=acme functions_dir=/${'x'.repeat(300)}`),
    /^pgbouncer\.ini:8: acme: functions_dir: "\/x+" can't be examined: ENAMETOOLONG/,
  );
});

test('a tenant without databases has one complaint', () => {
  assert.equal(
    problems('acme = databases=,'),
    'pgbouncer.ini:8: acme: a tenant without databases (name them: databases=NAME,NAME)',
  );
});

test('a part of a cluster belongs to the tenant of its entry, and to no other', () => {
  const ini = (name: string): string => `[pgbouncer]
[databases]
* = host=a
dev = host=a topology_query='select 1' reader_database=dev_ro
[tenants]
t = databases=${name}`;
  for (const name of ['dev@writer', 'dev_ro'])
    assert.throws(() => configFromText(ini(name)), /is a part of a cluster \(name the entry of the cluster/);
  for (const name of ['dev', 'any', 'user@host']) configFromText(ini(name));
});
