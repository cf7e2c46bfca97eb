/** The states of a tenant whose file has gone: until it is back, until the grace period is over, or until RELOAD. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { Removals } from '../../src/functions/tenants/removals.ts';
import type { FunctionSettings } from '../../src/functions/tenants/settings.ts';
import { Tenant } from '../../src/functions/tenants/tenant.ts';
import { bundleOf, settled, TENANT_SETTINGS, tenantContext, TestHost } from '../support/tenant.ts';

const GRACE_MS = 10_000;

/** A tenant with one file, which has been found and loaded. */
class World {
  readonly folder: string;
  readonly file: string;
  readonly lines: string[] = [];
  removed = 0;
  readonly tenant: Tenant;
  readonly removals: Removals;
  readonly #timers: TestContext['mock']['timers'];

  constructor(t: TestContext, policy: 'pass' | 'error') {
    this.folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-grace-'));
    t.after(() => rmSync(this.folder, { recursive: true }));
    this.file = join(this.folder, 'routing_rules.ts');
    t.mock.timers.enable({ apis: ['setTimeout'] });
    this.#timers = t.mock.timers;
    this.tenant = new Tenant({
      identity: { id: '1', owner: 'a' },
      files: { routing: this.file, rewrite: null },
      settings: { ...TENANT_SETTINGS, onRoutingFailure: policy },
      host: () => new TestHost(),
      context: tenantContext(this.lines, {
        builder: {
          bundle: () => Promise.resolve(bundleOf('v1')),
          asyncPlaces: () => Promise.resolve([]),
        },
      }),
    });
    const settings = {
      user_function_removal_grace: GRACE_MS,
      routing_rules_on_failure: policy,
      routing_rules_disconnect_on_failure: false,
    } as FunctionSettings;
    this.removals = new Removals({
      settings: () => settings,
      using: (file) => (file === this.file ? [this.tenant] : []),
      policiesOf: () => this.tenant.policies,
      onChanged() {},
      onRemoved: () => this.removed++,
    });
  }

  async load(): Promise<void> {
    writeFileSync(this.file, '');
    this.look();
    this.tenant.load();
    await this.tenant.idle();
  }

  /** @returns whether the file applies */
  look(): boolean {
    return this.removals.find(this.folder, 'routing_rules', ['.ts', '.js']) === this.file;
  }

  vanish(): void {
    rmSync(this.file);
    assert.ok(this.look());
  }

  async pass(ms: number): Promise<void> {
    this.#timers.tick(ms);
    await settled();
  }
}

interface Row {
  readonly policy: 'pass' | 'error';
  readonly after: (world: World) => Promise<void> | void;
  /** the file applies */
  readonly applies: boolean;
  readonly state: string;
  /** the last line in the log */
  readonly line: RegExp;
}

const ROWS: Record<string, Row> = {
  'a guard stays active during the grace period': {
    policy: 'error',
    after: (world) => world.pass(GRACE_MS - 1),
    applies: true,
    state: 'serving',
    line: /is gone: version v1 stays active for 10 s/,
  },
  'a guard fails queries after the grace period': {
    policy: 'error',
    after: (world) => world.pass(GRACE_MS),
    applies: true,
    state: 'missing',
    line: /is gone: each query is a failure/,
  },
  'a guard is active again when its file is back in time': {
    policy: 'error',
    after: async (world) => {
      await world.load();
      await world.pass(GRACE_MS);
    },
    applies: true,
    state: 'serving',
    line: /is back/,
  },
  'a guard is active again when its file is back too late': {
    policy: 'error',
    after: async (world) => {
      await world.pass(GRACE_MS);
      await world.load();
    },
    applies: true,
    state: 'serving',
    line: /is back/,
  },
  'a rule with the policy pass is removed after the grace period': {
    policy: 'pass',
    after: (world) => world.pass(GRACE_MS),
    applies: false,
    state: 'serving',
    line: /stays active for 10 s/,
  },
  'RELOAD removes a guard during the grace period': {
    policy: 'error',
    after: (world) => {
      assert.deepEqual(world.removals.confirm(), [world.file]);
    },
    applies: false,
    state: 'serving',
    line: /stays active for 10 s/,
  },
  'RELOAD removes a guard after the grace period': {
    policy: 'error',
    after: async (world) => {
      await world.pass(GRACE_MS);
      world.removals.confirm();
    },
    applies: false,
    state: 'missing',
    line: /each query is a failure/,
  },
};

for (const [what, { policy, after, applies, state, line }] of Object.entries(ROWS)) {
  test(what, async (t) => {
    const world = new World(t, policy);
    await world.load();
    world.vanish();
    assert.ok(world.removals.concerns(world.tenant));
    await after(world);
    assert.equal(world.look(), applies);
    assert.equal(world.tenant.state, state);
    assert.match(world.lines.at(-1) ?? '', line);
    world.tenant.dispose();
    world.removals.stop();
  });
}

test('a removed file is looked up again once, after it has been forgotten', async (t) => {
  const world = new World(t, 'pass');
  await world.load();
  world.vanish();
  await world.pass(GRACE_MS);
  assert.equal(world.removed, 1);
  assert.equal(world.removals.concerns(world.tenant), false);
});
