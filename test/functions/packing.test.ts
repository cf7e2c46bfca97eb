/** Calls and answers as texts, and the order of a call's fields on both sides of an isolate. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CALL_FIELDS, FIELD, type CallContext } from '../../sandbox/crossing.ts';
import { Engine } from '../../src/functions/sandbox/engine.ts';
import type { HostCall } from '../../src/functions/sandbox/call.ts';
import { CONTEXT_FIELDS } from '../../src/functions/sandbox/context-fields.ts';
import {
  CallPacker,
  packAnswers,
  unpackAnswers,
  unpackAtMost,
  unpackCalls,
} from '../../src/functions/sandbox/packing.ts';
import { preludeScript } from '../../src/functions/sandbox/programs.ts';

/** fast-check's records have no prototype; the values that are read back have one. */
const plainObjects = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
const text = fc.string({ unit: 'binary' }).map((each) => each.replaceAll('\0', ''));

test('calls survive packing, whatever is in them', () => {
  const context = fc.record({
    database: text,
    login_database: text,
    databases: fc.array(text),
    nodes: fc.constant([]),
  });
  const call = fc.record({ username: text, query: text, inTransaction: fc.boolean(), context });
  const packer = new CallPacker();
  fc.assert(
    fc.property(fc.array(call, { minLength: 1 }), (calls) => {
      assert.deepEqual(unpackCalls(packer.pack(calls)), plainObjects(calls));
    }),
  );
});

test('answers survive packing, whatever is in them', () => {
  const plain = text.map((each) => each.replaceAll('\u0001', ''));
  const part = fc.oneof(
    fc.constant(null),
    text.map((each) => ({ text: each })),
    fc.record({
      rejection: fc.record({ message: text, code: text, hint: fc.option(text), detail: fc.option(text) }),
    }),
    fc.record({
      failure: fc.record({ outcome: fc.constant('threw' as const), message: plain, stack: plain }),
    }),
  );
  const answer = fc.record(
    { rewrite: part, route: part, basis: fc.integer({ min: 0, max: 2 ** CONTEXT_FIELDS.length - 1 }) },
    { requiredKeys: ['rewrite', 'route'] },
  );
  fc.assert(
    fc.property(fc.array(answer), plain, (answers, consoleText) => {
      const expected = plainObjects({ answers, consoleText });
      assert.deepEqual(unpackAnswers(packAnswers(answers, consoleText)), expected);
      assert.deepEqual(unpackAtMost(packAnswers(answers, consoleText), answers.length), expected);
      if (answers.length > 0)
        assert.equal(unpackAtMost(packAnswers(answers, consoleText), answers.length - 1), null);
    }),
  );
});

const call = (query: string, context: CallContext): HostCall => ({
  username: 'u',
  query,
  inTransaction: false,
  context,
});

test('a context crosses once in a batch, and other calls refer to it by its number', () => {
  const a = { database: 'a', databases: ['x'] };
  const b = { database: 'b' };
  const packed = new CallPacker().pack([
    call('1', a),
    call('2', { ...a }),
    call('3', b),
    call('4', { ...a, databases: ['y'] }),
    call('5', a),
    call('6', b),
  ]);
  const fields = packed.split(FIELD);
  const contexts = fields.filter((_, at) => at % CALL_FIELDS.length === CALL_FIELDS.indexOf('context'));
  assert.deepEqual(contexts, [
    '{"database":"a","databases":["x"]}',
    '0',
    '{"database":"b"}',
    '{"database":"a","databases":["y"]}',
    '0',
    '1',
  ]);
});

test('a packer makes no new text for a context that an earlier batch has brought', (t) => {
  const packer = new CallPacker();
  const databases = ['x'];
  packer.pack([call('1', { database: 'a', databases })]);
  const stringify = t.mock.method(JSON, 'stringify');
  packer.pack([call('2', { database: 'a', databases })]);
  assert.equal(stringify.mock.callCount(), 0);
  packer.pack([call('3', { database: 'a', databases: ['x'] })]);
  packer.pack([call('4', { database: 'a' })]);
  assert.equal(stringify.mock.callCount(), 2, 'another list, and a field that is left out');
});

test('each field of a call reaches the function as the argument that it is meant for', (t) => {
  const engine = new Engine(preludeScript());
  t.after(() => engine.dispose(1));
  const body = 'return JSON.stringify([username, query, in_transaction, ctx]);';
  engine.load({
    id: 1,
    code: `var __pgswitchyard = { routing_rules(username, query, in_transaction, ctx) { ${body} } };`,
    databases: ['first', 'second'],
    memoryLimitMb: 32,
    maxResult: 10_000,
    timeoutMs: 1_000,
  });
  const given = {
    database: 'the database',
    login_database: 'the login',
    databases: ['one', 'two'],
    nodes: [{ name: 'n', role: 'writer', state: 'serving', lag_bytes: null, lag_seconds: null }],
  } as const;
  const calls: HostCall[] = [
    { username: 'the user', query: 'the query', inTransaction: true, context: given },
    { username: 'another', query: 'other', inTransaction: false, context: {} },
  ];
  const { answers } = unpackAnswers(engine.run(1, new CallPacker().pack(calls)));
  const seen = answers.map(
    ({ route }) => route !== null && 'text' in route && (JSON.parse(route.text) as unknown),
  );
  const blank = { database: 'first', login_database: 'first', databases: ['first', 'second'], nodes: [] };
  assert.deepEqual(seen, [
    ['the user', 'the query', true, given],
    ['another', 'other', false, blank],
  ]);
});
