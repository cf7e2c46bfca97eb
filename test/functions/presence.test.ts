/** Loading on first use, unloading after a while, and what happens to calls and files meanwhile: no processes, no waiting. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Bundle } from '../../src/functions/build/bundle-job.ts';
import { BundleError } from '../../src/functions/build/bundlers.ts';
import type { Trail } from '../../src/functions/build/trail.ts';
import type { Decision } from '../../src/functions/functions.ts';
import type { VersionCode } from '../../src/functions/sandbox/host.ts';
import type { LoadResult } from '../../src/functions/sandbox/load-result.ts';
import { IdleTenants } from '../../src/functions/tenants/idle.ts';
import { Presence, type PresenceState } from '../../src/functions/tenants/presence.ts';
import { Tenant } from '../../src/functions/tenants/tenant.ts';
import { bundleOf, settled, TENANT_SETTINGS, tenantContext, TestClock, TestHost } from '../support/tenant.ts';

const FILE = '/rules/a/routing_rules.ts';

type Event = 'need' | 'settle' | 'leave';
const TABLE: Record<PresenceState, Record<Event, [returns: boolean, next: PresenceState]>> = {
  'not loaded': { need: [true, 'loading'], settle: [false, 'not loaded'], leave: [false, 'not loaded'] },
  loading: { need: [false, 'loading'], settle: [true, 'loaded'], leave: [false, 'loading'] },
  loaded: { need: [false, 'loaded'], settle: [true, 'loaded'], leave: [true, 'not loaded'] },
};
const WAY: Record<PresenceState, readonly Event[]> = {
  'not loaded': [],
  loading: ['need'],
  loaded: ['need', 'settle'],
};

test('each event moves a presence as its table says', () => {
  for (const [state, row] of Object.entries(TABLE) as [PresenceState, (typeof TABLE)[PresenceState]][])
    for (const [event, [returns, next]] of Object.entries(row) as [Event, [boolean, PresenceState]][]) {
      const presence = new Presence();
      for (const each of WAY[state]) presence[each]();
      assert.equal(presence.state, state);
      assert.equal(presence[event](), returns, `${event} in ${state}`);
      assert.equal(presence.state, next, `${event} in ${state}`);
      assert.equal(presence.isNeeded, next !== 'not loaded');
    }
});

/** Loads when the test says so. */
class SlowHost extends TestHost {
  gate: Promise<void> = Promise.resolve();
  loads = 0;
  isBroken = false;

  override async load(version: VersionCode): Promise<LoadResult> {
    this.loads++;
    await this.gate;
    return super.load(this.isBroken ? { ...version, code: '!' } : version);
  }
}

class World {
  readonly clock = new TestClock();
  readonly host = new SlowHost();
  readonly lines: string[] = [];
  file: string | Error = 'v1';
  isThere = true;
  bundled = 0;
  hosts = 0;
  #saves = 1;
  readonly tenant: Tenant;

  constructor() {
    this.clock.advance(1_000_000);
    this.tenant = new Tenant({
      identity: { id: '["a"]', owner: 'a' },
      files: { routing: FILE, rewrite: null },
      settings: TENANT_SETTINGS,
      host: () => {
        this.hosts++;
        return this.host;
      },
      context: tenantContext(this.lines, {
        clock: this.clock,
        builder: { bundle: () => this.#bundle(), asyncPlaces: () => Promise.resolve([]) },
        disk: {
          trailOf: () => Promise.resolve(this.#trail),
          isThere: () => this.isThere,
          isSearched: () => false,
          next: () => null,
        },
      }),
    });
  }

  get #trail(): Trail {
    return new Map([[FILE, { stamp: String(this.#saves), changedAt: this.#saves, isWorldWritable: false }]]);
  }

  async #bundle(): Promise<Bundle> {
    this.bundled++;
    if (!this.isThere) throw new BundleError('no such file', 'mistake');
    if (this.file instanceof Error) throw this.file;
    return bundleOf(this.file);
  }

  /** The file is saved, and the change is reported. */
  async save(file: World['file']): Promise<void> {
    this.file = file;
    this.#saves++;
    await (this.tenant.isNeeded ? this.tenant.reload() : this.tenant.look());
    await settled();
  }

  async load(): Promise<void> {
    this.tenant.load();
    await this.tenant.idle();
    await settled();
  }

  /** It is loaded, and unloaded again. */
  async sleep(): Promise<void> {
    await this.load();
    assert.equal(this.tenant.unload(), true);
  }

  /** The target of a query, or the code of its error; `waits`: neither yet. */
  async ask(query = 'q', clientId = 100): Promise<string> {
    const asked = this.begin(query, clientId);
    await settled();
    return asked.said;
  }

  begin(query = 'q', clientId = 100): { said: string } {
    const asked = { said: 'waits' };
    const call = { username: 'u', query, inTransaction: false, context: { database: 'a' }, clientId };
    this.tenant.decide(call, (decision: Decision) => {
      asked.said = decision.kind === 'go' ? (decision.dbkey ?? 'stays') : decision.error.code;
    });
    return asked;
  }

  get loaded(): string[] {
    return [...this.host.loaded.values()];
  }
}

const BROKEN = new BundleError('routing_rules.ts:1:1: Unexpected "}"', 'mistake');
const FAILED = '38000';

test('a tenant that nobody has used has no version, no host and no bundle', async () => {
  const { tenant, ...world } = new World();
  await settled();
  assert.deepEqual([tenant.state, world.bundled, world.hosts, tenant.builds], ['not loaded', 0, 0, 0]);
});

test('the first call loads the functions, and they judge it', async () => {
  const world = new World();
  assert.equal(await world.ask(), 'v1');
  assert.deepEqual([world.tenant.state, world.bundled], ['serving', 1]);
});

test('calls wait while the functions are loaded, whether for the first time or again', async () => {
  const world = new World();
  for (const _ of ['first', 'again']) {
    const { promise, resolve } = Promise.withResolvers<void>();
    world.host.gate = promise;
    const asked = [world.begin(), world.begin('other')];
    await settled();
    assert.deepEqual(asked, [{ said: 'waits' }, { said: 'waits' }]);
    assert.equal(world.tenant.state, 'loading');
    assert.equal(world.tenant.unload(), false);
    resolve();
    await settled();
    assert.deepEqual(asked, [{ said: 'v1' }, { said: 'v1' }]);
    assert.equal(world.tenant.unload(), true);
  }
});

test('functions that were unloaded are loaded again without being bundled, and statements need not be judged again', async () => {
  const world = new World();
  assert.equal(await world.ask(), 'v1');
  const generation = world.tenant.generationOf(100);
  assert.equal(world.tenant.unload(), true);
  assert.deepEqual([world.tenant.state, world.loaded], ['not loaded', []]);
  assert.equal(world.tenant.unload(), false);
  assert.equal(await world.ask(), 'v1');
  assert.deepEqual([world.bundled, world.host.loads, world.tenant.state], [1, 2, 'serving']);
  assert.equal(world.tenant.generationOf(100), generation);
  assert.equal(world.tenant.calls, 2);
});

test('functions whose ROLLBACK fails while they are not loaded are loaded as they were', async () => {
  for (const prepare of [async () => {}, async (world: World) => await world.sleep()]) {
    const world = new World();
    await prepare(world);
    const pin = { number: 99, by: 'operator', user: 'u', untilFiles: false } as const;
    assert.match((await world.tenant.pinning.rollBack(pin))!, /not known/);
    assert.equal(await world.ask(), 'v1');
    assert.equal(world.tenant.state, 'serving');
  }
});

test('functions are not unloaded during a call', async () => {
  const world = new World();
  await world.load();
  const asked = world.begin();
  assert.equal(world.tenant.unload(), false);
  await settled();
  assert.equal(asked.said, 'v1');
  assert.equal(world.tenant.unload(), true);
});

test('a call in the turn in which functions are unloaded is judged by them', async () => {
  const world = new World();
  await world.load();
  assert.equal(world.tenant.unload(), true);
  const asked = world.begin();
  await settled();
  assert.equal(asked.said, 'v1');
});

test('a file that changes while its functions are not loaded is tried, not loaded, and judges the next call', async () => {
  const world = new World();
  await world.sleep();
  const generation = world.tenant.generationOf(100);
  await world.save('v2');
  assert.deepEqual([world.tenant.state, world.loaded, world.bundled], ['not loaded', [], 2]);
  assert.notEqual(world.tenant.generationOf(100), generation);
  assert.ok(world.lines.some((line) => line.startsWith('LOG user functions checked: ')));
  assert.equal(await world.ask(), 'v2');
  assert.equal(world.bundled, 2);
});

test('a file that is broken while its functions are not loaded is reported, and the old version judges the next call', async () => {
  const world = new World();
  await world.sleep();
  await world.save(BROKEN);
  assert.match(world.lines.at(-1) ?? '', /version v1 stays active/);
  assert.equal(world.tenant.state, 'not loaded');
  assert.equal(await world.ask(), 'v1');
  assert.equal(world.tenant.state, 'serving old version');
  // it might not be found again
  assert.equal(world.tenant.unload(), false);
  await world.save('v2');
  assert.equal(await world.ask(), 'v2');
});

test('a file that is broken before it was ever loaded fails calls', async () => {
  const world = new World();
  await world.save(BROKEN);
  assert.equal(world.tenant.state, 'no version');
  assert.equal(await world.ask(), FAILED);
  await world.save('v2');
  assert.equal(await world.ask(), 'v2');
});

test('a version that cannot be loaded again fails calls, and passes none', async () => {
  const world = new World();
  await world.sleep();
  world.host.isBroken = true;
  assert.equal(await world.ask(), FAILED);
});

test('a vanished file judges calls while it counts as there', async () => {
  const world = new World();
  await world.sleep();
  world.isThere = false;
  world.tenant.noteGone(FILE, 10_000);
  assert.equal(await world.ask(), 'v1');
});

test('a guard whose file is gone for too long fails calls, loaded or not', async () => {
  const world = new World();
  await world.sleep();
  world.isThere = false;
  world.tenant.failWithout(FILE);
  assert.equal(await world.ask(), FAILED);
  assert.equal(world.tenant.state, 'missing');
  assert.equal(world.tenant.unload(), false);
  world.isThere = true;
  world.tenant.noteBack(FILE, true);
  await settled();
  assert.equal(await world.ask(), 'v1');
});

test('a paused tenant is loaded by a call, which fails', async () => {
  const world = new World();
  world.tenant.setPaused('policy');
  assert.equal(await world.ask(), FAILED);
  assert.equal(world.tenant.state, 'paused');
});

test('a version is loaded with the settings that have changed meanwhile, without being bundled', async () => {
  const world = new World();
  await world.sleep();
  await world.tenant.configure({ ...TENANT_SETTINGS, timeoutMs: 5 }, null);
  assert.equal(await world.ask(), 'v1');
  assert.equal(world.bundled, 1);
  assert.equal(world.tenant.version?.settings.timeoutMs, 5);
});

test('a suspended tenant stays suspended while it is not loaded', async () => {
  const world = new World();
  await world.load();
  for (const [clientId, kind] of ['a', 'b', 'c', 'd', 'e'].entries())
    await world.ask(`slow ${kind}`, clientId);
  assert.equal(world.tenant.state, 'suspended');
  world.tenant.unload();
  assert.equal(world.tenant.state, 'suspended');
});

test('a look at unchanged files builds nothing', async () => {
  const world = new World();
  await world.sleep();
  await world.tenant.look();
  await world.tenant.verify();
  assert.equal(world.bundled, 1);
});

test('a look during which a call arrives serves the call', async () => {
  const world = new World();
  const look = world.tenant.look();
  const asked = world.begin();
  await look;
  await settled();
  assert.deepEqual([asked.said, world.loaded], ['v1', ['v1']]);
});

test('an unloaded tenant that is disposed of fails later calls', async () => {
  const world = new World();
  await world.sleep();
  world.tenant.dispose();
  assert.equal(world.loaded.length, 0);
});

class Usable {
  isNeeded = true;
  calls = 0;
  isReady = true;

  unload(): boolean {
    if (!this.isReady) return false;
    this.isNeeded = false;
    return true;
  }
}

test('tenants without calls for the whole timeout are unloaded, and no others', () => {
  const clock = new TestClock();
  const [idle, used, late, busy] = Array.from({ length: 4 }, () => new Usable());
  busy!.isReady = false;
  late!.isNeeded = false;
  const unloaded: Usable[] = [];
  let timeoutMs = 400_000;
  const idleTenants = new IdleTenants({
    clock,
    timeoutMs: () => timeoutMs,
    tenants: () => [idle!, used!, late!, busy!],
    onUnloaded: (tenants) => unloaded.push(...tenants),
  });
  idleTenants.begin();
  const pass = (minutes: number): void => {
    for (let i = 0; i < minutes; i++) {
      used!.calls++;
      clock.advance(60_000);
    }
  };
  pass(7);
  assert.deepEqual(unloaded, []);
  late!.isNeeded = true;
  pass(1);
  assert.deepEqual(unloaded, [idle]);
  pass(6);
  assert.deepEqual(unloaded, [idle]);
  busy!.isReady = true;
  pass(1);
  assert.deepEqual(unloaded, [idle, late, busy]);
  timeoutMs = 0;
  idleTenants.begin();
  used!.isReady = true;
  for (let i = 0; i < 20; i++) clock.advance(60_000);
  assert.deepEqual(unloaded, [idle, late, busy]);
});
