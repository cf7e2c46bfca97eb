/** The databases that a change of a folder concerns. */
import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, realpath, rename, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { Folders } from '../../src/functions/tenants/folders.ts';
import { FunctionsConfig, type FunctionSettings } from '../../src/functions/tenants/settings.ts';
import { TestClock } from '../support/tenant.ts';

test('a folder that stays the same folder concerns its own databases, and one that is replaced concerns all', async (t) => {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'pgswitchyard-folders-')));
  t.after(() => rm(root, { recursive: true, force: true }));
  for (const name of ['a', 'b/inner', 'c']) await mkdir(join(root, name), { recursive: true });
  // what lies in b decides where the functions of d are
  await symlink('b/inner', join(root, 'd'));
  const databases = ['a', 'b', 'c', 'd'].map((name) => ({
    name,
    routing_rules_file: null,
    rewrite_query_file: null,
  }));
  const settings = { user_functions_dir: root } as FunctionSettings;
  const config = new FunctionsConfig(settings, databases, null);
  const folders = new Folders({
    config: () => config,
    clock: new TestClock(),
    onPlaces() {},
    onNewPlaces() {},
    onListed() {},
  });
  await folders.refresh();
  const affected = (...names: string[]): readonly string[] | null =>
    folders.affected(names.map((name) => join(root, name)));
  await chmod(join(root, 'a'), 0o700);
  assert.deepEqual(affected('a'), ['a']);
  assert.deepEqual(affected('a/routing_rules.ts', 'c', 'b/inner'), ['a', 'c', 'd']);
  for (const other of ['', 'b', 'd', 'e', 'routing_rules.ts'])
    assert.equal(affected('a', other), null, other);
  await rename(join(root, 'a'), join(root, 'former'));
  assert.equal(affected('a'), null);
  await mkdir(join(root, 'a'));
  assert.equal(affected('a'), null);
  await rm(join(root, 'c'), { recursive: true });
  await symlink('a', join(root, 'c'));
  assert.equal(affected('c'), null);
});
