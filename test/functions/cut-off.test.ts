/** A call that passes its deadline in one of its two functions: the other function still counts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failuresOf, Rules } from '../support/rules.ts';

const FILES = {
  'rewrite_query.js': `export const rewrite_query = (u, q) => {
    if (q.startsWith('rewriting')) for (;;);
    return 'new ' + q;
  };`,
  'routing_rules.js': `export const routing_rules = (u, q) => {
    if (q.endsWith('routing hangs')) for (;;);
    return 'b';
  };`,
};
type Policies = readonly [rewriting: 'pass' | 'error', routing: 'pass' | 'error'];

for (const isolation of ['inline', 'process'] as const) {
  for (const [rewriting, routing] of [
    ['pass', 'pass'],
    ['pass', 'error'],
    ['error', 'pass'],
  ] as Policies[]) {
    test(`${isolation}: rewrite_query_on_failure = ${rewriting}, routing_rules_on_failure = ${routing}`, async (t) => {
      const rules = await Rules.start(t, {
        files: FILES,
        settings: {
          user_function_isolation: isolation,
          user_function_over_limit: 'pass',
          rewrite_query_on_failure: rewriting,
          routing_rules_on_failure: routing,
        },
      });
      const ask = async (query: string): Promise<unknown> => {
        const decision = await rules.ask(query);
        return decision.kind === 'go' ? [decision.query, decision.dbkey] : decision.kind;
      };
      assert.deepEqual(await ask('both answer'), ['new both answer', 'b']);
      assert.deepEqual(await ask('rewriting hangs'), rewriting === 'pass' ? [null, 'b'] : 'reject');
      assert.deepEqual(
        await ask('routing hangs'),
        routing === 'pass' ? ['new routing hangs', null] : 'reject',
      );
      const either = rewriting === 'pass' && routing === 'pass';
      assert.deepEqual(await ask('rewriting, and routing hangs'), either ? [null, null] : 'reject');
      assert.equal(failuresOf(rules.tenants[0]), 3);
    });
  }
}
