/** What the answer of a call depended on, as the prelude notes it: parts of ctx, or something that must not be remembered. */
import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { BLANK_CONTEXT, type RoutingContext } from '../../sandbox/context.ts';
import type { CallContext } from '../../sandbox/crossing.ts';
import { CONTEXT_FIELDS } from '../../src/functions/sandbox/context-fields.ts';
import type { HostAnswer } from '../../src/functions/sandbox/call.ts';
import { Engine } from '../../src/functions/sandbox/engine.ts';
import { CallPacker, unpackAnswers } from '../../src/functions/sandbox/packing.ts';
import { preludeScript } from '../../src/functions/sandbox/programs.ts';

const engine = new Engine(preludeScript());

/** The names of the parts that each call has read; null: the answer must not be kept. */
function basesOf(code: string, contexts: readonly CallContext[]): (string[] | null)[] {
  engine.load({
    id: 1,
    code,
    isPure: true,
    databases: ['d'],
    memoryLimitMb: 32,
    maxResult: 10_000,
    timeoutMs: 1_000,
  });
  const calls = contexts.map((context) => ({ username: 'u', query: 'q', inTransaction: false, context }));
  const answers: HostAnswer[] = [];
  // a batch ends early on a busy machine
  for (let last = -1; last < answers.length && answers.length < calls.length;) {
    last = answers.length;
    const packed = new CallPacker().pack(calls.slice(last));
    answers.push(...unpackAnswers(engine.run(1, packed)).answers);
  }
  engine.dispose(1);
  assert.equal(answers.length, contexts.length);
  return answers.map(({ basis }) =>
    basis === undefined ? null : CONTEXT_FIELDS.filter((_, at) => (basis & (1 << at)) !== 0),
  );
}

function basisOf(body: string): string[] | null {
  const code = `var __pgswitchyard = { routing_rules(username, query, in_transaction, ctx) { ${body} } };`;
  const bases = basesOf(code, [{}, {}]);
  assert.deepEqual(bases[0], bases[1], 'the same at the second call');
  return bases[0]!;
}

const all = Object.keys(BLANK_CONTEXT) as (keyof RoutingContext)[];

describe('parts of ctx that count as read', () => {
  const table: readonly (readonly [string, readonly string[]])[] = [
    ['return null', []],
    ['return username + query + in_transaction', []],
    ['return ctx.database', ['database']],
    ['return ctx["database"] + ctx.login_database', ['database', 'login_database']],
    ['return String(ctx.nodes.length)', ['nodes']],
    ['const { databases } = ctx; return databases[0]', ['databases']],
    ['const { database, ...rest } = ctx; return rest.login_database', all],
    ['return JSON.stringify({ ...ctx })', all],
    ['return JSON.stringify(ctx)', all],
    ['return Object.entries(ctx).join()', all],
    ['return Object.assign({}, ctx).database', all],
    ['for (const name in ctx) if (ctx[name] === "x") return name; return null', all],
    ['return Reflect.get(ctx, "database")', ['database']],
    ['return Object.getOwnPropertyDescriptor(ctx, "database").get()', ['database']],
    ['return Object.create(ctx).database', ['database']],
    ['return Object.keys(ctx).join() + ("nodes" in ctx)', []],
    ['if (ctx.database === "d") reject("no"); return null', ['database']],
    ['try { reject(ctx.database) } catch { return "caught" }', ['database']],
  ];
  for (const [body, parts] of table)
    test(body, () =>
      assert.deepEqual(
        basisOf(body),
        CONTEXT_FIELDS.filter((field) => parts.includes(field)),
      ),
    );
});

describe('calls whose answers must not be kept', () => {
  for (const body of [
    'return String(Date.now())',
    'return String(new Date())',
    'return String(new (class extends Date {})())',
    'return String(Reflect.construct(Date, []))',
    'return String(new Date(0).constructor.now())',
    'return Date()',
    'return String(Math.random())',
    'console.log(query); return null',
    'console.error(); return null',
    'throw new Error("failed")',
    'throw null',
    'return 5',
    'return "\\0"',
    'return "x".repeat(20000)',
    'return Promise.resolve(null)',
    'Promise.resolve().then(() => {}); return null',
    'new Promise(() => {}); return null',
    'return RegExp.$1',
    'return RegExp["$&"]',
    'return RegExp.input',
    'return Object.getOwnPropertyDescriptor(RegExp, "lastMatch").get.call(RegExp)',
    'return String(Symbol.for("x").description)',
    'return String(Symbol.keyFor(Symbol()))',
  ])
    test(body, () => assert.equal(basisOf(body), null));
});

describe('calls that look as if they depended on something else', () => {
  for (const body of [
    'return String(new Date(2020, 1, 1).getFullYear())',
    'return new Date("2020-02-03").toISOString()',
    'return String(Date.UTC(2020, 1) + Date.parse("2020-02-03"))',
    'return String(new Date(0) instanceof Date && new Date(0).constructor === Date && Date.length === 7)',
    'try { throw new Error("x") } catch { return "caught" }',
    'try { null.x } catch (error) { return error.message }',
    'return String(Symbol("x").description)',
    'return [..."cab"].sort().join("")',
    'return query.replace(/(q)/, "$1$1")',
  ])
    test(body, () => assert.deepEqual(basisOf(body), []));
});

test('each call of a batch is noted by itself', () => {
  const code = `var __pgswitchyard = {
    rewrite_query(username, query, in_transaction, ctx) { return ctx.database === 'clock' ? String(Date.now()) : null },
    routing_rules(username, query, in_transaction, ctx) { return ctx.database === 'list' ? ctx.databases[0] : null },
  };`;
  const contexts = ['a', 'clock', 'list', 'a'].map((database) => ({ database }));
  assert.deepEqual(basesOf(code, contexts), [['database'], null, ['database', 'databases'], ['database']]);
});

test('the ctx of an earlier call, kept by a rule, counts as something else unless it is the same', () => {
  const code = `let kept; var __pgswitchyard = {
    routing_rules(username, query, in_transaction, ctx) { kept ??= ctx; return kept.database },
  };`;
  const contexts = ['a', 'a', 'b', 'a'].map((database) => ({ database }));
  assert.deepEqual(basesOf(code, contexts), [['database'], ['database'], null, ['database']]);
});

test('ctx is frozen, with everything in it', () => {
  const body = `
    'use strict';
    const tries = [() => (ctx.database = 'x'), () => ctx.databases.push('x'), () => delete ctx.nodes, () => (ctx.more = 1)];
    return String(tries.filter((change) => { try { change(); return true } catch { return false } }).length);`;
  engine.load({
    id: 1,
    code: `var __pgswitchyard = { routing_rules(username, query, in_transaction, ctx) { ${body} } };`,
    databases: ['d'],
    memoryLimitMb: 32,
    maxResult: 10_000,
    timeoutMs: 1_000,
  });
  const call = { username: 'u', query: 'q', inTransaction: false, context: {} };
  const { answers } = unpackAnswers(engine.run(1, new CallPacker().pack([call])));
  assert.deepEqual(answers[0]!.route, { text: '0' });
  engine.dispose(1);
});

test('a regular expression cannot be compiled anew', () => {
  assert.deepEqual(
    basisOf('const a = /a/; try { a.compile("b"); } catch { return a.source; } throw new Error("compiled")'),
    [],
  );
});
