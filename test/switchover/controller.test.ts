/** The controller of a cluster, without servers: the test answers for the probes and the connections. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { ClusterController } from '../../src/switchover/controller.ts';
import { nodeKey } from '../../src/switchover/facts.ts';
import { Switchover, SwitchoverHistory } from '../../src/switchover/history.ts';
import type { Failure, ProbeEvents } from '../../src/switchover/probe.ts';
import type { ProbeHandle, ProbeSource } from '../../src/switchover/probes.ts';
import type { Evidence } from '../../src/switchover/question.ts';
import { FakePools, FakeWaiter, settled } from '../pool/fakes.ts';

/** A probe that the test answers for. */
class FakeProbe implements ProbeHandle {
  readonly isFirst = true;
  readonly #events: ProbeEvents;
  isStarted = false;
  /** how often its last answer was declared void */
  renewals = 0;

  constructor(events: ProbeEvents) {
    this.#events = events;
  }

  start(): void {
    this.isStarted = true;
  }

  stop(): void {
    this.isStarted = false;
  }

  kick(): void {}

  renew(): void {
    this.renewals++;
  }

  says(evidence: Partial<Evidence>): void {
    this.#events.onEvidence({
      recovering: false,
      timeline: 1,
      isTimelineCurrent: true,
      position: 100n,
      source: null,
      lagSeconds: null,
      isPaused: false,
      system: 'a',
      instance: null,
      readOnly: false,
      fence: null,
      refused: '',
      isShort: false,
      askedAt: performance.now(),
      ...evidence,
    });
  }

  fails(failure: Partial<Failure> = {}): void {
    this.#events.onFailure({
      reason: 'no answer',
      isAlive: false,
      isLogin: false,
      isClosing: false,
      ...failure,
    });
  }
}

class FakeProbes implements ProbeSource {
  readonly #byKey = new Map<string, FakeProbe>();

  of(key: string, _target: unknown, events: ProbeEvents): FakeProbe {
    const probe = new FakeProbe(events);
    this.#byKey.set(key, probe);
    return probe;
  }

  at(key: string): FakeProbe {
    const probe = this.#byKey.get(key);
    if (probe === undefined) throw new Error(`no such node: ${key}`);
    return probe;
  }
}

const WRITER = 'w:5432';
const STANDBY = 's:5432';

class ClusterUnderTest {
  readonly pools: FakePools;
  readonly probes = new FakeProbes();
  readonly history = new SwitchoverHistory();
  readonly controller: ClusterController;

  constructor(t: TestContext, settings = '') {
    // topology queries and holds set timers, which must not keep the process
    t.mock.timers.enable({ apis: ['setTimeout'] });
    this.pools = new FakePools(
      `[databases]\ndev = host=w,s dbname=app topology_query='select'\n[pgbouncer]\n${settings}`,
    );
    const database = this.pools.directory.find('dev');
    assert.ok(database);
    const { context, turnover, directory } = this.pools;
    const resolver = this.pools.pool('dev').resolver;
    this.controller = new ClusterController(
      { context, turnover, directory, resolver },
      database,
      this.history,
      this.probes,
    );
    database.watchBy(this.controller, this.controller);
    this.controller.start();
    t.after(() => this.controller.stop());
  }

  /** A client begins a transaction. */
  begin(): FakeWaiter {
    return new FakeWaiter().acquire(this.pools.pool('dev'));
  }

  /** Answers the connections that the database's pool has requested. @returns their nodes */
  async connect(): Promise<string[]> {
    await settled();
    const open = this.pools.attempts.filter((each) => each.database === 'dev');
    this.pools.attempts.length = 0;
    for (const attempt of open) await attempt.succeed();
    return open.map(({ target }) => nodeKey(target));
  }

  /** Both nodes have been asked for the first time. */
  look(): void {
    this.probes.at(WRITER).says({});
    this.probes.at(STANDBY).says({ recovering: true });
  }
}

/** The number of switchovers by outcome. */
function countsOf(history: SwitchoverHistory): unknown[] {
  return history.tallies.map(({ how, gaps }) => [
    how,
    gaps.observe().counts.reduce((sum, count) => sum + count),
  ]);
}

test('the first transaction waits until a node says that it is the writer', async (t) => {
  const cluster = new ClusterUnderTest(t);
  const client = cluster.begin();
  assert.deepEqual(await cluster.connect(), []);
  assert.equal(client.outcome, 'waits');
  cluster.probes.at(STANDBY).says({ recovering: true });
  assert.deepEqual(await cluster.connect(), []);
  cluster.probes.at(WRITER).says({});
  assert.deepEqual(await cluster.connect(), [WRITER]);
  assert.equal(client.outcome, 'served');
  assert.equal(cluster.history.entries.length, 0);
});

test('a connection that is lost holds new transactions until the writer has answered again', async (t) => {
  const cluster = new ClusterUnderTest(t);
  cluster.look();
  const first = cluster.begin();
  await cluster.connect();
  assert.equal(first.outcome, 'served');
  const { epoch } = cluster.controller;
  cluster.controller.connectFailed({ host: 'w', port: 5432 }, 'connection refused');
  assert.equal(cluster.controller.state, 'holding');
  assert.equal(cluster.probes.at(WRITER).renewals, 1);
  const client = cluster.begin();
  assert.deepEqual(await cluster.connect(), []);
  cluster.probes.at(WRITER).says({});
  assert.equal(cluster.controller.state, 'serving');
  assert.equal(cluster.controller.epoch, epoch + 1);
  await cluster.connect();
  assert.equal(client.outcome, 'served');
  assert.deepEqual(cluster.history.entries, [], 'a false alarm is no switchover');
  assert.deepEqual(countsOf(cluster.history), [['false alarm', 1]]);
});

test('a failed connection to a standby holds no client', (t) => {
  const cluster = new ClusterUnderTest(t);
  cluster.look();
  cluster.controller.connectFailed({ host: 's', port: 5432 }, 'connection refused');
  cluster.probes.at(STANDBY).fails();
  assert.equal(cluster.controller.state, 'serving');
});

test('after the writer has died, clients continue on the promoted standby', async (t) => {
  const cluster = new ClusterUnderTest(t);
  cluster.look();
  cluster.probes.at(WRITER).fails();
  const client = cluster.begin();
  assert.deepEqual(await cluster.connect(), []);
  // its answer from before the promotion does not end the hold
  cluster.probes.at(STANDBY).says({ recovering: true });
  assert.equal(cluster.controller.state, 'holding');
  cluster.probes.at(STANDBY).says({ timeline: 2 });
  assert.equal(cluster.controller.writer?.key, STANDBY);
  assert.deepEqual(await cluster.connect(), [STANDBY]);
  assert.equal(client.outcome, 'served');
  assert.deepEqual(
    cluster.history.entries.map(({ from, to }) => [from, to]),
    [[WRITER, STANDBY]],
  );
  assert.deepEqual(countsOf(cluster.history), [['moved', 1]]);
});

test('switchovers of more databases than have a tally are counted together', () => {
  const history = new SwitchoverHistory();
  for (let i = 0; i < 1002; i++) history.count(new Switchover(`db${i}`, null, 'test'), 'moved');
  assert.equal(history.tallies.length, 1001);
  const { database, gaps } = history.tallies.at(-1)!;
  assert.equal(database, 'other');
  assert.equal(gaps.observe().counts[0], 2);
});

test('the old writer that comes back with its old timeline is not used again', (t) => {
  const cluster = new ClusterUnderTest(t);
  cluster.look();
  cluster.probes.at(WRITER).fails();
  cluster.probes.at(STANDBY).says({ timeline: 2 });
  cluster.probes.at(WRITER).says({});
  assert.equal(cluster.controller.writer?.key, STANDBY);
  assert.equal(cluster.controller.state, 'serving');
  const old = [...cluster.controller.nodes].find(({ key }) => key === WRITER);
  assert.equal(old?.isFenced, true);
});

test('a writer that is in recovery holds transactions until another node is the writer', (t) => {
  const cluster = new ClusterUnderTest(t);
  cluster.look();
  cluster.probes.at(WRITER).says({ recovering: true });
  assert.equal(cluster.controller.state, 'holding');
  cluster.probes.at(STANDBY).says({ timeline: 2 });
  assert.equal(cluster.controller.state, 'serving');
  assert.equal(cluster.controller.writer?.key, STANDBY);
});

test('a writer that refuses the login of its probe is used all the same', (t) => {
  const cluster = new ClusterUnderTest(t);
  cluster.look();
  cluster.probes.at(WRITER).fails({ isAlive: true, isLogin: true });
  assert.equal(cluster.controller.state, 'serving');
  assert.equal(cluster.controller.writer?.key, WRITER);
});

test('without a writer the configured host is used once all nodes have answered', async (t) => {
  const cluster = new ClusterUnderTest(t);
  const client = cluster.begin();
  cluster.probes.at(WRITER).fails();
  assert.deepEqual(await cluster.connect(), []);
  cluster.probes.at(STANDBY).fails();
  assert.equal((await cluster.connect()).length, 1);
  assert.equal(client.outcome, 'served');
});

test('only the target, as the writer, ends the hold of a planned switchover', (t) => {
  const cluster = new ClusterUnderTest(t);
  cluster.look();
  const target = cluster.controller.nodes.named(STANDBY);
  const hold = cluster.controller.holdForSwitchover(target);
  assert.ok(hold);
  assert.equal(cluster.controller.holdForSwitchover(target), null, 'clients are held already');
  cluster.probes.at(WRITER).says({});
  assert.equal(hold.isOver, false);
  cluster.probes.at(STANDBY).says({ timeline: 2 });
  assert.equal(hold.isOver, true);
  assert.equal(cluster.controller.writer?.key, STANDBY);
});

test('after a planned switchover is given up, the old writer keeps serving', async (t) => {
  const cluster = new ClusterUnderTest(t);
  cluster.look();
  const hold = cluster.controller.holdForSwitchover(cluster.controller.nodes.named(STANDBY));
  assert.ok(hold);
  const client = cluster.begin();
  hold.giveUp('the standby is too far behind');
  cluster.probes.at(WRITER).says({});
  assert.equal(hold.isOver, true);
  assert.deepEqual(await cluster.connect(), [WRITER]);
  assert.equal(client.outcome, 'served');
});

test('clients that wait for longer than switchover_timeout get an error, and the search continues', (t) => {
  const cluster = new ClusterUnderTest(t, 'switchover_timeout = 2');
  cluster.look();
  cluster.probes.at(WRITER).fails();
  const client = cluster.begin();
  t.mock.timers.tick(1999);
  assert.equal(client.outcome, 'waits');
  t.mock.timers.tick(1);
  assert.equal(client.error?.code, '57P03');
  cluster.probes.at(STANDBY).says({ timeline: 2 });
  assert.equal(cluster.controller.state, 'serving');
});

test('only so many clients are held as switchover_hold_limit allows, the oldest leave', (t) => {
  const cluster = new ClusterUnderTest(t, 'switchover_hold_limit = 2');
  cluster.look();
  cluster.probes.at(WRITER).fails();
  const clients = [cluster.begin(), cluster.begin(), cluster.begin()];
  assert.deepEqual(
    clients.map(({ error }) => error?.code ?? 'waits'),
    ['57S01', 'waits', 'waits'],
  );
});

test('switchover_dry_run holds no client', (t) => {
  const cluster = new ClusterUnderTest(t, 'switchover_dry_run = 1');
  cluster.look();
  cluster.probes.at(WRITER).fails();
  assert.equal(cluster.controller.held, false);
});

test('a stopped controller holds no client', (t) => {
  const cluster = new ClusterUnderTest(t);
  cluster.look();
  cluster.probes.at(WRITER).fails();
  assert.equal(cluster.controller.held, true);
  cluster.controller.stop();
  assert.equal(cluster.controller.held, false);
  cluster.controller.connectFailed({ host: 'w', port: 5432 }, 'connection refused');
  assert.equal(cluster.controller.held, false);
});
