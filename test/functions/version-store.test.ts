/** The history of versions, in memory and in a state folder that may be shared, damaged, full or somebody else's. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import type { Bundle } from '../../src/functions/build/bundle-job.ts';
import { codeHash } from '../../src/functions/build/artifact.ts';
import type { VersionFacts, VersionKey } from '../../src/functions/store/version-record.ts';
import { VersionStore } from '../../src/functions/store/version-store.ts';
import { programVersion } from '../../src/platform/program-version.ts';
import { bundleOf } from '../support/tenant.ts';
import { world } from '../support/state-folder.ts';

const ACME: VersionKey = { owner: 'acme', id: '["acme"]' };
const FACTS: VersionFacts = {
  checkedWith: {
    program: programVersion(),
    node: '26.0.0',
    timeoutMs: 100,
    memoryLimitMb: 64,
    maxResult: 1_000,
    isolation: 'process',
  },
  findings: {
    manifest: { routes: true, rewrites: false, options: { pure: false, sees: 'text' } },
    route: null,
  },
  operators: '',
  isArtifact: false,
};

function coded(code: string): Bundle {
  return { ...bundleOf(code), hash: codeHash(Buffer.from(code)) };
}

async function serve(store: VersionStore, code: string, key = ACME): Promise<number> {
  const { number } = await store.add(key, coded(code), FACTS);
  store.noteServing(key, number);
  await store.flush();
  return number;
}

const numbersOf = (store: VersionStore, owner = 'acme'): number[] =>
  store.history(owner).map(({ number }) => number);

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
}

test('versions are numbered for each tenant, and equal code keeps its number', async () => {
  const store = new VersionStore(null, { warn() {}, error() {} });
  assert.equal(await serve(store, 'a'), 1);
  assert.equal(await serve(store, 'b'), 2);
  assert.equal(await serve(store, 'a'), 1);
  assert.equal(store.latest(ACME)?.number, 1);
  assert.equal(await serve(store, 'a', { owner: 'beta', id: '["beta"]' }), 1);
  assert.equal((await store.bundleOf('acme', 2))?.code, 'b');
  assert.equal(await store.bundleOf('acme', 3), null);
});

test('a restart knows records, bundles, what served, pins and pauses', async (t) => {
  const { restart, lines } = await world(t);
  const before = await restart();
  await serve(before, 'a');
  await serve(before, 'b');
  before.pin(ACME, { number: 1, by: 'tenant', user: 'ops', untilFiles: false });
  before.setPause('acme', { by: 'operator', user: 'root', as: 'error' });
  await before.flush();
  const after = await restart();
  const hash = coded('a').hash;
  assert.deepEqual(after.pinOf(ACME), { number: 1, hash, by: 'tenant', user: 'ops', untilFiles: false });
  assert.deepEqual(after.pauseOf('acme'), { by: 'operator', user: 'root', as: 'error' });
  await after.open('acme');
  assert.deepEqual(after.history('acme'), before.history('acme'));
  assert.equal(after.latest(ACME)?.number, 2);
  assert.deepEqual(await after.bundleOf('acme', 1), coded('a'));
  assert.equal(await serve(after, 'c'), 3);
  after.unpin(ACME);
  after.setPause('acme', null);
  await after.flush();
  const last = await restart();
  assert.equal(last.pinOf(ACME), null);
  assert.equal(last.pauseOf('acme'), null);
  assert.deepEqual(lines, []);
});

test('the version before another one is the one that its files held before', async () => {
  const store = new VersionStore(null, { warn() {}, error() {} });
  for (const code of ['a', 'b', 'a', 'c']) await serve(store, code);
  const before = (number: number): number | undefined => store.before(ACME, number)?.number;
  assert.equal(before(3), 1);
  assert.equal(before(1), 2);
  assert.equal(before(2), 1);
  // a pinned version that serves is no change of the files
  store.pin(ACME, { number: 2, by: 'tenant', user: 'ops', untilFiles: false });
  store.noteServing(ACME, 2);
  assert.equal(before(3), 1);
  assert.equal(store.latest(ACME)?.number, 3);
});

test('a promoted version counts as one that has served, and stays the latest one when its pin ends', async () => {
  const store = new VersionStore(null, { warn() {}, error() {} });
  await serve(store, 'a');
  store.pin(ACME, { number: 2, by: 'tenant', user: 'ops', untilFiles: true });
  assert.equal((await store.add(ACME, coded('b'), FACTS)).number, 3, 'the number of a pin is taken');
  store.pin(ACME, { number: 3, by: 'tenant', user: 'ops', untilFiles: true });
  store.noteServing(ACME, 3);
  store.unpin(ACME);
  assert.equal(store.latest(ACME)?.number, 3);
  assert.equal(store.before(ACME, 3)?.number, 1);
});

/** @returns what makes it possible again to write there */
async function block(folder: string): Promise<() => Promise<void>> {
  await rename(folder, `${folder}-away`);
  await writeFile(folder, 'in the way');
  return async () => {
    await rm(folder);
    await rename(`${folder}-away`, folder);
  };
}

test('a version that could not be written is written when that works again, under its number', async (t) => {
  const { restart, path, lines } = await world(t);
  const before = await restart();
  await serve(before, 'a');
  const unblock = await block(join(path, 'tenants'));
  assert.equal(await serve(before, 'b'), 2);
  before.pin(ACME, { number: 2, by: 'operator', user: 'root', untilFiles: false });
  await before.flush();
  const meanwhile = await restart();
  assert.equal(await meanwhile.bundleOf('acme', 2), null);
  assert.equal(await serve(meanwhile, 'c'), 3, 'the number of the pinned version is not given away');
  await unblock();
  await before.flush();
  const after = await restart();
  assert.equal((await after.bundleOf('acme', 2))?.code, 'b');
  assert.equal(after.latest(ACME)?.number, 2);
  assert.match(lines.join('\n'), /can't be kept in .*until they can/);
  assert.match(lines.join('\n'), /are kept in .* again/);
});

test('a number that two processes gave away while one could not write is not taken for the other code', async (t) => {
  const { restart, path } = await world(t);
  const [one, two] = [await restart(), await restart()];
  await serve(one, 'a');
  const unblock = await block(join(path, 'tenants'));
  assert.equal(await serve(one, 'mine'), 2);
  one.pin(ACME, { number: 2, by: 'operator', user: 'root', untilFiles: false });
  await one.flush();
  await unblock();
  assert.equal(await serve(two, 'other'), 2);
  await one.flush();
  assert.equal((await one.bundleOf('acme', 2))?.code, 'mine');
  const after = await restart();
  await after.open('acme');
  const { hash } = coded('mine');
  assert.equal(after.pinned(ACME)?.hash, hash);
  assert.equal(after.pinOf(ACME)?.number, after.pinned(ACME)?.number);
  assert.equal(after.latest(ACME)?.hash, hash, 'the last one that has served here');
});

test('ROLLBACK skips versions that somebody has gone back from, until somebody wants them', async (t) => {
  const { restart } = await world(t);
  const before = await restart();
  for (const code of ['good', 'bad', 'worse']) await serve(before, code);
  const [, bad] = before.history('acme');
  before.leave(bad!, 'ops');
  await before.flush();
  for (const store of [before, await restart()]) {
    await store.open('acme');
    assert.equal(store.before(ACME, 3)?.number, 1);
    assert.deepEqual(
      store.history('acme').map((record) => store.leftBy(record)),
      ['', 'ops', ''],
    );
    store.comeBack(bad!);
    assert.equal(store.before(ACME, 3)?.number, 2);
    await store.flush();
  }
});

test('a bundle that was damaged or has vanished is kept again when the same code is loaded', async (t) => {
  const { restart, path } = await world(t);
  await serve(await restart(), 'a');
  for (const harm of [
    async () => {
      const [file] = (await filesIn(path)).filter((each) => each.endsWith('1.artifact'));
      const bytes = await readFile(file!);
      bytes[bytes.length - 1]! ^= 1;
      await writeFile(file!, bytes);
    },
    () => rm(path, { recursive: true }),
  ]) {
    const store = await restart();
    await store.open('acme');
    await harm();
    assert.equal(await store.bundleOf('acme', 1), null);
    assert.equal(await serve(store, 'a'), 1);
    assert.equal((await store.bundleOf('acme', 1))?.code, 'a');
    const after = await restart();
    assert.equal((await after.bundleOf('acme', 1))?.code, 'a');
  }
});

test('a bundle of unchanged files is fresh until one of them, or what an import could lead to, has changed', async (t) => {
  const { restart, path } = await world(t);
  const rules = join(path, '..', 'rules');
  await mkdir(rules);
  const routing = join(rules, 'routing_rules.ts');
  const helper = join(rules, 'helper.ts');
  await writeFile(routing, 'rule');
  await writeFile(helper, 'helper');
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
  const bundle = {
    ...coded('a'),
    files: [
      { path: routing, sha256: sha256('rule') },
      { path: helper, sha256: sha256('helper') },
    ],
  };
  const files = { routing, rewrite: null };
  const isFresh = async (): Promise<boolean> => (await (await restart()).freshBundle(ACME, files)) !== null;
  const store = await restart();
  const record = await store.add(ACME, bundle, FACTS);
  store.noteBuild(record, { files, bundle, facts: FACTS, startedAtMs: Date.now() + 1_000 });
  await store.flush();
  assert.deepEqual((await (await restart()).freshBundle(ACME, files))?.bundle.code, 'a');
  assert.equal(await (await restart()).freshBundle(ACME, { routing, rewrite: routing }), null);

  // touched, with the same contents
  await writeFile(helper, 'helper');
  assert.ok(await isFresh());
  const changes: Readonly<Record<string, readonly [() => Promise<unknown>, () => Promise<unknown>]>> = {
    'another text': [() => writeFile(helper, 'helped'), () => writeFile(helper, 'helper')],
    'a name that takes precedence': [
      () => writeFile(join(rules, 'helper.mts'), ''),
      () => rm(join(rules, 'helper.mts')),
    ],
    'no file': [() => rename(helper, `${path}.moved`), () => rename(`${path}.moved`, helper)],
    'a link to another file': [
      async () => {
        await rename(routing, join(rules, 'other.ts'));
        await symlink(join(rules, 'other.ts'), routing);
      },
      async () => rename(join(rules, 'other.ts'), routing),
    ],
  };
  for (const [what, [change, undo]] of Object.entries(changes)) {
    await change();
    assert.ok(!(await isFresh()), what);
    await undo();
    assert.ok(await isFresh(), `after ${what}`);
  }
});

test('nothing is created before there is something to keep, and nobody else may read it', async (t) => {
  const { restart, path } = await world(t);
  const store = await restart();
  await store.open('acme');
  assert.equal(await store.freshBundle(ACME, { routing: '/x.ts', rewrite: null }), null);
  await assert.rejects(stat(path), { code: 'ENOENT' });
  await serve(store, 'a');
  for (const entry of [path, ...(await filesIn(path))])
    assert.equal((await stat(entry)).mode & 0o077, 0, entry);
});

test('names of tenants do not lead out of the folder, and similar ones do not share anything', async (t) => {
  const { restart, path } = await world(t);
  const store = await restart();
  const names = ['../../etc', '..', '.', '/', 'a/b', 'A', 'a', 'a\0b', 'é'.repeat(400), '(operator)', ''];
  for (const owner of names) await serve(store, owner, { owner, id: owner });
  const after = await restart();
  for (const owner of names) {
    await after.open(owner);
    assert.equal((await after.bundleOf(owner, 1))?.code, owner, JSON.stringify(owner));
  }
  assert.equal((await readdir(join(path, 'tenants'))).length, names.length);
  assert.deepEqual(await readdir(join(path, '..')), ['state']);
});

test('the last ten bundles are kept, besides the one that serves and the pinned one', async (t) => {
  const { restart, path } = await world(t);
  const store = await restart();
  await serve(store, 'first');
  store.pin(ACME, { number: 1, by: 'tenant', user: 'ops', untilFiles: false });
  for (let i = 2; i <= 70; i++) await store.add(ACME, coded(`code ${i}`), FACTS);
  await store.flush();
  const after = await restart();
  await after.open('acme');
  for (const each of [store, after]) {
    const kept = each.history('acme').filter((record) => !each.isDropped(record));
    assert.deepEqual(
      kept.map(({ number }) => number),
      [1, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70],
    );
    assert.equal(each.history('acme').length, 50);
    assert.equal(await each.bundleOf('acme', 60), null);
    assert.equal((await each.bundleOf('acme', 1))?.code, 'first');
  }
  const artifacts = (await filesIn(path)).filter((file) => file.endsWith('.artifact'));
  assert.equal(artifacts.length, 11);
  assert.equal(await serve(after, 'next'), 71);
});

test('two processes on one folder never give one number to two versions', async (t) => {
  const { restart } = await world(t);
  const [one, two] = [await restart(), await restart()];
  const both = await Promise.all([one.add(ACME, coded('a'), FACTS), two.add(ACME, coded('a'), FACTS)]);
  assert.deepEqual(
    both.map(({ number }) => number),
    [1, 1],
  );
  const many = await Promise.all(
    ['b', 'c', 'd', 'e'].map((code, i) => (i % 2 === 0 ? one : two).add(ACME, coded(code), FACTS)),
  );
  assert.deepEqual(new Set(many.map(({ number }) => number)), new Set([2, 3, 4, 5]));
  const after = await restart();
  await after.open('acme');
  for (const { number, hash } of many)
    assert.equal((await after.bundleOf('acme', number))?.hash, hash, String(number));
});

test('a damaged, foreign or replaced file is left out, and the others are used', async (t) => {
  const { restart, path, lines } = await world(t);
  const store = await restart();
  for (const code of ['one', 'two', 'three', 'four', 'five', 'six']) await serve(store, code);
  const [folder = ''] = await readdir(join(path, 'tenants'));
  const file = (number: number): string => join(path, 'tenants', folder, `${number}.artifact`);
  const bytes = await readFile(file(1));
  bytes[bytes.length - 1]! ^= 1;
  await writeFile(file(1), bytes);
  await truncate(file(2), 100);
  await chmod(file(3), 0o622);
  await rm(file(4));
  await symlink(file(6), file(4));
  await rm(file(5));
  await mkdir(file(5));
  const after = await restart();
  await after.open('acme');
  assert.deepEqual(numbersOf(after), [1, 6]);
  assert.equal(await after.bundleOf('acme', 1), null);
  assert.equal((await after.bundleOf('acme', 6))?.code, 'six');
  assert.equal(lines.length, 5);
  for (const line of lines) assert.match(line, /not used/);
  assert.equal(await serve(after, 'seven'), 7);
});

test('every single changed byte of an artifact is noticed', async (t) => {
  const { restart, path } = await world(t);
  const store = await restart();
  await serve(store, 'code of a rule');
  const [file = ''] = (await filesIn(path)).filter((each) => each.endsWith('.artifact'));
  const whole = await readFile(file);
  for (let at = 0; at < whole.length; at++) {
    const bytes = Buffer.from(whole);
    bytes[at]! ^= 0x20;
    await writeFile(file, bytes);
    const after = await restart();
    assert.equal(await after.bundleOf('acme', 1), null, `byte ${at}`);
  }
});

test('a folder that others may write to is not used, and the program goes on in memory', async (t) => {
  const { restart, path, lines } = await world(t);
  await mkdir(path);
  await chmod(path, 0o777);
  const store = await restart();
  assert.equal(await serve(store, 'a'), 1);
  assert.equal(await serve(store, 'b'), 2);
  assert.equal((await store.bundleOf('acme', 1))?.code, 'a');
  assert.deepEqual(await readdir(path), []);
  assert.ok(lines.length >= 1 && lines.length <= 3, lines.join('\n'));
  assert.match(lines.join('\n'), /others may write to it/);
});

test('what a folder holds is not used after others may write to it, or when it is a link', async (t) => {
  const { restart, path, lines } = await world(t);
  await serve(await restart(), 'a');
  for (const harm of [
    () => chmod(path, 0o777),
    async () => {
      await chmod(path, 0o700);
      await rename(path, `${path}-moved`);
      await symlink(`${path}-moved`, path);
    },
  ]) {
    await harm();
    const store = await restart();
    for (const owner of ['acme', 'beta', 'gamma']) await store.open(owner);
    assert.equal(store.latest(ACME), null);
    assert.equal(lines.splice(0).length, 1, 'it is said once');
  }
});

test('numbers in edited files are not believed if no version could have them', async (t) => {
  const { restart, path } = await world(t);
  const before = await restart();
  await serve(before, 'a');
  before.pin(ACME, { number: 1, by: 'tenant', user: 'ops', untilFiles: false });
  await before.flush();
  const files = (await filesIn(path)).filter((file) => file.endsWith('.json'));
  const contents = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  for (const number of ['0', '-1', '1e9', '9007199254740991', '1.5', '"1"', 'null']) {
    for (const [i, file] of files.entries())
      await writeFile(
        file,
        contents[i]!.replace(/"number":1|\[1\]/, (was) => was.replace('1', number)),
      );
    const store = await restart();
    assert.equal(store.pinOf(ACME), null, number);
    assert.equal((await store.add(ACME, coded(number), FACTS)).number, store.history('acme').length, number);
  }
});

test('a removal that was confirmed leaves nothing that could come back', async (t) => {
  const { restart } = await world(t);
  const store = await restart();
  await serve(store, 'a');
  store.pin(ACME, { number: 1, by: 'operator', user: 'root', untilFiles: false });
  store.forget(ACME);
  await store.flush();
  for (const each of [store, await restart()]) {
    await each.open('acme');
    assert.equal(each.latest(ACME), null);
    assert.equal(each.pinOf(ACME), null);
    // for SHOW FUNCTION VERSIONS and ROLLBACK, if the tenant comes back
    assert.deepEqual(numbersOf(each), [1]);
  }
});

test('the versions of a tenant that has been gone for a month are removed, and nothing else', async (t) => {
  const { restart, path } = await world(t);
  const store = await restart();
  for (const owner of ['gone', 'idle', 'new']) await serve(store, owner, { owner, id: owner });
  const folders = await readdir(join(path, 'tenants'));
  const long = new Date(Date.now() - 40 * 24 * 3_600_000);
  for (const name of folders.filter((each) => !each.startsWith('new')))
    await utimes(join(path, 'tenants', name), long, long);
  await mkdir(join(path, 'tenants', 'somebody-elses'));
  await utimes(join(path, 'tenants', 'somebody-elses'), long, long);
  const after = await restart();
  after.tidy(['idle']);
  await after.flush();
  const rest = await readdir(join(path, 'tenants'));
  assert.deepEqual(rest.map((name) => name.split('-')[0]).toSorted(), ['idle', 'new', 'somebody']);
});

test('the files of a version stay with it, and others come with it only if their hashes say so', async (t) => {
  const { restart } = await world(t);
  const folder = await temporaryFolder('rules');
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'a.ts');
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
  const of = (text: string): Bundle => ({ ...coded(text), files: [{ path, sha256: sha256(text) }] });
  const textOf = async (store: VersionStore, number: number): Promise<string | null | undefined> =>
    (await store.sourceOf('acme', number))?.files[0]?.text;
  await writeFile(path, 'first');
  const store = await restart();
  await store.add(ACME, of('first'), FACTS);
  await writeFile(path, 'second');
  assert.equal(await textOf(store, 1), 'first');
  // written again by another version of the program, when the file holds something else
  const checkedWith = { ...FACTS.checkedWith, program: 'other' };
  await store.add(ACME, of('first'), { ...FACTS, checkedWith });
  assert.equal(await textOf(await restart(), 1), 'first');
  await store.add(ACME, of('third'), FACTS, [{ path, text: 'third' }]);
  assert.equal(await textOf(store, 2), 'third');
  await store.add(ACME, of('fourth'), FACTS, [{ path, text: 'forged' }]);
  assert.equal(await textOf(store, 3), null);
  await store.add(ACME, of('x'.repeat(600_000)), FACTS, [{ path, text: 'x'.repeat(600_000) }]);
  assert.equal(await textOf(store, 4), null);
  assert.equal(await store.sourceOf('acme', 5), null);
});
