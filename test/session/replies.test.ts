/** The server's messages on their way to a client: what is still arriving, and when the server may go back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Replies } from '../../src/session/state/replies.ts';

const HEADER = Buffer.from([0x44, 0, 0, 0, 10]);

test('nothing is arriving at the beginning', () => {
  const replies = new Replies();
  assert.equal(replies.isEmpty, true);
  assert.equal(replies.isCut, false);
  assert.equal(replies.join(HEADER), HEADER);
});

test('the beginning of a message is kept until enough of it has arrived', () => {
  const replies = new Replies();
  replies.keep(HEADER.subarray(0, 2), HEADER.length);
  assert.equal(replies.isEmpty, false);
  assert.equal(replies.join(HEADER.subarray(2, 4)), null);
  assert.deepEqual(replies.join(HEADER.subarray(4)), HEADER);
  assert.equal(replies.isEmpty, true);
});

test('a message is cut for the client only while a body that it gets is arriving', () => {
  const replies = new Replies();
  replies.beginBody(8, true);
  assert.equal(replies.isCut, true);
  assert.equal(replies.takeBody(5), 5);
  assert.equal(replies.isCut, true);
  assert.equal(replies.takeBody(5), 3);
  assert.equal(replies.isCut, false);
  replies.beginBody(8, false);
  assert.equal(replies.isCut, false);
  assert.equal(replies.isEmpty, false);
  assert.equal(replies.isBodyForwarded, false);
});

test('the end of unsent bytes is waited for once', () => {
  const replies = new Replies();
  assert.equal(replies.noteUnsent(), true);
  assert.equal(replies.noteUnsent(), false);
  assert.equal(replies.isUnsent, true);
  replies.flushed();
  assert.equal(replies.isUnsent, false);
  assert.equal(replies.noteUnsent(), true);
});

const ENDINGS: readonly [name: string, act: (replies: Replies) => void, goesBack: boolean][] = [
  ['a transaction that ended before', (replies) => replies.unlinkWhenFlushed(), true],
  ['no transaction that ended', () => {}, false],
  [
    'a client that moved meanwhile',
    (replies) => {
      replies.unlinkWhenFlushed();
      replies.unlinkNow();
    },
    false,
  ],
  [
    'a server that was lost meanwhile',
    (replies) => {
      replies.unlinkWhenFlushed();
      replies.loseServer();
    },
    false,
  ],
];
for (const [name, act, goesBack] of ENDINGS) {
  test(`when all bytes have left, the server ${goesBack ? 'goes back' : 'stays'} after ${name}`, () => {
    const replies = new Replies();
    replies.noteUnsent();
    act(replies);
    assert.equal(replies.flushed(), goesBack);
    assert.equal(replies.flushed(), false);
  });
}

test('a server that has begun another message goes back after its end', () => {
  const replies = new Replies();
  replies.beginBody(4, true);
  assert.equal(replies.endTransaction(), false);
  assert.equal(replies.unlinksLate, true);
  replies.takeBody(4);
  assert.equal(replies.endTransaction(), true);
  assert.equal(replies.unlinksLate, false);
});

test('a lost server leaves a message that the client has in part, and nothing else', () => {
  const replies = new Replies();
  replies.beginBody(4, true);
  replies.endTransaction();
  replies.loseServer();
  assert.equal(replies.unlinksLate, false);
  assert.equal(replies.isCut, true);
  replies.endBody();
  assert.equal(replies.isEmpty, true);
});
