/** A tenant's states, with the test's own builder, host and clock: no files, no processes, no waiting. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { TenantState } from '../../src/telemetry/snapshots/functions.ts';
import type { Bundle, SourceFiles } from '../../src/functions/build/bundle-job.ts';
import { Budget } from '../../src/functions/decide/budget.ts';
import { BundleError } from '../../src/functions/build/bundlers.ts';
import type { Decision } from '../../src/functions/functions.ts';
import { Tenant } from '../../src/functions/tenants/tenant.ts';
import { bundleOf, settled, TENANT_SETTINGS, tenantContext, TestClock, TestHost } from '../support/tenant.ts';

const FILE = '/rules/a/routing_rules.ts';

/** A tenant and its surroundings. */
class World {
  readonly clock = new TestClock();
  readonly host = new TestHost();
  readonly lines: string[] = [];
  /** the content of the tenant's file; an error: the result of bundling it; a promise: it is being bundled until then */
  file: string | Error | Promise<string> = 'v1';
  /** the wait that is imposed on the tenant's next version, in ms */
  waitMs = 0;
  /** the files of a candidate */
  next: SourceFiles | null = null;
  readonly blamed: string[] = [];
  readonly tenant: Tenant;

  readonly budget = new Budget(this.clock, { onBegun: () => {}, onEnded: () => {} });

  constructor() {
    const context = tenantContext(this.lines, {
      clock: this.clock,
      budgets: { of: () => this.budget },
      builder: { bundle: () => this.#bundle(), asyncPlaces: () => Promise.resolve([]) },
      disk: {
        trailOf: () => Promise.resolve(new Map()),
        isThere: () => true,
        isSearched: () => false,
        next: () => this.next,
      },
    });
    this.tenant = new Tenant({
      identity: { id: '1', owner: 'a' },
      files: { routing: FILE, rewrite: null },
      settings: TENANT_SETTINGS,
      host: () => this.host,
      context: {
        ...context,
        housing: {
          ...context.housing,
          waitMs: () => this.waitMs,
          addBlame: (name) => this.blamed.push(name),
        },
      },
    });
  }

  async #bundle(): Promise<Bundle> {
    if (this.file instanceof Error) throw this.file;
    return bundleOf(await this.file);
  }

  async save(file: World['file']): Promise<void> {
    this.file = file;
    if (this.tenant.isNeeded) void this.tenant.reload();
    else this.tenant.load();
    await settled();
  }

  /** The target of a query, or the code of its error; `waits`: neither yet. */
  async ask(query = 'q', clientId = 100): Promise<string> {
    let said = 'waits';
    const call = { username: 'u', query, inTransaction: false, context: { database: 'a' }, clientId };
    this.tenant.decide(call, (decision: Decision) => {
      said = decision.kind === 'go' ? (decision.dbkey ?? 'stays') : decision.error.code;
    });
    await settled();
    return said;
  }
}

const BROKEN = new BundleError('routing_rules.ts:1:1: Unexpected "}"', 'mistake');
const SHORT = new BundleError('EMFILE: too many open files', 'passing');
const never = new Promise<string>(() => {});

const FAILED = '38000';
const OVERLOADED = '53000';

interface Row {
  readonly after: (world: World) => Promise<void>;
  readonly state: TenantState;
  readonly answer: string;
}

const STATES: Record<string, Row> = {
  'nothing is built before a call arrives': { after: async () => {}, state: 'not loaded', answer: 'v1' },
  'while the first build runs, calls wait': {
    after: (world) => world.save(never),
    state: 'loading',
    answer: 'waits',
  },
  'the first version serves': { after: (world) => world.save('v1'), state: 'serving', answer: 'v1' },
  'a file that is broken from the start fails calls': {
    after: (world) => world.save(BROKEN),
    state: 'no version',
    answer: FAILED,
  },
  'a version that no host can load fails calls': {
    after: (world) => world.save('v1!'),
    state: 'no version',
    answer: FAILED,
  },
  'the next version takes the place of the first': {
    after: async (world) => {
      await world.save('v1');
      await world.save('v2');
    },
    state: 'serving',
    answer: 'v2',
  },
  'the old version serves while the next one is built': {
    after: async (world) => {
      await world.save('v1');
      await world.save(never);
    },
    state: 'serving',
    answer: 'v1',
  },
  'the old version serves when the file has been broken': {
    after: async (world) => {
      await world.save('v1');
      await world.save(BROKEN);
    },
    state: 'serving old version',
    answer: 'v1',
  },
  'the old version serves when the next one cannot be loaded': {
    after: async (world) => {
      await world.save('v1');
      await world.save('v2!');
    },
    state: 'serving old version',
    answer: 'v1',
  },
  'a broken file that is mended is served': {
    after: async (world) => {
      await world.save('v1');
      await world.save(BROKEN);
      await world.save('v2');
    },
    state: 'serving',
    answer: 'v2',
  },
  'a broken file that is put back serves as before': {
    after: async (world) => {
      await world.save('v1');
      await world.save(BROKEN);
      await world.save('v1');
    },
    state: 'serving',
    answer: 'v1',
  },
  'calls wait while the machine is short of something': {
    after: (world) => world.save(SHORT),
    state: 'loading',
    answer: 'waits',
  },
  'loading is tried again after a second': {
    after: async (world) => {
      await world.save(SHORT);
      world.file = 'v1';
      world.clock.advance(1_000);
      await settled();
    },
    state: 'serving',
    answer: 'v1',
  },
  'calls of a tenant that is held back wait for its version': {
    after: async (world) => {
      world.waitMs = 2_000;
      await world.save('v1');
    },
    state: 'no version',
    answer: 'waits',
  },
  'the next version of a tenant over its budget waits until the debt has been paid': {
    after: async (world) => {
      await world.save('v1');
      world.budget.configure(100, 50);
      world.budget.charge(450);
      await world.save('v2');
      world.clock.advance(1_999);
      await settled();
      world.budget.configure(0, 50);
    },
    state: 'serving',
    answer: 'v1',
  },
  'it is loaded then, however many calls have used the budget meanwhile': {
    after: async (world) => {
      await world.save('v1');
      world.budget.configure(100, 50);
      world.budget.charge(450);
      await world.save('v2');
      world.budget.charge(1_000);
      world.clock.advance(2_000);
      await settled();
      world.budget.configure(0, 50);
    },
    state: 'serving',
    answer: 'v2',
  },
  'a tenant that was held back is loaded when its time is over': {
    after: async (world) => {
      world.waitMs = 2_000;
      await world.save('v1');
      world.waitMs = 0;
      world.clock.advance(2_000);
      await settled();
    },
    state: 'serving',
    answer: 'v1',
  },
  'RELOAD loads a tenant that is held back': {
    after: async (world) => {
      world.waitMs = 2_000;
      await world.save('v1');
      await world.tenant.reload(true);
    },
    state: 'serving',
    answer: 'v1',
  },
  'a guard whose file is gone for too long fails calls': {
    after: async (world) => {
      await world.save('v1');
      world.tenant.failWithout(FILE);
    },
    state: 'missing',
    answer: FAILED,
  },
  'a guard whose file is back serves again': {
    after: async (world) => {
      await world.save('v1');
      world.tenant.failWithout(FILE);
      world.tenant.noteBack(FILE, true);
    },
    state: 'serving',
    answer: 'v1',
  },
  'slow calls of several clients and kinds suspend the tenant, until one is answered': {
    after: async (world) => {
      await world.save('v1');
      for (const [clientId, kind] of ['a', 'b', 'c', 'd', 'e'].entries())
        await world.ask(`slow ${kind}`, clientId);
    },
    state: 'suspended',
    answer: 'v1',
  },
};

for (const [what, { after, state, answer }] of Object.entries(STATES)) {
  test(what, async () => {
    const world = new World();
    await after(world);
    assert.equal(world.tenant.state, state);
    assert.equal(await world.ask(), answer);
    world.tenant.dispose();
  });
}

test('calls that wait for the first version are judged by it', async () => {
  const world = new World();
  const build = Promise.withResolvers<string>();
  await world.save(build.promise);
  const generation = world.tenant.generationOf(1);
  const said: unknown[] = [];
  const call = { username: 'u', query: 'q', inTransaction: false, context: { database: 'a' } };
  world.tenant.decide(call, (decision) => said.push(decision));
  await settled();
  assert.deepEqual(said, []);
  build.resolve('v1');
  await settled();
  assert.deepEqual(said, [{ kind: 'go', query: null, dbkey: 'v1' }]);
  assert.equal(world.tenant.generationOf(1), generation);
  world.tenant.dispose();
});

test('statements are judged again after a new version, other settings and a missing file, and only then', async () => {
  const world = new World();
  const { tenant } = world;
  await world.save('v1');
  const changes = async (work: () => unknown): Promise<boolean> => {
    const generation = tenant.generationOf(1);
    await work();
    await settled();
    return tenant.generationOf(1) !== generation;
  };
  assert.equal(await changes(() => world.save('v1')), false);
  assert.equal(await changes(() => world.save('v2')), true);
  assert.equal(await changes(() => world.save(BROKEN)), false);
  assert.equal(await changes(() => tenant.configure({ ...TENANT_SETTINGS }, world.host)), false);
  assert.equal(await changes(() => tenant.configure({ ...TENANT_SETTINGS, timeoutMs: 5 }, world.host)), true);
  assert.equal(await changes(() => tenant.noteGone(FILE, 1_000)), false);
  assert.equal(await changes(() => tenant.failWithout(FILE)), true);
  assert.equal(await changes(() => tenant.failWithout(FILE)), false);
  tenant.dispose();
});

test('a file that is saved many times during a build is built once more', async () => {
  const world = new World();
  const build = Promise.withResolvers<string>();
  await world.save(build.promise);
  for (let i = 0; i < 10; i++) void world.tenant.reload();
  world.file = 'v2';
  build.resolve('v1');
  await world.tenant.idle();
  assert.equal(world.tenant.builds, 2);
  assert.equal(await world.ask(), 'v2');
  world.tenant.dispose();
});

test('a complaint is logged once, and again when an operator asks', async () => {
  const world = new World();
  const complaints = (): number => world.lines.filter((line) => line.includes('not loaded')).length;
  await world.save(BROKEN);
  await world.save(BROKEN);
  assert.equal(complaints(), 1);
  await world.tenant.reload(true);
  assert.equal(complaints(), 2);
  await world.save(new BundleError('another mistake', 'mistake'));
  assert.equal(complaints(), 3);
  assert.equal(world.tenant.observe([]).lastError, 'another mistake');
  world.tenant.dispose();
});

test('a build that costs others something is blamed on the tenant, a mistake is not', async () => {
  const world = new World();
  await world.save(BROKEN);
  assert.deepEqual(world.blamed, []);
  await world.save(new BundleError('bundling took longer than 10 s', 'offence'));
  assert.deepEqual(world.blamed, ['a']);
  world.tenant.dispose();
});

test('a tenant that moves to another host serves there, and has left the first one', async () => {
  const world = new World();
  await world.save('v1');
  const other = new TestHost();
  await world.tenant.moveTo(other);
  assert.deepEqual([[...world.host.loaded.values()], [...other.loaded.values()]], [[], ['v1']]);
  assert.equal(await world.ask(), 'v1');
  world.tenant.dispose();
});

test('a tenant that is disposed of answers its pending calls and leaves its host', async () => {
  const world = new World();
  await world.save('v1');
  const asked = world.ask();
  world.tenant.dispose();
  assert.equal(await asked, 'v1');
  await settled();
  assert.equal(world.host.loaded.size, 0);
});

test('a tenant that is disposed of during its first build loads no version, and its calls fail', async () => {
  const world = new World();
  const build = Promise.withResolvers<string>();
  await world.save(build.promise);
  const asked = world.ask();
  world.tenant.dispose();
  assert.equal(await asked, OVERLOADED);
  build.resolve('v1');
  await settled();
  assert.equal(world.host.loaded.size, 0);
});

test('the snapshot is plain data that does not change any more', async () => {
  const world = new World();
  await world.save('v1');
  await world.ask();
  const before = world.tenant.observe(['a', 'b']);
  const copy = structuredClone(before);
  assert.deepEqual(copy, before);
  const { loadedAtMs, p50Us, p99Us, callTimes, ...rest } = before;
  assert.ok(loadedAtMs !== null && p50Us !== null && p99Us !== null);
  assert.deepEqual(
    callTimes.map(({ outcome }) => outcome),
    ['changed'],
  );
  assert.deepEqual(rest, {
    id: '1',
    owner: 'a',
    name: '/rules/a',
    routingFile: '/rules/a/routing_rules.ts',
    rewriteFile: '',
    databases: ['a', 'b'],
    state: 'serving',
    version: 'v1',
    isolation: 'process',
    pid: null,
    isSuspended: false,
    heapBytes: 0,
    cpu: { totalMs: 0, lastMinuteMs: 0, limitMs: 0, isOver: false, waiting: 0, refused: 0, waited: 0 },
    recall: { remembered: 'no: it has not been analysed', hits: 0, misses: 0, entries: 0, bytes: 0 },
    calls: 1,
    routed: 1,
    rewritten: 0,
    rejected: 0,
    unjudged: 0,
    refusedMoves: 0,
    failures: {},
    lastError: '',
    lastErrorAtMs: null,
  });
  await world.ask('slow');
  assert.deepEqual(before, copy);
  assert.deepEqual(world.tenant.observe([]).failures, { deadline: 1 });
  world.tenant.dispose();
});

test('a paused tenant fails each call under its policy, until it is resumed', async () => {
  const world = new World();
  await world.save('v1');
  const generation = world.tenant.generationOf(1);
  world.tenant.setPaused('policy');
  assert.equal(world.tenant.state, 'paused');
  assert.equal(await world.ask(), '38000');
  assert.notEqual(world.tenant.generationOf(1), generation, 'prepared statements are judged again');
  await world.save('v2');
  assert.equal(await world.ask(), '38000');
  world.tenant.setPaused(null);
  assert.equal(await world.ask(), 'v2');
  world.tenant.dispose();
});

test('a tenant whose files move keeps its counters and what serves, and is not loaded anew for the same code', async () => {
  const world = new World();
  await world.save('v1');
  await world.ask();
  await world.ask('slow');
  const { version } = world.tenant;
  world.tenant.useFiles({ routing: '/elsewhere/routing_rules.js', rewrite: null });
  assert.equal(world.tenant.name, '/elsewhere');
  assert.equal(await world.ask(), 'v1');
  await world.save('v1');
  assert.equal(world.tenant.version, version);
  await world.save('v2');
  assert.equal(await world.ask(), 'v2');
  assert.deepEqual([world.tenant.observe([]).calls, world.tenant.observe([]).failures], [4, { deadline: 1 }]);
  assert.match(world.lines.at(-1)!, /user functions loaded: \/elsewhere\/routing_rules\.js/);
  world.tenant.dispose();
});

test('a rewriting function counts as shared only if the versions that serve have it', async () => {
  const before = { routing: null, rewrite: '/rules/rewrite_query.ts' };
  const after = { routing: null, rewrite: '/rules/rewrite_query.js' };
  const [one, other] = [new World(), new World()];
  for (const world of [one, other]) {
    world.tenant.useFiles(before);
    await world.save('v1');
  }
  assert.ok(one.tenant.sharesRewriting(other.tenant));
  for (const { tenant } of [one, other]) tenant.useFiles(after);
  await one.save('v2');
  await other.save(BROKEN);
  assert.equal(one.tenant.sharesRewriting(other.tenant), false);
  await other.save('v2');
  assert.ok(one.tenant.sharesRewriting(other.tenant));
  for (const { tenant } of [one, other]) tenant.dispose();
});

test('a version of files that are replaced while it is loaded never serves', async () => {
  const world = new World();
  await world.save('v1');
  const loading = Promise.withResolvers<void>();
  const load = world.host.load.bind(world.host);
  world.host.load = async (version) => {
    if (version.code === 'old') await loading.promise;
    return await load(version);
  };
  await world.save('old');
  world.tenant.useFiles({ routing: '/elsewhere/routing_rules.js', rewrite: null });
  await world.save('v1');
  loading.resolve();
  await settled();
  assert.equal(await world.ask(), 'v1');
  world.tenant.dispose();
});

test('a tenant that fails for want of a file fails until that file is back or no longer its own', async () => {
  const world = new World();
  await world.save('v1');
  world.tenant.failWithout(FILE);
  world.tenant.useFiles({ routing: FILE, rewrite: '/rules/a/rewrite_query.js' });
  await settled();
  assert.equal(await world.ask(), '38000');
  world.tenant.useFiles({ routing: '/rules/a/routing_rules.js', rewrite: null });
  assert.equal(await world.ask(), 'v1');
  world.tenant.dispose();
});
