/** Messages between the proxy and a sandbox process, in which code may have broken out. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { DEFAULT_OPTIONS } from '../../sandbox/crossing.ts';
import {
  encodeMessage,
  OrderReader,
  ReportReader,
  type Message,
  type Order,
  type Report,
} from '../../src/functions/sandbox/protocol.ts';

const version = { id: 7, code: 'x', databases: ['a'], memoryLimitMb: 8, maxResult: 9, timeoutMs: 10 };

/** Bytes before the text of a message. */
const HEADER = 9;

/** A message of a kind with a text that the protocol would not write. */
function raw(message: Message, text: string): Buffer {
  const header = Buffer.from(encodeMessage(message).subarray(0, HEADER));
  header.writeInt32BE(HEADER - 4 + Buffer.byteLength(text), 0);
  return Buffer.concat([header, Buffer.from(text)]);
}

/** The header of a message, and none of its text. */
function header(message: Message, size: number): Buffer {
  const bytes = Buffer.from(encodeMessage(message).subarray(0, HEADER));
  bytes.writeInt32BE(HEADER - 4 + size, 0);
  return bytes;
}

const answers: Report = { kind: 'answers', batchId: 1, cpuUs: 0, heapBytes: 0, answers: '' };
const alive: Report = { kind: 'alive', batchId: 1, nextMs: 5 };
const loaded: Report = {
  kind: 'loaded',
  versionId: 7,
  cpuUs: 3,
  result: { kind: 'loaded', manifest: { routes: true, rewrites: false, options: DEFAULT_OPTIONS } },
};
const refused: Report = {
  kind: 'loaded',
  versionId: 7,
  cpuUs: 3,
  result: { kind: 'refused', cause: 'mistake', message: 'm', stack: 's' },
};

/** Reads messages that arrive in pieces of these sizes. */
function inPieces<Read>(
  reader: { push(chunk: Buffer): Read[] },
  messages: readonly Message[],
  sizes: readonly number[],
): Read[] {
  const all = Buffer.concat(messages.map(encodeMessage));
  const read: Read[] = [];
  for (let at = 0, i = 0; at < all.length; i++) {
    const next = at + sizes[i % sizes.length]!;
    read.push(...reader.push(Buffer.from(all.subarray(at, next))));
    at = next;
  }
  return read;
}

const id = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 });

test('orders are put together again from pieces of any size', () => {
  const order: fc.Arbitrary<Order> = fc.oneof(
    fc.string().map((prelude) => ({ kind: 'hello', prelude }) as const),
    fc.string().map((code) => ({ kind: 'load', version: { ...version, code } }) as const),
    id.map((versionId) => ({ kind: 'dispose', versionId }) as const),
    fc
      .tuple(id, id, fc.string())
      .map(
        ([batchId, versionId, calls]) =>
          ({ kind: 'batch', batchId, versionId, sliceMs: batchId % 100, calls }) as const,
      ),
  );
  fc.assert(
    fc.property(fc.array(order), sizes, (orders, cuts) => {
      assert.deepEqual(inPieces(new OrderReader(), orders, cuts), orders);
    }),
  );
});

test('reports are put together again from pieces of any size', () => {
  const report: fc.Arbitrary<Report> = fc.oneof(
    fc.constantFrom<Report>({ kind: 'ready' }, loaded, refused, alive),
    fc
      .tuple(fc.constantFrom('answers', 'cut', 'starved'), id, fc.nat(), fc.nat(), fc.string())
      .map(([kind, batchId, cpuUs, heapBytes, text]) => ({ kind, batchId, cpuUs, heapBytes, answers: text })),
  );
  fc.assert(
    fc.property(fc.array(report), sizes, (reports, cuts) => {
      assert.deepEqual(inPieces(new ReportReader(100_000), reports, cuts), reports);
    }),
  );
});

test('a message that is too long is refused at its header, before any of it is kept', () => {
  for (const [message, size] of [
    [answers, 1_000_000],
    [answers, 2 ** 30],
    [alive, 20_000],
    [loaded, 20_000],
    [{ kind: 'ready' }, 20_000],
  ] as const)
    assert.throws(
      () => new ReportReader(100_000).push(header(message, size)),
      /malformed/,
      `${message.kind} ${size}`,
    );
  for (const size of [-1, -9, -(2 ** 31) + 10])
    assert.throws(() => new ReportReader(100_000).push(header(answers, size)), /malformed/);
});

test('answers may be longer once a version may return more', () => {
  const reader = new ReportReader(1_000);
  reader.allow(100_000);
  reader.allow(5_000);
  const long: Report = { ...answers, answers: 'x'.repeat(50_000) };
  assert.deepEqual(reader.push(encodeMessage(long)), [long]);
  assert.throws(() => reader.push(header(answers, 200_000)), /malformed/);
});

test('an order may be as long as the proxy likes', () => {
  const order: Order = { kind: 'batch', batchId: 7, versionId: 1, sliceMs: 10, calls: 'x'.repeat(2_000_000) };
  assert.deepEqual(new OrderReader().push(encodeMessage(order)), [order]);
});

for (const [message, text] of [
  [answers, 'n\0n\0'],
  [answers, '5\0n\0n\0'],
  [answers, 'NaN\x005\0n\0n\0'],
  [answers, '-1\x005\0n\0n\0'],
  [answers, '0.5\x005\0n\0n\0'],
  [answers, '5\0NaN\0n\0n\0'],
  [answers, '5\0-1\0n\0n\0'],
  [answers, '5\x001e400\0n\0n\0'],
  [answers, `5\0${'9'.repeat(20)}\0n\0n\0`],
  [answers, '5'],
  [answers, '5\x005'],
  [alive, 'soon'],
  [alive, 'Infinity'],
  [loaded, ''],
  [loaded, '{"kind":"loaded","manifest":{"routes":true,"rewrites":false}}'],
  [loaded, '3\0ok routes'],
  [loaded, '3\0null'],
  [loaded, '3\0{"kind":"loaded"}'],
  [loaded, '3\0{"kind":"loaded","manifest":{"routes":1,"rewrites":0}}'],
  [loaded, '3\0{"kind":"refused","cause":"passing","message":"","stack":""}'],
  [loaded, '3\0{"kind":"refused","cause":"mistake","message":{},"stack":""}'],
  [loaded, `3\0{"kind":"refused","cause":"mistake","message":"${'x'.repeat(5_000)}","stack":""}`],
] as const) {
  test(`a report ${message.kind} with ${JSON.stringify(text.slice(0, 60))} is refused`, () => {
    assert.throws(() => new ReportReader(100_000).push(raw(message, text)));
  });
}

test('a child gives no orders, and the proxy sends no reports', () => {
  assert.throws(
    () => new ReportReader(100_000).push(encodeMessage({ kind: 'dispose', versionId: 1 })),
    /malformed/,
  );
  assert.throws(() => new OrderReader().push(encodeMessage(alive)), /malformed/);
});
