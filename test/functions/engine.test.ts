/** Isolates and the prelude in this process, without tenants or child processes around them. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { DEFAULT_OPTIONS } from '../../sandbox/crossing.ts';
import { Engine } from '../../src/functions/sandbox/engine.ts';
import type { LoadRefusal, LoadResult } from '../../src/functions/sandbox/load-result.ts';
import type { HostAnswer, HostCall } from '../../src/functions/sandbox/call.ts';
import { CallPacker, unpackAnswers } from '../../src/functions/sandbox/packing.ts';
import { preludeScript } from '../../src/functions/sandbox/programs.ts';
import { until } from '../support/wait.ts';

const MAX_RESULT = 1_000;

interface Running {
  readonly loaded: LoadResult;
  readonly ask: (...queries: string[]) => HostAnswer[];
  /** the answers of one batch, of as many calls as were run */
  readonly once: (...queries: string[]) => HostAnswer[];
  readonly printed: () => string;
  readonly cuts: () => number;
}

/** @param body of `routing_rules(username, query, in_transaction, ctx)` */
function run(t: TestContext, body: string, top = '', timeoutMs = 50): Running {
  const engine = new Engine(preludeScript());
  const code = `var __pgswitchyard = (() => { ${top}; return { routing_rules(username, query, in_transaction, ctx) { ${body} } }; })();`;
  const loaded = engine.load({
    id: 1,
    code,
    databases: ['a', 'b'],
    memoryLimitMb: 32,
    maxResult: MAX_RESULT,
    timeoutMs,
  });
  t.after(() => engine.dispose(1));
  let printed = '';
  let cuts = 0;
  const once = (queries: readonly string[]): HostAnswer[] => {
    const calls = queries.map((query): HostCall => ({
      username: 'u',
      query,
      inTransaction: true,
      context: { database: 'a' },
    }));
    const { answers, consoleText } = unpackAnswers(engine.run(1, new CallPacker().pack(calls), () => cuts++));
    printed += consoleText;
    return answers;
  };
  return {
    loaded,
    ask: (...queries) => {
      const all: HostAnswer[] = [];
      // Calls that were not run are sent again, one by one if none was run.
      for (let last = 1; all.length < queries.length;) {
        const rest = last === 0 ? [queries[all.length]!] : queries.slice(all.length);
        const answers = once(rest);
        last = answers.length;
        if (last === 0 && rest.length === 1) return all;
        all.push(...answers);
      }
      return all;
    },
    once: (...queries) => once(queries),
    printed: () => printed,
    cuts: () => cuts,
  };
}

/** The reason why a version was refused. */
function refusalOf(loaded: LoadResult): LoadRefusal {
  assert.ok(loaded.kind === 'refused', JSON.stringify(loaded));
  return loaded;
}

/** The route of an answer in one word: its text, null, `reject CODE MESSAGE` or `!outcome`. */
function word(answer: HostAnswer | undefined): string | null {
  const part = answer!.route;
  if (part === null) return null;
  if ('text' in part) return part.text;
  if ('rejection' in part) return `reject ${part.rejection.code} ${part.rejection.message}`;
  return `!${part.failure.outcome}`;
}

test('a function gets the documented arguments, and a frozen context', (t) => {
  const { ask, loaded } = run(
    t,
    'return [username, query, in_transaction, ctx.database, ctx.databases.join("+"), Object.isFrozen(ctx)].join();',
  );
  assert.deepEqual(loaded, {
    kind: 'loaded',
    manifest: { routes: true, rewrites: false, options: DEFAULT_OPTIONS },
  });
  assert.equal(word(ask('q')[0]), 'u,q,true,a,a+b,true');
});

test('answers come in the order of the calls, failed ones included', (t) => {
  const { ask, cuts } = run(
    t,
    "if (query === 'loop') for (;;); if (query === 'throw') null.x; return query === 'null' ? null : query;",
  );
  const queries = ['1', 'loop', '2', 'null', 'throw', '3', 'loop', '4'];
  const expected = ['1', '!deadline', '2', null, '!threw', '3', '!deadline', '4'];
  assert.deepEqual(ask(...queries).map(word), expected);
  // More often on a busy machine: a call that was cut off in the middle of its time is run again alone.
  assert.ok(cuts() >= 2, 'whoever waits is told that the batch goes on');
});

test('a batch ends after a call that was cut off', (t) => {
  const { ask, once } = run(t, "if (query === 'loop') for (;;); return query;");
  let answers: (string | null)[];
  // on a busy machine the first call may take the time of a batch
  do answers = once('fine', 'loop', 'loop', 'fine').map(word);
  while (answers.length < 2);
  assert.deepEqual(answers, ['fine', '!deadline']);
  assert.equal(word(ask('fine')[0]), 'fine');
});

test('a batch ends after 20 ms, and when its answers are long', (t) => {
  const { once } = run(
    t,
    "if (query === 'wait') for (const end = Date.now() + 25; Date.now() < end;); return query.repeat(query.length > 500 ? 1 : 2);",
  );
  let answers: (string | null)[];
  // on a busy machine the first call may take the 20 ms
  do answers = once('a', 'wait', 'b').map(word);
  while (answers.length < 2);
  assert.deepEqual(answers, ['aa', 'waitwait']);
  const long = 'x'.repeat(1_000);
  assert.ok(once(...Array.from({ length: 400 }, () => long)).length < 300);
});

test('the heap and the buffers of an isolate are measured', (t) => {
  const engine = new Engine(preludeScript());
  const code = (top: string): string =>
    `var __pgswitchyard = (() => { ${top}; return { routing_rules: () => null }; })();`;
  const plain = { databases: [], memoryLimitMb: 64, maxResult: 1_000, timeoutMs: 50 };
  engine.load({ id: 1, code: code(''), ...plain });
  engine.load({ id: 2, code: code('globalThis.kept = new Uint8Array(2e7).fill(1)'), ...plain });
  engine.load({ id: 3, code: code('globalThis.kept = new Array(2e6).fill(0.5)'), ...plain });
  t.after(() => [1, 2, 3].forEach((id) => engine.dispose(id)));
  const [small, buffer, array] = [1, 2, 3].map((id) => engine.heapBytes(id));
  assert.ok(small! > 0 && small! < 5e6, `${small} bytes`);
  assert.ok(buffer! > 2e7, `${buffer} bytes`);
  assert.ok(array! > 1e7, `${array} bytes`);
  assert.equal(engine.heapBytes(4), 0);
});

test('many short calls that exceed a deadline together are not to blame', (t) => {
  const { ask } = run(t, 'const end = Date.now() + 8; while (Date.now() < end); return query;');
  const queries = Array.from({ length: 20 }, (_, i) => `q${i}`);
  assert.deepEqual(ask(...queries).map(word), queries);
});

test('microtasks and globals of a call that was cut off do not reach the next call', (t) => {
  const { ask } = run(
    t,
    "if (query === 'spoil') { const f = () => Promise.resolve().then(f); f(); return 'a'; } globalThis.seen = (globalThis.seen ?? 0) + 1; return String(globalThis.seen);",
  );
  assert.equal(word(ask('one')[0]), '1');
  assert.equal(word(ask('spoil')[0]), '!deadline');
  assert.equal(word(ask('one')[0]), '1', 'a new isolate');
});

test('calls after an early end of a batch have no answer', (t) => {
  const body = `console.log('s' + query); if (query === 'b') return 'b';
    for (const end = Date.now() + 25; Date.now() < end;); const f = () => Promise.resolve().then(f); f(); return 'a';`;
  const { once, ask } = run(t, body);
  assert.deepEqual(once('spoil', 'b', 'c').map(word), ['!deadline']);
  assert.deepEqual(ask('spoil', 'b', 'b').map(word), ['!deadline', 'b', 'b']);
});

test('memory that earlier calls have kept is not held against a later call', (t) => {
  const { ask } = run(
    t,
    "if (query === 'leave') { for (let i = 0; i < 5; i++) kept.push(new Array(131072).fill(i + 0.5)); return 'left'; } if (query === 'eat') for (;;) kept.push(new Array(100000).fill(kept.length + 0.5)); return String(new Array(1000000).fill(0.5).length);",
    'const kept = []',
    2_000,
  );
  for (let i = 0; i < 8; i++) assert.deepEqual(ask('leave', 'use').map(word), ['left', '1000000']);
  assert.match(word(ask('eat')[0])!, /^!(?:memory|deadline)$/);
});

test('results are checked: type, length, characters', (t) => {
  const { ask } = run(
    t,
    "switch (query) { case 'number': return 5; case 'object': return {}; case 'promise': return Promise.resolve('a'); case 'long': return 'x'.repeat(1001); case 'fits': return 'x'.repeat(1000); case 'nul': return 'a\\0b'; case 'empty': return ''; }",
  );
  assert.deepEqual(ask('number', 'object', 'promise', 'long', 'nul', 'undefined', 'empty').map(word), [
    '!bad_result',
    '!bad_result',
    '!bad_result',
    '!too_large',
    '!bad_result',
    null,
    '',
  ]);
  assert.equal(word(ask('fits')[0])!.length, 1_000);
});

test('reject() takes a message, a code, a hint and a detail, and ignores invalid ones', (t) => {
  const { ask } = run(
    t,
    "if (query === 'all') reject('no', { code: '25006', hint: 'h', detail: 'd' }); if (query === 'bad') reject(5, { code: 'oops', hint: 7 }); reject('plain');",
  );
  const [all, bad, plain] = ask('all', 'bad', 'plain');
  assert.deepEqual(all!.route, { rejection: { message: 'no', code: '25006', hint: 'h', detail: 'd' } });
  assert.equal(word(bad), 'reject 42501 rejected by a user function');
  assert.equal(word(plain), 'reject 42501 plain');
});

test("an error's text is short and without the query", (t) => {
  const { ask } = run(
    t,
    "if (query.startsWith('long')) throw new Error(query + query); throw new TypeError('cannot read: ' + query + '!');",
  );
  const secret = "SELECT 'secret'";
  const long = `long ${'secret '.repeat(10_000)}`;
  const failures = ask(secret, long).map(
    (answer) => (answer.route as { failure: { message: string } }).failure,
  );
  assert.equal(failures[0]!.message, 'TypeError: cannot read: [query]!');
  assert.ok(failures[1]!.message.length <= 501);
  assert.doesNotMatch(JSON.stringify(failures.map(({ message }) => message)), /secret/);
});

test('the last match of a call is not seen by the next', (t) => {
  const { ask } = run(
    t,
    "const last = RegExp.lastMatch + RegExp.$1 + RegExp.input; /(.+)/.exec(query); return last + '!';",
  );
  assert.deepEqual(ask('secret', 'other', 'more').map(word), ['!', '!', '!']);
});

/**
 * A version in slices of 10 ms. Its calls print their query; one that is `slow` does not end, one that is `keep` changes
 * state.
 */
function runSliced(t: TestContext, isPure: boolean) {
  const engine = new Engine(preludeScript());
  const code = `var __pgswitchyard = (() => { const kept = []; __pgswitchyard_hold('kept', () => kept); return {
    routing_rules(username, query) {
      if (query !== 'quiet') console.log(query);
      if (query === 'slow') for (;;);
      if (query === 'keep') kept.push(query);
      return 'n' + kept.length;
    } }; })();`;
  const version = {
    id: 1,
    code,
    databases: ['a'],
    memoryLimitMb: 32,
    maxResult: MAX_RESULT,
    timeoutMs: 50,
    isPure,
  };
  t.after(() => engine.dispose(1));
  return {
    load: () => assert.equal(engine.load(version).kind, 'loaded'),
    ask: (...queries: string[]) => {
      const calls = queries.map((query): HostCall => ({
        username: 'u',
        query,
        inTransaction: false,
        context: {},
      }));
      const { kind, answers } = engine.runSlice(1, new CallPacker().pack(calls), 10_000);
      return { kind, ...unpackAnswers(answers) };
    },
  };
}

test('the lines of the calls before one that was cut off by its slice are kept', (t) => {
  const { load, ask } = runSliced(t, false);
  let ended: ReturnType<typeof ask>;
  // on a busy machine a batch may end after its first call
  do {
    load();
    ended = ask('one', 'slow', 'three');
  } while (ended.kind === 'answers');
  const { answers, consoleText } = ended;
  assert.equal(answers.length, 1);
  assert.equal(consoleText, 'one');
});

test('an isolate without freezing is not built in a slice', (t) => {
  const { load, ask } = runSliced(t, true);
  load();
  assert.deepEqual(ask('quiet').answers, [{ rewrite: null, route: { text: 'n0' }, basis: 0 }]);
  assert.deepEqual(ask('keep'), { kind: 'unloaded', answers: [], consoleText: '' });
  load();
  const [kept, next] = [ask('keep'), ask('quiet')].map(({ answers }) => answers[0]);
  assert.deepEqual([kept?.route, next?.route], [{ text: 'n1' }, { text: 'n1' }]);
  assert.match(next?.changed ?? '', /^a call tried to change something that outlives it: /);
});

test('what a rule makes of RegExp.prototype does not change what leaves the isolate', (t) => {
  const { ask } = run(
    t,
    "RegExp.prototype.exec = () => []; RegExp.prototype.test = () => true; reject('no', { code: 'x\\u0000yz' });",
  );
  assert.deepEqual(ask('a')[0]!.route, {
    rejection: { message: 'no', code: '42501', hint: null, detail: null },
  });
});

test('console output is collected up to a limit', (t) => {
  const { ask, printed } = run(
    t,
    "console.log('one', 2, { three: 3 }, new Error('four')); if (query === 'flood') for (;;) { console.warn('x'.repeat(1000)); if (++globalThis.n > 1000) return null; } return null;",
    'globalThis.n = 0',
  );
  ask('quiet');
  assert.equal(printed(), 'one 2 {"three":3} Error: four');
  ask('flood');
  assert.ok(printed().length < 20_000);
});

test('inherited names may be overridden, and shared prototypes not changed', (t) => {
  const { ask } = run(
    t,
    `if (query === 'shared') { Error.prototype.name = 'mine'; return 'changed'; }
     class Mine extends Error { constructor(m) { super(m); this.name = 'Mine'; this.message = m + '!'; } }
     function Old() {} Old.prototype = Object.create(Error.prototype); Old.prototype.constructor = Old;
     const o = {}; o.toString = () => 'own'; o.valueOf = () => 1;
     return [new Mine('x'), new Old().constructor.name, o, Object.keys(o).length].join();`,
    '"use strict"',
  );
  assert.equal(word(ask('own')[0]), 'Mine: x!,Old,own,2');
  assert.equal(word(ask('shared')[0]), '!threw');
});

test('Symbol.for works, and its symbols end with their isolate', (t) => {
  const body = `
    const symbol = Symbol.for(query);
    if (symbol !== Symbol.for(query) || Symbol.keyFor(symbol) !== query || Symbol.keyFor(Symbol()) !== undefined) return 'none';
    return [String(symbol), symbol.description, Symbol.for.prototype, Object.isFrozen(Symbol.for)].join();`;
  const [one, other] = [run(t, body), run(t, body)];
  for (const { ask } of [one, other]) assert.equal(word(ask('a key')[0]), 'Symbol(a key),a key,,true');
});

for (const [what, top, complaint] of [
  ['throws', "throw new RangeError('top')", /^RangeError: top/],
  ['throws something without a description', 'throw { get message() { throw 1; } }', /cannot be described/],
  ['never ends', 'for (;;)', /timed out/],
  ['throws what never describes itself', 'throw { get message() { for (;;); } }', /timed out/],
  ['throws a very long message', "throw new Error('x'.repeat(1e7))", /^Error: x{490}/],
] as const) {
  test(`a top level that ${what} is refused`, (t) => {
    const running = run(t, 'return null', top);
    const { message, stack } = refusalOf(running.loaded);
    assert.match(message, complaint);
    assert.ok(message.length + stack.length < 3_000);
    assert.deepEqual(running.ask('q'), [], 'there is nothing that could answer');
  });
}

test('a version that cannot be built again after a fault is tried again with the next batch', async (t) => {
  const from = Date.now() + 300;
  const to = from + 1_000;
  const { ask } = run(
    t,
    "if (query === 'loop') for (;;); return query;",
    `const now = Date.now(); if (now > ${from} && now < ${to}) throw new Error('not now')`,
  );
  await until('the bad time', () => Date.now() > from);
  // On a busy machine the call may have to be run again, and then it has no isolate.
  const [first] = ask('loop');
  assert.ok(first === undefined || word(first) === '!deadline');
  assert.deepEqual(ask('too early'), []);
  await until('its end', () => Date.now() > to);
  assert.equal(word(ask('late')[0]), 'late');
});

test('an error that a top level throws is a refusal, whatever its name', (t) => {
  const named = run(t, '', "throw { name: 'ok routes', message: '' }").loaded;
  assert.equal(refusalOf(named).message, 'ok routes: ');
  const rejected = run(t, '', "reject('x')").loaded;
  assert.match(refusalOf(rejected).message, /^reject\(\) outside of a call/);
});

test('concat checks the length of its arguments as well', (t) => {
  const long = '{ length: 2 ** 32 - 1, [Symbol.isConcatSpreadable]: true }';
  const { ask } = run(
    t,
    `if (query === 'short') return String(['a'].concat('b', ['c'])); [].concat(${long});`,
  );
  assert.deepEqual(ask('short', 'long').map(word), ['a,b,c', '!threw']);
});

test('printing from toJSON and toString is ignored, and the limits hold afterwards', (t) => {
  const { ask, printed } = run(
    t,
    `const deep = (n) => ({ toJSON() { if (n > 0) for (let i = 0; i < 3; i++) console.log(deep(n - 1)); return 'x'.repeat(10_000); } });
     for (let i = 0; i < 10; i++) console.log(deep(3), { toString: null }, 'y'.repeat(5_000));
     console.log({ toJSON() { throw new Error('not me'); } }); return null;`,
  );
  ask('q');
  assert.ok(printed().length > 10_000 && printed().length < 17_000, `${printed().length} characters`);
  assert.ok(!printed().includes('\n\n'));
});

test('a route longer than any name is a failure with a short text', (t) => {
  const engine = new Engine(preludeScript());
  t.after(() => engine.dispose(1));
  const code = "var __pgswitchyard = { routing_rules: () => 'x'.repeat(100_000) };";
  engine.load({ id: 1, code, databases: [], memoryLimitMb: 32, maxResult: 1_000_000, timeoutMs: 100 });
  const call = { username: '', query: 'q', inTransaction: false, context: {} };
  const packed = engine.run(1, new CallPacker().pack([call]));
  assert.ok(packed.length < 200);
  assert.equal(word(unpackAnswers(packed).answers[0]), '!too_large');
});
