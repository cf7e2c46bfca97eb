/**
 * Rules that keep state where it is hard to see. Those whose decisions are remembered nevertheless are asked the same questions
 * without memory: a decision that differs is a stale one.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { RoutingContext } from '../../sandbox/context.ts';
import { BLANK_CONTEXT } from '../../sandbox/context.ts';
import type { Question } from '../../src/functions/decide/question.ts';
import type { Decision } from '../../src/functions/functions.ts';
import type { FunctionCall, Tenant } from '../../src/functions/tenants/tenant.ts';
import { lexingOf } from '../../src/sql/lexing.ts';
import { Rules, type RulesOptions } from '../support/rules.ts';

/** By name: the text of a file of rules. `route` stands for the routing function's head. */
const HOSTILE: Record<string, string> = {
  counter: 'let n = 0; route { return n++ % 2 ? "a" : null }',
  counter_in_object: 'const state = { n: 0 }; route { return state.n++ % 2 ? "a" : null }',
  counter_by_alias:
    'const state = { n: 0 }; const same = [state]; route { const s = same[0]; s.n += 1; return s.n % 2 ? "a" : null }',
  counter_in_array:
    'const seen: string[] = []; route { seen.push(query); return seen.length % 2 ? "a" : null }',
  counter_in_closure:
    'const make = () => { let n = 0; return () => n++ }; const next = make(); route { return next() % 2 ? "a" : null }',
  closure_in_table:
    'const table = { f: (() => { let n = 0; return () => ++n })() }; route { return table["f"]() % 2 ? "a" : null }',
  static_field: 'class Rule { static n = 0 } route { return Rule.n++ % 2 ? "a" : null }',
  private_field:
    'class Rule { #n = 0; next() { return this.#n++ } } const rule = new Rule(); route { return rule.next() % 2 ? "a" : null }',
  private_static:
    'class Rule { static #n = 0; static next() { return Rule.#n++ } } route { return Rule.next() % 2 ? "a" : null }',
  static_block:
    'let next: () => number; class Rule { static #n = 0; static { next = () => Rule.#n++ } } route { void Rule; return next() % 2 ? "a" : null }',
  own_prototype:
    'function Rule() {} Rule.prototype.n = 0; route { return Rule.prototype.n++ % 2 ? "a" : null }',
  inherited_setter:
    'const base = { set n(value) { this.m = value }, get n() { return this.m ?? 0 } }; const rule = Object.create(base); route { rule.n = rule.n + 1; return rule.n % 2 ? "a" : null }',
  getter_that_counts:
    'let n = 0; const rule = { get odd() { return n++ % 2 === 1 } }; route { return rule.odd ? "a" : null }',
  memoising_getter:
    'const rule = { get first() { const now = 1; Object.defineProperty(this, "first", { value: 0 }); return now } }; route { return rule.first ? "a" : null }',
  generator:
    'function* numbers() { let n = 0; while (true) yield n++ } const all = numbers(); route { return all.next().value % 2 ? "a" : null }',
  iterator:
    'const all = new Array(100).fill(0).map((_, i) => i)[Symbol.iterator](); route { return all.next().value % 2 ? "a" : null }',
  match_iterator:
    'const all = "0101010101010101".matchAll(/./g); route { return all.next().value?.[0] === "1" ? "a" : null }',
  destructured_iterator:
    'const all = [0, 1, 0, 1, 0, 1].values(); route { const [x] = { [Symbol.iterator]: () => ({ next: () => all.next(), return: () => ({}) }) }; return x ? "a" : null }',
  spread_iterator: 'const all = (function* () { yield "a" })(); route { return [...all][0] ?? null }',
  default_argument:
    'const next = (box = cache) => { box.n++; return box.n }; const cache = { n: 0 }; route { return next() % 2 ? "a" : null }',
  default_with_effect: 'let n = 0; const next = (x = n++) => x; route { return next() % 2 ? "a" : null }',
  map: 'const seen = new Map<string, number>(); route { seen.set(query, (seen.get(query) ?? 0) + 1); return seen.get(query)! % 2 ? "a" : null }',
  set: 'const seen = new Set<string>(); route { if (seen.has(query)) return "a"; seen.add(query); return null }',
  weak_map:
    'const key = {}; const seen = new WeakMap(); route { const n = (seen.get(key) ?? 0) + 1; seen.set(key, n); return n % 2 ? "a" : null }',
  weak_set:
    'const key = {}; const seen = new WeakSet(); route { if (seen.has(key)) return "a"; seen.add(key); return null }',
  map_borrowed:
    'const seen = new Map(); const { set } = Map.prototype; route { const n = (seen.get(1) ?? 0) + 1; set.call(seen, 1, n); return n % 2 ? "a" : null }',
  map_by_apply:
    'const seen = new Map(); route { const n = (seen.get(1) ?? 0) + 1; Reflect.apply(Map.prototype.set, seen, [1, n]); return n % 2 ? "a" : null }',
  map_bound:
    'const seen = new Map(); const put = seen.set.bind(seen); route { const n = (seen.get(1) ?? 0) + 1; put(1, n); return n % 2 ? "a" : null }',
  map_by_callback:
    'const seen = new Map<number, number>(); route { const n = seen.get(1) ?? 0; [n + 1].forEach(function (this: any, x) { this.set(1, x) }, seen); return n % 2 ? "a" : null }',
  map_constructor:
    'const seen = new Set<string>(); const add = seen.add; class Sub extends Set<string> { override add(x: string) { add.call(seen, x); return this } } route { const n = seen.size; new Sub([String(n)]); return n % 2 ? "a" : null }',
  typed_array: 'const cell = new Uint8Array(1); route { cell[0]!++; return cell[0]! % 2 ? "a" : null }',
  data_view:
    'const view = new DataView(new ArrayBuffer(1)); route { view.setUint8(0, view.getUint8(0) + 1); return view.getUint8(0) % 2 ? "a" : null }',
  array_buffer:
    'const buffer = new ArrayBuffer(1); route { const cell = new Uint8Array(buffer); cell[0]!++; return cell[0]! % 2 ? "a" : null }',
  typed_array_set:
    'const cell = new Uint8Array(1); route { const n = cell[0]! + 1; cell.set([n]); return n % 2 ? "a" : null }',
  typed_array_fill:
    'const cell = new Uint8Array(1); route { const n = cell[0]! + 1; cell.fill(n); return n % 2 ? "a" : null }',
  date: 'const date = new Date(0); route { date.setFullYear(date.getFullYear() + 1); return date.getFullYear() % 2 ? "a" : null }',
  sticky: 'const word = /S/y; route { return word.test(query) ? "a" : null }',
  global_regex: 'const word = /SELECT/g; route { return word.test(query) ? "a" : null }',
  global_from_constructor:
    'const word = new RegExp("SELECT", "g"); route { return word.exec(query) ? "a" : null }',
  global_in_table:
    'const words = [{ word: new RegExp("SELECT", ["g"].join("")) }]; route { return words.some(({ word }) => word.test(query)) ? "a" : null }',
  last_index_itself: 'const word = /x/; route { word.lastIndex++; return word.lastIndex % 2 ? "a" : null }',
  last_index_by_symbol:
    'const word = /SELECT/y; route { return word[Symbol.replace](query, "") === query ? "a" : null }',
  compile:
    'const word = /a/; route { const is = word.source === "a"; try { (word as any).compile(is ? "b" : "a") } catch {} return is ? "a" : null }',
  symbol_registry:
    'route { const key = Symbol.for("n") as any; const all = globalThis as any; try { all[key] = (all[key] ?? 0) + 1 } catch {} return (all[key] ?? 0) % 2 ? "a" : null }',
  symbol_on_function:
    'const key = Symbol.for("n"); function box() {} route { (box as any)[key] = ((box as any)[key] ?? 0) + 1; return (box as any)[key] % 2 ? "a" : null }',
  own_function:
    'export function routing_rules(username: string, query: string): string | null { const f = routing_rules as any; f.n = (f.n ?? 0) + 1; return f.n % 2 ? "a" : null }',
  global_variable:
    'route { const all = globalThis as any; try { all.n = (all.n ?? 0) + 1 } catch {} return (all.n ?? 0) % 2 ? "a" : null }',
  memo: 'const memo: Record<string, string> = {}; route { if (query in memo) return "a"; memo[query] = "x"; return null }',
  memo_nullish:
    'let first: string | undefined; route { if (first) return "a"; first ??= query; return null }',
  memo_helper:
    'const memoise = <A, B>(f: (a: A) => B) => { const known = new Map<A, B>(); let misses = 0; return (a: A) => { if (!known.has(a)) { known.set(a, f(a)); misses++ } return misses } }; const f = memoise((q: string) => q.length); const seen: number[] = []; route { seen.push(f(query)); return seen.length % 2 ? "a" : null }',
  write_then_throw:
    'let n = 0; const bump = () => { n++; throw new Error("x") }; route { try { bump() } catch {} return n % 2 ? "a" : null }',
  write_in_finally: 'let n = 0; route { try { return n % 2 ? "a" : null } finally { n++ } }',
  write_in_catch: 'let n = 0; route { try { null!.x } catch { n++ } return n % 2 ? "a" : null }',
  write_in_pattern:
    'const box = { n: 0 }; route { ({ length: box.n } = { length: box.n + 1 }); return box.n % 2 ? "a" : null }',
  write_in_loop_head:
    'const box = { n: 0 }; route { for (box.n of [box.n + 1]) ; return box.n % 2 ? "a" : null }',
  delete_property:
    'const once: Record<string, number> = { x: 1 }; route { const had = "x" in once; delete once["x"]; return had ? "a" : null }',
  assign:
    'const box = { n: 0 }; route { Object.assign(box, { n: box.n + 1 }); return box.n % 2 ? "a" : null }',
  define:
    'const box: any = {}; route { const n = (box.n ?? 0) + 1; Reflect.defineProperty(box, "n", { value: n, configurable: true, writable: true }); return n % 2 ? "a" : null }',
  set_prototype:
    'const box = {}; route { const odd = Reflect.getPrototypeOf(box) === null; Reflect.setPrototypeOf(box, odd ? Object.prototype : null); return odd ? "a" : null }',
  seal: 'const box = {}; route { const is = Object.isFrozen(box) || Object.isSealed(box); try { Object.seal(box) } catch {} return is ? null : "a" }',
  sort_in_place:
    'const list = [2, 1]; route { const first = list[0]; list.reverse(); return first === 2 ? "a" : null }',
  pop: 'const list = ["a", "a", "a"]; route { return list.pop() ?? null }',
  length:
    'const list = [1, 2, 3]; route { const odd = list.length % 2 === 1; list.length -= 1; return odd ? "a" : null }',
  proxy:
    'let n = 0; const box: any = new Proxy({}, { get: () => n++ }); route { return box.x % 2 ? "a" : null }',
  to_string:
    'let n = 0; const box = { toString: () => String(n++) }; route { return Number(`${box}`) % 2 ? "a" : null }',
  value_of:
    'let n = 0; const box = { valueOf: () => n++ }; route { return (+(box as any)) % 2 ? "a" : null }',
  to_json:
    'let n = 0; const box = { toJSON: () => n++ }; route { return Number(JSON.stringify(box)) % 2 ? "a" : null }',
  to_primitive:
    'let n = 0; const box = { [Symbol.toPrimitive]: () => n++ }; route { return (box as any) % 2 ? "a" : null }',
  has_instance:
    'let n = 0; class Box { static [Symbol.hasInstance]() { return n++ % 2 === 1 } } route { return ({} as any) instanceof Box ? "a" : null }',
  compare: 'let n = 0; route { [2, 1].sort((a, b) => { n++; return a - b }); return n % 2 ? "a" : null }',
  replacer: 'let n = 0; route { query.replace(/S/, () => { n++; return "" }); return n % 2 ? "a" : null }',
  reviver:
    'let n = 0; route { JSON.parse("[1]", (_, x) => { n++; return x }); return n % 3 === 2 ? "a" : null }',
  tagged:
    'const seen = new WeakMap<object, number>(); const tag = (parts: object) => { const n = (seen.get(parts) ?? 0) + 1; seen.set(parts, n); return n }; route { return tag`x` % 2 ? "a" : null }',
  kept_context: 'let kept: any; route { kept ??= ctx; return kept.database === "b" ? "a" : null }',
  kept_list: 'let kept: any; route { kept ??= ctx.databases; return kept.length > 1 ? "a" : null }',
  kept_by_promise:
    'let kept = 0; route { Promise.resolve().then(() => { kept++ }); return kept % 2 ? "a" : null }',
  async_queue:
    'const queue: number[] = []; route { new Promise<void>((done) => { queue.push(1); done() }); return queue.length % 2 ? "a" : null }',
  promise_state:
    'let open: () => void; const gate = new Promise<void>((done) => { open = done }); let is = false; gate.then(() => { is = true }); route { open(); return is ? "a" : null }',
  last_match: 'route { const was = RegExp.$1; /(SEL)/.test(query); return was === "SEL" ? "a" : null }',
  last_input: 'route { const was = RegExp.input; /S/.test(query); return was === query ? "a" : null }',
  clock: 'route { return String(Date.now()).length > 99 || Date.now() % 2 < 2 ? null : "a" }',
  rejection_counter: 'let n = 0; route { if (n++ % 2) reject("no"); return null }',
  rejection_kept:
    'let kept: unknown; route { if (kept) return "a"; try { reject("no") } catch (error) { kept = error } return null }',
  json_module:
    'import data from "./data.json"; const box: any = data; route { box.n = (box.n ?? 0) + 1; return box.n % 2 ? "a" : null }',
  namespace: 'import * as state from "./state.ts"; route { return state.next() % 2 ? "a" : null }',
  named_import: 'import { box } from "./state.ts"; route { box.n++; return box.n % 2 ? "a" : null }',
  computed_method:
    'const box = { n: 0, ["in" + "crement"]() { return this.n++ } }; route { return (box as any)["in" + "crement"]() % 2 ? "a" : null }',
  argument_object:
    'const box = { n: 0 }; function bump() { arguments[0].n++; return arguments[0].n } route { return (bump as any)(box) % 2 ? "a" : null }',
  callback_argument:
    'const boxes = [{ n: 0 }]; route { return boxes.map((box) => ++box.n)[0]! % 2 ? "a" : null }',
  reduce_seed:
    'const box = { n: 0 }; route { return [1].reduce((sum, x) => { sum.n += x; return sum }, box).n % 2 ? "a" : null }',
  returned_object:
    'const box = { n: 0 }; const get = () => box; route { get().n++; return get().n % 2 ? "a" : null }',
  chosen_object:
    'const box = { n: 0 }; route { const x = query ? box : { n: 0 }; x.n++; return x.n % 2 ? "a" : null }',
  this_of_class:
    'class Rule { n = 0; bump() { this.n++; return this.n } } const rule = new Rule(); const { bump } = rule; route { return bump.call(rule) % 2 ? "a" : null }',
  accessor_pair:
    'const rule = { _n: 0, get n() { return this._n }, set n(x) { this._n = x } }; route { rule.n++; return rule.n % 2 ? "a" : null }',
  super_write:
    'class A { static n = 0 } class B extends A { static bump() { super.n = (super.n ?? 0) + 1; return (B as any).n } } route { return B.bump() % 2 ? "a" : null }',
  logical_write: 'let first = true; route { const was = first; first &&= false; return was ? "a" : null }',
  exponent_write: 'let n = -1; route { n **= 1; n *= -1; return n > 0 ? "a" : null }',
};

const STATE = 'let n = 0; export const next = () => n++; export const box = { n: 0 };';

const HEAD =
  'export function routing_rules(username: string, query: string, in_transaction: boolean, ctx: any): string | null';

async function sequence(tenant: Tenant): Promise<string[]> {
  const said: string[] = [];
  for (const database of ['a', 'a', 'a', 'a', 'b', 'b', 'a']) {
    const context: RoutingContext = { ...BLANK_CONTEXT, database, databases: ['a', database] };
    const call: FunctionCall = {
      username: 'u',
      query: 'SELECT 1',
      inTransaction: false,
      context,
      entry: 'a',
      clientId: 1,
    };
    const question: Question = {
      ...(call as Required<FunctionCall>),
      isBytes: false,
      routeOnly: false,
      lexing: lexingOf('on', 'UTF8'),
      part: (field) => context[field],
      call: () => call,
    };
    const decision: Decision =
      tenant.recall(question) ??
      (await new Promise((resolve) => {
        tenant.decide(call, resolve);
      }));
    said.push(decision.kind === 'go' ? (decision.dbkey ?? '-') : decision.error.code);
  }
  return said;
}

function optionsFor(names: readonly string[]): RulesOptions {
  return {
    databases: [...names, 'a'],
    files: Object.fromEntries(
      names.flatMap((name) => [
        [`${name}/routing_rules.ts`, HOSTILE[name]!.replace('route {', `${HEAD} {`)],
        [`${name}/state.ts`, STATE],
        [`${name}/data.json`, '{}'],
      ]),
    ),
    settings: { user_function_isolation: 'inline', user_function_timeout: 1_000 },
  };
}

test('no rule that keeps state gets a stale decision', async (t) => {
  const names = Object.keys(HOSTILE);
  const { functions } = await Rules.start(t, optionsFor(names));
  const said = new Map<string, string>();
  for (const name of names) {
    const tenant = functions.tenantOf(name)!;
    const decisions = await sequence(tenant);
    assert.notEqual(tenant.version, null, `${name}: ${tenant.observe([]).lastError}`);
    if (tenant.observe([]).recall.hits > 0) said.set(name, decisions.join());
  }
  // those that were remembered give the same decisions without memory
  const options = optionsFor([...said.keys()]);
  const asking = await Rules.start(t, {
    ...options,
    settings: { ...options.settings, user_function_cache: 0 },
  });
  for (const [name, decisions] of said)
    assert.equal(decisions, (await sequence(asking.functions.tenantOf(name)!)).join(), name);
});
