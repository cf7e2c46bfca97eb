/**
 * When a remembered decision is given again, in each state of a tenant, and what is kept. The test has its own builder, host
 * and clock: no files, no processes, no waiting.
 */
import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { BLANK_CONTEXT } from '../../sandbox/context.ts';
import { UNKNOWN_LEXING } from '../../src/sql/lexing.ts';
import type { Bundle } from '../../src/functions/build/bundle-job.ts';
import { MemoryRoom } from '../../src/functions/decide/memory.ts';
import type { Decision } from '../../src/functions/decide/policy.ts';
import type { Question } from '../../src/functions/decide/question.ts';
import { MEMORY } from '../../src/functions/limits.ts';
import { cutOff, type HostAnswer, type HostCall } from '../../src/functions/sandbox/call.ts';
import { NO_COST, type OnAnswers } from '../../src/functions/sandbox/host.ts';
import { Tenant } from '../../src/functions/tenants/tenant.ts';
import type { TenantSettings } from '../../src/functions/tenants/settings.ts';
import { bundleOf, settled, TENANT_SETTINGS, tenantContext, TestClock, TestHost } from '../support/tenant.ts';

const FILE = '/rules/a/routing_rules.ts';
const REJECTION = { message: 'no', code: '42501', hint: null, detail: null };

/** Answers by the query, and counts the calls of each. */
class AnsweringHost extends TestHost {
  calls = 0;
  /** answers to calls that have not been given yet; null: each is given at once */
  held: (() => void)[] | null = null;
  answers: Record<string, HostAnswer> = {};

  override evaluate(versionId: number, calls: readonly HostCall[], done: OnAnswers): void {
    this.calls += calls.length;
    const code = this.loaded.get(versionId) ?? 'nowhere';
    const byDefault = { rewrite: null, route: { text: code }, basis: 0 };
    const answers = calls.map(({ query }) => this.answers[query] ?? byDefault);
    const give = (): void => done(answers, '', NO_COST);
    if (this.held === null) give();
    else this.held.push(give);
  }
}

class World {
  readonly clock = new TestClock();
  readonly host = new AnsweringHost();
  readonly lines: string[] = [];
  readonly room = new MemoryRoom(1_000_000);
  code = 'v1';
  isPure = true;
  targets = new Set(['v1', 'v2', 'elsewhere']);
  readonly tenant: Tenant;

  /** @param longestWaitMs how long a call waits for an answer */
  constructor(settings: Partial<TenantSettings> = {}, longestWaitMs?: number) {
    const context = tenantContext(this.lines, {
      clock: this.clock,
      memory: this.room,
      builder: { bundle: () => this.#bundle(), asyncPlaces: () => Promise.resolve([]) },
      disk: {
        trailOf: () => Promise.resolve(new Map()),
        isThere: () => true,
        isSearched: () => false,
        next: () => null,
      },
      targets: {
        mayName: (_files, _entry, name) => this.targets.has(name),
        nameable: () => undefined,
        areOperators: () => true,
        operatorsIn: () => '',
      },
    });
    this.tenant = new Tenant({
      identity: { id: '1', owner: 'a' },
      files: { routing: FILE, rewrite: null },
      settings: { ...TENANT_SETTINGS, ...settings },
      host: () => this.host,
      context,
      ...(longestWaitMs !== undefined && { longestWaitMs }),
    });
  }

  #bundle(): Promise<Bundle> {
    const purity = { isPure: this.isPure, reason: this.isPure ? '' : 'counter is changed at rules.ts:1' };
    return Promise.resolve({ ...bundleOf(this.code), purity });
  }

  async save(code: string): Promise<void> {
    this.code = code;
    if (this.tenant.isNeeded) void this.tenant.reload();
    else this.tenant.load();
    await settled();
  }

  static async serving(settings: Partial<TenantSettings> = {}, longestWaitMs?: number): Promise<World> {
    const world = new World(settings, longestWaitMs);
    await world.save('v1');
    return world;
  }

  call(query: string): HostCall {
    return { username: 'u', query, inTransaction: false, entry: 'a', context: BLANK_CONTEXT };
  }

  recall(query = 'q'): Decision | null {
    const call = this.call(query);
    const question: Question = {
      username: 'u',
      query,
      inTransaction: false,
      isBytes: false,
      lexing: UNKNOWN_LEXING,
      routeOnly: false,
      entry: 'a',
      clientId: 1,
      part: (field) => call.context[field],
      call: () => call,
    };
    return this.tenant.recall(question);
  }

  /** As a client's query is judged: from memory, or by the functions. */
  async judge(query = 'q'): Promise<Decision> {
    const known = this.recall(query);
    if (known !== null) return known;
    return new Promise((resolve) => {
      this.tenant.decide({ ...this.call(query), clientId: 1 }, resolve);
    });
  }

  /** Whether the next query of this kind is answered from memory. */
  remembers(query = 'q'): 'hit' | 'ask' {
    return this.recall(query) === null ? 'ask' : 'hit';
  }
}

interface Row {
  readonly settings?: Partial<TenantSettings>;
  /** between the call whose decision was kept and the next one */
  readonly change: (world: World) => unknown;
  readonly next: 'hit' | 'ask';
}

const STATES: Record<string, Row> = {
  'nothing has happened': { change: () => {}, next: 'hit' },
  'the same file was loaded again': { change: (world) => world.save('v1'), next: 'hit' },
  'the file is broken, and the old version serves': { change: (world) => world.save('v1!'), next: 'hit' },
  'its files are elsewhere': {
    change: (world) => world.tenant.useFiles({ routing: '/elsewhere/routing_rules.ts', rewrite: null }),
    next: 'hit',
  },
  'its calls go to another host': {
    change: async (world) => {
      const other = new AnsweringHost();
      await world.tenant.moveTo(other);
      assert.equal(world.tenant.version?.host, other);
    },
    next: 'hit',
  },
  'it is suspended': {
    change: async (world) => {
      world.host.answers['slow a'] = world.host.answers['slow b'] = cutOff('deadline', 'took longer');
      for (const clientId of [1, 2, 3, 4, 5, 6, 7, 8])
        world.tenant.decide({ ...world.call(clientId % 2 ? 'slow a' : 'slow b'), clientId }, () => {});
      for (let i = 0; i < 20 && world.tenant.state !== 'suspended'; i++) await settled();
    },
    next: 'hit',
  },
  'it is paused': { change: (world) => world.tenant.setPaused('policy'), next: 'ask' },
  'it was paused and resumed': {
    change: (world) => {
      world.tenant.setPaused('policy');
      world.tenant.setPaused(null);
    },
    next: 'ask',
  },
  'its file has been gone for too long': { change: (world) => world.tenant.failWithout(FILE), next: 'ask' },
  'its file was gone and is back': {
    change: async (world) => {
      world.tenant.failWithout(FILE);
      world.tenant.noteBack(FILE, true);
      await settled();
    },
    next: 'ask',
  },
  'another version serves': { change: (world) => world.save('v2'), next: 'ask' },
  'another version served in between': {
    change: async (world) => {
      await world.save('v2');
      await world.save('v1');
    },
    next: 'ask',
  },
  'targets or databases have changed': { change: (world) => world.tenant.judgeAgain(), next: 'ask' },
  'the database that it names has gone': { change: (world) => world.targets.delete('v1'), next: 'ask' },
  'its settings have changed': {
    change: (world) => world.tenant.configure({ ...TENANT_SETTINGS, timeoutMs: 5 }, world.host),
    next: 'ask',
  },
  'it has other databases': {
    change: (world) => world.tenant.configure({ ...TENANT_SETTINGS, databases: ['z'] }, world.host),
    next: 'ask',
  },
  'its settings are the same after a reload': {
    change: (world) => world.tenant.configure({ ...TENANT_SETTINGS }, world.host),
    next: 'hit',
  },
  'its version was found to keep state': {
    change: (world) => world.tenant.version!.forbidRemembering('x is changed'),
    next: 'ask',
  },
  'the room for all decisions is gone': { change: (world) => world.room.resize(0), next: 'ask' },
  'it may keep nothing': { settings: { cacheBytes: 0 }, change: () => {}, next: 'ask' },
  'it is disposed of': {
    change: async (world) => {
      world.tenant.dispose();
      await settled();
    },
    next: 'ask',
  },
};

describe('a decision that was kept', () => {
  for (const [what, { settings = {}, change, next }] of Object.entries(STATES))
    test(`${next === 'hit' ? 'is given again' : 'is not given again'} when ${what}`, async () => {
      const world = await World.serving(settings);
      assert.deepEqual(await world.judge(), { kind: 'go', query: null, dbkey: 'v1' });
      await change(world);
      assert.equal(world.remembers(), next);
      world.tenant.dispose();
    });
});

describe('before anything is kept', () => {
  test('a tenant without a version is asked', () => {
    const world = new World();
    assert.equal(world.remembers(), 'ask');
    world.tenant.dispose();
  });
  test('a version that may keep state is asked each time', async () => {
    const world = new World();
    world.isPure = false;
    await world.save('v1');
    await world.judge();
    assert.equal(world.remembers(), 'ask');
    assert.equal(world.tenant.observe([]).recall.remembered, 'no: counter is changed at rules.ts:1');
    world.tenant.dispose();
  });
});

const ANSWERS: Record<string, { readonly answer: HostAnswer; readonly next: 'hit' | 'ask' }> = {
  'neither function changes anything': { answer: { rewrite: null, route: null, basis: 0 }, next: 'hit' },
  'a rewrite': { answer: { rewrite: { text: 'other' }, route: null, basis: 0 }, next: 'hit' },
  'a route': { answer: { rewrite: null, route: { text: 'elsewhere' }, basis: 0 }, next: 'hit' },
  'both, by parts of ctx': {
    answer: { rewrite: { text: 'other' }, route: { text: 'elsewhere' }, basis: 15 },
    next: 'hit',
  },
  'a rejection': { answer: { rewrite: { rejection: REJECTION }, route: null, basis: 0 }, next: 'hit' },
  'a rejection by the routing function': {
    answer: { rewrite: null, route: { rejection: REJECTION }, basis: 0 },
    next: 'hit',
  },
  'an answer that depends on something else': { answer: { rewrite: null, route: null }, next: 'ask' },
  'a name that it may not give': {
    answer: { rewrite: null, route: { text: 'nowhere' }, basis: 0 },
    next: 'ask',
  },
  'an exception': {
    answer: { rewrite: { failure: { outcome: 'threw', message: 'x', stack: '' } }, route: null, basis: 0 },
    next: 'ask',
  },
  'a deadline': { answer: cutOff('deadline', 'took longer'), next: 'ask' },
  'a failure of the platform': { answer: cutOff('lost', 'gone'), next: 'ask' },
};

describe('what is kept', () => {
  for (const onFailure of ['error', 'pass'] as const)
    for (const [what, { answer, next }] of Object.entries(ANSWERS))
      test(`${next === 'hit' ? 'kept' : 'not kept'}: ${what}, if failures are answered by ${onFailure}`, async () => {
        const policy = { onRoutingFailure: onFailure, onRewriteFailure: onFailure };
        // failures of the platform are tried again for as long as calls may wait
        const world = await World.serving(policy, 100);
        world.host.answers['q'] = answer;
        const asked = await world.judge();
        const { recall: _, failures: _failures, ...counted } = world.tenant.observe([]);
        assert.equal(world.remembers(), next);
        if (next === 'ask') return world.tenant.dispose();
        assert.deepEqual(world.recall(), asked);
        const { calls, routed, rewritten, rejected } = world.tenant.observe([]);
        assert.deepEqual(
          [calls, routed, rewritten, rejected],
          [3, 3 * counted.routed, 3 * counted.rewritten, 3 * counted.rejected],
          'each hit counts like a call',
        );
        world.tenant.dispose();
      });
});

describe('an answer that is under way is not kept', () => {
  const changes: Record<string, (world: World) => unknown> = {
    'when another version is loaded': (world) => world.save('v2'),
    'when targets change': (world) => world.tenant.judgeAgain(),
    'when settings change': (world) =>
      world.tenant.configure({ ...TENANT_SETTINGS, databases: ['z'] }, world.host),
    'when the tenant is paused and resumed': (world) => {
      world.tenant.setPaused('policy');
      world.tenant.setPaused(null);
    },
  };
  for (const [when, change] of Object.entries(changes))
    test(when, async () => {
      const world = await World.serving();
      const held: (() => void)[] = [];
      world.host.held = held;
      const asked = world.judge();
      await settled();
      assert.equal(held.length, 1);
      world.host.held = null;
      await change(world);
      for (const give of held) give();
      assert.deepEqual(await asked, { kind: 'go', query: null, dbkey: 'v1' });
      await settled();
      assert.equal(world.remembers(), 'ask');
      world.tenant.dispose();
    });
});

describe('a share of the hits is checked', () => {
  test('one in a thousand, beside the query', async () => {
    const world = await World.serving();
    await world.judge();
    const before = world.host.calls;
    for (let i = 0; i < 5_100; i++) world.recall();
    await settled();
    assert.equal(world.host.calls - before, 6, 'the first, and as random numbers of 0.5 ask for');
    assert.equal(world.tenant.observe([]).calls, 1 + 5_100, 'checks are not counted');
    world.tenant.dispose();
  });
  test('at least one in a second', async () => {
    const world = await World.serving();
    await world.judge();
    const before = world.host.calls;
    for (let second = 0; second < 5; second++) {
      for (let i = 0; i < 3; i++) world.recall();
      await settled();
      world.clock.advance(MEMORY.checkMs);
    }
    assert.equal(world.host.calls - before, 5);
    world.tenant.dispose();
  });
  test('a failure of the platform during a check changes nothing', async () => {
    const world = await World.serving();
    await world.judge();
    const { calls, failures } = world.tenant.observe([]);
    for (const outcome of ['deadline', 'memory', 'killed', 'overloaded', 'starved', 'lost'] as const) {
      world.host.answers['q'] = cutOff(outcome, 'cut off');
      world.clock.advance(MEMORY.checkMs);
      assert.equal(world.remembers(), 'hit');
      await settled();
    }
    assert.equal(world.remembers(), 'hit');
    const after = world.tenant.observe([]);
    assert.deepEqual([after.calls, after.failures, after.state], [calls + 7, failures, 'serving']);
    world.tenant.dispose();
  });
  const differences: Record<string, { readonly answer: HostAnswer; readonly shown: string }> = {
    'another route': {
      answer: { rewrite: null, route: { text: 'elsewhere' }, basis: 0 },
      shown: 'evaluated: unchanged and routed to "elsewhere"',
    },
    'a text instead of a name': {
      answer: { rewrite: null, route: { text: "SELECT 'secret'" }, basis: 0 },
      shown: 'evaluated: unchanged and routed to a name of 15 characters',
    },
    'a rewrite': {
      answer: { rewrite: { text: "SELECT 'secret'" }, route: { text: 'v1' }, basis: 0 },
      shown: 'evaluated: rewritten to 15 characters and routed to "v1"',
    },
    nothing: { answer: { rewrite: null, route: null, basis: 0 }, shown: 'evaluated: unchanged' },
    'a rejection': {
      answer: { rewrite: null, route: { rejection: { ...REJECTION, message: 'secret' } } },
      shown: 'evaluated: rejected with 42501',
    },
    'an exception': {
      answer: cutOff('threw', 'secret'),
      shown: 'evaluated: threw',
    },
  };
  for (const [what, { answer, shown }] of Object.entries(differences))
    test(`one difference ends remembering for the version: ${what}`, async () => {
      const world = await World.serving();
      await world.judge();
      const generation = world.tenant.generationOf(1);
      world.host.answers['q'] = answer;
      world.clock.advance(MEMORY.checkMs);
      assert.equal(world.remembers(), 'hit', 'the query itself was answered at once');
      await settled();
      assert.notEqual(world.tenant.generationOf(1), generation, 'prepared statements are judged again');
      const { recall, lastError } = world.tenant.observe([]);
      assert.deepEqual(recall.entries, 0);
      assert.equal(recall.remembered, 'no: it gave two answers to one question');
      const line = world.lines.find((each) => each.startsWith('ERROR'));
      assert.ok(line !== undefined);
      assert.ok(line.includes('remembered: unchanged and routed to "v1"') && line.endsWith(shown), line);
      assert.ok(lastError.endsWith(shown), lastError);
      assert.ok(!world.lines.join().includes('secret'));
      world.host.answers = {};
      await world.judge();
      assert.equal(world.remembers(), 'ask');
      // the same code in another place, or after another version, is the same version
      await world.tenant.moveTo(new AnsweringHost());
      await world.judge();
      assert.equal(world.remembers(), 'ask');
      await world.save('v2');
      await world.judge();
      assert.equal(world.remembers(), 'hit');
      await world.save('v1');
      await world.judge();
      assert.equal(world.remembers(), 'ask');
      world.tenant.dispose();
    });
});

test('a tenant whose cache is set to 0 gets no decision from memory, not even one that was made before', async () => {
  const world = await World.serving();
  const asked = new Promise((resolve) => world.tenant.decide(world.call('q'), resolve));
  await settled();
  await asked;
  assert.notEqual(world.recall('q'), null);
  await world.tenant.configure({ ...TENANT_SETTINGS, cacheBytes: 0 }, null);
  assert.equal(world.recall('q'), null);
  await new Promise((resolve) => world.tenant.decide(world.call('q'), resolve));
  assert.equal(world.recall('q'), null);
  world.tenant.dispose();
});
