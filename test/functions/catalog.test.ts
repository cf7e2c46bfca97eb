/** Which tenant applies to which database, with the test's own files, folders and versions. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { DatabaseFunctions } from '../../src/functions/build/sources.ts';
import { Catalog } from '../../src/functions/tenants/catalog.ts';
import type { Identity } from '../../src/functions/tenants/identity.ts';
import { FunctionsConfig, type FunctionSettings } from '../../src/functions/tenants/settings.ts';
import { Tenant } from '../../src/functions/tenants/tenant.ts';
import { bundleOf, settled, TENANT_SETTINGS, tenantContext, TestHost } from '../support/tenant.ts';

const SETTINGS = { user_functions_dir: '/rules', routing_rules_file: null, rewrite_query_file: null };

const entry = (name: string, own: Partial<DatabaseFunctions> = {}): DatabaseFunctions => ({
  name,
  routing_rules_file: null,
  rewrite_query_file: null,
  ...own,
});

/** Databases that have a folder of their own; null: unknown. */
class TestFolders {
  names: readonly string[] | null = [];

  get areListed(): boolean {
    return this.names !== null;
  }

  mayHave(name: string): boolean {
    return this.names === null || this.names.includes(name);
  }
}

/** A catalog over files that exist or not, without a disk. */
class World {
  readonly files: Set<string>;
  readonly folders = new TestFolders();
  config: FunctionsConfig;
  /** bundles are made at once; otherwise none is ever made */
  areBuilt = true;
  readonly gone: [name: string, isReplaced: boolean][] = [];
  made = 0;
  readonly catalog: Catalog;

  constructor(
    files: readonly string[],
    databases: readonly DatabaseFunctions[],
    fallback: DatabaseFunctions | null = null,
  ) {
    this.files = new Set(files);
    this.config = new FunctionsConfig(SETTINGS as FunctionSettings, databases, fallback);
    this.catalog = new Catalog({
      config: () => this.config,
      folders: this.folders,
      find: (folder, name, extensions) =>
        extensions.map((extension) => `${folder}/${name}${extension}`).find((file) => this.files.has(file)) ??
        null,
      lentFolder: () => null,
      hasLostFiles: () => false,
      newTenant: (identity, sources) => this.#newTenant(identity, sources),
      onFiles: (tenant, isNew) => (isNew ? tenant.load() : void tenant.reload()),
      onGone: (tenant, isReplaced) => this.gone.push([tenant.name, isReplaced]),
    });
  }

  #newTenant(identity: Identity, files: Tenant['files']): Tenant {
    this.made++;
    const bundle = (): Promise<ReturnType<typeof bundleOf>> =>
      this.areBuilt ? Promise.resolve(bundleOf('v1')) : new Promise(() => {});
    const context = tenantContext([], {
      builder: { bundle, asyncPlaces: () => Promise.resolve([]) },
      disk: {
        trailOf: () => Promise.resolve(new Map()),
        isThere: () => true,
        isSearched: () => true,
        next: () => null,
      },
      onBuilt: () => this.catalog.handOver(),
    });
    return new Tenant({ identity, files, settings: TENANT_SETTINGS, host: () => new TestHost(), context });
  }

  /** The files that apply to a database. */
  filesOf(name: string): string {
    const tenant = this.catalog.tenantOf(name);
    if (tenant === null) return 'none';
    return [tenant.files.routing, tenant.files.rewrite].map((file) => file ?? '-').join(' ');
  }
}

const OWN = '/rules/a/routing_rules.ts';
const GENERAL = '/rules/routing_rules.ts';

test('databases whose functions come from the same files have the same tenant', () => {
  const world = new World([OWN, GENERAL], [entry('a'), entry('b'), entry('c')]);
  const { catalog } = world;
  assert.equal(world.filesOf('a'), `${OWN} -`);
  assert.equal(world.filesOf('b'), `${GENERAL} -`);
  assert.equal(catalog.tenantOf('b'), catalog.tenantOf('c'));
  assert.notEqual(catalog.tenantOf('a'), catalog.tenantOf('b'));
  assert.deepEqual(catalog.databases().get(catalog.tenantOf('b')), ['b', 'c']);
  assert.equal(world.made, 2);
});

test('a database with a file of its own for one function has the general one for the other', () => {
  const world = new World([OWN, GENERAL, '/rules/rewrite_query.js'], [entry('a')]);
  assert.equal(world.filesOf('a'), `${OWN} /rules/rewrite_query.js`);
});

test('an option counts before a folder, and no files mean no tenant', () => {
  const world = new World([OWN], [entry('a', { routing_rules_file: '/x/one.ts' }), entry('b')]);
  assert.equal(world.filesOf('a'), '/x/one.ts -');
  assert.equal(world.filesOf('b'), 'none');
});

test('names that clients make up share the tenant of `*` and are not remembered', () => {
  const world = new World([GENERAL], [], entry('*'));
  const general = world.catalog.tenantOf('*');
  for (let i = 0; i < 100; i++) assert.equal(world.catalog.tenantOf(`made-up-${i}`), general);
  assert.deepEqual(world.catalog.databases().get(general), ['*']);
  world.folders.names = null;
  for (let i = 0; i < 100; i++) assert.equal(world.catalog.tenantOf(`unlisted-${i}`), general);
  assert.deepEqual(world.catalog.databases().get(general), ['*']);
});

test('a tenant applies until the one that takes its place has been loaded', async () => {
  const world = new World([GENERAL], [entry('a')]);
  const general = world.catalog.tenantOf('a');
  await settled();
  world.areBuilt = false;
  world.files.add(OWN);
  world.catalog.refresh();
  await settled();
  assert.equal(world.catalog.tenantOf('a'), general);
  assert.deepEqual(world.gone, []);
  assert.equal(world.made, 2);
});

test('a tenant that applies nowhere any more goes, and is replaced or removed', async () => {
  const world = new World([GENERAL], [entry('a')]);
  world.catalog.tenantOf('a');
  await settled();
  world.files.add(OWN);
  world.catalog.refresh();
  await settled();
  assert.equal(world.filesOf('a'), `${OWN} -`);
  assert.deepEqual(world.gone, [['/rules', true]]);
  world.files.clear();
  world.catalog.refresh();
  assert.equal(world.catalog.tenantOf('a'), null);
  assert.deepEqual(world.gone, [
    ['/rules', true],
    ['/rules/a', false],
  ]);
});

test('a tenant that has gone is known by no version, file or id', async () => {
  const world = new World([GENERAL], [entry('a')]);
  const tenant = world.catalog.tenantOf('a')!;
  await settled();
  const id = tenant.version!.id;
  assert.equal(world.catalog.servedBy(id), tenant);
  assert.deepEqual(world.catalog.using(GENERAL), [tenant]);
  world.files.clear();
  world.catalog.refresh();
  assert.equal(world.catalog.servedBy(id), undefined);
  assert.deepEqual(world.catalog.using(GENERAL), []);
  assert.equal(world.catalog.has(tenant), false);
});

test('a closed catalog makes no tenants', () => {
  const world = new World([GENERAL], [entry('a'), entry('b')]);
  world.catalog.tenantOf('a');
  world.catalog.close();
  assert.equal(world.catalog.tenantOf('b'), null);
  world.catalog.refresh();
  assert.equal(world.made, 1);
});

test('files that move to another name of the same folder are the same tenant', async () => {
  const world = new World([OWN], [entry('a')]);
  const tenant = world.catalog.tenantOf('a');
  await settled();
  world.files.clear();
  world.files.add('/rules/a/routing_rules.js');
  world.catalog.refresh();
  await settled();
  assert.equal(world.catalog.tenantOf('a'), tenant);
  assert.equal(world.filesOf('a'), '/rules/a/routing_rules.js -');
  assert.deepEqual([world.made, world.gone], [1, []]);
  assert.deepEqual(world.catalog.ownedBy('a'), [tenant]);
});
