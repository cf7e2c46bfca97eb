/** docs/pgbouncer.md states the difference of each of pgbouncer's options: those that it does not name are the same. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { OPTION_NAMES, optionOf } from '../../src/config/options.ts';

/** A row that is wider can't be read in a terminal or a diff. */
const MAX_LINE = 170;
const KINDS = ['more', 'differs', 'no effect'];

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'pgbouncer.md'), 'utf8');
const section = page.slice(page.indexOf('## Options of [pgbouncer]'), page.indexOf('## [databases]'));

/** One for each option that a row names: a row may name several. */
const rows = new Map<string, { kind: string; note: string }>();
for (const line of section.split('\n')) {
  const cells = line.split('|').map((cell) => cell.trim());
  if (cells.length !== 5 || !cells[1]!.startsWith('`')) continue;
  for (const name of cells[1]!.split(', ')) {
    assert.match(name, /^`\w+`$/, line);
    assert.ok(!rows.has(name.slice(1, -1)), `${name} twice`);
    rows.set(name.slice(1, -1), { kind: cells[2]!, note: cells[3]! });
  }
}

const pgbouncers = OPTION_NAMES.filter((name) => optionOf(name).origin === 'pgbouncer');

test('the page says how many options pgbouncer has, and how many are the same without being named', () => {
  const [, all, same] =
    /pgbouncer has (\d+) options\. (\d+) of them are not in this table: they are the same/.exec(section)!;
  assert.equal(Number(all), pgbouncers.length);
  assert.equal(Number(same), pgbouncers.length - rows.size);
});

test('each row names options of pgbouncer and their difference', () => {
  assert.ok(rows.size > 0);
  for (const [name, { kind, note }] of rows) {
    assert.ok((pgbouncers as readonly string[]).includes(name), `${name} is no option of pgbouncer's`);
    assert.ok(KINDS.includes(kind), `${name}: ${kind}`);
    assert.notEqual(note, '', `${name}: what, or why`);
  }
});

for (const name of pgbouncers) {
  test(name, () => {
    const isAccepted = optionOf(name).effect === 'accepted';
    // an option that is not named is the same, and has an effect
    assert.equal(rows.get(name)?.kind === 'no effect', isAccepted);
  });
}

test('every row can be read, and every link within the page leads somewhere', () => {
  for (const line of page.split('\n')) assert.ok(line.length <= MAX_LINE, line);
  const headings = [...page.matchAll(/^#+ (.+)$/gm)].map(([, text]) =>
    text!
      .toLowerCase()
      .replaceAll(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  );
  const links = page.matchAll(/\]\(#([^)]+)\)/g);
  for (const [link, target] of links) assert.ok(headings.includes(target!), link);
});
