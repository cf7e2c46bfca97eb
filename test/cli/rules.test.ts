/** `pgswitchyard rules build`: the artifact, and what is said about mistakes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { decodeArtifact } from '../../src/functions/build/artifact.ts';

const COMMAND = join(import.meta.dirname, '..', '..', 'bin', 'pgswitchyard');

interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function folderWith(t: TestContext, files: Record<string, string>): Promise<string> {
  const folder = await temporaryFolder('rules-build');
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return folder;
}

function rules(...args: string[]): Run {
  return spawnSync(process.execPath, [COMMAND, 'rules', ...args], { encoding: 'utf8' });
}

const ROUTING = 'export const routing_rules = () => null;';
const REWRITE =
  "import { more } from './helper.ts';\nexport const rewrite_query = (user, query) => query + more;";

test('one artifact has both functions of a folder, with the hashes of all their files', async (t) => {
  const folder = await folderWith(t, {
    'routing_rules.ts': ROUTING,
    'rewrite_query.ts': REWRITE,
    'helper.ts': "export const more = ' ';",
  });
  const { status, stdout, stderr } = rules('build', folder);
  assert.equal(status, 0, stderr);
  const output = join(folder, 'functions.artifact');
  const { header } = decodeArtifact(await readFile(output));
  assert.ok(stdout.startsWith(`${output}: version `), stdout);
  assert.match(stdout, /: version [0-9a-f]{12}, 3 files, \d+ bytes\n$/);
  assert.deepEqual(header.files.map(({ path }) => path).toSorted(), [
    'helper.ts',
    'rewrite_query.ts',
    'routing_rules.ts',
  ]);
  assert.equal(header.node, process.versions.node);
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.includes('artifact')),
    ['functions.artifact'],
  );
});

test('the name of the artifact says which function it holds, unless -o names a file', async (t) => {
  const folder = await folderWith(t, { 'routing_rules.ts': ROUTING, 'other.ts': ROUTING });
  assert.equal(rules('build', folder).status, 0);
  assert.equal(rules('build', join(folder, 'other.ts'), '-o', join(folder, 'x.artifact')).status, 0);
  assert.deepEqual(await readdir(folder), [
    'other.ts',
    'routing_rules.artifact',
    'routing_rules.ts',
    'x.artifact',
  ]);
});

test('an artifact of a candidate does not take the place of what serves', async (t) => {
  const folder = await folderWith(t, {
    'routing_rules.next.ts': ROUTING,
    'rewrite_query.next.ts': "export const rewrite_query = () => '';",
    'rewrite_query.ts': 'export const rewrite_query = () => null;',
  });
  const paths = (...names: string[]): string[] => names.map((name) => join(folder, name));
  for (const names of [
    ['routing_rules.next.ts'],
    ['routing_rules.next.ts', 'rewrite_query.next.ts'],
    ['rewrite_query.ts'],
  ])
    assert.equal(rules('build', ...paths(...names)).status, 0);
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.endsWith('.artifact')),
    ['functions.next.artifact', 'rewrite_query.artifact', 'routing_rules.next.artifact'],
  );
});

test('an output that is not a plain file is refused, and stays', async (t) => {
  const folder = await folderWith(t, { 'routing_rules.ts': ROUTING });
  const { status, stderr } = rules('build', folder, '-o', '/dev/null');
  assert.equal(status, 1);
  assert.match(stderr, /\/dev\/null is not a plain file/);
});

test('mistakes are told with file, line and column, and nothing is written', async (t) => {
  const folder = await folderWith(t, {
    'routing_rules.ts': "export const routing_rules = () => null;\nimport 'fs';",
    'throws.ts': "export const routing_rules = () => {\n  throw new Error('no');\n};",
    'async.ts': 'export const routing_rules = async () => null;',
  });
  const cases: readonly (readonly [string, RegExp])[] = [
    [folder, /routing_rules\.ts:2:8: "fs" is not available/],
    [join(folder, 'throws.ts'), /throws\.ts:2:\d+: in the trial call routing_rules\(.*Error: no/],
    [join(folder, 'async.ts'), /async\.ts:1:\d+: .*async/],
    [join(folder, 'missing.ts'), /missing\.ts: no such file/],
    [join(folder, '..'), /there is neither routing_rules\.\* nor rewrite_query\.\* in it/],
  ];
  for (const [path, complaint] of cases) {
    const { status, stderr, stdout } = rules('build', path);
    assert.deepEqual([status, stdout], [1, ''], path);
    assert.match(stderr, complaint);
  }
  const both = [join(folder, 'throws.ts'), join(folder, 'async.ts')];
  for (const args of [['build'], ['built', folder], ['build', ...both], ['build', '--nope', folder]])
    assert.equal(rules(...args).status, 1, args.join(' '));
  const unwritable = rules('build', join(folder, 'async.ts'), '-o', join(folder, 'no', 'x.artifact'));
  assert.equal(unwritable.status, 1);
  assert.equal((await readdir(folder)).length, 3);
});
