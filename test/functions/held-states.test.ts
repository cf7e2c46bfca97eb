/** What administrators have fixed, in a state folder that processes share, and that may be damaged or full. */
import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { array, asyncProperty, assert as check, constantFrom, nat, record } from 'fast-check';
import type { HeldCanary } from '../../src/functions/store/held.ts';
import { heldFrom } from '../../src/functions/store/held-check.ts';
import { HeldFolder } from '../../src/functions/store/held-folder.ts';
import { folderName } from '../../src/functions/store/names.ts';
import type { Pin, VersionKey } from '../../src/functions/store/version-record.ts';
import { world } from '../support/state-folder.ts';

const ACME: VersionKey = { owner: 'acme', id: '["acme"]' };
const OTHER: VersionKey = { owner: 'acme', id: '["acme","/a.ts",null]' };
const SUMS = {
  calls: 3,
  failures: 0,
  rejections: 1,
  timed: 2,
  sumUs: 12.5,
  sumSquares: 80,
  answers: 4,
  errors: [[13362, 1]] as const,
};
const CANARY: HeldCanary = {
  percent: 2.5,
  isPromoted: true,
  by: 'tenant',
  user: 'ops',
  servingHash: 'a',
  candidateHash: 'b',
  lastsMs: 1234.5,
  serving: SUMS,
  candidate: SUMS,
};

const pinTo = (number: number): Pin => ({ number, by: 'operator', user: 'root', untilFiles: false });

/** The files of a tenant's state, newest generation last. */
async function filesOf(path: string): Promise<string[]> {
  const held = join(path, 'held');
  const [name = ''] = await readdir(held);
  const files = await readdir(join(held, name));
  return files
    .toSorted((a, b) => parseInt(a, 10) - parseInt(b, 10) || a.localeCompare(b))
    .map((file) => join(held, name, file));
}

async function damage(file: string): Promise<void> {
  const bytes = await readFile(file);
  bytes[bytes.length >> 1]! ^= 1;
  await writeFile(file, bytes);
}

test('a restart knows everything that was fixed', async (t) => {
  const { restart, lines } = await world(t);
  const before = await restart();
  before.pin(ACME, pinTo(7));
  before.held.set(ACME, 'canary', CANARY);
  before.held.set(OTHER, 'source', { folder: '/rules/v2' });
  before.held.set(OTHER, 'left', [{ number: 3, hash: 'c', user: 'ops' }]);
  before.setPause('acme', { by: 'tenant', user: 'ops', as: 'policy' });
  await before.flush();
  const after = await restart();
  assert.deepEqual(after.held.of('acme').sets, before.held.of('acme').sets);
  assert.deepEqual(after.pauseOf('acme'), before.pauseOf('acme'));
  assert.equal(after.held.of('acme').sets.size, 2);
  assert.deepEqual(lines, []);
});

test('processes that share the folder keep what the others have fixed', async (t) => {
  const { restart } = await world(t);
  const [one, two] = [await restart(), await restart()];
  one.pin(ACME, pinTo(1));
  two.pin(OTHER, pinTo(2));
  one.setPause('acme', { by: 'tenant', user: 'ops', as: 'error' });
  two.held.set(ACME, 'canary', CANARY);
  await Promise.all([one.flush(), two.flush()]);
  one.unpin(ACME);
  await one.flush();
  const after = await restart();
  assert.equal(after.pinOf(ACME), null);
  assert.equal(after.pinOf(OTHER)?.number, 2);
  assert.equal(after.pauseOf('acme')?.as, 'error');
  assert.deepEqual(after.held.get(ACME, 'canary'), CANARY);
});

test('whatever the order of writes, each part has what was fixed last', async (t) => {
  const { restart, path } = await world(t);
  const step = record({ process: constantFrom(0, 1, 2), number: nat(5), waits: nat(3) });
  await check(
    asyncProperty(array(step, { maxLength: 12 }), async (steps) => {
      await rm(path, { recursive: true, force: true });
      const stores = [await restart(), await restart(), await restart()];
      const keys = stores.map((_, i): VersionKey => ({ owner: 'acme', id: `set ${i}` }));
      const last = new Map<number, number>();
      for (const { process, number, waits } of steps) {
        // each process fixes its own part
        if (number === 0) stores[process]!.unpin(keys[process]!);
        else stores[process]!.pin(keys[process]!, pinTo(number));
        last.set(process, number);
        if (waits === 0) await stores[process]!.flush();
      }
      await Promise.all(stores.map((store) => store.flush()));
      const after = await restart();
      for (const [process, number] of last)
        assert.equal(after.pinOf(keys[process]!)?.number ?? 0, number, `of process ${process}`);
    }),
    { numRuns: 15 },
  );
});

test("a tenant's folder that can't be read pauses that tenant, and others keep what was fixed", async (t) => {
  const { restart, path, lines } = await world(t);
  const before = await restart();
  const owners = ['a', 'b', 'c', 'd'];
  for (const owner of owners) before.pin({ owner, id: 'set' }, pinTo(1));
  await before.flush();
  // whichever is read first
  const folder = join(path, 'held', folderName('b'));
  await rm(folder, { recursive: true });
  await writeFile(folder, '');
  const after = await restart();
  for (const owner of ['a', 'c', 'd']) {
    assert.equal(after.pinOf({ owner, id: 'set' })?.number, 1, owner);
    assert.equal(after.pauseOf(owner), null, owner);
  }
  assert.equal(after.pauseOf('b')?.as, 'error');
  assert.match(
    lines.join(),
    /what was fixed for the tenant of .* can't be read, so its functions are paused/,
  );
});

test('one damaged copy costs nothing, and the next change repairs it', async (t) => {
  const { restart, path, lines } = await world(t);
  const before = await restart();
  before.pin(ACME, pinTo(1));
  await before.flush();
  for (const at of [0, 1]) {
    const files = await filesOf(path);
    await damage(files.at(-1 - at)!);
    const after = await restart();
    assert.equal(after.pinOf(ACME)?.number, at + 1);
    assert.equal(after.pauseOf('acme'), null);
    after.pin(ACME, pinTo(at + 2));
    await after.flush();
  }
  assert.equal((await restart()).pinOf(ACME)?.number, 3);
  assert.deepEqual(lines, []);
});

for (const [what, generations] of [
  ['the last generation', 1],
  ['all generations', 2],
] as const)
  test(`a tenant is paused when ${what} can't be read, until an operator resumes it`, async (t) => {
    const { restart, path, lines } = await world(t);
    const before = await restart();
    before.pin(ACME, pinTo(1));
    await before.flush();
    before.pin(OTHER, pinTo(2));
    await before.flush();
    const files = await filesOf(path);
    assert.equal(files.length, 4);
    for (const file of files.slice(-2 * generations)) await damage(file);
    for (let times = 0; times < 2; times++) {
      const after = await restart();
      assert.deepEqual(after.pauseOf('acme'), {
        by: 'operator',
        user: '(damaged state folder)',
        as: 'error',
      });
      assert.equal(after.pauseOf('beta'), null);
      assert.equal(after.pinOf(ACME)?.number, generations === 1 ? 1 : undefined);
      assert.match(
        lines.pop()!,
        /can't be read, so its functions are paused, .* until an operator gives RESUME FUNCTIONS/,
      );
      assert.deepEqual(lines, []);
    }
    const resumed = await restart();
    resumed.setPause('acme', null);
    resumed.pin(OTHER, pinTo(2));
    await resumed.flush();
    lines.length = 0;
    const last = await restart();
    assert.equal(last.pauseOf('acme'), null);
    assert.equal(last.pinOf(OTHER)?.number, 2);
    assert.deepEqual(lines, []);
  });

test('a change that could not be written is written later, with the changes since', async (t) => {
  const { restart, path } = await world(t);
  const store = await restart();
  await writeFile(path, 'in the way');
  store.pin(ACME, pinTo(1));
  store.setPause('acme', { by: 'operator', user: 'root', as: 'error' });
  await store.flush();
  store.pin(ACME, pinTo(2));
  await rm(path);
  await store.flush();
  const after = await restart();
  assert.equal(after.pinOf(ACME)?.number, 2);
  assert.equal(after.pauseOf('acme')?.as, 'error');
});

test('a process that is slower than two others writes its change nevertheless', async (t) => {
  const { path } = await world(t);
  const [slow, quick] = [new HeldFolder(path), new HeldFolder(path)];
  const change = (id: string): { part: 'pin'; id: string; value: Pin } => ({
    part: 'pin',
    id,
    value: pinTo(1),
  });
  const late = slow.change('acme', [change('slow')]);
  for (const id of ['a', 'b', 'c', 'd']) await quick.change('acme', [change(id)]);
  await late;
  const [name = ''] = await quick.names();
  const { held, generation } = await quick.read(name);
  assert.deepEqual([...held.sets.keys()].toSorted(), ['a', 'b', 'c', 'd', 'slow']);
  assert.ok(generation >= 5);
  assert.ok((await readdir(join(path, name))).length <= 6, 'older generations are removed');
});

const FORMS = [
  null,
  [],
  { sets: [] },
  { pause: { by: 'root', user: 'x', as: 'error' }, sets: {} },
  { pause: null, sets: { a: null } },
  { pause: null, sets: { a: { pin: { ...pinTo(0) }, left: [], source: null, canary: null } } },
  { pause: null, sets: { a: { pin: null, left: [{ number: 1 }], source: null, canary: null } } },
  { pause: null, sets: { a: { pin: null, left: [], source: { folder: 'relative' }, canary: null } } },
  {
    pause: null,
    sets: { a: { pin: null, left: [], source: null, canary: { ...CANARY, percent: 100 } } },
  },
  {
    pause: null,
    sets: {
      a: { pin: null, left: [], source: null, canary: { ...CANARY, serving: { ...SUMS, calls: -1 } } },
    },
  },
];

test('a state of another form is not used', () => {
  for (const form of FORMS) assert.throws(() => heldFrom(form), /form/, JSON.stringify(form));
});
