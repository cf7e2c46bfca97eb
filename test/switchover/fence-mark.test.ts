/** The difference between a fence of SWITCHOVER and an operator's setting. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { markOf, markText } from '../../src/switchover/planned/fence-mark.ts';

test('the mark records the timeline and any earlier settings', () => {
  for (const before of ['', '*', 'FIRST 1 ("a ""b""", c)', 'ANY 2 (x, y, "z")', '"', ', before: '])
    for (const commit of [null, '', 'off', 'local', 'remote_write']) {
      const mark = { timeline: 7, before, commit };
      assert.deepEqual(markOf(markText(mark)), mark);
    }
});

test("an operator's own setting is not a mark, even if it begins like one", () => {
  for (const setting of [
    null,
    '',
    '*',
    'standby',
    '"pgswitchyard fence, timeline x, before: "',
    '"pgswitchyard fence, timeline 1, before: ", other',
  ])
    assert.equal(markOf(setting), null);
});
