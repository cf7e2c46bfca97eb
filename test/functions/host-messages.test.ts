/** What the proxy takes from a sandbox process, in which somebody may have broken out. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { encodeMessage, MessageReader, type HostMessage } from '../../src/functions/sandbox/protocol.ts';

/** The header of a message, and none of its text. */
function header(kind: HostMessage['kind'], size: number): Buffer {
  const bytes = encodeMessage({ kind, id: 1, text: '' } as HostMessage);
  bytes.writeInt32BE(bytes.length - 4 + size, 0);
  return bytes;
}

test('a message that is too long is refused at its header, before any of it is kept', () => {
  for (const [kind, size] of [
    ['answers', 1_000_000],
    ['answers', 2 ** 30],
    ['alive', 20_000],
    ['loaded', 20_000],
    ['ready', 20_000],
  ] as const)
    assert.throws(() => new MessageReader(100_000).push(header(kind, size)), /malformed/, `${kind} ${size}`);
  for (const size of [-1, -9, -(2 ** 31) + 10])
    assert.throws(() => new MessageReader(100_000).push(header('answers', size)), /malformed/);
});

test('answers may be longer once a version may return more', () => {
  const reader = new MessageReader(1_000);
  reader.allow(100_000);
  reader.allow(5_000);
  const message = encodeMessage({ kind: 'answers', id: 7, text: 'x'.repeat(50_000) });
  assert.equal(reader.push(message)[0]!.text.length, 50_000);
  assert.throws(() => reader.push(header('answers', 200_000)), /malformed/);
});

test('what the proxy sends is as long as it likes', () => {
  const message = encodeMessage({ kind: 'batch', id: 7, text: 'x'.repeat(2_000_000) });
  assert.equal(new MessageReader().push(message)[0]!.text.length, 2_000_000);
});
