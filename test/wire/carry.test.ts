/** Bytes that are collected piece by piece are copied a few times each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { appended, Carry } from '../../src/wire/carry.ts';

test('a carry that grows byte by byte copies each byte a few times', () => {
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

test('appending byte by byte copies each byte a few times, and earlier results stay as they are', () => {
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

test('a carry gives back the bytes that were put in, once it has as many as were wanted', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 90 }), { minLength: 1 }),
      fc.nat(300),
      (chunks, wanted) => {
        const carry = new Carry();
        const [first, ...rest] = chunks.map((each) => Buffer.from(each));
        carry.keep(first!, wanted);
        let there = first!;
        for (const chunk of rest) {
          const all = carry.join(chunk);
          there = Buffer.concat([there, chunk]);
          if (there.length < wanted) {
            assert.equal(all, null);
            assert.equal(carry.length, there.length);
            continue;
          }
          assert.deepEqual(all, there);
          assert.equal(carry.length, 0);
          return;
        }
      },
    ),
  );
});
