/** Sandbox processes and their supervisor: real children, killed in every way. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { TestContext } from 'node:test';
import { DEFAULT_OPTIONS } from '../../sandbox/crossing.ts';
import { SUPERVISOR } from '../../src/functions/limits.ts';
import { SandboxChild, type ChildEvents } from '../../src/functions/sandbox/child.ts';
import { encodeMessage, ReportReader, type Order } from '../../src/functions/sandbox/protocol.ts';
import type { HostAnswer, HostCall } from '../../src/functions/sandbox/call.ts';
import type { VersionCode } from '../../src/functions/sandbox/host.ts';
import { Supervisor } from '../../src/functions/sandbox/supervisor.ts';
import type { LoadResult } from '../../src/functions/sandbox/load-result.ts';
import { until, within } from '../support/wait.ts';

/** Nothing interrupts this: the conversion is one call of a built-in. */
const STUCK = "BigInt('9'.repeat(15000000));";
const ECHO = `if (query === 'loop') for (;;); if (query === 'stuck') ${STUCK} return query;`;

function version(id: number, body: string, timeoutMs = 60, top = ''): VersionCode {
  const code = `var __pgswitchyard = (() => { ${top}; return { routing_rules(username, query) { ${body} } }; })();`;
  return { id, code, databases: [], memoryLimitMb: 32, maxResult: 1_000, timeoutMs };
}

class Supervised {
  readonly killed: number[] = [];
  /** processor time by version, in ms */
  readonly used = new Map<number, number>();
  readonly complaints: string[] = [];
  readonly accidents: string[] = [];
  stalls = 0;
  readonly host: Supervisor;
  /** the number of the next children that are ended before they are ready */
  failStarts = 0;
  starts = 0;

  constructor(t: TestContext) {
    this.host = new Supervisor(
      () => {
        this.starts++;
        const child = new SandboxChild(432);
        if (this.failStarts-- > 0) child.kill();
        return child;
      },
      {
        onUsed: (id, cpuMs) => this.used.set(id, (this.used.get(id) ?? 0) + cpuMs),
        onKilled: (id) => this.killed.push(id),
        onAccident: (signal) => this.accidents.push(signal),
        onStalled: () => this.stalls++,
        onStartFailed: (complaint) => this.complaints.push(complaint),
        onRan: () => {},
      },
    );
    t.after(() => this.host.stop());
  }

  /** The routes of a batch: a text, or `!outcome`. Calls that are not run are sent again, as the batcher does. */
  async ask(versionId: number, ...queries: string[]): Promise<string[]> {
    const words = await this.once(versionId, ...queries);
    const rest = queries.slice(words.length);
    if (words.length === 0)
      for (const query of rest.splice(0, 1)) words.push(...(await this.once(versionId, query)));
    return rest.length === 0 ? words : [...words, ...(await this.ask(versionId, ...rest))];
  }

  /** The answers of one batch, of as many calls as were run. */
  once(versionId: number, ...queries: string[]): Promise<string[]> {
    const calls = queries.map((query): HostCall => ({
      username: '',
      query,
      inTransaction: false,
      context: {},
    }));
    return within(
      queries.join(),
      new Promise<string[]>((resolve) => {
        this.host.evaluate(versionId, calls, (answers) => resolve(answers.map(word)));
      }),
      10_000,
    );
  }
}

const ROUTES: LoadResult = {
  kind: 'loaded',
  manifest: { routes: true, rewrites: false, options: DEFAULT_OPTIONS },
};

/** Why a version was refused; '': it was not. */
function refusalOf(result: LoadResult): string {
  return result.kind === 'refused' ? result.message : '';
}

function word({ route }: HostAnswer): string {
  if (route === null) return 'null';
  return 'text' in route ? route.text : 'failure' in route ? `!${route.failure.outcome}` : 'rejected';
}

test('a call that is stuck in a built-in is killed with its process, and all others are answered', async (t) => {
  const sandbox = new Supervised(t);
  assert.deepEqual(await sandbox.host.load(version(1, ECHO)), ROUTES);
  assert.deepEqual(await sandbox.host.load(version(2, ECHO)), ROUTES);
  const order: string[] = [];
  const note = async (name: string, answers: Promise<string[]>): Promise<string[]> => {
    const all = await answers;
    order.push(name);
    return all;
  };
  const answers = await Promise.all([
    note('first', sandbox.ask(2, 'a')),
    note('stuck', sandbox.ask(1, 'stuck')),
    note('behind', sandbox.ask(2, 'b', 'c')),
    note('own', sandbox.ask(1, 'd')),
    note('last', sandbox.ask(2, 'e')),
  ]);
  assert.deepEqual(answers, [['a'], ['!killed'], ['b', 'c'], ['d'], ['e']]);
  assert.deepEqual(order.slice(0, 2), ['first', 'stuck']);
  assert.ok(order.indexOf('behind') < order.indexOf('last'), order.join());
  assert.deepEqual(sandbox.killed, [1]);
});

test('a version pays for its top level, its calls, a new isolate after a deadline, and a call that ends its process', async (t) => {
  const sandbox = new Supervised(t);
  const { host, used } = sandbox;
  const busy = 'for (const end = Date.now() + 20; Date.now() < end; );';
  await host.load(version(1, ECHO, 60, busy));
  await host.load(version(2, 'return query;'));
  const loadedMs = used.get(1)!;
  const otherMs = used.get(2)!;
  assert.ok(loadedMs > 5, `${loadedMs}`);
  await sandbox.ask(1, 'loop');
  const loopedMs = used.get(1)! - loadedMs;
  assert.ok(loopedMs > 20, `${loopedMs}`);
  await sandbox.ask(1, 'stuck');
  assert.ok(used.get(1)! - loadedMs - loopedMs > 60, `${used.get(1)}`);
  await sandbox.ask(2, 'a');
  assert.ok(used.get(2)! > otherMs);
});

test('in a batch of several, only the call that is stuck fails', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  assert.deepEqual(await sandbox.ask(1, 'a', 'stuck', 'b', 'loop', 'c'), [
    'a',
    '!killed',
    'b',
    '!deadline',
    'c',
  ]);
});

test('a version that ends its process again and again makes no other call of its own fail', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  await sandbox.host.load(version(2, ECHO));
  const stuck = Array.from({ length: 3 }, () => sandbox.ask(1, 'stuck'));
  const answers = await Promise.all([sandbox.ask(2, 'fine'), sandbox.ask(1, 'also fine')]);
  assert.deepEqual(answers, [['fine'], ['also fine']]);
  assert.deepEqual((await Promise.all(stuck)).flat(), ['!killed', '!killed', '!killed']);
});

test('a batch of several calls whose process was killed has no answers, and no call is blamed', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  assert.deepEqual(await sandbox.once(1, 'a', 'stuck', 'b'), []);
  assert.deepEqual(sandbox.killed, []);
});

test('a batch ends after a call that was cut off, and after 2 ms', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  let answers: string[];
  // on a busy machine the first call may take the 2 ms
  do answers = await sandbox.once(1, 'a', 'loop', 'b');
  while (answers.length < 2);
  assert.deepEqual(answers, ['a', '!deadline']);
  await sandbox.host.load(
    version(2, 'const end = Date.now() + 15; while (Date.now() < end); return query;', 1_000),
  );
  const queries = Array.from({ length: 30 }, (_, i) => `q${i}`);
  const answered = await sandbox.once(2, ...queries);
  assert.equal(answered.length, 1);
});

test('a batch ends when its answers have 256 Ki characters', async (t) => {
  const sandbox = new Supervised(t);
  const long = { ...version(1, ''), maxResult: 200_000 };
  const code = `var __pgswitchyard = { rewrite_query() { return '\u4e00'.repeat(200_000); } };`;
  await sandbox.host.load({ ...long, code });
  // or earlier, when its time is over
  assert.ok((await sandbox.once(1, ...'abcdefgh')).length <= 2);
  assert.deepEqual(sandbox.killed, []);
});

test('each slow call has its own time, however many there are in a batch', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, 'const end = Date.now() + 20; while (Date.now() < end); return query;'));
  const queries = Array.from({ length: 30 }, (_, i) => `q${i}`);
  assert.deepEqual(await sandbox.ask(1, ...queries), queries);
  assert.deepEqual(sandbox.killed, []);
});

test('a child that is killed from outside is replaced, and its versions are loaded again', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  await sandbox.host.load(version(2, ECHO));
  const first = sandbox.host.pid!;
  process.kill(first, 'SIGKILL');
  await until('another child', () => sandbox.host.pid !== first);
  assert.deepEqual(await sandbox.ask(1, 'a'), ['a']);
  assert.deepEqual(await sandbox.ask(2, 'b'), ['b']);
  assert.deepEqual(sandbox.killed, [], 'nobody was running');
});

test('a call whose child is killed from outside is run again, and no tenant is blamed', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(
    version(1, 'const end = Date.now() + 200; while (Date.now() < end); return query;', 2_000),
  );
  const answers = Promise.all([sandbox.ask(1, 'a'), sandbox.ask(1, 'b', 'c')]);
  const first = sandbox.host.pid!;
  process.kill(first, 'SIGKILL');
  assert.deepEqual(await answers, [['a'], ['b', 'c']]);
  assert.notEqual(sandbox.host.pid, first);
  // A child that is not ready yet.
  const second = sandbox.host.pid!;
  process.kill(second, 'SIGKILL');
  await until('another child', () => sandbox.host.pid !== second);
  process.kill(sandbox.host.pid!, 'SIGKILL');
  assert.deepEqual(await sandbox.ask(1, 'd'), ['d']);
  assert.deepEqual([sandbox.killed, sandbox.complaints], [[], []]);
  assert.deepEqual(sandbox.accidents, ['SIGKILL', 'SIGKILL', 'SIGKILL']);
});

test('a call without a processor is run again, and does not count as hanging', async (t) => {
  const sandbox = new Supervised(t);
  const timeoutMs = 100;
  await sandbox.host.load(version(1, 'let n = 0; while (n < 1_500_000) n++; return query;', timeoutMs));
  const pid = sandbox.host.pid!;
  const ranMs = (): number => Number(readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6;
  // On a busy machine the call may have had too much of its time, or have ended, before it is stopped.
  await until('a call that is stopped early', async () => {
    const before = ranMs();
    let isAnswered = false;
    const answer = sandbox.ask(1, 'a').finally(() => {
      isAnswered = true;
    });
    while (!isAnswered && ranMs() < before + 3) await delay(1);
    process.kill(pid, 'SIGSTOP');
    const isEarly = !isAnswered && ranMs() < before + timeoutMs / 4;
    if (isEarly) await delay(timeoutMs * 2);
    process.kill(pid, 'SIGCONT');
    if (!isEarly) return await answer.then(() => false);
    assert.deepEqual(await answer, ['a']);
    return true;
  });
  assert.deepEqual(sandbox.killed, []);
  assert.equal(sandbox.host.pid, pid, 'in the same process');
});

test('a call whose process is stopped is run again in another one, and no tenant is blamed', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO, 20));
  process.kill(sandbox.host.pid!, 'SIGSTOP');
  assert.deepEqual(await sandbox.ask(1, 'a', 'b'), ['a', 'b']);
  assert.deepEqual([sandbox.killed, sandbox.stalls], [[], 1]);
});

test('a version whose loading never ends is refused, and jobs after it are answered', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  const bad = sandbox.host.load(version(2, ECHO, 60, STUCK.repeat(100)));
  const behind = sandbox.ask(1, 'behind');
  const also = sandbox.host.load(version(3, ECHO));
  assert.match(refusalOf(await within('its end', bad)), /did not come back from loading|timed out/);
  assert.deepEqual(await behind, ['behind']);
  assert.deepEqual(await also, ROUTES);
  assert.deepEqual(await sandbox.ask(2, 'a'), ['!overloaded']);
});

test('calls and versions wait for the next child when one does not start', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  sandbox.failStarts = 1;
  const first = sandbox.host.pid!;
  process.kill(first, 'SIGKILL');
  await until('a failed start', () => sandbox.complaints.length === 1);
  const answers = Promise.all([sandbox.ask(1, 'now'), sandbox.ask(1, 'b', 'c')]);
  const loading = sandbox.host.load(version(2, ECHO));
  assert.deepEqual(await within('the next child', loading, 10_000), ROUTES);
  assert.deepEqual(await answers, [['now'], ['b', 'c']]);
  assert.deepEqual(await sandbox.ask(1, 'later'), ['later']);
});

/** A child that loads every version that it is given. */
function standIn(
  onBatch: (id: number, events: ChildEvents) => void,
  endedBy: NodeJS.Signals | null,
): SandboxChild {
  let events: ChildEvents | null = null;
  const child = {
    isReady: true,
    isGone: false,
    endedBy,
    complaint: '',
    attach: (given: ChildEvents) => {
      events = given;
    },
    send: (order: Order) => {
      if (order.kind === 'load')
        setImmediate(() =>
          events!.onReport({
            kind: 'loaded',
            versionId: order.version.id,
            cpuUs: 0,
            result: { kind: 'loaded', manifest: { routes: true, rewrites: false, options: DEFAULT_OPTIONS } },
          }),
        );
      if (order.kind === 'batch') setImmediate(() => onBatch(order.batchId, events!));
    },
    wasKilled: false,
    allowResult: () => {},
    kill: () => {
      child.wasKilled = true;
      setImmediate(() => events!.onGone());
    },
    condemn: () => setImmediate(() => events!.onGone()),
    cpuMs: () => 0,
    close: () => Promise.resolve(),
  };
  return child as unknown as SandboxChild;
}

/** A child with code that has broken out: it answers batches with this text, whatever the protocol requires. */
function takenOver(text: string): SandboxChild {
  const child = standIn((batchId, events) => {
    const bytes = encodeMessage({ kind: 'answers', batchId, cpuUs: 0, heapBytes: 0, answers: text });
    // The text includes the processor time and the heap's size.
    const header = bytes.subarray(0, 9);
    header.writeInt32BE(bytes.length - 4 - 4, 0);
    try {
      const reader = new ReportReader(1_000_000);
      for (const report of reader.push(Buffer.concat([header, bytes.subarray(9 + 4)])))
        events.onReport(report);
    } catch {
      child.condemn();
    }
  }, null);
  return child;
}

test('a call whose process ends by itself is run again alone, and blamed if that one ends too', async (t) => {
  for (const [ends, outcome] of [
    [1, 'a'],
    [2, '!killed'],
  ] as const) {
    const killed: number[] = [];
    const children = Array.from({ length: ends }, () => standIn((_id, events) => events.onGone(), null));
    const host = new Supervisor(() => children.pop() ?? new SandboxChild(432), {
      onUsed: () => {},
      onKilled: (id) => killed.push(id),
      onAccident: () => {},
      onStalled: () => {},
      onStartFailed: () => {},
      onRan: () => {},
    });
    t.after(() => host.stop());
    await host.load(version(1, ECHO));
    const answer = new Promise<string>((resolve) => {
      const call = { username: '', query: 'a', inTransaction: false, context: {} };
      host.evaluate(1, [call], ([only]) => resolve(word(only!)));
    });
    assert.equal(await within('the answer', answer, 10_000), outcome);
    assert.deepEqual(killed, outcome === 'a' ? [] : [1]);
  }
});

test('the deadline of a call that ended its process is not held against the next process', async (t) => {
  const starts: string[] = [];
  // The kernel reports nothing about a process that has ended.
  const gone = { cpuMs: () => null };
  const ending = [1, 2].map(() =>
    Object.assign(
      standIn((_id, events) => events.onGone(), null),
      gone,
    ),
  );
  const host = new Supervisor(
    () => {
      starts.push('start');
      return ending.pop() ?? standIn(() => {}, null);
    },
    {
      onUsed: () => {},
      onKilled: () => starts.push('blame'),
      onAccident: () => {},
      onStalled: () => {},
      onStartFailed: () => starts.push('failed start'),
      onRan: () => {},
    },
  );
  t.after(() => host.stop());
  const timeoutMs = 20;
  await host.load(version(1, ECHO, timeoutMs));
  const answer = new Promise<string>((resolve) => {
    const call = { username: '', query: 'a', inTransaction: false, context: {} };
    host.evaluate(1, [call], ([only]) => resolve(word(only!)));
  });
  assert.equal(await within('the answer', answer), '!killed');
  await delay((timeoutMs + SUPERVISOR.graceMs) * 2);
  assert.deepEqual(starts, ['start', 'start', 'blame', 'start'], 'no fourth process');
});

for (const [ends, outcome] of [
  [2, 'a'],
  [3, '!lost'],
] as const) {
  test(`a call whose process is ended ${ends} times from outside: ${outcome}`, async (t) => {
    const killed: number[] = [];
    const children = Array.from({ length: ends }, () => standIn((_id, events) => events.onGone(), 'SIGKILL'));
    const host = new Supervisor(() => children.pop() ?? new SandboxChild(432), {
      onUsed: () => {},
      onKilled: (id) => killed.push(id),
      onAccident: () => {},
      onStalled: () => {},
      onStartFailed: () => {},
      onRan: () => {},
    });
    t.after(() => host.stop());
    await host.load(version(1, ECHO));
    const answer = new Promise<string>((resolve) => {
      const call = { username: '', query: 'a', inTransaction: false, context: {} };
      host.evaluate(1, [call], ([only]) => resolve(word(only!)));
    });
    assert.equal(await within('the answer', answer, 10_000), outcome);
    assert.deepEqual(killed, [], 'nobody knows whether it was to blame');
  });
}

for (const [ends, outcome] of [
  [2, 'a'],
  [3, '!starved'],
] as const) {
  test(`a call whose process has no processor ${ends} times: ${outcome}`, async (t) => {
    const killed: number[] = [];
    let stalls = 0;
    const children = Array.from({ length: ends }, () => standIn(() => {}, null));
    const host = new Supervisor(() => children.pop() ?? new SandboxChild(432), {
      onUsed: () => {},
      onKilled: (id) => killed.push(id),
      onAccident: () => {},
      onStalled: () => stalls++,
      onStartFailed: () => {},
      onRan: () => {},
    });
    t.after(() => host.stop());
    await host.load(version(1, ECHO, 1));
    const answer = new Promise<string>((resolve) => {
      const call = { username: '', query: 'a', inTransaction: false, context: {} };
      host.evaluate(1, [call], ([only]) => resolve(word(only!)));
    });
    assert.equal(await within('the answer', answer, 10_000), outcome);
    assert.deepEqual([killed, stalls], [[], ends]);
  });
}

for (const answers of [
  '0\x000\0n\0r{\0',
  '0\x000\0n\0r{}\0',
  '0\x000\0n\0rnull\0',
  '0\x000\0n\0r{"message":5,"code":"42501"}\0',
  '0\x000\0n\0r{"message":"x","code":"42501","hint":{}}\0',
  '0\x000\0n\0r{"message":"x","code":"42","hint":null,"detail":null}\0',
  '0\x000\0n\0r{"message":"x\\u0000y","code":"42501","hint":null,"detail":null}\0',
  `0\x000\0n\0r{"message":"${'x'.repeat(5_000)}","code":"42501","hint":null,"detail":null}\0`,
  '0\x000\0n\0fwhatever\u0001\u0001\0',
  '0\x000\0n\0f__proto__\u0001\u0001\0',
  `0\x000\0n\0fthrew\u0001${'x'.repeat(5_000)}\u0001\0`,
  'n',
  'NaN\0n\0n\0',
  '-1\x000\0n\0n\0',
  '0\x00-1\0n\0n\0',
  '0\x000\0n\0n\0n\0n\0',
  `0\x000\0${'\0'.repeat(100_000)}`,
]) {
  test(`a child that answers ${JSON.stringify(answers.slice(0, 80))} is ended, and the call blamed if the next one does too`, async (t) => {
    const killed: number[] = [];
    const children = [takenOver(answers), takenOver(answers), new SandboxChild(432)];
    const host = new Supervisor(() => children.shift()!, {
      onUsed: () => {},
      onKilled: (id) => killed.push(id),
      onAccident: () => {},
      onStalled: () => {},
      onStartFailed: () => {},
      onRan: () => {},
    });
    t.after(async () => {
      await host.stop();
      await children[0]?.close();
    });
    await host.load(version(1, ECHO));
    const ask = (): Promise<string[]> =>
      new Promise((resolve) => {
        const call = { username: '', query: 'a', inTransaction: false, context: {} };
        host.evaluate(1, [call], (all) => resolve(all.map(word)));
      });
    assert.deepEqual(await within('the end', ask()), ['!killed']);
    assert.deepEqual(killed, [1]);
    assert.deepEqual(await within('the next child', ask(), 10_000), ['a']);
  });
}

test('stop() answers all jobs that wait, and ends the child', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO, 5_000));
  const pid = sandbox.host.pid!;
  const running = sandbox.ask(1, 'loop');
  const loading = sandbox.host.load(version(2, ECHO));
  await sandbox.host.stop();
  assert.deepEqual(await running, ['!overloaded']);
  assert.match(refusalOf(await loading), /stopping/);
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  assert.deepEqual(await sandbox.ask(1, 'too late'), ['!overloaded']);
  assert.equal(sandbox.starts, 1);
});

test('a call is answered although its version is disposed of while a neighbour ends the process', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  await sandbox.host.load(version(2, ECHO));
  const stuck = sandbox.ask(2, 'stuck');
  const waiting = sandbox.once(1, 'a');
  sandbox.host.dispose(1);
  assert.deepEqual(await Promise.all([stuck, waiting]), [['!killed'], ['a']]);
  assert.deepEqual(await sandbox.once(1, 'b'), ['!overloaded'], 'nothing is left of it');
});

test('the calls of a version whose top level hangs when it is loaded again are refused', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  sandbox.host.adopt({ ...version(2, ECHO, 60, 'for (;;)'), loadMs: 100 });
  const hanging = sandbox.once(2, 'a');
  assert.deepEqual(await sandbox.once(1, 'b'), ['b']);
  assert.deepEqual(await hanging, ['!overloaded']);
  // Its calls are refused for a while now, so that jobs after them do not wait.
  const order: string[] = [];
  await Promise.all([
    sandbox.ask(1, 'c').then(() => order.push('neighbour')),
    sandbox.once(2, 'd').then(([answer]) => order.push(answer!)),
  ]);
  assert.deepEqual(order, ['!overloaded', 'neighbour']);
  assert.deepEqual(sandbox.killed, []);
});

test('a version whose top level is stuck when it is loaded again ends one process, and its calls are refused', async (t) => {
  const sandbox = new Supervised(t);
  await sandbox.host.load(version(1, ECHO));
  sandbox.host.adopt({ ...version(2, ECHO, 60, `for (;;) ${STUCK}`), loadMs: 100 });
  const stuck = sandbox.once(2, 'a');
  assert.deepEqual(await sandbox.once(1, 'b'), ['b']);
  assert.deepEqual(await stuck, ['!overloaded']);
  // Without a processor, no tenant is blamed.
  assert.deepEqual(sandbox.killed, sandbox.stalls > 0 ? [] : [2]);
});
