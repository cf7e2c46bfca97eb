/** The way in which the bytes for a server leave. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { Outgoing } from '../../src/session/state/outgoing.ts';

/** A socket that records its calls. */
function recorder(takes: readonly boolean[]): { socket: Socket; calls: string[] } {
  const calls: string[] = [];
  let writes = 0;
  const socket = {
    cork: () => calls.push('cork'),
    uncork: () => calls.push('uncork'),
    write(bytes: Buffer): boolean {
      calls.push(bytes.toString());
      return takes[writes++] ?? true;
    },
  };
  return { socket: socket as unknown as Socket, calls };
}

function outgoing(...pieces: string[]): Outgoing {
  const all = new Outgoing();
  for (const piece of pieces) all.add(Buffer.from(piece));
  return all;
}

test('nothing is written if nothing was added', () => {
  const { socket, calls } = recorder([]);
  assert.equal(outgoing().flush(socket), true);
  assert.deepEqual(calls, []);
});

test('one piece is written without a cork', () => {
  const { socket, calls } = recorder([]);
  assert.equal(outgoing('a').flush(socket), true);
  assert.deepEqual(calls, ['a']);
});

test('several pieces leave together, in their order', () => {
  const { socket, calls } = recorder([]);
  outgoing('a', 'b', 'c').flush(socket);
  assert.deepEqual(calls, ['cork', 'a', 'b', 'c', 'uncork']);
});

test('parts of a chunk that follow one another are one piece', () => {
  const { socket, calls } = recorder([]);
  const all = new Outgoing();
  const chunk = Buffer.from('abcdef');
  all.addPart(chunk, 0, 2);
  all.addPart(chunk, 2, 3);
  all.addPart(chunk, 3, 6);
  all.flush(socket);
  assert.deepEqual(calls, ['abcdef']);
});

test('parts of a chunk with something between them keep their order', () => {
  const { socket, calls } = recorder([]);
  const all = new Outgoing();
  const chunk = Buffer.from('abcdef');
  all.addPart(chunk, 0, 2);
  all.add(Buffer.from('x'));
  all.addPart(chunk, 2, 3);
  all.addPart(chunk, 4, 5);
  all.addPart(Buffer.from('---56'), 5, 5);
  all.addPart(Buffer.from('yz'), 1, 2);
  all.flush(socket);
  assert.deepEqual(calls.join('|'), 'cork|ab|x|c|e||z|uncork');
});

test('the last write says whether the socket takes more', () => {
  assert.equal(outgoing('a').flush(recorder([false]).socket), false);
  assert.equal(outgoing('a', 'b').flush(recorder([false, true]).socket), true);
  assert.equal(outgoing('a', 'b').flush(recorder([true, false]).socket), false);
});

test('pieces are written once, and are forgotten if there is no server', () => {
  const { socket, calls } = recorder([]);
  const all = outgoing('a', 'b');
  assert.equal(all.flush(undefined), true);
  all.add(Buffer.from('c'));
  all.flush(socket);
  all.flush(socket);
  assert.deepEqual(calls, ['c']);
});
