/** Makes docs/config.md and docs/config.schema.json from the options table; with --check only reports outdated files. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configMarkdown, configSchema } from '../src/config/docs.ts';

const ROOT = join(import.meta.dirname, '..');
const FILES = { 'docs/config.md': configMarkdown, 'docs/config.schema.json': configSchema };
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
