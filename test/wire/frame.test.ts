/** Where messages begin and end, in whatever pieces they come. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { appended, Carry } from '../../src/wire/carry.ts';
import { BAD_HEADER, frameSize, FrameReader, INCOMPLETE } from '../../src/wire/frame.ts';
import { message, parseColumns, parseRow } from '../../src/wire/messages.ts';

const LARGEST = 1 << 20;

test('a length below 4, a negative one and one above the limit are bad, whatever follows', () => {
  for (const [length, size] of [
    [4, 5],
    [LARGEST - 1, LARGEST],
    [LARGEST, BAD_HEADER],
    [3, BAD_HEADER],
    [0, BAD_HEADER],
    [-1, BAD_HEADER],
    [-5, BAD_HEADER],
    [-(2 ** 31), BAD_HEADER],
    [2 ** 31 - 1, BAD_HEADER],
  ] as const) {
    const bytes = Buffer.alloc(7);
    bytes.writeInt32BE(length, 3);
    assert.equal(frameSize(bytes, 2, LARGEST), size, String(length));
    assert.equal(frameSize(bytes, 3, LARGEST), INCOMPLETE);
  }
  const longest = Buffer.from([0, 0x7f, 0xff, 0xff, 0xff]);
  assert.equal(frameSize(longest, 0, 2 ** 31), 2 ** 31);
});

test('messages come out whole, in order, in whatever pieces they go in', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1 }),
      (payloads, pieces) => {
        const frames = payloads.map((payload, i) => message(0x41 + i, Buffer.from(payload)));
        const bytes = Buffer.concat(frames);
        const reader = new FrameReader(LARGEST);
        const read: Buffer[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const end = at + pieces[i % pieces.length]!;
          reader.push(bytes.subarray(at, end));
          for (let frame = reader.next(); frame !== null; frame = reader.next())
            read.push(Buffer.from(frame));
          at = end;
        }
        assert.deepEqual(read, frames);
        assert.equal(reader.isBroken, false);
      },
    ),
  );
});

test('random bytes neither hang nor throw, and rows and columns of nonsense are none', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 30 })), (chunks) => {
      const reader = new FrameReader(LARGEST);
      for (const chunk of chunks) {
        reader.push(Buffer.from(chunk));
        let frame = reader.next();
        while (frame !== null) {
          assert.ok(frame.length >= 5);
          frame = reader.next();
        }
        parseRow(Buffer.from(chunk));
        parseColumns(Buffer.from(chunk));
      }
    }),
  );
});

test('what comes byte by byte is copied a few times, not once for each byte', () => {
  const copied = (size: number): number => {
    let bytes = 0;
    const { copy } = Buffer.prototype;
    Buffer.prototype.copy = function counted(this: Buffer, ...args: Parameters<typeof copy>): number {
      const count = copy.apply(this, args);
      bytes += count;
      return count;
    };
    try {
      const carry = new Carry();
      const byte = Buffer.alloc(1);
      carry.keep(byte, size);
      for (let i = 2; i < size; i++) assert.equal(carry.join(byte), null);
      assert.equal(carry.join(byte)?.length, size);
    } finally {
      Buffer.prototype.copy = copy;
    }
    return bytes;
  };
  const [one, two] = [copied(50_000), copied(100_000)];
  assert.ok(two < 4 * 100_000 && two < 2.5 * one, `${one}, then ${two} bytes`);
});

test('the columns and values of rows, NULL included', () => {
  const column = (name: string): Buffer => Buffer.concat([Buffer.from(`${name}\0`), Buffer.alloc(18)]);
  const columns = Buffer.concat([Buffer.from([0, 2]), column('a'), column('ü')]);
  assert.deepEqual(parseColumns(columns), ['a', 'ü']);
  const row = Buffer.from([0, 3, 0, 0, 0, 1, 65, 255, 255, 255, 255, 0, 0, 0, 0]);
  assert.deepEqual(parseRow(row), ['A', null, '']);
  for (let end = 0; end < row.length; end++) assert.equal(parseRow(row.subarray(0, end)), null);
  for (let end = 0; end < columns.length; end++) assert.equal(parseColumns(columns.subarray(0, end)), null);
});

test('what is appended piece by piece is copied a few times, and nothing that was returned before changes', () => {
  const { copy } = Buffer.prototype;
  const copied = (pieces: number): number => {
    let bytes = 0;
    Buffer.prototype.copy = function (this: Buffer, ...args: Parameters<typeof copy>) {
      const done = copy.apply(this, args);
      bytes += done;
      return done;
    };
    try {
      let all: Buffer = Buffer.from([0]);
      for (let i = 1; i < pieces; i++) all = appended(all, [Buffer.from([i & 255])]);
      assert.ok(all.every((byte, i) => byte === (i & 255)));
      return bytes;
    } finally {
      Buffer.prototype.copy = copy;
    }
  };
  assert.ok(copied(20_000) < 4 * 20_000);
  const first = appended(Buffer.from('a'), [Buffer.from('b')]);
  const one = appended(first, [Buffer.from('c'), Buffer.from('d')]);
  const other = appended(first, [Buffer.from('x')]);
  assert.deepEqual([first, one, other].map(String), ['ab', 'abcd', 'abx']);
  const rest = appended(one.subarray(1), [Buffer.from('e')]);
  assert.deepEqual([rest, appended(one.subarray(0, 2), [rest])].map(String), ['bcde', 'abbcde']);
  assert.equal(String(appended(Buffer.alloc(3, 'a'), [Buffer.from('b')], 4)), 'aaab');
});
