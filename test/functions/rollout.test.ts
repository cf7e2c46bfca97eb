/** A tenant's candidate in all its states, with the test's own builder, host and clock: no files, no processes, no waiting. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Bundle, SourceFiles } from '../../src/functions/build/bundle-job.ts';
import { BundleError } from '../../src/functions/build/bundlers.ts';
import { isSameCode } from '../../src/functions/build/same-code.ts';
import type { Decision } from '../../src/functions/functions.ts';
import { NO_COST } from '../../src/functions/sandbox/host.ts';
import { VersionStore } from '../../src/functions/store/version-store.ts';
import { RolloutError } from '../../src/functions/tenants/rollout.ts';
import type { TenantContext } from '../../src/functions/tenants/context.ts';
import { Tenant } from '../../src/functions/tenants/tenant.ts';
import { bundleOf, settled, TENANT_SETTINGS, tenantContext, TestClock, TestHost } from '../support/tenant.ts';

const FILE = '/rules/a/routing_rules.ts';
const NEXT = '/rules/a/routing_rules.next.ts';
const ASKED = { by: 'operator', user: 'u' } as const;
const CLIENTS = Array.from({ length: 200 }, (_, i) => i + 1);

class World {
  readonly clock = new TestClock();
  readonly host = new TestHost();
  readonly candidateHost = new TestHost();
  readonly lines: string[] = [];
  /** by path, its content, or the result of bundling it */
  readonly files = new Map<string, string | Error>([[FILE, 'v1']]);
  readonly context: TenantContext = tenantContext(this.lines, {
    clock: this.clock,
    builder: {
      bundle: (_tenant, _isSuspect, { routing }) => this.#bundle(routing!),
      asyncPlaces: () => Promise.resolve([]),
    },
    disk: {
      trailOf: (paths) => Promise.resolve(new Map([...paths].map((path) => [path, POINT]))),
      isThere: () => true,
      isSearched: () => false,
      next: (files) => (this.files.has(NEXT) ? { ...files, routing: NEXT } : null),
    },
  });
  readonly tenant: Tenant;

  /** @param store of the process before */
  constructor(store = new VersionStore(null, { warn() {}, error() {} })) {
    this.context = { ...this.context, store };
    this.tenant = new Tenant({
      identity: { id: '1', owner: 'a' },
      files: { routing: FILE, rewrite: null } satisfies SourceFiles,
      settings: TENANT_SETTINGS,
      host: () => this.host,
      context: {
        ...this.context,
        housing: { ...this.context.housing, ofCandidate: () => this.candidateHost },
      },
    });
  }

  async #bundle(file: string): Promise<Bundle> {
    const content = this.files.get(file) ?? new BundleError('gone', 'mistake');
    if (content instanceof Error) throw content;
    return bundleOf(content);
  }

  get rollout(): Tenant['rollout'] {
    return this.tenant.rollout;
  }

  get state(): string {
    return this.rollout.observe().state;
  }

  async save(file: string, content: string | Error | null): Promise<void> {
    if (content === null) this.files.delete(file);
    else this.files.set(file, content);
    if (file === FILE && !this.tenant.isNeeded) this.tenant.load();
    else if (file === FILE) void this.tenant.reload();
    else this.rollout.noteChanges(new Set([file]));
    await settled();
  }

  /** Where each client's query goes, or the code of its error. */
  async ask(query = 'q', clients: readonly number[] = CLIENTS): Promise<string[]> {
    const said: string[] = [];
    for (const [i, clientId] of clients.entries()) {
      const call = { username: 'u', query, inTransaction: false, context: { database: 'a' }, clientId };
      this.tenant.decide(call, (decision: Decision) => {
        said[i] = decision.kind === 'go' ? (decision.dbkey ?? 'stays') : decision.error.code;
      });
    }
    await settled();
    assert.equal(Object.keys(said).length, clients.length);
    return said;
  }

  /** The different answers that clients get. */
  async answers(query?: string): Promise<string> {
    return [...new Set(await this.ask(query))].toSorted().join();
  }
}

const POINT = { stamp: '1', changedAt: 0, isWorldWritable: false };
const BROKEN = new BundleError('routing_rules.next.ts:1:1: Unexpected "}"', 'mistake');

/** A tenant with a version that serves, and a candidate. */
async function withCandidate(): Promise<World> {
  const world = new World();
  await world.save(FILE, 'v1');
  await world.save(NEXT, 'v2');
  assert.equal(world.state, 'shadow');
  return world;
}

const STATES: Record<
  string,
  readonly [after: (world: World) => Promise<unknown>, state: string, answers: string]
> = {
  'no .next file': [async () => {}, 'no candidate', 'v1'],
  'a .next file': [(world) => world.save(NEXT, 'v2'), 'shadow', 'v1'],
  'a .next file with a mistake': [(world) => world.save(NEXT, BROKEN), 'not loaded', 'v1'],
  'a .next file that no host can load': [(world) => world.save(NEXT, 'v2!'), 'not loaded', 'v1'],
  'a .next file with the code that serves': [(world) => world.save(NEXT, 'v1'), 'same as serving', 'v1'],
  'a mistake after a sound candidate, which stays': [
    async (world) => {
      await world.save(NEXT, 'v2');
      await world.save(NEXT, BROKEN);
    },
    'shadow',
    'v1',
  ],
  'a .next file that has gone': [
    async (world) => {
      await world.save(NEXT, 'v2');
      await world.save(NEXT, null);
    },
    'no candidate',
    'v1',
  ],
  'a serving file that has caught up': [
    async (world) => {
      await world.save(NEXT, 'v2');
      await world.save(FILE, 'v2');
    },
    'same as serving',
    'v2',
  ],
  'a serving file that has overtaken the .next file': [
    async (world) => {
      await world.save(NEXT, 'v1');
      await world.save(FILE, 'v3');
    },
    'shadow',
    'v3',
  ],
  'shadowing switched off': [
    async (world) => {
      await world.save(NEXT, 'v2');
      world.rollout.shadowOff();
      await world.save(NEXT, 'v3');
    },
    'off',
    'v1',
  ],
  'shadowing switched on again': [
    async (world) => {
      world.rollout.shadowOff();
      await world.save(NEXT, 'v2');
      await world.rollout.shadowNext();
    },
    'shadow',
    'v1',
  ],
  'a promotion': [
    async (world) => {
      await world.save(NEXT, 'v2');
      await world.rollout.promote(ASKED);
    },
    'same as serving',
    'v2',
  ],
  'a newer .next file after a promotion': [
    async (world) => {
      await world.save(NEXT, 'v2');
      await world.rollout.promote(ASKED);
      await world.save(NEXT, 'v3');
    },
    'shadow',
    'v2',
  ],
  'a broken serving file, and a promotion': [
    async (world) => {
      await world.save(FILE, BROKEN);
      await world.save(NEXT, 'v2');
      await world.rollout.promote(ASKED);
    },
    'same as serving',
    'v2',
  ],
  'a newer serving file while another version is pinned': [
    async (world) => {
      await world.save(NEXT, 'v2');
      await world.rollout.promote(ASKED);
      await world.save(NEXT, null);
      await world.save(FILE, 'v3');
    },
    'shadow',
    'v2',
  ],
  'a newer serving file after the .next file has gone': [
    async (world) => {
      await world.save(NEXT, 'v2');
      await world.rollout.promote(ASKED);
      await world.save(FILE, 'v3');
      await world.save(NEXT, null);
    },
    'shadow',
    'v2',
  ],
  'a newer serving file, and shadowing switched on again': [
    async (world) => {
      await world.save(NEXT, 'v2');
      await world.rollout.promote(ASKED);
      world.rollout.shadowOff();
      await world.save(NEXT, null);
      await world.save(FILE, 'v3');
      await world.rollout.shadowNext();
    },
    'shadow',
    'v2',
  ],
  'a newer serving file that was promoted': [
    async (world) => {
      await world.save(NEXT, 'v2');
      await world.rollout.promote(ASKED);
      await world.save(NEXT, null);
      await world.save(FILE, 'v3');
      await world.rollout.promote(ASKED);
    },
    'no candidate',
    'v3',
  ],
};

test('each state of a candidate, and what serves meanwhile', async () => {
  for (const [name, [after, state, answers]] of Object.entries(STATES)) {
    const world = new World();
    await world.save(FILE, 'v1');
    await after(world);
    assert.equal(world.state, state, name);
    assert.equal(await world.answers(), answers, name);
    world.tenant.dispose();
    await settled();
    assert.equal(world.candidateHost.loaded.size, 0, `${name}: the candidate is unloaded with its tenant`);
  }
});

test('the log tells a promotion from a rollback, and a candidate from what serves', async () => {
  const world = await withCandidate();
  await world.rollout.promote(ASKED);
  await world.save(NEXT, null);
  await world.save(FILE, 'v3');
  assert.equal(world.state, 'shadow');
  const said = world.lines.map((line) => line.replace(/^\w+ /, ''));
  const expected = [
    'user functions loaded: /rules/a/routing_rules.ts (version v1)',
    'candidate functions loaded: /rules/a/routing_rules.next.ts (version v2)',
    'user functions of /rules/a: version 2 (v2), which u has promoted, serves',
    'candidate of /rules/a serves now: version v2, as u asked for',
    'user functions of /rules/a: version v1 is a candidate: version 2 serves, which u has promoted, until RESUME or PROMOTE FUNCTIONS',
    'candidate functions loaded: /rules/a/routing_rules.ts (version v1)',
    'user functions of /rules/a: version v3 is a candidate: version 2 serves, which u has promoted, until RESUME or PROMOTE FUNCTIONS',
    'candidate functions loaded: /rules/a/routing_rules.ts (version v3)',
  ];
  assert.deepEqual(said, expected);
  world.tenant.dispose();
});

test('a promoted version is pinned until the serving file holds the same code', async () => {
  const world = await withCandidate();
  const pin = (): unknown => world.context.store.pinOf(world.tenant);
  await world.rollout.promote(ASKED);
  assert.deepEqual(pin(), { number: 2, hash: 'v2', ...ASKED, untilFiles: true });
  await world.tenant.reload(true);
  assert.equal(await world.answers(), 'v2');
  await world.save(FILE, 'v2');
  assert.equal(pin(), null);
  await world.save(FILE, 'v3');
  assert.equal(await world.answers(), 'v3');
  world.tenant.dispose();
});

test('a promotion keeps its pin when the serving files are built at the same time', async () => {
  const world = await withCandidate();
  void world.tenant.reload();
  await world.rollout.promote(ASKED);
  await settled();
  assert.equal(world.context.store.pinOf(world.tenant)?.number, 2);
  await world.tenant.reload();
  assert.equal(await world.answers(), 'v2');
  world.tenant.dispose();
});

test('commands that are given at the same time take effect one after the other', async () => {
  const world = new World();
  for (const version of ['v1', 'v2', 'v3', 'v4']) await world.save(FILE, version);
  const to = (number: number, by: 'operator' | 'tenant' = 'operator'): Promise<string | null> =>
    world.tenant.pinning.rollBack({ number, by, user: 'u', untilFiles: false });
  const pinned = (): number | undefined => world.context.store.pinOf(world.tenant)?.number;
  assert.deepEqual(await Promise.all([to(1), to(2), to(3)]), [null, null, null]);
  assert.deepEqual([await world.answers(), pinned()], ['v3', 3]);
  const unknown = 'it is not known any more';
  assert.deepEqual(await Promise.all([to(9), to(1), to(8)]), [unknown, null, unknown]);
  assert.deepEqual([await world.answers(), pinned()], ['v1', 1]);
  await Promise.all([to(2), world.tenant.pinning.unpin({ by: 'operator', user: 'u' })]);
  await world.tenant.reload(true);
  assert.deepEqual([await world.answers(), pinned()], ['v4', undefined]);
  // the tenant's own administrator was quicker to ask than the operator's command to be carried out
  const [, refusal] = await Promise.all([
    to(2),
    to(1, 'tenant'),
    world.tenant.pinning.unpin({ by: 'tenant', user: 'u' }),
  ]);
  assert.equal(refusal, 'an operator has pinned another version');
  assert.deepEqual([await world.answers(), pinned()], ['v2', 2]);
  world.tenant.dispose();
});

test('a candidate that the place of the serving version can’t load is not promoted', async () => {
  const world = await withCandidate();
  world.host.load = () =>
    Promise.resolve({ kind: 'refused', cause: 'passing', message: 'no process', stack: '' });
  // it is in use, so it must be ready at once
  await world.ask();
  await assert.rejects(world.rollout.promote(ASKED), /could not be loaded: no process/);
  assert.equal(world.context.store.pinOf(world.tenant), null);
  assert.equal(world.state, 'shadow');
  world.tenant.dispose();
});

test('clients of a canary have the candidate, and are judged again when it begins, changes and ends', async () => {
  const world = await withCandidate();
  const generations = (): number[] => CLIENTS.map((id) => world.tenant.generationOf(id));
  const before = generations();
  await world.rollout.beginCanary(25, false, ASKED);
  const arms = await world.ask();
  const during = generations();
  assert.deepEqual(
    arms.map((answer) => answer === 'v2'),
    during.map((generation, i) => generation !== before[i]),
  );
  assert.ok(arms.filter((answer) => answer === 'v2').length > 20);
  await world.save(NEXT, 'v3');
  assert.deepEqual(
    arms.map((answer) => answer === 'v2'),
    generations().map((generation, i) => generation !== during[i]),
  );
  assert.equal(await world.answers(), 'v1,v3');
  world.rollout.endCanary('enough');
  assert.deepEqual(generations(), before);
  assert.equal(await world.answers(), 'v1');
  assert.equal(world.context.canaries.size, 0);
  world.tenant.dispose();
});

test('a call that the candidate fails is answered by the serving version, and counts against the candidate', async () => {
  const world = await withCandidate();
  await world.rollout.beginCanary(50, true, ASKED);
  const failure = { outcome: 'threw', message: 'x', stack: '' } as const;
  world.candidateHost.evaluate = (_versionId, calls, done) =>
    done(
      calls.map(() => ({ rewrite: null, route: { failure } })),
      '',
      NO_COST,
    );
  for (let i = 0; i < 3 && world.state === 'canary'; i++) {
    assert.deepEqual([...new Set(await world.ask(`q${i}`))], ['v1']);
    world.clock.advance(1_000);
    await settled();
  }
  assert.equal(world.state, 'shadow');
  assert.match(world.rollout.observe().lastCanary, /^went back: /);
  const { calls, failures, isSuspended } = world.tenant.observe([]);
  assert.deepEqual([failures, isSuspended], [{}, false]);
  assert.ok(calls >= CLIENTS.length);
  world.tenant.dispose();
});

test('a paused tenant gives nothing to its candidate', async () => {
  const world = await withCandidate();
  await world.rollout.beginCanary(50, false, ASKED);
  world.tenant.setPaused('policy');
  assert.deepEqual([...new Set(await world.ask())], ['38000']);
  assert.equal(world.rollout.observe().canary!.candidate.calls, 0);
  world.tenant.dispose();
  assert.equal(world.context.canaries.size, 0);
});

test('an administrator of the tenant does not take the place of a version that an operator has pinned', async () => {
  const world = await withCandidate();
  const admin = { by: 'tenant', user: 'ops' } as const;
  await world.rollout.beginCanary(50, true, admin);
  assert.equal(await world.tenant.pinning.rollBack({ number: 1, ...ASKED, untilFiles: false }), null);
  assert.equal(world.rollout.observe().lastCanary, 'ended: another version was fixed by ROLLBACK');
  await assert.rejects(world.rollout.promote(admin), /an operator has pinned/);
  await assert.rejects(world.rollout.beginCanary(5, false, admin), /an operator has pinned/);
  assert.equal(await world.answers(), 'v1');
  await world.rollout.promote(ASKED);
  assert.equal(await world.answers(), 'v2');
  world.tenant.dispose();
});

test('what is not possible is told, and changes nothing', async () => {
  const world = new World();
  const refused = async (work: () => Promise<unknown>, message: RegExp): Promise<void> => {
    await assert.rejects(work(), (error) => error instanceof RolloutError && message.test(error.message));
  };
  await refused(() => world.rollout.promote(ASKED), /there is no candidate/);
  await world.save(FILE, 'v1');
  await world.save(NEXT, 'v1');
  await refused(() => world.rollout.promote(ASKED), /the same as the version that serves/);
  await world.save(NEXT, BROKEN);
  await refused(() => world.rollout.beginCanary(5, false, ASKED), /the same as|not loaded: .*Unexpected/);
  await refused(() => world.rollout.shadowFrom('/nowhere'), /neither a routing_rules nor a rewrite_query/);
  assert.equal(await world.answers(), 'v1');
  world.tenant.dispose();
});

test('code is the same under the name of a .next file', () => {
  const code = (name: string, body: string): Bundle =>
    bundleOf(`// ${name}.ts\nvar ${name.replace('.', '_')}_default = ${body};`);
  assert.ok(isSameCode(code('rules', '1'), code('rules.next', '1')));
  assert.ok(!isSameCode(code('rules', '1'), code('rules.next', '2')));
  assert.ok(!isSameCode(code('rules', 'has_next'), code('rules.next', 'has_more')));
});

/** The process ends, and another one begins with what was kept. */
async function restarted(world: World, next: string | Error = 'v2'): Promise<World> {
  world.tenant.dispose();
  const after = new World(world.context.store);
  after.files.set(NEXT, next);
  await after.save(FILE, 'v1');
  return after;
}

test('a canary goes on after a restart, with its share, its time and what was counted', async () => {
  const before = await withCandidate();
  await before.rollout.beginCanary(50, true, ASKED);
  await before.ask();
  before.clock.advance(400_000);
  const counted = before.rollout.observe().canary!;
  assert.ok(counted.candidate.calls >= 50);
  const after = await restarted(before);
  assert.equal(after.state, 'canary');
  const { lastsMs, candidate, serving, percent, isPromoted } = after.rollout.observe().canary!;
  assert.deepEqual([percent, isPromoted, lastsMs], [50, true, counted.lastsMs]);
  assert.deepEqual([candidate.calls, serving.calls], [counted.candidate.calls, counted.serving.calls]);
  assert.equal(await after.answers(), 'v1,v2');
  assert.match(after.lines.join('\n'), /canary of \/rules\/a goes on: 50 % of the clients/);
  // the rest of canary_duration
  for (let i = 0; i < 210; i++) after.clock.advance(1_000);
  await settled();
  assert.equal(await after.answers(), 'v2');
  assert.equal(after.rollout.observe().lastCanary, 'promoted, because it was not worse');
  const last = await restarted(after);
  assert.notEqual(last.state, 'canary');
  last.tenant.dispose();
});

test('after a restart a canary begins to compare again if its candidate is other code', async () => {
  const before = await withCandidate();
  await before.rollout.beginCanary(50, false, ASKED);
  await before.ask();
  const after = await restarted(before, 'v3');
  assert.equal(after.state, 'canary');
  assert.equal(after.rollout.observe().canary!.candidate.calls, 0);
  assert.equal(await after.answers(), 'v1,v3');
  after.tenant.dispose();
});

for (const [what, end] of [
  ['CANARY OFF', (world: World) => world.rollout.endCanary('it was asked for')],
  ['SHADOW OFF', (world: World) => world.rollout.shadowOff()],
] as const)
  test(`a canary whose candidate can't be loaded after a restart waits for it, until ${what}`, async () => {
    const before = await withCandidate();
    await before.rollout.beginCanary(50, false, ASKED);
    const waiting = await restarted(before, BROKEN);
    assert.equal(waiting.state, 'not loaded');
    assert.equal(await waiting.answers(), 'v1');
    assert.equal(waiting.rollout.observe().lastCanary, 'waits for its candidate, since a restart');
    const still = await restarted(waiting, BROKEN);
    end(still);
    assert.equal(still.rollout.observe().lastCanary.startsWith('ended: '), true);
    await still.save(NEXT, 'v2');
    assert.notEqual(still.state, 'canary');
    const last = await restarted(still);
    assert.equal(last.state, what === 'CANARY OFF' ? 'shadow' : 'off');
    last.tenant.dispose();
  });

test('a process that was taken over leaves the canary to the other one', async () => {
  const before = await withCandidate();
  await before.rollout.beginCanary(50, false, ASKED);
  const { store } = before.context;
  before.rollout.keep();
  store.held.handOver(true);
  before.rollout.endCanary('its clients have gone');
  assert.equal(store.held.get(before.tenant, 'canary')?.percent, 50);
  before.tenant.dispose();
});
