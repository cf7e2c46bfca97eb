/** The host of one tenant, which passes calls on to the child where the tenant lives: children are stand-ins here. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { DEFAULT_OPTIONS } from '../../sandbox/crossing.ts';
import type { HostAnswer, HostCall } from '../../src/functions/sandbox/call.ts';
import { NO_COST, type OnAnswers, type VersionCode } from '../../src/functions/sandbox/host.ts';
import type { GiveBack } from '../../src/functions/sandbox/jobs.ts';
import { refused, type LoadResult } from '../../src/functions/sandbox/load-result.ts';
import type { Kind } from '../../src/functions/sandbox/placement.ts';
import type { Supervisor } from '../../src/functions/sandbox/supervisor.ts';
import { TenantHost, type Home, type Landlord } from '../../src/functions/sandbox/tenant-host.ts';

const version = (id: number): VersionCode => ({
  id,
  code: '',
  databases: [],
  memoryLimitMb: 8,
  maxResult: 1,
  timeoutMs: 100,
});
const LOADED: LoadResult = {
  kind: 'loaded',
  manifest: { routes: true, rewrites: false, options: DEFAULT_OPTIONS },
};
const answerOf = (text: string): HostAnswer => ({ rewrite: null, route: { text } });

interface Asked {
  readonly versionId: number;
  readonly queries: readonly string[];
  readonly done: OnAnswers;
  readonly giveBack: GiveBack | null;
}

/** A child that answers when the test wants it to. */
class StandIn {
  readonly versions = new Set<number>();
  readonly asked: Asked[] = [];
  readonly loads: ((result: LoadResult) => void)[] = [];
  readonly sliced: boolean[] = [];

  load(code: VersionCode, isSliced = false): Promise<LoadResult> {
    this.versions.add(code.id);
    this.sliced.push(isSliced);
    return new Promise((resolve) => this.loads.push(resolve));
  }

  adopt({ id }: VersionCode): void {
    this.versions.add(id);
  }

  evaluate(
    versionId: number,
    calls: readonly HostCall[],
    done: OnAnswers,
    giveBack: GiveBack | null = null,
  ): void {
    assert.ok(this.versions.has(versionId), 'it knows the version');
    this.asked.push({ versionId, queries: calls.map(({ query }) => query), done, giveBack });
  }

  dispose(versionId: number): void {
    this.versions.delete(versionId);
  }
}

/** Two children, and a tenant among others in the shared one. */
class Street implements Landlord {
  readonly shared = new StandIn();
  readonly own = new StandIn();
  readonly log: string[] = [];
  readonly tenant: TenantHost;
  readonly #homes: Readonly<Record<Kind, Home>>;

  /** @param neighbours tenants in the shared child */
  constructor(neighbours = 1) {
    const home = (kind: Kind, host: StandIn, count: number): Home => ({
      kind,
      host: host as unknown as Supervisor,
      tenants: new Set(Array.from({ length: count }, () => new TenantHost('', this))),
    });
    this.#homes = { shared: home('shared', this.shared, 1 + neighbours), own: home('own', this.own, 1) };
    this.tenant = new TenantHost('a', this);
  }

  noteVersion(): void {}

  forgetVersion(): void {}

  moveIn(): Home {
    this.log.push('in');
    return this.#homes.shared;
  }

  moveOut(tenant: TenantHost, cause: string): void {
    this.log.push(cause);
    tenant.moveTo(this.#homes.own);
  }

  release(): void {
    this.log.push('released');
  }

  /** Asks the tenant. @returns the answers, in words */
  ask(versionId: number, ...queries: string[]): Promise<string[]> {
    const calls = queries.map((query) => ({ username: '', query, inTransaction: false, context: {} }));
    return new Promise((resolve) =>
      this.tenant.evaluate(versionId, calls, (answers) =>
        resolve(answers.map(({ route }) => (route !== null && 'text' in route ? route.text : '?'))),
      ),
    );
  }
}

test('a tenant needs no child before its first call', () => {
  const street = new Street();
  street.tenant.adopt(version(1));
  assert.deepEqual([street.log, [...street.shared.versions]], [[], []]);
  void street.ask(1, 'a');
  assert.deepEqual([street.log, [...street.shared.versions]], [['in'], [1]]);
  street.tenant.dispose(1);
  assert.deepEqual(street.log, ['in', 'released']);
});

test('a batch that is given back is run again in a child of its own, with all of its time', async () => {
  const street = new Street();
  street.tenant.adopt(version(1));
  street.tenant.adopt(version(2));
  const answers = street.ask(1, 'a', 'b');
  street.shared.asked[0]!.giveBack!([], '', NO_COST, 'slice');
  assert.deepEqual(street.log, ['in', 'slice']);
  assert.deepEqual([[...street.shared.versions], [...street.own.versions]], [[], [1, 2]]);
  const [again] = street.own.asked;
  assert.deepEqual([again!.queries, again!.giveBack], [['a', 'b'], null]);
  again!.done([answerOf('x'), answerOf('y')], '', NO_COST);
  assert.deepEqual(await answers, ['x', 'y']);
});

test('answers that were given before stand, and the caller sends the rest', async () => {
  const street = new Street();
  street.tenant.adopt(version(1));
  const answers = street.ask(1, 'a', 'b');
  street.shared.asked[0]!.giveBack!([answerOf('x')], '', NO_COST, 'ended');
  assert.deepEqual(await answers, ['x']);
  void street.ask(1, 'b');
  assert.deepEqual(
    street.own.asked.map(({ queries }) => queries),
    [['b']],
  );
});

test('a batch of a version that has gone meanwhile is run again nevertheless', async () => {
  const street = new Street();
  street.tenant.adopt(version(1));
  street.tenant.adopt(version(2));
  const answers = street.ask(1, 'a');
  street.tenant.dispose(1);
  street.shared.asked[0]!.giveBack!([], '', NO_COST, 'slice');
  street.own.asked[0]!.done([answerOf('x')], '', NO_COST);
  assert.deepEqual(await answers, ['x']);
  assert.deepEqual([...street.own.versions], [2], 'and leaves no version behind');
});

test('a tenant that has no neighbours has all of its time', () => {
  const street = new Street(0);
  street.tenant.adopt(version(1));
  void street.ask(1, 'a');
  assert.equal(street.shared.asked[0]!.giveBack, null);
});

test('a version that takes too long to load in a shared child is loaded elsewhere', async () => {
  const street = new Street();
  const loading = street.tenant.load(version(1));
  street.shared.loads[0]!(refused('offence', 'timed out'));
  await Promise.resolve();
  assert.deepEqual([street.log, street.shared.sliced, street.own.sliced], [['in', 'load'], [true], [false]]);
  street.own.loads[0]!(LOADED);
  assert.deepEqual(await loading, LOADED);
});

test('a version with a mistake is refused where it is', async () => {
  const street = new Street();
  const loading = street.tenant.load(version(1));
  street.shared.loads[0]!(refused('mistake', 'no function'));
  assert.equal((await loading).kind, 'refused');
  assert.deepEqual(street.log, ['in', 'released']);
});

test('a version that was being loaded while its tenant moved is in the next child', async () => {
  const street = new Street();
  street.tenant.adopt(version(1));
  const loading = street.tenant.load(version(2));
  void street.ask(1, 'a');
  street.shared.asked[0]!.giveBack!([], '', NO_COST, 'slice');
  street.shared.loads[0]!(LOADED);
  assert.deepEqual(await loading, LOADED);
  assert.deepEqual([...street.own.versions], [1, 2]);
});
