/** Whose functions a database's are, what they may name, and which settings they get. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configFromText } from '../../src/config/load.ts';
import { sourceFiles } from '../../src/functions/build/sources.ts';
import { identityOf } from '../../src/functions/tenants/identity.ts';
import {
  FunctionsConfig,
  tenantSettings,
  type FunctionSettings,
} from '../../src/functions/tenants/settings.ts';
import { Targets } from '../../src/functions/tenants/targets.ts';

const DATABASES = `acme = host=a
acme_ro = host=a
acme.secret = host=a
acme.old = host=a
beta = host=b
own = host=b
shared = host=b
optional = routing_rules_file=/dev/null
optional2 = routing_rules_file=/dev/null`;

const TENANTS = `* = timeout=70 log_limit=3
acme = databases=acme,acme_ro targets=shared timeout=50 isolation=inline on_routing_failure=error
spy = databases=acme.secret functions_dir=/tmp`;

function configOf(tenants = TENANTS, root = '/rules'): FunctionsConfig {
  const config = configFromText(
    `[pgbouncer]\n[databases]\n${DATABASES}\n[tenants]\n${tenants}`,
    '/etc/x.ini',
  );
  const settings = { ...config.settings, user_functions_dir: root } as FunctionSettings;
  return new FunctionsConfig(settings, config.databases.values(), config.fallback, config);
}

const FILES = [
  '/rules/routing_rules.ts',
  '/rules/acme/routing_rules.ts',
  '/rules/own/rewrite_query.ts',
  '/rules/acme_ro/routing_rules.ts',
  '/tmp/routing_rules.ts',
];

/** The name of a database's tenant, the identity of its functions, and their files. */
function whose(config: FunctionsConfig, database: string): string {
  const files = sourceFiles(
    config.settings,
    database,
    config.databaseOf(database),
    (folder, name, extensions) =>
      extensions.map((extension) => `${folder}/${name}${extension}`).find((file) => FILES.includes(file)) ??
      null,
    config.folderOf(database),
  )!;
  const { owner, id } = identityOf(config, database, files);
  return `${owner} ${id} ${files.routing ?? '-'} ${files.rewrite ?? '-'}`;
}

const OWNERS: readonly (readonly [database: string, expected: string])[] = [
  ['acme', 'acme ["acme"] /rules/acme/routing_rules.ts -'],
  // its own folder belongs to nobody: the database is acme's
  ['acme_ro', 'acme ["acme"] /rules/acme/routing_rules.ts -'],
  ['acme.secret', 'spy ["spy"] /tmp/routing_rules.ts -'],
  ['beta', '(operator) ["(operator)"] /rules/routing_rules.ts -'],
  ['own', 'own ["own"] /rules/routing_rules.ts /rules/own/rewrite_query.ts'],
  ['optional', 'optional ["optional","/dev/null",null] /dev/null -'],
  ['optional2', 'optional ["optional","/dev/null",null] /dev/null -'],
];
for (const [database, expected] of OWNERS)
  test(`the functions of ${database} belong to ${expected.split(' ')[0]}`, () => {
    assert.equal(whose(configOf(), database), expected);
  });

test('a tenant that moves its folder keeps its identity', () => {
  const moved = configOf('acme = databases=acme functions_dir=/tmp');
  assert.equal(whose(moved, 'acme'), 'acme ["acme"] /tmp/routing_rules.ts -');
});

test('a database has no claim to the folder of a tenant that it does not belong to', () => {
  const folderOf = (name: string): string | null => configOf('t = databases=acme').folderOf(name);
  assert.equal(folderOf('acme'), '/rules/t');
  assert.equal(folderOf('t'), null);
  assert.equal(folderOf('beta'), '/rules/beta');
  assert.equal(folderOf('..'), null);
});

test('targets: own databases, their variants unless another tenant has them, and what `targets` adds', () => {
  const config = configOf();
  const targets = new Targets(config, (name) => {
    const entry = name.replace(/@.*/, '');
    return config.databases.has(entry) ? entry : null;
  });
  const own = { routing: '/rules/acme/routing_rules.ts', rewrite: null };
  const may = (entry: string): string[] =>
    [...config.databases.keys(), 'acme_ro@writer', 'beta@readers', 'nowhere'].filter((name) =>
      targets.mayName(own, entry, name),
    );
  const acmes = ['acme', 'acme_ro', 'acme.old', 'shared', 'acme_ro@writer'];
  assert.deepEqual(may('acme'), acmes);
  assert.deepEqual(may('acme_ro'), acmes);
  assert.deepEqual(may('own'), ['own']);
  assert.deepEqual(targets.nameable(own, 'acme'), ['acme', 'acme_ro', 'acme.old', 'shared']);
  const operators = { routing: '/rules/routing_rules.ts', rewrite: null };
  assert.ok(targets.mayName(operators, 'acme', 'beta@readers'));
  assert.equal(targets.nameable(operators, 'acme'), undefined);
});

test('settings: the entry, then `*`, then [pgbouncer]; those of the operator are [pgbouncer] alone', () => {
  const config = configOf();
  const of = (owner: string): unknown[] => {
    const settings = tenantSettings(config.settings, config.tenantConfig(owner), []);
    const { timeoutMs, memoryLimitMb, isolation, onRoutingFailure, onRewriteFailure, maxPrinted } = settings;
    return [timeoutMs, memoryLimitMb, isolation, onRoutingFailure, onRewriteFailure, maxPrinted];
  };
  assert.deepEqual(of('acme'), [50, 64, 'inline', 'error', 'pass', 3]);
  assert.deepEqual(of('spy'), [70, 64, 'process', 'pass', 'pass', 3]);
  assert.deepEqual(of('own'), [70, 64, 'process', 'pass', 'pass', 3]);
  assert.deepEqual(of('(operator)'), [100, 64, 'process', 'pass', 'pass', 100]);
});

test('processes are as large as the tenant with the highest memory limit needs', () => {
  assert.equal(configOf('acme = databases=acme memory_limit=8').memoryLimitMb, 64);
  assert.equal(configOf('acme = databases=acme memory_limit=256').memoryLimitMb, 256);
});

test("the policies for a file that nobody has used yet are those of its folder's tenant", () => {
  const config = configOf();
  const policy = (file: string): string => config.policiesOf(file).onRoutingFailure;
  assert.equal(policy('/rules/acme/routing_rules.ts'), 'error');
  assert.equal(policy('/tmp/routing_rules.ts'), 'pass');
  const strict = configOf('* = on_routing_failure=disconnect');
  assert.equal(strict.policiesOf('/rules/own/routing_rules.ts').onRoutingFailure, 'disconnect');
  assert.equal(strict.policiesOf('/rules/routing_rules.ts').onRoutingFailure, 'pass');
});

test("files of the operator's that are found in a database's or tenant's folder are kept apart", () => {
  const inRoot = configOf('acme = databases=acme functions_dir=/tmp', '/tmp');
  assert.equal(inRoot.folderOf('acme'), '/tmp');
  const identity = (routing: string, database: string): string =>
    identityOf(inRoot, database, { routing, rewrite: null }).id;
  // [pgbouncer] may name another file, which the other databases have
  assert.notEqual(identity('/tmp/routing_rules.ts', 'acme'), identity('/tmp/routing_rules.js', 'beta'));
  const named = { routing: '/rules/(operator)/routing_rules.ts', rewrite: null };
  assert.notEqual(identityOf(configOf(), '(operator)', named).id, '["(operator)"]');
});

test('a tenant that is renamed keeps its settings while its functions are loaded under the new name', () => {
  const renamed = configOf('new = databases=acme on_routing_failure=error isolation=inline');
  assert.equal(renamed.tenantConfig('old', 'acme').on_routing_failure, 'error');
  assert.equal(renamed.tenantConfig('old', 'acme').isolation, 'inline');
  assert.equal(renamed.tenantConfig('old', null).on_routing_failure, null);
  assert.equal(renamed.tenantConfig('(operator)', 'acme').on_routing_failure, null);
});
