/** Decisions with and without memory, by rules in the production sandbox: the same answers, whatever a pure rule looks at. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { BLANK_CONTEXT, type RoutingContext } from '../../sandbox/context.ts';
import type { Decision } from '../../src/functions/functions.ts';
import type { Question } from '../../src/functions/decide/question.ts';
import type { FunctionCall, Tenant } from '../../src/functions/tenants/tenant.ts';
import { Rules } from '../support/rules.ts';

const PROMISE = 'export const options = { pure: true };\n';

interface Asked {
  readonly username: string;
  readonly query: string;
  readonly inTransaction: boolean;
  readonly context: RoutingContext;
}

/** A decision from memory if there is one, or else from the functions. */
async function judge(tenant: Tenant, asked: Asked): Promise<{ decision: Decision; isHit: boolean }> {
  const call: FunctionCall = { ...asked, entry: 'a', clientId: 1 };
  const question = {
    ...asked,
    isBytes: false,
    routeOnly: false,
    entry: 'a',
    clientId: 1,
    part: (field: keyof RoutingContext) => asked.context[field],
    call: () => call,
  } as unknown as Question;
  const known = tenant.recall(question);
  if (known !== null) return { decision: known, isHit: true };
  const decision = await ask(tenant, asked);
  return { decision, isHit: false };
}

function ask(tenant: Tenant, asked: Asked): Promise<Decision> {
  return new Promise((resolve) => {
    tenant.decide({ ...asked, entry: 'a', clientId: 1 }, resolve);
  });
}

const asked: fc.Arbitrary<Asked> = fc.record({
  username: fc.constantFrom('u', 'v'),
  query: fc.constantFrom('SELECT 1', 'SELECT 2', 'UPDATE t', ''),
  inTransaction: fc.boolean(),
  context: fc.record({
    database: fc.constantFrom('a', 'b'),
    login_database: fc.constant('a'),
    databases: fc.constantFrom(['a'], ['a', 'b']),
    nodes: fc.constantFrom(
      [],
      [{ name: 'n', role: 'reader', state: 'ready', lag_bytes: 0, lag_seconds: 0 }],
      [{ name: 'n', role: 'reader', state: 'ready', lag_bytes: 9, lag_seconds: 0 }],
    ) as fc.Arbitrary<RoutingContext['nodes']>,
  }),
});

/** Expressions of a rule. What is on the right of `&&`, `||` and `?` is read in some calls only. */
const { expression } = fc.letrec<{ expression: string; leaf: string }>((tie) => ({
  leaf: fc.constantFrom(
    'username === "u"',
    'query.startsWith("SELECT")',
    'query.length > 8',
    'in_transaction',
    'ctx.database === "a"',
    'ctx.databases.length > 1',
    'ctx.databases.includes(ctx.database)',
    'ctx.nodes.some((node) => node.lag_bytes > 5)',
    'JSON.stringify({ ...ctx }).length % 2 === 0',
    '(({ nodes }) => nodes.length === 0)(ctx)',
  ),
  expression: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc
      .tuple(tie('expression'), fc.constantFrom('&&', '||', '!=='), tie('expression'))
      .map(([a, operator, b]) => `((${a}) ${operator} (${b}))`),
    fc
      .tuple(tie('expression'), tie('expression'), tie('expression'))
      .map(([a, b, c]) => `((${a}) ? (${b}) : (${c}))`),
  ),
}));

test('random pure rules give the same decisions from memory as without', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'a/rules.txt': '' },
    databases: ['a', 'b'],
    settings: { user_function_isolation: 'inline' },
  });
  let hits = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.record({ rewrite: expression, rejects: expression, route: expression }),
      fc.array(asked, { minLength: 30, maxLength: 60 }),
      async ({ rewrite, rejects, route }, questions) => {
        await rules.write(
          'a/rewrite_query.ts',
          `${PROMISE}export function rewrite_query(username, query, in_transaction, ctx) {
            if (${rejects}) reject('no', { detail: ctx.database });
            return (${rewrite}) ? query + ' /* ' + ctx.login_database + ' */' : null;
          }
          export function routing_rules(username, query, in_transaction, ctx) { return (${route}) ? 'b' : null }`,
        );
        await rules.functions.administration.reload('a', true);
        const tenant = rules.functions.tenantOf('a')!;
        assert.equal(tenant.observe([]).recall.remembered, 'yes');
        for (const question of questions) {
          const { decision, isHit } = await judge(tenant, question);
          if (isHit) hits++;
          const fresh = await ask(tenant, question);
          assert.deepEqual(plain(decision), plain(fresh));
        }
        assert.deepEqual(tenant.observe([]).failures, {});
      },
    ),
    { numRuns: 25 },
  );
  assert.ok(hits > 50, `${hits} decisions came from memory`);
});

/** Errors are compared by their texts. */
function plain(decision: Decision): unknown {
  if (decision.kind === 'go') return decision;
  const { code, message, detail, hint } = decision.error;
  return { kind: decision.kind, code, message, detail, hint };
}

const Q: Asked = { username: 'u', query: 'SELECT 1', inTransaction: false, context: BLANK_CONTEXT };

/** Rules by the name of their database: what a call of each does. */
const NEVER_KEPT: Record<string, string> = {
  clock: 'return Date.now() > 0 ? null : query',
  date: 'return new Date().getFullYear() > 0 ? null : query',
  random: 'return Math.random() < 2 ? null : query',
  printing: 'console.log("seen"); return null',
  exception: 'if (username === "u") throw new Error("x"); return null',
  nonsense: 'return username === "u" ? 5 : null',
  promise: 'Promise.resolve(1).then(() => {}); return null',
  last_match: 'return RegExp.$1 === "x" ? query : null',
};

for (const isolation of ['inline', 'process'] as const) {
  test(`a promise to be pure does not cover what a call is seen to do (${isolation})`, async (t) => {
    const names = Object.keys(NEVER_KEPT);
    const rules = await Rules.start(t, {
      databases: names,
      files: Object.fromEntries(
        names.map((name) => [
          `${name}/rewrite_query.ts`,
          `${PROMISE}export function rewrite_query(username, query) { ${NEVER_KEPT[name]} }`,
        ]),
      ),
      settings: { user_function_isolation: isolation },
    });
    for (const name of names) {
      const tenant = rules.functions.tenantOf(name)!;
      for (let i = 0; i < 3; i++) assert.equal((await judge(tenant, Q)).isHit, false, name);
      const { recall } = tenant.observe([]);
      assert.deepEqual([recall.remembered, recall.entries], ['yes', 0], name);
    }
  });

  test(`a second query of the same text is answered from memory (${isolation})`, async (t) => {
    const rules = await Rules.start(t, {
      files: {
        'a/rewrite_query.ts': `${PROMISE}export const rewrite_query = (user, query) => query.includes('1') ? 'SELECT 2' : null`,
      },
      settings: { user_function_isolation: isolation },
    });
    const tenant = rules.functions.tenantOf('a')!;
    const first = await judge(tenant, Q);
    const second = await judge(tenant, Q);
    assert.deepEqual([first.isHit, second.isHit], [false, true]);
    assert.deepEqual(second.decision, first.decision);
    assert.deepEqual(second.decision, { kind: 'go', query: 'SELECT 2', dbkey: null });
  });
}
