/** The Dockerfile: a linter's findings, and what the image promises. test/packages/image.ts runs its steps. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DockerfileParser } from 'dockerfile-ast';
import { validate } from 'dockerfile-utils';
import { OPTION_NAMES } from '../../src/config/options.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const FOLDER = join(ROOT, 'deploy', 'docker');
const text = readFileSync(join(FOLDER, 'Dockerfile'), 'utf8');
const file = DockerfileParser.parse(text);

/** The arguments of the last instruction of that name. */
function last(keyword: string): string {
  const found = file.getInstructions().findLast((each) => each.getKeyword() === keyword);
  assert.ok(found, keyword);
  return found.getArgumentsContent() ?? found.getRawArgumentsContent() ?? '';
}

test('a linter finds nothing in the Dockerfile', () => {
  assert.deepEqual(validate(text), []);
});

test('the linter sees mistakes', () => {
  assert.notDeepEqual(validate('FROM a\nHEALTHCHECK --intervall=1s CMD x\n'), []);
});

test('each image is named with a tag, and none with latest', () => {
  for (const from of file.getFROMs()) assert.match(from.getImageTag() ?? '', /^(?!latest).+/);
});

test('the last stage runs nothing, so that another architecture needs no emulation', () => {
  const keywords = file.getInstructions().map((each) => each.getKeyword());
  assert.ok(!keywords.slice(keywords.lastIndexOf('FROM')).includes('RUN'));
});

test('the image runs as a user by number, since Kubernetes can tell only then that it is not root', () => {
  assert.match(last('USER'), /^[1-9]\d*:[1-9]\d*$/);
});

test('the variables that the image sets are options by name', () => {
  const env = file.getENVs().flatMap((each) => each.getProperties().map((property) => property.getName()));
  assert.deepEqual(
    env.filter((name) => name !== 'NODE_ENV' && !OPTION_NAMES.includes(name as never)),
    [],
  );
});

test('process 1 is tini, and the program has the container’s names of options', () => {
  assert.deepEqual(JSON.parse(last('ENTRYPOINT')), [
    '/usr/bin/tini-static',
    '--',
    'pgswitchyard',
    '--container',
  ]);
});

test('the build’s context holds files that exist, and everything that is copied by name', () => {
  const ignore = readFileSync(join(FOLDER, 'Dockerfile.dockerignore'), 'utf8').split('\n');
  const allowed = ignore.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
  assert.ok(ignore.includes('*'));
  for (const path of allowed) assert.ok(existsSync(join(ROOT, path)), path);
  for (const copy of file.getCOPYs()) {
    if (copy.getFlags().some((flag) => flag.getName() === 'from')) continue;
    const sources = copy.getArguments().slice(0, -1).map(String);
    for (const source of sources.filter((each) => each !== '.'))
      assert.ok(
        allowed.some((path) => source === path || source.startsWith(`${path}/`)),
        source,
      );
  }
});
