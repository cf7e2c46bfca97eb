/** The output of functions, on its way to the log. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { JOURNAL } from '../../src/functions/limits.ts';
import { Printed } from '../../src/functions/tenants/printed.ts';

test('each line is logged by itself, without control characters', () => {
  const lines: string[] = [];
  new Printed((line) => lines.push(line)).note('one\ntwo\u001b[2J\r');
  assert.deepEqual(lines, ['one', 'two\ufffd[2J\ufffd']);
});

test('lines over the limit of a period are left out and counted in the next one', (t) => {
  const lines: string[] = [];
  const printed = new Printed((line) => lines.push(line));
  let now = 10_000;
  t.mock.method(performance, 'now', () => now);
  printed.note(Array.from({ length: JOURNAL.maxPrinted + 7 }, (_, i) => String(i)).join('\n'));
  assert.equal(lines.length, JOURNAL.maxPrinted);
  printed.note('too many');
  assert.equal(lines.length, JOURNAL.maxPrinted);
  now += JOURNAL.quietMs;
  printed.note('later');
  assert.deepEqual(lines.slice(JOURNAL.maxPrinted), ['(8 more lines were left out)', 'later']);
});

test('long lines count by their length, and a batch is cut', () => {
  const lines: string[] = [];
  const printed = new Printed((line) => lines.push(line));
  printed.note('x'.repeat(JOURNAL.maxPrintedText * 2));
  assert.equal(lines[0]!.length, JOURNAL.maxPrintedText);
  for (let i = 0; i < 10; i++) printed.note('x'.repeat(JOURNAL.maxPrintedText));
  assert.equal(lines.length, Math.floor(JOURNAL.maxPrintedLength / JOURNAL.maxPrintedText));
});
