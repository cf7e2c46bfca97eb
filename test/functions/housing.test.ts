/** Which tenant a version is held against. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { LOADING } from '../../src/functions/limits.ts';
import { Budget } from '../../src/functions/decide/budget.ts';
import { Housing } from '../../src/functions/tenants/housing.ts';
import { FunctionsConfig, type FunctionSettings } from '../../src/functions/tenants/settings.ts';
import { TestClock } from '../support/tenant.ts';

test('more versions may be serving than are remembered of those that have served', async () => {
  const settings = { user_function_host_memory: 400, user_function_hosts: 2 } as FunctionSettings;
  const tenant = { id: '1', owner: 'a', name: '/rules/a', isolation: 'process' } as const;
  let looks = 0;
  const housing = new Housing({
    config: new FunctionsConfig(settings, [], null),
    budgets: { of: () => new Budget(new TestClock(), { onBegun: () => {}, onEnded: () => {} }) },
    log: { info() {}, warn() {}, error() {} },
    servedBy: () => {
      assert.ok(++looks < 1_000);
      return tenant;
    },
    isThere: () => true,
  });
  for (let id = 0; id < LOADING.maxVersions + 100; id++) housing.noteVersion(id, tenant);
  assert.ok(looks > 0);
  await housing.stop();
});
