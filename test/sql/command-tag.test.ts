/** Command tags are recognized as bytes, at any place in a chunk. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CommandTag, commandTag, endsTransaction, mayChangeSession } from '../../src/sql/command-tag.ts';

const TAGS: Record<string, CommandTag> = {
  'DISCARD ALL': CommandTag.DiscardAll,
  'DEALLOCATE ALL': CommandTag.DeallocateAll,
  SET: CommandTag.Set,
  COMMIT: CommandTag.Commit,
  ROLLBACK: CommandTag.Rollback,
  'PREPARE TRANSACTION': CommandTag.PrepareTransaction,
  '': CommandTag.Other,
  'SELECT 1': CommandTag.Other,
  'INSERT 0 1': CommandTag.Other,
  BEGIN: CommandTag.Other,
  RESET: CommandTag.Other,
  DISCARD: CommandTag.Other,
  DEALLOCATE: CommandTag.Other,
  'DISCARD SEQUENCES': CommandTag.Other,
  'COMMIT PREPARED': CommandTag.Other,
  set: CommandTag.Other,
};

test('each tag is recognized wherever it stands, and not when a part of it is missing', () => {
  for (const [text, tag] of Object.entries(TAGS)) {
    const payload = Buffer.from(`${text}\0`);
    const bytes = Buffer.concat([Buffer.from('SETC\0\0'), payload, Buffer.from('COMMIT\0')]);
    assert.equal(commandTag(bytes, 6, 6 + payload.length), tag, text);
    for (let there = 0; there < payload.length; there++)
      assert.equal(commandTag(bytes.subarray(0, 6 + there), 6, 6 + payload.length), CommandTag.Other, text);
  }
});

test('the tags that end a transaction, and those that change the session', () => {
  for (const [text, tag] of Object.entries(TAGS)) {
    assert.equal(endsTransaction(tag), ['COMMIT', 'ROLLBACK', 'PREPARE TRANSACTION'].includes(text), text);
    if (tag === CommandTag.Set || tag === CommandTag.DiscardAll || tag === CommandTag.DeallocateAll)
      assert.equal(mayChangeSession(text.length + 1), true, text);
  }
  assert.equal(mayChangeSession('INSERT 0 1\0'.length), false);
});

test('no other text is taken for a tag', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'SETCOMIDARLK \0'), maxLength: 20 }), (text) => {
      const bytes = Buffer.from(text);
      const known = Object.entries(TAGS).find(([each]) => `${each}\0` === text)?.[1];
      assert.equal(commandTag(bytes, 0, bytes.length), known ?? CommandTag.Other);
    }),
    { numRuns: 2000 },
  );
});
