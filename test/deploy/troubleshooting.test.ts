/** docs/deploy/troubleshooting.md, against the log lines in the source. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '..', '..');

test('every log line of the page is one that the program writes', () => {
  const page = readFileSync(join(ROOT, 'docs', 'deploy', 'troubleshooting.md'), 'utf8');
  const source = globSync(join(ROOT, 'src', '**', '*.ts'))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n')
    // the name of an option that is put into the text
    .replaceAll('could not open ${name}', 'could not open auth_file');
  const lines = [...page.matchAll(/^\| `([^`]+)`/gm)].map(([, line]) => line!);
  assert.ok(lines.length > 10);
  for (const line of lines) for (const part of line.split('…')) assert.ok(source.includes(part.trim()), line);
});
