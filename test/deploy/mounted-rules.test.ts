/** Rules as kubelet mounts them from a ConfigMap: each file is a link through `..data`, which is swapped as a whole. */
import assert from 'node:assert/strict';
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, test, type TestContext } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });

const to = (dbkey: string): string => `export const routing_rules = () => '${dbkey}';\n`;

/** What kubelet does to a mounted folder. */
class ConfigMapVolume {
  readonly #folder: string;
  #revision = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** A new folder is written, one link is renamed, and the folder before is removed. @param files by path */
  async update(files: Record<string, string>): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const listed = await readdir(this.#folder);
    const next = `..2026_01_01_00_00_00.${++this.#revision}`;
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(this.#folder, next, path)), { recursive: true });
      await writeFile(join(this.#folder, next, path), text);
    }
    await symlink(next, join(this.#folder, '..data_tmp'));
    await rename(join(this.#folder, '..data_tmp'), join(this.#folder, '..data'));
    // only the first part of a path is a link beside ..data
    const links = listed.filter((name) => !name.startsWith('..'));
    const wanted = new Set(Object.keys(files).map((path) => path.split('/')[0]!));
    for (const name of wanted)
      if (!links.includes(name)) await symlink(`..data/${name}`, join(this.#folder, name));
    for (const name of links) if (!wanted.has(name)) await rm(join(this.#folder, name));
    for (const name of listed)
      if (name.startsWith('..2026')) await rm(join(this.#folder, name), { recursive: true });
  }
}

interface Mounted {
  readonly bouncer: Bouncer;
  readonly volume: ConfigMapVolume;
  /** waits until queries are answered by this database */
  reaches(dbname: string): Promise<void>;
}

async function start(t: TestContext, files: Record<string, string>): Promise<Mounted> {
  const bouncer = await Bouncer.prepare(t, {
    databases: { a: cluster.connectionString(), b: cluster.connectionString('template1') },
    settings: { routing_rules_on_failure: 'pass', user_function_removal_grace: 0 },
  });
  const volume = new ConfigMapVolume(join(bouncer.folder, 'user-functions'));
  await volume.update(files);
  await bouncer.start();
  const reaches = async (dbname: string): Promise<void> => {
    await until(`queries to reach ${dbname}`, async () => {
      const [row] = await bouncer.sql('select current_database() as name', { database: 'a' });
      return row!['name'] === dbname;
    });
  };
  return { bouncer, volume, reaches };
}

test('every update of the ConfigMap loads the rules again', async (t) => {
  const { bouncer, volume, reaches } = await start(t, { 'routing_rules.ts': to('b') });
  await reaches('template1');
  const { pid } = bouncer;
  for (const [dbkey, dbname] of [
    ['a', 'postgres'],
    ['b', 'template1'],
    ['a', 'postgres'],
  ] as const) {
    await volume.update({ 'routing_rules.ts': to(dbkey) });
    await reaches(dbname);
  }
  assert.equal(bouncer.pid, pid);
});

test('an update that breaks a rule leaves the version before in place, and the next one mends it', async (t) => {
  const { bouncer, volume, reaches } = await start(t, { 'routing_rules.ts': to('b') });
  await reaches('template1');
  await volume.update({ 'routing_rules.ts': 'export const routing_rules = (' });
  await bouncer.waitForLog(/routing_rules\.ts:1:\d+/);
  await reaches('template1');
  await volume.update({ 'routing_rules.ts': to('a') });
  await reaches('postgres');
});

test("an imported file of the same ConfigMap is part of the rule's next version", async (t) => {
  const rule = "import { to } from './targets.ts';\nexport const routing_rules = () => to;\n";
  const { volume, reaches } = await start(t, {
    'routing_rules.ts': rule,
    'targets.ts': "export const to = 'b';\n",
  });
  await reaches('template1');
  await volume.update({ 'routing_rules.ts': rule, 'targets.ts': "export const to = 'a';\n" });
  await reaches('postgres');
});

test('a rule in a folder of its database, by `items` of the volume, is loaded again', async (t) => {
  const answering = (name: string): Record<string, string> => ({
    'a/rewrite_query.ts': `export const rewrite_query = () => "select '${name}' as name";\n`,
  });
  const { volume, reaches } = await start(t, answering('first'));
  await reaches('first');
  await volume.update(answering('second'));
  await reaches('second');
});

test('rules may be added to the ConfigMap, and be removed from it', async (t) => {
  const { volume, reaches } = await start(t, { 'README.md': 'no rules yet\n' });
  await reaches('postgres');
  await volume.update({ 'README.md': 'rules\n', 'routing_rules.ts': to('b') });
  await reaches('template1');
  await volume.update({ 'README.md': 'no rules any more\n' });
  await reaches('postgres');
});
