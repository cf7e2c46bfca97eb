/** The log: forms, levels and foreign text. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLog } from '../../src/telemetry/log.ts';
import type { LogSettings } from '../../src/telemetry/log.ts';

const QUIET: LogSettings = {
  logfile: '',
  log_format: 'auto',
  syslog: false,
  syslog_ident: 'pgbouncer',
  syslog_facility: 'daemon',
  verbose: 0,
};
const LINE = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (?:[A-Z]{3,5}|[+-]\d+) \[\d+\] /;

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'log-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** A file in place of stderr. */
function stderrIn(t: TestContext, folder: string): { fd: number; read: () => string } {
  const file = join(folder, 'stderr');
  const fd = openSync(file, 'a');
  t.after(() => closeSync(fd));
  return { fd, read: () => readFileSync(file, 'utf8') };
}

test('logfile gets pgbouncer lines and stderr JSON lines, both at once', (t) => {
  const folder = folderOf(t);
  const logfile = join(folder, 'log');
  const stderr = stderrIn(t, folder);
  const log = createLog({ settings: { ...QUIET, logfile }, stderr: stderr.fd, isTerminal: false });
  t.after(() => log.close());
  log.info({ client: 12, event: 'client_login' }, 'C-12: 100% done %s');
  log.warn('two\nlines');
  const [first, second, third] = readFileSync(logfile, 'utf8').split('\n');
  assert.match(first!, LINE);
  assert.ok(first!.endsWith(`[${process.pid}] LOG C-12: 100% done %s`));
  assert.ok(second!.endsWith('WARNING two'));
  assert.equal(third, '\tlines', 'a message cannot look like another record');
  const record = JSON.parse(stderr.read().split('\n')[0]!) as Record<string, unknown>;
  assert.equal(record['level'], 'info');
  assert.equal(record['client'], 12);
  assert.equal(record['event'], 'client_login');
  assert.equal(record['msg'], 'C-12: 100% done %s');
});

test('a terminal gets pretty lines; an explicit format holds for both', (t) => {
  const folder = folderOf(t);
  const stderr = stderrIn(t, folder);
  createLog({ settings: QUIET, stderr: stderr.fd, isTerminal: true }).info({ client: 1 }, 'hello');
  assert.match(stderr.read(), /INFO.*hello/);
  assert.doesNotMatch(stderr.read(), /^\{/);

  const logfile = join(folder, 'log');
  const log = createLog({ settings: { ...QUIET, logfile, log_format: 'json' }, quiet: true });
  t.after(() => log.close());
  log.info('hello');
  assert.equal((JSON.parse(readFileSync(logfile, 'utf8')) as { msg: string }).msg, 'hello');
});

test('quiet writes nothing on stderr', () => {
  const url = new URL('../../src/telemetry/log.ts', import.meta.url).href;
  const script = `import { createLog } from '${url}';
    createLog({ settings: ${JSON.stringify(QUIET)}, quiet: process.argv[1] === 'quiet' }).info('hello');`;
  const run = (mode: string): string =>
    spawnSync(process.execPath, ['--input-type=module', '-e', script, mode], { encoding: 'utf8' }).stderr;
  assert.equal(run('quiet'), '');
  assert.match(run('loud'), /hello/);
});

test('verbose decides how much is logged, also after a reload', (t) => {
  const logfile = join(folderOf(t), 'log');
  const log = createLog({ settings: { ...QUIET, logfile }, quiet: true });
  t.after(() => log.close());
  const levels = (): string[] => {
    writeFileSync(logfile, '');
    for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const) log[level]('x');
    return [...readFileSync(logfile, 'utf8').matchAll(/\] ([A-Z]+) x/g)].map((match) => match[1]!);
  };
  const usual = ['LOG', 'WARNING', 'ERROR', 'FATAL'];
  assert.deepEqual(levels(), usual);
  log.configure({ ...QUIET, logfile, verbose: 1 });
  assert.deepEqual(levels(), ['DEBUG', ...usual]);
  log.configure({ ...QUIET, logfile, verbose: 2 });
  assert.deepEqual(levels(), ['NOISE', 'DEBUG', ...usual]);
  log.configure({ ...QUIET, logfile });
  assert.deepEqual(levels(), usual);
});

test('reopen continues in a new file after a rotation', (t) => {
  const folder = folderOf(t);
  const logfile = join(folder, 'log');
  const log = createLog({ settings: { ...QUIET, logfile }, quiet: true });
  t.after(() => log.close());
  log.info('one');
  renameSync(logfile, `${logfile}.1`);
  log.info('two');
  assert.equal(existsSync(logfile), false);
  log.reopen();
  log.info('three');
  assert.match(readFileSync(`${logfile}.1`, 'utf8'), /one\n.*two\n$/);
  assert.match(readFileSync(logfile, 'utf8'), /^[^\n]*three\n$/);
});

test('a log file that cannot be opened: an error at start, a line in the old file later', (t) => {
  const logfile = join(folderOf(t), 'log');
  assert.throws(
    () => createLog({ settings: { ...QUIET, logfile: '/nonexistent/log' }, quiet: true }),
    /could not open logfile: .*no such file/,
  );
  const log = createLog({ settings: { ...QUIET, logfile }, quiet: true });
  t.after(() => log.close());
  log.configure({ ...QUIET, logfile: '/nonexistent/log' });
  log.info('still here');
  assert.match(readFileSync(logfile, 'utf8'), /could not open logfile.*\n.*still here\n$/);
});

test('a full disk drops lines, never throws, and their number is logged afterwards', (t) => {
  if (!existsSync('/dev/full')) return t.skip('needs /dev/full');
  const folder = folderOf(t);
  const logfile = join(folder, 'log');
  symlinkSync('/dev/full', logfile);
  const log = createLog({ settings: { ...QUIET, logfile }, quiet: true });
  t.after(() => log.close());
  log.info('lost 1');
  log.error('lost 2');
  rmSync(logfile);
  log.reopen();
  log.info('kept');
  log.info('kept too');
  const lines = readFileSync(logfile, 'utf8').trimEnd().split('\n');
  assert.equal(lines.length, 3);
  assert.match(lines[0]!, /WARNING 2 log lines were lost \(ENOSPC\)$/);
  assert.match(lines[0]!, LINE);
  assert.match(lines[1]!, /LOG kept$/);
  return undefined;
});

test('syslog goes through one logger child with ident, facility and severity', async (t) => {
  const folder = folderOf(t);
  const output = join(folder, 'output');
  writeFileSync(join(folder, 'logger'), `#!/bin/sh\necho "$@" > ${output}\nexec cat >> ${output}\n`);
  chmodSync(join(folder, 'logger'), 0o755);
  const path = process.env['PATH'];
  process.env['PATH'] = `${folder}:${path}`;
  t.after(() => (process.env['PATH'] = path));
  const settings = { ...QUIET, syslog: true, syslog_ident: 'bouncer', syslog_facility: 'local3' };
  const log = createLog({ settings, quiet: true });
  log.info('fine');
  log.error('bad\nthing');
  log.close();
  const expected = '-t bouncer -p local3.info --prio-prefix\n<6>fine\n<3>bad thing\n';
  const deadline = Date.now() + 10_000;
  while (!(existsSync(output) && readFileSync(output, 'utf8') === expected) && Date.now() < deadline)
    await sleep(20);
  assert.equal(readFileSync(output, 'utf8'), expected);
});

test('without a logger command, syslog fails softly and says so once', async (t) => {
  const folder = folderOf(t);
  const logfile = join(folder, 'log');
  const path = process.env['PATH'];
  process.env['PATH'] = folder;
  t.after(() => (process.env['PATH'] = path));
  const log = createLog({ settings: { ...QUIET, logfile, syslog: true }, quiet: true });
  t.after(() => log.close());
  log.info('one');
  const deadline = Date.now() + 10_000;
  while (!readFileSync(logfile, 'utf8').includes('no log lines go to syslog') && Date.now() < deadline)
    await sleep(20);
  log.info('two');
  const lines = readFileSync(logfile, 'utf8').trimEnd().split('\n');
  assert.equal(lines.length, 3);
  assert.match(lines[1]!, /WARNING no log lines go to syslog: .*ENOENT/);
});

/** Characters that would move a cursor, end a line, or reverse the shown order. */
const HOSTILE = 'a\u001b[2Jb\rc\u0000d\u007fe\u0085f\u009bg\u202eh\u2066i\u2028j\u200fk\u061cl';
const ESCAPED = String.raw`a\x1b[2Jb\rc\x00d\x7fe\x85f\x9bg\u202eh\u2066i\u2028j\u200fk\u061cl`;

test('control and bidirectional characters are escaped, in the message and beside it, whatever the form', (t) => {
  for (const format of ['pgbouncer', 'json', 'pretty'] as const) {
    const folder = folderOf(t);
    const logfile = join(folder, 'log');
    const log = createLog({ settings: { ...QUIET, logfile, log_format: format }, quiet: true });
    t.after(() => log.close());
    const err = new Error(HOSTILE);
    log.warn({ reason: HOSTILE, err }, `message ${HOSTILE}`);
    log.warn(HOSTILE);
    const text = readFileSync(logfile, 'utf8');
    assert.doesNotMatch(
      text,
      // oxlint-disable-next-line no-control-regex
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/,
    );
    const shown = format === 'json' ? text.replaceAll('\\\\', '\\') : text;
    assert.ok(shown.includes(`message ${ESCAPED}`), text);
  }
});

test('no line of a message can pass for another record', (t) => {
  for (const format of ['pgbouncer', 'pretty'] as const) {
    const folder = folderOf(t);
    const logfile = join(folder, 'log');
    const log = createLog({ settings: { ...QUIET, logfile, log_format: format }, quiet: true });
    t.after(() => log.close());
    log.warn('no such user: joe\n2026-01-01 00:00:00.000 UTC [1] FATAL forged');
    assert.equal(readFileSync(logfile, 'utf8').split('\n')[1]?.charAt(0), '\t');
  }
});

test('a record is short, whatever is in it', (t) => {
  for (const fill of ['x', '\u001b', '\u202e', '\u{1f600}', '\n']) {
    const folder = folderOf(t);
    const logfile = join(folder, 'log');
    const log = createLog({ settings: { ...QUIET, logfile, log_format: 'json' }, quiet: true });
    t.after(() => log.close());
    const long = fill.repeat(1_000_000);
    log.error({ reason: long, err: new Error(long) }, `login failed: ${long}`);
    const bytes = readFileSync(logfile).length;
    assert.ok(bytes < 64 * 1024, `${bytes} bytes`);
    assert.match(readFileSync(logfile, 'utf8'), /cut, of \d+ characters/);
  }
});

test('no line of a burst is lost or reordered, even if the process ends in the middle of it', (t) => {
  const folder = folderOf(t);
  const logfile = join(folder, 'log');
  const script = `
    import { createLog } from ${JSON.stringify(join(import.meta.dirname, '../../src/telemetry/log.ts'))};
    const settings = ${JSON.stringify({ ...QUIET, logfile, log_format: 'json' })};
    const log = createLog({ settings, quiet: true });
    for (let i = 0; i < 5000; i++) log.info({ i }, 'line');
    process.exit();
  `;
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', script]);
  assert.equal(status, 0);
  const lines = readFileSync(logfile, 'utf8').trimEnd().split('\n');
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { i: number }).i),
    Array.from({ length: 5000 }, (_, i) => i),
  );
});

test('lines of source are shown on a terminal, and are in no other form', (t) => {
  const folder = folderOf(t);
  const logfile = join(folder, 'log');
  const frame = 'rule.ts:1:8:\n  1 │ import x\n    ╵        ~';
  const written = (log_format: LogSettings['log_format']): string => {
    const stderr = stderrIn(t, mkdtempSync(join(folder, 'x-')));
    const log = createLog({ settings: { ...QUIET, logfile, log_format }, stderr: stderr.fd });
    t.after(() => log.close());
    log.error({ event: 'rules_refused', file: 'rule.ts', line: 1, column: 8, frame }, 'not loaded');
    return stderr.read();
  };
  assert.match(written('pretty'), /not loaded.*\n\trule\.ts:1:8:\n\t  1 │ import x\n\t    ╵        ~\n$/);
  const record = JSON.parse(written('json')) as Record<string, unknown>;
  assert.deepEqual(
    [record['msg'], record['file'], record['line'], record['column']],
    ['not loaded', 'rule.ts', 1, 8],
  );
  assert.equal(record['frame'], undefined);
  assert.match(written('pgbouncer'), /ERROR not loaded\n$/);
});
