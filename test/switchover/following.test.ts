/** Which standbys follow the writer, and how far they lag, by the nodes' own reports alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Following } from '../../src/switchover/following.ts';
import { Lag } from '../../src/switchover/lag.ts';
import type { NodeFacts } from '../../src/switchover/facts.ts';
import { evidenceFrom, type Evidence, type Source } from '../../src/switchover/question.ts';

interface Said {
  key?: string;
  recovering?: boolean;
  timeline?: number | null;
  isTimelineCurrent?: boolean;
  position?: bigint | null;
  source?: Source | null;
  lagSeconds?: number | null;
  system?: string;
  askedAt?: number;
}

function evidence(said: Said): Evidence {
  return {
    recovering: true,
    timeline: 1,
    isTimelineCurrent: true,
    position: 100n,
    source: receives('1'),
    lagSeconds: null,
    isPaused: false,
    system: 'a',
    instance: null,
    readOnly: false,
    fence: null,
    refused: '',
    isShort: false,
    askedAt: 0,
    ...said,
  };
}

function receives(pid: string, sender = { host: 'w', port: 1 }): Source {
  return { kind: 'receives', pid, wantsStream: true, retryMs: 5000, sender };
}

/** A node that a test may change, with the facts that a judgement looks at. */
type Node = { -readonly [K in keyof NodeFacts]: NodeFacts[K] } & { readonly following: Following };

function node(said: Said = {}): Node {
  const { key = 's:1', recovering = true } = said;
  const [host = '', port] = key.split(':');
  return {
    key,
    target: { host, port: Number(port) },
    role: recovering ? 'reader' : 'writer',
    evidence: evidence(said),
    isFenced: false,
    following: new Following(),
    lastChange: 0,
    lastProbe: 0,
  } as unknown as Node;
}

const writer = (said: Said = {}): Node => node({ key: 'w:1', recovering: false, ...said });
const nobody = (): undefined => undefined;

/** Judges a standby every 100 ms by its report at that time. @returns the events, with their times */
function watch(
  standby: Node,
  leader: Node | null,
  steps: { from: number; to: number; said: Said }[],
  at: (key: string) => Node | undefined = nobody,
): [number, string][] {
  const seen: [number, string][] = [];
  for (const { from, to, said } of steps)
    for (let now = from; now < to; now += 100) {
      standby.evidence = evidence(said);
      for (const { event } of standby.following.judge(standby, leader, at, now)) seen.push([now, event]);
    }
  return seen;
}

test('a standby that streams an older timeline than the writer is orphaned, and read again when it follows', () => {
  const standby = node();
  const leader = writer({ timeline: 2 });
  watch(standby, writer({ timeline: 1 }), [{ from: 1, to: 500, said: {} }]);
  assert.deepEqual(watch(standby, leader, [{ from: 500, to: 10_000, said: { timeline: 1 } }]), [
    [2500, 'node_orphaned'],
  ]);
  assert.equal(standby.following.isReadable, false);
  assert.match(standby.following.why, /timeline 1, streams from w:1, the writer w:1 is on timeline 2/);
  assert.deepEqual(
    watch(standby, leader, [{ from: 10_000, to: 13_000, said: { timeline: 2, source: receives('2') } }]),
    [[11_000, 'node_follows']],
  );
  assert.equal(standby.following.isReadable, true);
});

test('a standby that changes to the new timeline in time is read all along, but its lag is unknown meanwhile', () => {
  const standby = node();
  watch(standby, writer({ timeline: 1 }), [{ from: 1, to: 500, said: {} }]);
  const leader = writer({ timeline: 2 });
  assert.deepEqual(watch(standby, leader, [{ from: 500, to: 1500, said: { timeline: 1 } }]), []);
  assert.equal(standby.following.isReadable, true);
  assert.equal(standby.following.isLagUnknown, true);
  assert.deepEqual(watch(standby, leader, [{ from: 1500, to: 4000, said: { timeline: 2 } }]), []);
  assert.equal(standby.following.isLagUnknown, false);
});

test('a standby without a WAL receiver is orphaned after the time that a healthy one needs to connect again', () => {
  const standby = node();
  const none: Said = { source: { kind: 'none', pid: null, wantsStream: true, retryMs: 5000, sender: null } };
  assert.deepEqual(
    watch(standby, writer(), [
      { from: 1, to: 1000, said: {} },
      { from: 1000, to: 6000, said: none },
      { from: 6000, to: 8000, said: { source: receives('2') } },
    ]),
    [],
  );
  assert.deepEqual(watch(standby, writer(), [{ from: 8000, to: 30_000, said: none }]), [
    [18_000, 'node_orphaned'],
  ]);
});

test('the time that a standby has to connect again begins when the writer is back', () => {
  const standby = node();
  const none: Said = { source: { kind: 'none', pid: null, wantsStream: true, retryMs: 5000, sender: null } };
  watch(standby, writer(), [
    { from: 1, to: 1000, said: {} },
    { from: 1000, to: 1500, said: none },
  ]);
  // no judgement while it is away, for a minute
  standby.following.awaitWriter();
  assert.deepEqual(watch(standby, writer(), [{ from: 61_000, to: 75_000, said: none }]), [
    [71_000, 'node_orphaned'],
  ]);
});

test('a standby whose receiver restarts again and again does not follow', () => {
  const standby = node();
  watch(standby, writer(), [{ from: 1, to: 1000, said: {} }]);
  const steps = Array.from({ length: 6 }, (_, i) => [
    {
      from: 1000 + i * 5000,
      to: 5900 + i * 5000,
      said: { source: { kind: 'none', pid: null, wantsStream: true, retryMs: 5000, sender: null } } as Said,
    },
    { from: 5900 + i * 5000, to: 6000 + i * 5000, said: { source: receives(String(i)) } },
  ]).flat();
  assert.deepEqual(watch(standby, writer(), steps), [[11_000, 'node_orphaned']]);
});

test('a standby that was never seen following is not read from, not even at first', () => {
  const standby = node();
  watch(standby, writer(), [
    {
      from: 1,
      to: 300,
      said: { source: { kind: 'none', pid: null, wantsStream: true, retryMs: 5000, sender: null } },
    },
  ]);
  assert.equal(standby.following.isReadable, false);
  assert.equal(standby.following.isOrphaned, false);
});

test('without a writer all standbys stay readable', () => {
  const standby = node();
  const none: Said = { source: { kind: 'none', pid: null, wantsStream: true, retryMs: 5000, sender: null } };
  assert.deepEqual(watch(standby, null, [{ from: 1, to: 60_000, said: none }]), []);
  assert.equal(standby.following.isReadable, true);
  // the writer is found: its lag counts only from now on
  assert.deepEqual(watch(standby, writer(), [{ from: 60_000, to: 65_000, said: none }]), []);
});

test('a standby that restores WAL from an archive only is not orphaned for want of a receiver', () => {
  const restores = (wantsStream: boolean): Said => ({
    source: { kind: 'restores', pid: null, wantsStream, retryMs: 5000, sender: null },
    isTimelineCurrent: false,
    position: 50n,
  });
  const archiveOnly = node();
  assert.deepEqual(watch(archiveOnly, writer(), [{ from: 1, to: 60_000, said: restores(false) }]), []);
  // another one that should stream gets nothing from anywhere
  const cutOff = node();
  assert.deepEqual(watch(cutOff, writer(), [{ from: 1, to: 60_000, said: restores(true) }]), [
    [10_001, 'node_orphaned'],
  ]);
});

test('a standby of another cluster, as one of a blue/green deployment, is not judged', () => {
  const green = node();
  const said: Said = { timeline: 1, system: 'b' };
  assert.deepEqual(watch(green, writer({ timeline: 7 }), [{ from: 1, to: 60_000, said }]), []);
});

test('a reader of shared storage is never orphaned, and its lag is not known', () => {
  const standby = node();
  const shared: Said = {
    timeline: null,
    isTimelineCurrent: false,
    position: null,
    source: { kind: 'unknown', pid: null, wantsStream: true, retryMs: 5000, sender: null },
  };
  assert.deepEqual(watch(standby, writer({ timeline: 3 }), [{ from: 1, to: 60_000, said: shared }]), []);
  assert.equal(standby.following.isReadable, true);
  const lag = new Lag();
  lag.note(evidence({ recovering: false, position: 100n }));
  assert.equal(lag.seconds(standby), null);
});

test('if the role may not see the stream, a standby on a low timeline is orphaned only once its replay stops', () => {
  const unseen: Said = {
    timeline: 1,
    isTimelineCurrent: false,
    source: { kind: 'receives', pid: '1', wantsStream: true, retryMs: 5000, sender: null },
  };
  const leader = writer({ timeline: 2, position: 1000n });
  const moving = node();
  const steps = Array.from({ length: 100 }, (_, i) => ({
    from: 1 + i * 1000,
    to: 1 + (i + 1) * 1000,
    said: { ...unseen, position: BigInt(i) },
  }));
  assert.deepEqual(watch(moving, leader, steps), []);
  const caughtUp = node();
  assert.deepEqual(
    watch(caughtUp, leader, [{ from: 1, to: 60_000, said: { ...unseen, position: 1000n } }]),
    [],
  );
  const stuck = node();
  assert.deepEqual(watch(stuck, leader, [{ from: 1, to: 60_000, said: { ...unseen, position: 500n } }]), [
    [10_001, 'node_orphaned'],
  ]);
});

test('a standby that had nothing to replay for long is not stuck when the writer writes again', () => {
  const hidden = { isTimelineCurrent: false, timeline: 1, source: receives('1') };
  const leader = writer({ timeline: 2, position: 100n });
  const standby = node(hidden);
  assert.deepEqual(watch(standby, leader, [{ from: 0, to: 60_000, said: hidden }]), []);
  leader.evidence = evidence({ recovering: false, timeline: 2, position: 200n });
  assert.deepEqual(watch(standby, leader, [{ from: 60_000, to: 61_000, said: hidden }]), []);
  assert.deepEqual(
    watch(standby, leader, [{ from: 61_000, to: 80_000, said: hidden }]).map(([, event]) => event),
    ['node_orphaned'],
  );
});

test('a standby that has replayed more than the writer has written belongs to another history', () => {
  const said = {
    timeline: null,
    isTimelineCurrent: false,
    position: 300n,
    source: { ...receives('1'), sender: null },
  };
  const standby = node(said);
  // the writer was asked before: it may have written that in the meantime
  const leader = writer({ timeline: 2, position: 200n, askedAt: 10 });
  (standby as { lastProbe: number }).lastProbe = 20;
  assert.deepEqual(watch(standby, leader, [{ from: 0, to: 5000, said }]), []);
  (standby as { lastProbe: number }).lastProbe = 5;
  assert.deepEqual(
    watch(standby, leader, [{ from: 5000, to: 9000, said }]).map(([, event]) => event),
    ['node_orphaned'],
  );
});

test('a cascading standby is judged by where its stream begins', () => {
  const leader = writer();
  const middle = node({ key: 'm:1' });
  const other = node({ key: 'o:1', recovering: false });
  other.isFenced = true;
  const nodes = new Map([leader, middle, other].map((each) => [each.key, each]));
  const at = (key: string): Node | undefined => nodes.get(key);
  const behind = (host: string): Said => ({ source: receives('1', { host, port: 1 }) });
  const cascading = node();
  assert.deepEqual(watch(cascading, leader, [{ from: 1, to: 10_000, said: behind('m') }], at), []);
  watch(middle, leader, [{ from: 1, to: 10_000, said: { timeline: 0 } }]);
  assert.equal(middle.following.isOrphaned, true);
  assert.deepEqual(watch(cascading, leader, [{ from: 10_000, to: 20_000, said: behind('m') }], at), [
    [12_000, 'node_orphaned'],
  ]);
  const follower = node();
  assert.deepEqual(watch(follower, leader, [{ from: 1, to: 10_000, said: behind('o') }], at), [
    [2001, 'node_orphaned'],
  ]);
  // an address that the proxy does not know proves nothing
  const elsewhere = node();
  assert.deepEqual(watch(elsewhere, leader, [{ from: 1, to: 10_000, said: behind('x') }], at), []);
});

test('lag is the age of the oldest byte that was not replayed, measured here', () => {
  const lag = new Lag();
  const standby = node({ position: 150n });
  assert.equal(lag.seconds(standby, 0), null);
  for (const [position, askedAt] of [
    [100n, 1000],
    [200n, 2000],
    [300n, 3000],
  ] as const)
    lag.note(evidence({ recovering: false, position, askedAt }));
  assert.equal(lag.bytes(standby), 150);
  assert.equal(lag.seconds(standby, 5000), 3);
  assert.equal(lag.seconds(node({ position: 300n }), 5000), 0);
  // lagging since before the first sample: the standby's own estimate is a lower bound
  assert.equal(lag.seconds(node({ position: 50n }), 5000), 4);
  assert.equal(lag.seconds(node({ position: 50n, lagSeconds: 60 }), 5000), 60);
});

test('the samples of the writer are bounded, and a large lag stays right', () => {
  const lag = new Lag();
  for (let i = 0; i < 100_000; i++)
    lag.note(evidence({ recovering: false, position: BigInt(i * 10), askedAt: i * 100 }));
  assert.ok(lag.size <= 513);
  const now = 10_000_000;
  const seconds = lag.seconds(node({ position: 500_000n }), now)!;
  assert.ok(seconds <= 5000 && seconds > 4600, String(seconds));
  assert.equal(lag.seconds(node({ position: 999_980n }), now), 0.1);
});

test('an answer that says nothing but whether it is in recovery is understood', () => {
  const { source, timeline, fence, isPaused } = evidenceFrom(
    { recovering: 't' },
    { askedAt: 0, refused: '', isShort: true },
  );
  assert.deepEqual([source?.kind, timeline, fence, isPaused], ['unknown', null, null, false]);
});
