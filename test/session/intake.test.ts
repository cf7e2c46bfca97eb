/** The bytes of a client that are kept while its messages wait. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Intake } from '../../src/session/state/intake.ts';
import { message } from '../../src/wire/messages.ts';

const QUERY = message(0x51, 'SELECT 1');

test('a new intake is empty', () => {
  const intake = new Intake();
  assert.equal(intake.isEmpty, true);
  assert.equal(intake.size, 0);
  assert.equal(intake.isCut, false);
});

test('bytes that are held are taken in the order in which they arrived, however they were cut', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (pieces) => {
      const intake = new Intake();
      const chunks = pieces.map((piece) => Buffer.from(piece));
      for (const chunk of chunks) intake.hold(chunk);
      assert.deepEqual(intake.takeWith(Buffer.from('end')), Buffer.concat([...chunks, Buffer.from('end')]));
      assert.equal(intake.held.length, 0);
    }),
  );
});

test('bytes that are put back come before those that arrived meanwhile', () => {
  const intake = new Intake();
  intake.hold(Buffer.from('c'));
  intake.putBack(Buffer.from('ab'));
  assert.equal(intake.take().toString(), 'abc');
});

test('a message that must be whole is complete when its last byte has arrived', () => {
  for (let cut = 1; cut < QUERY.length; cut++) {
    const intake = new Intake();
    intake.collect(QUERY.subarray(0, cut), QUERY.length);
    assert.equal(intake.isEmpty, false);
    assert.equal(intake.size, cut);
    assert.equal(intake.completed(Buffer.alloc(0)), null);
    assert.deepEqual(intake.completed(QUERY.subarray(cut)), QUERY);
    assert.equal(intake.isEmpty, true);
  }
});

test('without a message to complete, a chunk is passed through as it is', () => {
  assert.equal(new Intake().completed(QUERY), QUERY);
});

test('the body of a message is taken as it arrives', () => {
  const intake = new Intake();
  intake.beginBody(10, true);
  assert.equal(intake.isCut, true);
  assert.equal(intake.takeBody(4), 4);
  assert.equal(intake.bodyLeft, 6);
  assert.equal(intake.takeBody(100), 6);
  assert.equal(intake.isCut, false);
  assert.equal(intake.takeBody(100), 0);
});

test('a body that is thrown away does not cut a message at the server', () => {
  const intake = new Intake();
  intake.beginBody(10, false);
  assert.equal(intake.isCut, false);
  assert.equal(intake.isEmpty, false);
});

test('a message that is dropped takes the rest of its body along', () => {
  const intake = new Intake();
  intake.hold(Buffer.concat([QUERY, QUERY.subarray(0, 7)]));
  intake.dropMessage();
  assert.deepEqual(intake.held, QUERY.subarray(0, 7));
  assert.equal(intake.bodyLeft, 0);
  intake.dropMessage();
  assert.equal(intake.held.length, 0);
  assert.equal(intake.bodyLeft, QUERY.length - 7);
  assert.equal(intake.isCut, false);
});

test('a client that was held back is read again when there is room', () => {
  const intake = new Intake();
  intake.hold(Buffer.alloc(64 * 1024));
  assert.equal(intake.isFull, false);
  intake.hold(Buffer.alloc(1));
  assert.equal(intake.isFull, true);
  intake.holdBack();
  assert.equal(intake.readAgain(), false);
  intake.drop(1);
  assert.equal(intake.readAgain(), true);
  assert.equal(intake.readAgain(), false);
});

test('an intake that restarts forgets the message that was arriving', () => {
  const intake = new Intake();
  intake.beginBody(10, true);
  intake.restart(QUERY);
  assert.equal(intake.isCut, false);
  assert.deepEqual(intake.take(), QUERY);
});
