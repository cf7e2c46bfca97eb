/** Makes pages of the manual from the tables of options and errors; with --check it only reports outdated files. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configMarkdown, configSchema } from '../src/config/docs.ts';
import { errorsMarkdown } from './errors-page.ts';

const ROOT = join(import.meta.dirname, '..');
const FILES = {
  'docs/config.md': configMarkdown,
  'docs/config.schema.json': configSchema,
  'docs/errors.md': errorsMarkdown,
};
const isCheck = process.argv.includes('--check');

for (const [name, make] of Object.entries(FILES)) {
  const file = join(ROOT, name);
  const text = make();
  if (isCheck) {
    if (readOrEmpty(file) === text) continue;
    console.error(`${name} is out of date: run node scripts/generate.ts`);
    process.exitCode = 1;
  } else {
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, text);
  }
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
