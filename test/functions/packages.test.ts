/** Habits of common npm packages that a rule may import, and the messages about those that can't work. */
import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { Engine } from '../../src/functions/sandbox/engine.ts';
import { preludeScript } from '../../src/functions/sandbox/programs.ts';
import { answersOf, bundleOf } from './purity/trial.ts';

const rule = (expression: string): string =>
  `import p from './p.cjs'; export const routing_rules = (u: string, q: string) => String(${expression});`;

/** A package, an expression with its exports `p`, and its value. */
const WORKING: Readonly<Record<string, readonly [file: string, expression: string, value: string]>> = {
  'looks for the global object as lodash does': [
    `var freeGlobal = typeof global == 'object' && global && global.Object === Object && global;
     var freeSelf = typeof self == 'object' && self && self.Object === Object && self;
     var root = freeGlobal || freeSelf || Function('return this')();
     module.exports = { root: root };`,
    'p.root === globalThis',
    'true',
  ],
  'asks whether something is a Function': [
    'exports.isFunction = function (x) { return x instanceof Function && x.constructor === Function; };',
    'p.isFunction(String) && p.isFunction(() => 1) && !p.isFunction({})',
    'true',
  ],
  'reads the text of Function': [
    'exports.text = Function.prototype.toString.call(Object.prototype.hasOwnProperty);',
    "p.text.includes('hasOwnProperty')",
    'true',
  ],
  'gives a function a property that functions inherit': [
    "function api() {} api.bind = function () { return 'bound'; }; module.exports = api;",
    'p.bind()',
    'bound',
  ],
  'is a UMD package': [
    `(function (root, factory) {
       if (typeof define === 'function' && define.amd) define(['exports'], factory);
       else if (typeof exports === 'object') factory(exports);
       else factory(root.p = {});
     })(this, function (exports) { exports.double = function (x) { return x + x; }; });`,
    'p.double("a")',
    'aa',
  ],
  'is a UMD package that hands on require': [
    `(function (factory) { module.exports = factory(typeof require === 'function' ? require : null); })(function (r) {
       return { has: function () { return typeof r; } }; });`,
    'p.has()',
    'function',
  ],
  'has an async function that nothing calls': [
    'exports.later = async function (x) { return await x; }; exports.now = function (x) { return x; };',
    'p.now(1)',
    '1',
  ],
  'limits the frames of errors where it may': [
    `exports.make = function () { var saved = Error.stackTraceLimit; try { Error.stackTraceLimit = 0; } catch { return 'kept'; } return saved; };`,
    'p.make()',
    'kept',
  ],
};

describe('a package works that', () => {
  for (const [name, [file, expression, value]] of Object.entries(WORKING))
    test(name, async () => {
      const made = await bundleOf([name, rule(expression), { 'p.cjs': file }]);
      const [answer] = answersOf(made, ['q']);
      assert.deepEqual(answer?.route, { text: value });
      const isPure = !name.startsWith('limits') && !name.includes('async');
      assert.equal(answer?.basis, isPure ? 0 : undefined, made.purity.reason);
    });
});

/** A package, and what is said about it when it is called. */
const FAILING: Readonly<Record<string, readonly [file: string, message: RegExp]>> = {
  'needs cryptography': [
    'exports.run = function () { return crypto.randomUUID(); };',
    /crypto is not defined: a user function has no cryptography/,
  ],
  'needs timers': [
    'exports.run = function () { setTimeout(function () {}, 1); };',
    /setTimeout is not defined: a user function has no timers/,
  ],
  'needs Node': [
    'exports.run = function () { return process.version; };',
    /process is not defined: a user function has none of Node's names/,
  ],
  'makes code from text': [
    "exports.run = function () { return Function('x', 'return x')(1); };",
    /code can not be made from strings in a user function/,
  ],
  'makes code from text by a constructor': [
    "exports.run = function () { return exports.run.constructor('return 1')(); };",
    /code can not be made from strings in a user function/,
  ],
  'imports by computed names': [
    'exports.run = function (x) { return require(x); };',
    /require\("q"\) is not available: a user function imports files by names that are written out/,
  ],
};

describe('a failure says why of a package that', () => {
  for (const [name, [file, message]] of Object.entries(FAILING))
    test(name, async () => {
      const made = await bundleOf([name, rule('p.run(q)'), { 'p.cjs': file }]);
      const { failure } = answersOf(made, ['q'])[0]!.route as { failure: { message: string } };
      assert.match(failure.message, message);
    });

  test('changes built-in objects while it is loaded', async () => {
    const file = 'String.prototype.shout = function () { return this + "!"; };';
    const { code } = await bundleOf(['', rule('p.x + q'), { 'p.cjs': file }]);
    const settings = { id: 1, databases: ['d'], memoryLimitMb: 32, maxResult: 10_000, timeoutMs: 5_000 };
    const loaded = new Engine(preludeScript()).load({ ...settings, code });
    assert.match(
      loaded.kind === 'refused' ? loaded.message : '',
      /^TypeError: Cannot add property shout, object is not extensible: a user function can't change built-in objects$/,
    );
  });
});
