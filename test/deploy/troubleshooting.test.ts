/** docs/deploy/troubleshooting.md, against the log lines in the source. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '..', '..');

/** Tables of these pages begin with a log line, but for these lines of others. */
const PAGES = ['troubleshooting.md', 'kubernetes.md', 'rds.md'];
const OF_OTHERS = new Set(['`OOMKilled`']);

const source = globSync(join(ROOT, 'src', '**', '*.ts'))
  .map((file) => readFileSync(file, 'utf8'))
  .join('\n')
  // the names of options that are put into the text
  .replaceAll('could not open ${name}', 'could not open auth_file');

for (const name of PAGES)
  test(`every log line of docs/deploy/${name} is one that the program writes`, () => {
    const page = readFileSync(join(ROOT, 'docs', 'deploy', name), 'utf8');
    const table = page.slice(page.search(/^\| (log line|what you see)/m));
    const lines = [...table.matchAll(/^\| (`[^`]+`) +\|/gm)].map(([, line]) => line!);
    assert.ok(lines.length > 2);
    for (const line of lines.filter((each) => !OF_OTHERS.has(each)))
      for (const part of line.slice(1, -1).split('…'))
        // what PostgreSQL says is quoted after the first part
        if (name === 'troubleshooting.md' || line.startsWith(`\`${part}`))
          assert.ok(source.includes(part.trim()), `${line}: ${part}`);
  });
