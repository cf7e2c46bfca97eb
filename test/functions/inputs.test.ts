/** The files of a bundle: which changes of them require another build. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Trail, TrailPoint } from '../../src/functions/build/trail.ts';
import { Inputs } from '../../src/functions/tenants/inputs.ts';

const BUILD_MS = 1_000_000;

/** Files with their times of change, without a disk. */
class Disk {
  readonly points = new Map<string, TrailPoint>();
  readonly heard: string[] = [];
  readonly inputs = new Inputs({
    entries: ['/r/rule.ts'],
    trailOf: (paths) => Promise.resolve(this.#trailOf(paths)),
    onTrail: (trail) => this.onTrail(trail),
  });
  onTrail = (trail: Trail): void => void this.heard.push([...trail.keys()].join(' '));

  write(path: string, changedAt: number, isWorldWritable = false): void {
    this.points.set(path, { stamp: `${path} ${changedAt}`, changedAt, isWorldWritable });
  }

  #trailOf(paths: readonly string[]): Trail {
    const missing: TrailPoint = { stamp: '', changedAt: 0, isWorldWritable: false };
    return new Map(paths.map((path) => [path, this.points.get(path) ?? missing]));
  }
}

test('files that were written before the build began have not changed since', async () => {
  const disk = new Disk();
  disk.write('/r/rule.ts', BUILD_MS - 1_000);
  assert.equal(await disk.inputs.follow(['/r/rule.ts'], BUILD_MS), false);
  assert.deepEqual(disk.heard, ['/r/rule.ts']);
  assert.equal(disk.inputs.areOnTrail(new Set(['/r/rule.ts'])), true);
  assert.equal(disk.inputs.areOnTrail(new Set(['/r/lib.ts'])), false);
});

test('a file that is written during the build, or while it begins to be followed, calls for another', async () => {
  const disk = new Disk();
  disk.write('/r/rule.ts', BUILD_MS + 5);
  assert.equal(await disk.inputs.follow(['/r/rule.ts'], BUILD_MS), true);
  disk.onTrail = () => disk.write('/r/rule.ts', BUILD_MS + 2_500);
  assert.equal(await disk.inputs.follow(['/r/rule.ts'], BUILD_MS + 2_000), true);
});

test('a file that vanishes, and a missing one that appears, have changed', async () => {
  const disk = new Disk();
  disk.write('/r/rule.ts', 1);
  await disk.inputs.follow(['/r/rule.ts', '/r/lib.ts'], BUILD_MS);
  assert.equal(await disk.inputs.haveChanged(), false);
  disk.write('/r/lib.ts', 2);
  assert.equal(await disk.inputs.haveChanged(), true);
  await disk.inputs.follow(['/r/rule.ts', '/r/lib.ts'], BUILD_MS);
  disk.points.delete('/r/rule.ts');
  assert.equal(await disk.inputs.haveChanged(), true);
});

test('each world-writable path is named once', async () => {
  const disk = new Disk();
  disk.write('/r/rule.ts', 1, true);
  disk.write('/r/lib.ts', 1);
  await disk.inputs.follow(['/r/rule.ts', '/r/lib.ts'], BUILD_MS);
  assert.deepEqual(disk.inputs.takeWritable(), ['/r/rule.ts']);
  disk.write('/r/lib.ts', 2, true);
  await disk.inputs.follow(['/r/rule.ts', '/r/lib.ts'], BUILD_MS);
  assert.deepEqual(disk.inputs.takeWritable(), ['/r/lib.ts']);
});

test('closed inputs report no change and watch nothing more', async () => {
  const disk = new Disk();
  disk.write('/r/rule.ts', BUILD_MS + 5);
  disk.inputs.close();
  assert.equal(await disk.inputs.follow(['/r/rule.ts'], BUILD_MS), false);
  assert.deepEqual(disk.heard, []);
});
