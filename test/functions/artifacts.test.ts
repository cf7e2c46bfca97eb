/** Artifacts in the place of source: what is used, what is refused, and what a tenant that makes one by hand can't do. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { decodeArtifact, decodeTexts, encodeArtifact } from '../../src/functions/build/artifact.ts';
import { sourceBeside } from '../../src/functions/build/artifact-files.ts';
import { checkCode } from '../../src/functions/build/artifact-check.ts';
import type { Bundle, BundleResult, SourceFiles } from '../../src/functions/build/bundle-job.ts';
import { makeBundle } from '../../src/functions/build/make-bundle.ts';
import { filesIn, nextFiles, nextPlaces } from '../../src/functions/build/next-files.ts';
import { sourceFiles } from '../../src/functions/build/sources.ts';
import { outcomeOf, Rules } from '../support/rules.ts';

const ABOUT = { builtAtMs: 0, program: 'test', node: 'test', note: null };

const rule = (to: string): string => `export const routing_rules = () => '${to}';`;

/** A folder of rules: its files by their names; a Bundle is written as an artifact. */
async function folderOf(t: TestContext, files: Record<string, string | Bundle>): Promise<string> {
  const folder = await temporaryFolder('artifacts');
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const [name, contents] of Object.entries(files))
    await writeFile(
      join(folder, name),
      typeof contents === 'string' ? contents : encodeArtifact(contents, ABOUT),
    );
  return folder;
}

async function built(t: TestContext, files: Record<string, string>): Promise<Bundle> {
  const folder = await folderOf(t, files);
  const routing = 'routing_rules.ts' in files ? join(folder, 'routing_rules.ts') : null;
  return bundleIn(await makeBundle({ routing, rewrite: null }, new Set(), true));
}

function bundleIn(result: BundleResult): Bundle {
  if (result.kind === 'failed') throw new Error(result.message);
  assert.equal(result.kind, 'bundle');
  return (result as Extract<BundleResult, { kind: 'bundle' }>).bundle;
}

function found(folder: string): SourceFiles | null {
  const settings = { user_functions_dir: folder, routing_rules_file: null, rewrite_query_file: null };
  return sourceFiles(settings, 'nowhere', undefined);
}

test('an artifact takes precedence over source, and one with both functions over all else', async (t) => {
  const bundle = await built(t, { 'routing_rules.ts': rule('a') });
  const folder = await folderOf(t, { 'routing_rules.ts': rule('a'), 'rewrite_query.ts': '' });
  const names = (): unknown => {
    const files = found(folder);
    return [files?.routing, files?.rewrite].map((file) => file?.slice(folder.length + 1));
  };
  assert.deepEqual(names(), ['routing_rules.ts', 'rewrite_query.ts']);
  await writeFile(join(folder, 'routing_rules.artifact'), encodeArtifact(bundle, ABOUT));
  assert.deepEqual(names(), ['routing_rules.artifact', 'rewrite_query.ts']);
  await writeFile(join(folder, 'functions.artifact'), encodeArtifact(bundle, ABOUT));
  assert.deepEqual(names(), ['functions.artifact', 'functions.artifact']);
});

test('one artifact with both functions is a candidate, beside the files that serve or in a folder', async (t) => {
  const bundle = await built(t, { 'routing_rules.ts': rule('a') });
  const folder = await folderOf(t, {
    'routing_rules.ts': '',
    'rewrite_query.ts': '',
    'rewrite_query.next.ts': '',
  });
  const other = await folderOf(t, { 'functions.artifact': bundle, 'routing_rules.ts': '' });
  const of = (name: string): string => join(folder, name);
  const source = { routing: of('routing_rules.ts'), rewrite: of('rewrite_query.ts') };
  const next = (files: SourceFiles): SourceFiles | null => nextFiles(files, nextPlaces(files));
  assert.deepEqual(next(source), { ...source, rewrite: of('rewrite_query.next.ts') });
  const candidate = of('functions.next.artifact');
  await writeFile(candidate, encodeArtifact(bundle, ABOUT));
  const both = { routing: candidate, rewrite: candidate };
  for (const files of [
    source,
    { ...source, routing: null },
    { ...source, rewrite: null },
    { routing: of('functions.artifact'), rewrite: of('functions.artifact') },
  ])
    assert.deepEqual(next(files), both);
  // files that an option names are no others' business
  const named = { routing: of('mine.ts'), rewrite: null };
  assert.equal(next(named), null);
  const shadowed = join(other, 'functions.artifact');
  assert.deepEqual(filesIn(other, source), { routing: shadowed, rewrite: shadowed });
  assert.equal(sourceBeside(candidate, 'rewrite_query'), of('rewrite_query.next.ts'));
  assert.equal(sourceBeside(shadowed, 'routing_rules'), join(other, 'routing_rules.ts'));
});

test('an artifact is the same version as its source, and nothing that it says about itself is believed', async (t) => {
  const SOURCE = `const names = ['a'];\nexport const routing_rules = () => names[0];`;
  const bundle = await built(t, { 'routing_rules.ts': SOURCE });
  const claims = { purity: { isPure: false, reason: 'a claim' }, isArtifact: false, inputs: ['/etc/passwd'] };
  const folder = await folderOf(t, { 'routing_rules.artifact': { ...bundle, ...claims } });
  const routing = join(folder, 'routing_rules.artifact');
  const read = bundleIn(await makeBundle({ routing, rewrite: null }, new Set()));
  const fromSource = bundleIn(
    await makeBundle(
      { routing: join(await folderOf(t, { 'routing_rules.ts': SOURCE }), 'routing_rules.ts'), rewrite: null },
      new Set(),
    ),
  );
  assert.equal(read.hash, fromSource.hash);
  assert.equal(read.code, fromSource.code);
  assert.deepEqual(read.purity, { isPure: true, reason: '' });
  assert.deepEqual(read.map, bundle.map);
  assert.ok(read.isArtifact);
  assert.deepEqual(read.inputs, [routing]);
  const sha256 = createHash('sha256')
    .update(await readFile(routing))
    .digest('hex');
  assert.deepEqual(read.files, [{ path: routing, sha256 }]);
});

test('an artifact whose functions keep state is not remembered, whatever it claims', async (t) => {
  const bundle = await built(t, {
    'routing_rules.ts': 'let count = 0;\nexport const routing_rules = () => (count++ ? null : "a");',
  });
  const folder = await folderOf(t, {
    'routing_rules.artifact': { ...bundle, purity: { isPure: true, reason: '' } },
  });
  const routing = join(folder, 'routing_rules.artifact');
  const { purity } = bundleIn(await makeBundle({ routing, rewrite: null }, new Set()));
  assert.deepEqual(purity, { isPure: false, reason: 'count is changed at routing_rules.ts:2' });
});

test('a damaged artifact gives way to the source beside it', async (t) => {
  const bundle = await built(t, { 'routing_rules.ts': rule('a') });
  const folder = await folderOf(t, { 'functions.artifact': bundle, 'routing_rules.ts': rule('b') });
  const artifact = join(folder, 'functions.artifact');
  const files = { routing: artifact, rewrite: artifact };
  const bytes = await readFile(artifact);
  bytes[bytes.length - 40]! ^= 1;
  await writeFile(artifact, bytes);
  const made = bundleIn(await makeBundle(files, new Set()));
  assert.match(made.code, /"b"/);
  assert.ok(!made.isArtifact);
  assert.match(
    made.notUsed.join(),
    /^functions\.artifact is not used: its \w+ has another hash than its header says$/,
  );
  assert.ok(made.inputs.includes(artifact), 'a repair is noticed');
  await rm(join(folder, 'routing_rules.ts'));
  const failed = await makeBundle(files, new Set());
  assert.equal(failed.kind, 'failed');
  assert.match(
    failed.kind === 'failed' ? failed.message : '',
    /another hash.*; there is no source beside it/,
  );
});

test('an artifact and source of the other function run together, with the places of both', async (t) => {
  const bundle = await built(t, { 'routing_rules.ts': `\n\n${rule('a')}` });
  const folder = await folderOf(t, {
    'routing_rules.artifact': bundle,
    'rewrite_query.ts': 'export const options = { pure: false };\nexport const rewrite_query = () => null;',
  });
  const files = {
    routing: join(folder, 'routing_rules.artifact'),
    rewrite: join(folder, 'rewrite_query.ts'),
  };
  const made = bundleIn(await makeBundle(files, new Set()));
  assert.ok(
    made.map.sources.some((source) => source.endsWith('routing_rules.ts')),
    made.map.sources.join(),
  );
  assert.deepEqual(new Set(made.inputs), new Set(Object.values(files)));
});

test('syntax that bundling refuses is refused in an artifact too, wherever it stands', () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ['var x = async () => 1;', /async function/],
    ['var x = { async f() {} };', /async function/],
    ['class X { static async *f() {} }', /async function/],
    ['async function f() { for await (const x of y) {} }', /async function/],
    ['var x = 1n;', /BigInt literal/],
    ['var x = [`${{ a: 0xffn }}`];', /bundle\.js:1:18: it has a BigInt literal/],
    ['\n\nvar x = () => import("x");', /bundle\.js:3:\d+: it has an import at run time/],
    ['}) (); evil(', /can't be parsed/],
    [`${'['.repeat(100_000)}`, /can't be parsed/],
    ['var x = ;', /can't be parsed/],
  ];
  for (const [code, complaint] of refused) assert.throws(() => checkCode(code), complaint, code.slice(0, 60));
  const accepted = [
    'var async = 1; var await = 2; var x = { async: 1, await: 2, bigint: "3" };',
    'function f() { return new.target; } function* g() { yield 1; }',
    'var x = /1n/; var y = "async () => 1n"; // async () => 1n',
  ];
  for (const code of accepted) checkCode(code);
});

test('the whole folder is served without bundling, and serves on when the artifact is damaged', async (t) => {
  const bundle = await built(t, { 'routing_rules.ts': rule('a') });
  const rules = await Rules.start(t, { files: { 'a/about.txt': '' } });
  // no bundler that is started from here on can do anything
  const { ESBUILD_BINARY_PATH: before } = process.env;
  process.env['ESBUILD_BINARY_PATH'] = '/nonexistent';
  t.after(() => {
    if (before === undefined) delete process.env['ESBUILD_BINARY_PATH'];
    else process.env['ESBUILD_BINARY_PATH'] = before;
  });
  const artifact = join(rules.folder, 'a', 'functions.artifact');
  await mkdir(join(rules.folder, 'a'), { recursive: true });
  await writeFile(artifact, encodeArtifact(bundle, ABOUT));
  const databases = ['a', 'b'].map((name) => ({ name, routing_rules_file: null, rewrite_query_file: null }));
  const reload = (): Promise<void> => rules.functions.reconfigure(rules.settings, databases);
  await reload();
  assert.equal(outcomeOf(await rules.ask('select 1')), 'go a');
  assert.equal(rules.tenants[0]?.state, 'serving');
  await writeFile(artifact, (await readFile(artifact)).subarray(0, -1));
  await reload();
  assert.equal(outcomeOf(await rules.ask('select 1')), 'go a');
  assert.equal(rules.tenants[0]?.state, 'serving old version');
  assert.match(
    rules.lines.join('\n'),
    /ERROR user functions not loaded; version \w+ stays active: .*no source beside it/,
  );
});

test('the author’s files in an artifact are checked by their hash, and are no part of what makes it usable', async (t) => {
  const bundle = await built(t, { 'routing_rules.ts': rule('a') });
  const texts = [{ path: '/rules/a.ts', text: 'naïve \u{1f40d}' }];
  const file = encodeArtifact(bundle, ABOUT, texts);
  assert.deepEqual(decodeTexts(file), texts);
  assert.equal(decodeArtifact(file).bundle.code, bundle.code);
  assert.deepEqual(decodeTexts(encodeArtifact(bundle, ABOUT)), []);
  const damaged = Buffer.from(file);
  damaged[damaged.length - 5]! ^= 1;
  assert.throws(() => decodeTexts(damaged), /its files have another hash/);
  assert.equal(decodeArtifact(damaged).bundle.code, bundle.code);
  for (const other of [file.subarray(0, -1), Buffer.concat([file, Buffer.from('x')])]) {
    assert.throws(() => decodeTexts(other), /bytes instead of/);
    assert.throws(() => decodeArtifact(other), /bytes instead of/);
  }
  const wrong = encodeArtifact(bundle, ABOUT, [{ path: 1 }] as never);
  assert.throws(() => decodeTexts(wrong), /another form/);
});
