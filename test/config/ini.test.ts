/** The ini format. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { decode } from 'ini';
import { Diagnostics, formatDiagnostic } from '../../src/config/diagnostics.ts';
import { parseIni, readIni } from '../../src/config/ini.ts';
import type { IniEvent } from '../../src/config/ini.ts';

function parse(text: string): { entries: string[][]; problems: string[] } {
  const diagnostics = new Diagnostics();
  const events = parseIni(text, 'f.ini', diagnostics);
  return { entries: entriesOf(events), problems: diagnostics.all.map(formatDiagnostic) };
}

function entriesOf(events: readonly IniEvent[]): string[][] {
  return events.flatMap((event) => (event.kind === 'entry' ? [[event.section, event.key, event.value]] : []));
}

test('values come through exactly: ; # quotes and = survive', () => {
  const { entries, problems } = parse(
    `[pgbouncer]\nserver_reset_query = DISCARD ALL; SELECT 1 # x\nauth_query='a' = "b"  \t\nempty =\n`,
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(entries, [
    ['pgbouncer', 'server_reset_query', 'DISCARD ALL; SELECT 1 # x'],
    ['pgbouncer', 'auth_query', `'a' = "b"`],
    ['pgbouncer', 'empty', ''],
  ]);
});

test('comments count at the start of a line only, blanks before them allowed', () => {
  const { entries, problems } = parse('; a\n# b\n  ; c\n[s]\nk=v ; kept\n');
  assert.deepEqual(problems, []);
  assert.deepEqual(entries, [['s', 'k', 'v ; kept']]);
});

test('the text after a section name is read like a line of its own', () => {
  const { entries, problems } = parse('[a] ; the first\nk = 1\n[b]# the second\nk = 2\n[c] k = 3\n');
  assert.deepEqual(problems, []);
  assert.deepEqual(entries, [
    ['a', 'k', '1'],
    ['b', 'k', '2'],
    ['c', 'k', '3'],
  ]);
});

test('keys may be quoted with single quotes and hold . * -', () => {
  const { entries } = parse("[databases]\n'my db''s' = x\n* = y\na.b-1 = z\n");
  assert.deepEqual(entries, [
    ['databases', "my db's", 'x'],
    ['databases', '*', 'y'],
    ['databases', 'a.b-1', 'z'],
  ]);
});

test('sections and keys may occur again; CRLF and a byte order mark do not matter', () => {
  const { entries } = parse('\uFEFF[a]\r\nk = 1\r\n[b]\r\nk = 2\r\n[a]\r\nk = 3\r\n');
  assert.deepEqual(entries, [
    ['a', 'k', '1'],
    ['b', 'k', '2'],
    ['a', 'k', '3'],
  ]);
});

test('all mistakes are reported with their lines, and no value is repeated in them', () => {
  const { problems } = parse('early = 1\n[s\n[s]\n"my db" = password=geheim\nnonsense geheim\n%inklude x\n');
  assert.equal(problems.length, 5);
  assert.match(problems[0]!, /^f\.ini:1: early: value without a section$/);
  assert.match(problems[1]!, /^f\.ini:2: syntax error in a section's name/);
  assert.match(problems[2]!, /^f\.ini:4: .*single quotes/);
  assert.match(problems[3]!, /^f\.ini:5: syntax error near "nonsense" \(expected NAME = VALUE\)$/);
  assert.match(problems[4]!, /^f\.ini:6: syntax error/);
  assert.doesNotMatch(problems.join('\n'), /geheim/);
});

test('%include continues in the same section, keeps positions, and nests up to 10 levels', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ini-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const inner = join(folder, 'inner.ini');
  const outer = join(folder, 'outer.ini');
  const loop = join(folder, 'loop.ini');
  writeFileSync(inner, 'b = 2\n[t]\n');
  writeFileSync(outer, `[s]\na = 1\n%include ${inner}\nc = 3\n`);
  writeFileSync(loop, `%include ${loop}\n`);

  const diagnostics = new Diagnostics();
  const events = readIni(outer, diagnostics);
  assert.deepEqual(entriesOf(events), [
    ['s', 'a', '1'],
    ['s', 'b', '2'],
    ['t', 'c', '3'],
  ]);
  assert.deepEqual(
    events.flatMap((event) => (event.kind === 'entry' ? [`${event.file}:${event.line}`] : [])),
    [`${outer}:2`, `${inner}:1`, `${outer}:4`],
  );

  readIni(loop, diagnostics);
  assert.equal(diagnostics.all.length, 1);
  assert.match(formatDiagnostic(diagnostics.all[0]!), /loop\.ini:1: include nesting level too deep/);
});

test('a file that is not there is one clear problem', () => {
  const diagnostics = new Diagnostics();
  readIni('/nonexistent/x.ini', diagnostics);
  assert.deepEqual(diagnostics.all.map(formatDiagnostic), [
    '/nonexistent/x.ini: could not read "/nonexistent/x.ini": no such file or directory',
  ]);
});

const word = fc.stringMatching(/^[a-z][a-z0-9_]{0,12}$/).filter((text) => !/^(true|false|null)$/.test(text));

test('files without special characters mean what the package ini says', () => {
  const file = fc.dictionary(word, fc.dictionary(word, word, { minKeys: 1 }), {
    minKeys: 1,
    noNullPrototype: true,
  });
  fc.assert(
    fc.property(file, fc.constantFrom('=', ' = ', '= ', ' ='), (sections, equals) => {
      const text = Object.entries(sections)
        .map(([name, keys]) =>
          [`[${name}]`, ...Object.entries(keys).map(([k, v]) => `${k}${equals}${v}`)].join('\n'),
        )
        .join('\n\n');
      const ours: Record<string, Record<string, string>> = {};
      for (const [section, key, value] of parse(text).entries) (ours[section!] ??= {})[key!] = value!;
      assert.deepEqual(ours, JSON.parse(JSON.stringify(decode(text))));
    }),
  );
});

test('any one-line value round-trips', () => {
  const value = fc.string({ unit: 'binary' }).filter((text) => !/[\n\r]/.test(text) && text === text.trim());
  fc.assert(
    fc.property(value, (text) => {
      assert.deepEqual(parse(`[s]\nk = ${text}\n`).entries, [['s', 'k', text]]);
    }),
  );
});
