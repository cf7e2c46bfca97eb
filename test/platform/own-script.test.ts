/** Scripts of the project's own source, and when a kept one is used again. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { OwnScript } from '../../src/platform/own-script.ts';

interface Source {
  readonly cache: string;
  readonly keptFile: string;
  write(text: string, atSeconds: number): void;
  /** as another process of the same checkout has it */
  script(options?: object): OwnScript;
}

function source(t: TestContext): Source {
  const folder = mkdtempSync(join(tmpdir(), 'own-script-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [main, part, cache] = [join(folder, 'main.ts'), join(folder, 'part.ts'), join(folder, 'cache')];
  writeFileSync(main, "import { part } from './part.ts';\nconsole.log(part);\n");
  utimesSync(main, 1000, 1000);
  return {
    cache,
    keptFile: join(cache, 'some-main.js.json'),
    write(text, atSeconds) {
      writeFileSync(part, `export const part: string = '${text}';\n`);
      utimesSync(part, atSeconds, atSeconds);
    },
    script: (options = {}) => new OwnScript('some/main.js', { entryPoints: [main], ...options }, cache),
  };
}

test('a script is made once, whoever asks first, and again when one of its files has changed', async (t) => {
  const { keptFile, write, script } = source(t);
  write('one', 2000);
  assert.match(script().text, /"one"/);
  // shows that it is read
  writeFileSync(keptFile, readFileSync(keptFile, 'utf8').replace('one', 'kept'));
  assert.match(script().text, /"kept"/);
  const prepared = script();
  await prepared.prepare();
  assert.match(prepared.text, /"kept"/);

  write('two', 3000);
  const changed = script();
  await changed.prepare();
  assert.match(changed.text, /"two"/);
  writeFileSync(keptFile, readFileSync(keptFile, 'utf8').replace('two', 'kept again'));
  assert.match(script().text, /"kept again"/);
});

test('other options make another script', (t) => {
  const { write, script } = source(t);
  write('one', 2000);
  assert.doesNotMatch(script().text, /^var prelude/m);
  assert.match(script({ format: 'iife', globalName: 'prelude' }).text, /^var prelude/m);
});

test('a kept file that is damaged, and one whose source is gone, are not used', (t) => {
  const { keptFile, write, script } = source(t);
  write('one', 2000);
  const { text } = script();
  const kept = JSON.parse(readFileSync(keptFile, 'utf8')) as object;
  const damaged = ['', 'null', '{}', '[]', JSON.stringify({ ...kept, text: 1 })];
  const otherwise = [{ stamps: null }, { stamps: { 'not/there.ts': '1 1' } }, { recipe: '' }];
  for (const content of [
    ...damaged,
    ...otherwise.map((part) => JSON.stringify({ ...kept, text: '', ...part })),
  ]) {
    writeFileSync(keptFile, content);
    assert.equal(script().text, text, content);
  }
});

test('nothing is kept of files that change while the script is made, or where nothing can be written', (t) => {
  const { cache, keptFile, write, script } = source(t);
  write('one', Date.now() / 1000 + 60);
  assert.match(script().text, /"one"/);
  assert.ok(!existsSync(keptFile));

  write('two', 2000);
  rmSync(cache, { recursive: true, force: true });
  writeFileSync(cache, 'not a folder');
  chmodSync(cache, 0o444);
  assert.match(script().text, /"two"/);
});
