/** Rules without a promise, in the production sandbox: whether their decisions are remembered, and until when. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Decision } from '../../../src/functions/functions.ts';
import type { Question } from '../../../src/functions/decide/question.ts';
import type { FunctionCall, Tenant } from '../../../src/functions/tenants/tenant.ts';
import { Rules } from '../../support/rules.ts';

/** A decision from memory if there is one, or else from the functions. */
async function judge(tenant: Tenant, query: string): Promise<Decision | 'hit'> {
  const call: FunctionCall = {
    username: 'u',
    query,
    inTransaction: false,
    context: { database: 'a', login_database: 'a', databases: undefined, nodes: [] },
    entry: 'a',
    clientId: 1,
  };
  const question = { ...call, isBytes: false, routeOnly: false, part: () => 'a', call: () => call };
  if (tenant.recall(question as unknown as Question) !== null) return 'hit';
  return await new Promise((resolve) => tenant.decide(call, resolve));
}

for (const isolation of ['inline', 'process'] as const) {
  const start = async (t: test.TestContext, text: string): Promise<Tenant> => {
    const rules = await Rules.start(t, {
      files: { 'a/rewrite_query.ts': text },
      settings: { user_function_isolation: isolation },
    });
    return rules.functions.tenantOf('a')!;
  };
  const remembered = (tenant: Tenant): string => tenant.observe([]).recall.remembered;
  const rewritten = (query: string): Decision => ({ kind: 'go', query, dbkey: null });

  test(`a rule that keeps no state is remembered without a promise (${isolation})`, async (t) => {
    const tenant = await start(
      t,
      `const table = new Map([['1', 'SELECT 2']]); export const rewrite_query = (u, q) => table.get(q) ?? null;`,
    );
    assert.deepEqual(await judge(tenant, '1'), rewritten('SELECT 2'));
    assert.equal(await judge(tenant, '1'), 'hit');
    assert.equal(remembered(tenant), 'yes');
  });

  test(`a rule that counts is not remembered, and the table says why (${isolation})`, async (t) => {
    const tenant = await start(
      t,
      `let counter = 0;\nexport const rewrite_query = () => 'SELECT ' + counter++;`,
    );
    // the trial call was the first one
    const answers = [await judge(tenant, '1'), await judge(tenant, '1'), await judge(tenant, '1')];
    assert.equal(new Set(answers.map((each) => JSON.stringify(each))).size, 3);
    assert.equal(remembered(tenant), 'no: counter is changed at rewrite_query.ts:2');
  });

  test(`a change that only a call shows ends the remembering, unseen by the client (${isolation})`, async (t) => {
    const tenant = await start(
      t,
      `const seen = [];\nconst add = (list, x) => list.push(x);\n` +
        `export const rewrite_query = (u, q) => (q.startsWith('add') ? 'SELECT ' + add(seen, q) : seen.length ? 'SELECT many' : null);`,
    );
    assert.deepEqual(await judge(tenant, 'look'), { kind: 'go', query: null, dbkey: null });
    assert.equal(await judge(tenant, 'look'), 'hit');
    assert.equal(remembered(tenant), 'yes');
    assert.deepEqual(await judge(tenant, 'add'), rewritten('SELECT 1'));
    assert.match(remembered(tenant), /^no: a call tried to change something that outlives it: /);
    assert.deepEqual(await judge(tenant, 'look'), rewritten('SELECT many'));
    assert.deepEqual(await judge(tenant, 'add'), rewritten('SELECT 2'));
  });

  test(`a promise is enough where the analysis finds nothing (${isolation})`, async (t) => {
    const tenant = await start(
      t,
      `const cache = new Map(); export const options = { pure: true };\n` +
        `export const rewrite_query = (u, q) => { const known = cache.get(q); cache.set(q, 1); return known ? null : null; };`,
    );
    await judge(tenant, '1');
    assert.equal(await judge(tenant, '1'), 'hit');
    assert.equal(remembered(tenant), 'yes');
  });
}
