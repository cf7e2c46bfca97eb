/** The numbers that the documentation states are those of the code. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import {
  APART,
  BATCH,
  BUNDLE,
  BUNDLER,
  CHILD,
  ENGINE,
  ISOLATE,
  JOURNAL,
  MESSAGE,
  PLACEMENT,
  SHARE,
  TEXT,
} from '../../src/functions/limits.ts';

const page = (name: string): string =>
  readFileSync(join(import.meta.dirname, '..', '..', 'docs', name), 'utf8').replaceAll(/\s+/g, ' ');
const MB = 1024 * 1024;
const thousands = (count: number): string => count.toLocaleString('en-US');

for (const [name, sentences] of [
  [
    'sandbox.md',
    [
      `a file | ${BUNDLE.maxFileBytes / MB} MB`,
      `${thousands(BUNDLE.maxFiles)}, of ${BUNDLE.maxBytes / MB} MB together`,
      `imports | ${thousands(BUNDLE.maxImports)}`,
      `${thousands(BUNDLE.maxLine)} characters (JSON: no limit)`,
      `the bundle | ${BUNDLE.maxBundleBytes / MB} MB`,
      `${BUNDLE.maxErrors}, of ${BUNDLE.maxShown} characters each`,
      `${BUNDLER.quickMs / 1_000} s, then ${BUNDLER.longestMs / 1_000} s alone`,
      `${BUNDLER.dataMb} MB each`,
      `slice of ${PLACEMENT.sliceMs} ms`,
      `up to ${PLACEMENT.longestSliceMs} ms`,
      `turn beyond ${SHARE.noticedMs} ms`,
      `more than ${SHARE.mostDelayMs} ms of it in about ten seconds`,
      `if that is ${SHARE.smallDelayMs} ms or more`,
      `behaves for ${PLACEMENT.probationMs / 1_000} s`,
      `${PLACEMENT.crowdedPart * 100} % of the child's memory`,
      `holds ${SHARE.smallBytes / MB} MB or more`,
      `(${CHILD.niceness} steps of`,
      `(${CHILD.lowNiceness} and ${BUNDLER.niceness} steps)`,
      `waiting for ${PLACEMENT.loadSliceMs} ms, once`,
      `at most ${BATCH.maxCalls} calls`,
      `passes ${ISOLATE.batchMs} ms`,
      `${ISOLATE.batchLength / 1024} Ki characters`,
      `${SHARE.windowMs * SHARE.largestPart} ms of a second`,
      `${SHARE.windowMs * SHARE.crowdedPart} ms`,
      `${PLACEMENT.apartIdleMs / 1_000} s`,
      `${MESSAGE.maxSmallBytes / 1024} KB`,
      `${thousands(JOURNAL.maxPrintedText)} characters of printed`,
      `${ENGINE.maxLateMs} ms at most`,
    ],
  ],
  [
    'user-functions.md',
    [
      `${ISOLATE.maxConsoleLines} lines and ${thousands(ISOLATE.maxConsoleLength)} characters a batch`,
      `${JOURNAL.maxPrinted} lines and ${thousands(JOURNAL.maxPrintedLength)} characters a`,
      `${BATCH.maxWaitMs / 1_000} s`,
      `up to ${BATCH.maxCalls} at once`,
    ],
  ],
] as const) {
  for (const sentence of sentences) {
    test(`docs/${name} says "${sentence}"`, () => {
      assert.ok(page(name).includes(sentence));
    });
  }
}

test('an isolate ends a batch before its answers are refused as too long', () => {
  assert.ok(ISOLATE.batchLength * MESSAGE.bytesPerCharacter <= MESSAGE.answersBytes);
});

test('a costly call waits less than any call may', () => {
  assert.ok(APART.longestPaceMs < BATCH.maxWaitMs);
});

test('the longest refusal of a version fits into a message from a child', () => {
  // JSON writes a control character as six bytes
  assert.ok(6 * (TEXT.maxMessage + TEXT.maxStack) + 500 < MESSAGE.maxSmallBytes);
});
