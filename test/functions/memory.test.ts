/** The memory of decisions: what a decision is found by, and the bounds of the memory. */
import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import fc from 'fast-check';
import { BLANK_CONTEXT, type RoutingContext } from '../../sandbox/context.ts';
import { Memory, MemoryRoom } from '../../src/functions/decide/memory.ts';
import { GO, type Decision } from '../../src/functions/decide/policy.ts';
import type { Question } from '../../src/functions/decide/question.ts';
import { MEMORY } from '../../src/functions/limits.ts';
import type { HostCall } from '../../src/functions/sandbox/call.ts';
import { CONTEXT_FIELDS } from '../../src/functions/sandbox/context-fields.ts';
import { clientErrors } from '../../src/wire/errors.ts';

const MB = 1024 * 1024;

interface Asked extends Partial<Omit<Question, 'part' | 'call'>> {
  readonly context?: Partial<RoutingContext>;
}

function callOf({ context, ...more }: Asked = {}): HostCall {
  return {
    username: 'u',
    query: 'q',
    inTransaction: false,
    isBytes: false,
    routeOnly: false,
    entry: 'a',
    context: { ...BLANK_CONTEXT, ...context },
    ...more,
  };
}

function questionOf(asked: Asked = {}): Question {
  const call = callOf(asked);
  return {
    ...(call as Required<HostCall>),
    part: (field) => call.context[field],
    call: () => call,
  };
}

const maskOf = (...fields: (keyof RoutingContext)[]): number =>
  fields.reduce((mask, field) => mask | (1 << CONTEXT_FIELDS.indexOf(field)), 0);

const rewritten = (query: string): Decision => ({ kind: 'go', query, dbkey: null });

function memoryOf(bytes = MB, room = new MemoryRoom(64 * MB)): Memory {
  return new Memory(room, () => bytes);
}

describe('a decision is found again only for the same question', () => {
  const others: Record<string, Asked> = {
    'another user': { username: 'v' },
    'another query': { query: 'r' },
    'the other state of the transaction': { inTransaction: true },
    'bytes instead of text': { isBytes: true },
    'only the routing function': { routeOnly: true },
    'another entry': { entry: 'b' },
    'a user and a query that only look the same together': { username: 'u\u0001q', query: '' },
  };
  for (const [what, asked] of Object.entries(others))
    test(what, () => {
      const memory = memoryOf();
      memory.keep(callOf(), 0, rewritten('1'));
      assert.deepEqual(memory.find(questionOf()), rewritten('1'));
      assert.equal(memory.find(questionOf(asked)), null);
      memory.keep(callOf(asked), 0, rewritten('2'));
      assert.deepEqual(memory.find(questionOf(asked)), rewritten('2'));
      assert.deepEqual(memory.find(questionOf()), rewritten('1'));
    });
});

describe('parts of ctx', () => {
  const node = { name: 'n', role: 'reader', state: 'ready', lag_bytes: 5, lag_seconds: 0 } as const;
  test('a part that was not read makes no difference', () => {
    const memory = memoryOf();
    memory.keep(callOf({ context: { database: 'x' } }), maskOf('login_database'), GO);
    assert.equal(memory.find(questionOf({ context: { database: 'y' } })), GO);
    assert.equal(memory.find(questionOf({ context: { login_database: 'y' } })), null);
  });
  test('lists are the same if their values are', () => {
    const memory = memoryOf();
    memory.keep(callOf({ context: { nodes: [node] } }), maskOf('nodes'), GO);
    assert.equal(memory.find(questionOf({ context: { nodes: [{ ...node }] } })), GO);
    assert.equal(memory.find(questionOf({ context: { nodes: [{ ...node, lag_bytes: 6 }] } })), null);
    assert.equal(memory.find(questionOf({ context: { nodes: [] } })), null);
  });
  test('a list that the version was loaded with differs from any that a call brings', () => {
    const memory = memoryOf();
    const { databases: _, ...rest } = BLANK_CONTEXT;
    memory.keep({ ...callOf(), context: rest }, maskOf('databases'), GO);
    assert.equal(memory.find(questionOf({ context: { databases: [] } })), null);
    assert.equal(memory.find({ ...questionOf(), part: () => undefined }), GO);
  });
  test('decisions that differ in ctx are kept beside each other, the latest few', () => {
    const memory = memoryOf();
    const database = (i: number): Asked => ({ context: { database: `d${i}` } });
    const count = MEMORY.maxVariants + 2;
    for (let i = 0; i < count; i++) memory.keep(callOf(database(i)), maskOf('database'), rewritten(`${i}`));
    assert.equal(memory.entries, 1);
    for (let i = 0; i < count; i++)
      assert.deepEqual(memory.find(questionOf(database(i))), i < 2 ? null : rewritten(`${i}`));
  });
  test('a decision that is made again takes the place of the former one', () => {
    const memory = memoryOf();
    memory.keep(callOf(), maskOf('database'), rewritten('1'));
    const { bytes } = memory;
    memory.keep(callOf(), maskOf('database'), rewritten('2'));
    assert.deepEqual(memory.find(questionOf()), rewritten('2'));
    assert.equal(memory.bytes, bytes);
  });
});

describe('bounds', () => {
  const query = (i: number): Asked => ({ query: `query ${i}` });
  test('a full memory forgets what was unused for the longest time', () => {
    const memory = memoryOf(2_000);
    let count = 0;
    while (memory.entries === count) memory.keep(callOf(query(count++)), 0, GO);
    assert.ok(count > 3 && memory.bytes <= 2_000);
    assert.equal(memory.find(questionOf(query(0))), null, 'the first');
    assert.equal(memory.find(questionOf(query(1))), GO, 'the second, which counts as used now');
    memory.keep(callOf(query(count)), 0, GO);
    assert.equal(memory.find(questionOf(query(2))), null, 'the third');
    assert.equal(memory.find(questionOf(query(1))), GO, 'the second');
  });
  test('a query or decision that is too long is not kept', () => {
    const memory = memoryOf();
    memory.keep(callOf({ query: 'x'.repeat(MEMORY.longestQuery + 1) }), 0, GO);
    memory.keep(callOf(), 0, rewritten('x'.repeat(MEMORY.longestEntry)));
    assert.equal(memory.entries, 0);
    const longest = { query: 'x'.repeat(MEMORY.longestQuery) };
    memory.keep(callOf(longest), 0, GO);
    assert.equal(memory.find(questionOf(longest)), GO);
  });
  test('a memory without room keeps nothing', () => {
    for (const memory of [memoryOf(0), memoryOf(MB, new MemoryRoom(0))]) {
      memory.keep(callOf(), 0, GO);
      assert.deepEqual([memory.entries, memory.bytes], [0, 0]);
    }
  });
  test('a tenant that asks ever new queries takes no more of the room than its share', () => {
    const room = new MemoryRoom(MB);
    const [quiet, noisy] = [memoryOf(MB, room), memoryOf(MB / 4, room)];
    for (let i = 0; i < 100; i++) quiet.keep(callOf(query(i)), 0, GO);
    for (let i = 0; i < 10_000; i++) noisy.keep(callOf(query(i)), 0, GO);
    assert.ok(noisy.bytes <= MB / 4);
    assert.equal(quiet.entries, 100);
  });
  test('a full room forgets what was unused for the longest time, of whatever tenant', () => {
    const room = new MemoryRoom(MB);
    const [first, second] = [memoryOf(MB, room), memoryOf(MB, room)];
    for (let i = 0; i < 10; i++) first.keep(callOf(query(i)), 0, GO);
    assert.equal(first.find(questionOf(query(3))), GO);
    while (room.bytes < MB - 1_000) second.keep(callOf(query(second.entries)), 0, GO);
    for (let i = 0; i < 20; i++) second.keep(callOf(query(10_000 + i)), 0, GO);
    assert.ok(room.bytes <= MB);
    assert.equal(first.find(questionOf(query(0))), null);
    assert.equal(first.find(questionOf(query(3))), null, 'it was used before the others were made');
    assert.equal(second.find(questionOf(query(10_019))), GO);
  });
  test('a room that shrinks forgets at once', () => {
    const room = new MemoryRoom(MB);
    const memory = memoryOf(MB, room);
    for (let i = 0; i < 100; i++) memory.keep(callOf(query(i)), 0, GO);
    room.resize(0);
    assert.deepEqual([memory.entries, memory.bytes, room.bytes], [0, 0, 0]);
  });
  test('bytes and entries add up, whatever is kept, found and forgotten', () => {
    const step = fc.record({
      memory: fc.nat(2),
      what: fc.constantFrom('keep', 'keep', 'keep', 'find', 'clear'),
      query: fc.nat(30),
      database: fc.nat(6),
      length: fc.nat(400),
      rejects: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const room = new MemoryRoom(20_000);
        const memories = [memoryOf(8_000, room), memoryOf(8_000, room), memoryOf(8_000, room)];
        for (const { memory: at, what, query: number, database, length, rejects } of steps) {
          const memory = memories[at]!;
          const asked = { query: `${number}`, context: { database: `${database}` } };
          const rejection = { message: 'no', code: '42501', hint: null, detail: null };
          const decision: Decision = rejects
            ? { kind: 'reject', error: clientErrors.rejected(rejection) }
            : rewritten('x'.repeat(length));
          if (what === 'keep') memory.keep(callOf(asked), maskOf('database'), decision);
          else if (what === 'find') memory.find(questionOf(asked));
          else memory.clear();
          assert.ok(memories.every((each) => each.bytes <= 8_000));
          assert.equal(
            room.bytes,
            memories.reduce((sum, each) => sum + each.bytes, 0),
          );
          assert.ok(room.bytes <= 20_000);
        }
        for (const memory of memories) memory.clear();
        assert.equal(room.bytes, 0);
      }),
    );
  });
});
