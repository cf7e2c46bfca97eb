/** Messages have the same borders however the stream is cut into chunks. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  ANY_SIZE,
  BAD_HEADER,
  frames,
  frameSize,
  FrameReader,
  INCOMPLETE,
  sizeOf,
  startupSize,
  writeHeader,
} from '../../src/wire/frame.ts';
import { message, startupMessage } from '../../src/wire/messages.ts';
import { MAX_STARTUP_BYTES } from '../../src/wire/protocol.ts';
import { workOf } from '../support/work.ts';

const LARGEST = 1 << 20;

const payloads = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
const sizes = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1 });

function messagesOf(bodies: readonly Uint8Array[]): Buffer[] {
  return bodies.map((body, i) => message(0x41 + i, Buffer.from(body)));
}

function* cut(bytes: Buffer, lengths: readonly number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const end = at + lengths[i % lengths.length]!;
    yield bytes.subarray(at, end);
    at = end;
  }
}

/** The messages that a reader finds in a stream in chunks. */
function read(chunks: Iterable<Buffer>): { messages: Buffer[]; isBroken: boolean } {
  const reader = new FrameReader(LARGEST);
  const messages: Buffer[] = [];
  for (const chunk of chunks) {
    reader.push(chunk);
    for (let each = reader.next(); each !== null; each = reader.next()) messages.push(Buffer.from(each));
  }
  return { messages, isBroken: reader.isBroken };
}

/** A header with a length that no message has, or that is over LARGEST. */
const badHeader = fc
  .tuple(fc.nat(255), fc.oneof(fc.integer({ max: 3 }), fc.integer({ min: LARGEST, max: 2 ** 31 - 1 })))
  .map(([type, length]) => {
    const header = Buffer.alloc(5);
    header[0] = type;
    header.writeInt32BE(length, 1);
    return header;
  });

test('a length below 4, a negative one and one above the limit are bad', () => {
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
  assert.equal(frameSize(longest, 0, ANY_SIZE), BAD_HEADER);
});

test('a header that was written is read back', () => {
  fc.assert(
    fc.property(fc.nat(255), fc.integer({ min: 5, max: ANY_SIZE }), (type, size) => {
      const header = Buffer.alloc(5);
      writeHeader(header, type, size);
      assert.equal(header[0], type);
      assert.equal(sizeOf(header), size);
    }),
  );
});

test('a stream gives the same messages however it is cut', () => {
  fc.assert(
    fc.property(payloads, sizes, (bodies, lengths) => {
      const messages = messagesOf(bodies);
      assert.deepEqual(read(cut(Buffer.concat(messages), lengths)), { messages, isBroken: false });
    }),
  );
});

test('a bad length is reported at its header however the stream is cut, and nothing after it is read', () => {
  fc.assert(
    fc.property(payloads, badHeader, payloads, sizes, (before, header, after, lengths) => {
      const messages = messagesOf(before);
      const stream = Buffer.concat([...messages, header, ...messagesOf(after)]);
      assert.deepEqual(read(cut(stream, lengths)), { messages, isBroken: true });
      const start = stream.length - header.length - Buffer.concat(messagesOf(after)).length;
      for (let end = start; end < start + header.length; end++)
        assert.equal(frameSize(stream.subarray(0, end), start, LARGEST), INCOMPLETE);
      assert.equal(frameSize(stream.subarray(0, start + header.length), start, LARGEST), BAD_HEADER);
    }),
  );
});

test('a walk through a buffer finds the messages that the reader finds, and then the one that is cut', () => {
  fc.assert(
    fc.property(payloads, fc.nat(), (bodies, seed) => {
      const messages = messagesOf(bodies);
      const stream = Buffer.concat(messages);
      const bytes = stream.subarray(0, seed % (stream.length + 1));
      const whole = read([bytes]).messages;
      const found = [...frames(bytes)];
      assert.deepEqual(
        found.filter((each) => !each.isCut).map(({ start, end }) => Buffer.from(bytes.subarray(start, end))),
        whole,
      );
      let at = 0;
      for (const [i, { type, start, end, isCut, payload }] of found.entries()) {
        assert.equal(type, messages[i]![0]);
        assert.equal(start, at);
        assert.equal(end - start, messages[i]!.length);
        assert.equal(isCut, end > bytes.length);
        assert.deepEqual(payload, bytes.subarray(start + 5, end));
        at = end;
      }
      // a message with less than a whole header is not among them
      assert.ok(at >= bytes.length || bytes.length - at < 5);
    }),
  );
});

test('random bytes neither hang nor throw', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 30 })), (chunks) => {
      const all = chunks.map((each) => Buffer.from(each));
      for (const each of read(all).messages) assert.ok(each.length >= 5);
      for (const each of frames(Buffer.concat(all))) assert.ok(each.end - each.start >= 5);
    }),
  );
});

test('a reader gives back the bytes after the messages that were taken', () => {
  fc.assert(
    fc.property(payloads, fc.nat(8), (bodies, taken) => {
      const messages = messagesOf(bodies);
      const reader = new FrameReader(LARGEST);
      reader.push(Buffer.concat(messages));
      for (let i = 0; i < taken && i < messages.length; i++) assert.deepEqual(reader.next(), messages[i]);
      assert.deepEqual(Buffer.from(reader.rest()), Buffer.concat(messages.slice(taken)));
      assert.equal(reader.next(), null);
    }),
  );
});

test('twice the bytes take twice the work, in one chunk and byte by byte', () => {
  const short = message(0x44, Buffer.alloc(3));
  const inputs: Record<string, (size: number) => Buffer> = {
    'many messages': (size) => Buffer.concat(Array.from({ length: size / short.length }, () => short)),
    'one message': (size) => message(0x44, Buffer.alloc(size)),
  };
  for (const [what, make] of Object.entries(inputs)) {
    for (const lengths of [[1], [3, 7], [ANY_SIZE]]) {
      const work = (size: number): number => {
        const bytes = make(size);
        return workOf(() => {
          read(cut(bytes, lengths));
          for (const _ of frames(bytes));
        });
      };
      const [one, two] = [work(16_000), work(32_000)];
      assert.ok(two <= 2.5 * one + 1_000, `${what} in chunks of ${lengths.join()}: ${one}, then ${two}`);
    }
  }
});

test('a start-up packet is as long as it says, within the limits', () => {
  const packet = startupMessage(0x30000, [['user', 'a']]);
  for (let end = 0; end < packet.length; end++)
    assert.equal(startupSize(packet.subarray(0, end)), end < 8 ? INCOMPLETE : packet.length);
  for (const [length, size] of [
    [7, BAD_HEADER],
    [8, 8],
    [MAX_STARTUP_BYTES, MAX_STARTUP_BYTES],
    [MAX_STARTUP_BYTES + 1, BAD_HEADER],
    [-1, BAD_HEADER],
  ] as const) {
    const bytes = Buffer.alloc(8);
    bytes.writeInt32BE(length, 0);
    assert.equal(startupSize(bytes), size, String(length));
  }
});

test('no other file of the proxy reads the length in a header', () => {
  const source = join(import.meta.dirname, '..', '..', 'src');
  const readers = globSync('**/*.ts', { cwd: source }).filter((file) =>
    /\.readU?Int32BE\((?:1|(?:at|start) \+ 1)\)/.test(readFileSync(join(source, file), 'utf8')),
  );
  assert.deepEqual(readers, []);
});
