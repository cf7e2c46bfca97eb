/** The ledger against a model of a PostgreSQL backend's answers ("Message Flow" in its manual). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Request } from '../../src/session/state/entry.ts';
import { Outstanding, Reply } from '../../src/session/state/outstanding.ts';

type Kind = 'query' | 'call' | 'sync' | 'parse' | 'bind' | 'describe' | 'execute' | 'close';

/** How the proxy treats a message: it passes it on, adds it, answers it, or makes it fail. */
type Origin = 'client' | 'own' | 'answered' | 'failing';

interface Sent {
  readonly kind: Kind;
  readonly origin: Origin;
  /** the server finds a mistake in it */
  readonly fails: boolean;
}

const REQUEST: Record<Kind, Request> = {
  query: Request.Query,
  call: Request.FunctionCall,
  sync: Request.Sync,
  parse: Request.Parse,
  bind: Request.Bind,
  describe: Request.Describe,
  execute: Request.Execute,
  close: Request.Close,
};

/** The server's answer to a message that succeeds. */
const ANSWERS: Record<Kind, string> = {
  query: 'TDCZ',
  call: 'VZ',
  sync: 'Z',
  parse: '1',
  bind: '2',
  describe: 'tT',
  execute: 'DC',
  close: '3',
};

/** The answer that the client sees: as above, and `e` for an error that replaces the server's. */
function seen({ kind, origin, fails }: Sent): string {
  if (origin === 'own' && !fails) return '';
  if (origin === 'failing') return kind === 'query' ? 'eZ' : 'e';
  if (!fails) return ANSWERS[kind];
  return kind === 'query' || kind === 'call' || kind === 'sync' ? 'EZ' : 'E';
}

const isExtended = (kind: Kind): boolean => kind !== 'query' && kind !== 'call' && kind !== 'sync';

/** The backend: it answers in order, and after an error of the extended protocol it skips to the next Sync. */
class Backend {
  #skipping = false;

  receive({ kind, origin, fails }: Sent): string {
    if (this.#skipping && kind !== 'sync') return '';
    this.#skipping = false;
    if (!fails && origin !== 'failing') return ANSWERS[kind];
    this.#skipping = isExtended(kind);
    return isExtended(kind) ? 'E' : 'EZ';
  }
}

const sent: fc.Arbitrary<Sent> = fc
  .tuple(
    fc.constantFrom<Kind>('query', 'call', 'sync', 'sync', 'parse', 'bind', 'describe', 'execute', 'close'),
    fc.constantFrom<Origin>('client', 'client', 'client', 'own', 'answered', 'failing'),
    fc.integer({ min: 0, max: 4 }),
  )
  .map(([kind, origin, dice]) => {
    const own = kind === 'parse' || kind === 'close';
    const mayFail = kind === 'parse' || kind === 'query';
    const possible =
      (origin === 'own' && own) || (origin === 'answered' && own) || (origin === 'failing' && mayFail);
    const real: Origin = possible ? origin : 'client';
    return { kind, origin: real, fails: real !== 'answered' && dice === 0 };
  });

test('each client sees the answers to its messages in order, whatever the proxy drops, adds or replaces', () => {
  fc.assert(
    fc.property(
      fc.array(sent, { maxLength: 30 }),
      fc.array(fc.boolean(), { minLength: 30, maxLength: 30 }),
      (program, waits) => {
        const ledger = new Outstanding();
        const backend = new Backend();
        const undone: number[] = [];
        const done: number[] = [];
        let fromServer = '';
        let toClient = '';

        const receive = (): void => {
          for (const type of fromServer) {
            const verdict = ledger.reply(type.charCodeAt(0));
            assert.notEqual(verdict, Reply.OutOfStep, `"${type}" was not expected`);
            if (verdict === Reply.Replace) toClient += String(ledger.replacement);
            else if (verdict !== Reply.Drop) toClient += type;
            for (let due = ledger.due(); due !== null; due = ledger.due()) toClient += String(due);
          }
          fromServer = '';
        };

        program.forEach((each, i) => {
          const { kind, origin } = each;
          const undo = (): void => void undone.push(i);
          if (origin === 'answered') {
            const reply = Buffer.from(ANSWERS[kind]);
            if (ledger.answered(REQUEST[kind], reply, { undo })) toClient += String(reply);
          } else {
            if (origin === 'failing') ledger.sentFailing(REQUEST[kind], Buffer.from('e'));
            else if (kind === 'parse') ledger.sentParse(origin === 'own', { undo, done: () => done.push(i) });
            else if (origin === 'own') ledger.sentClose({ undo, done: () => done.push(i) });
            else ledger.sent(REQUEST[kind]);
            fromServer += backend.receive(each);
          }
          if (waits[i]) receive();
        });
        const closing: Sent = { kind: 'sync', origin: 'client', fails: false };
        ledger.sent(Request.Sync);
        fromServer += backend.receive(closing);
        receive();

        let skipping = false;
        let expected = '';
        const skipped: number[] = [];
        const carriedOut: number[] = [];
        const hasUndo = ({ kind, origin }: Sent): boolean =>
          (kind === 'parse' && origin !== 'failing') || origin === 'own' || origin === 'answered';
        [...program, closing].forEach((each, i) => {
          if (skipping && each.kind !== 'sync') {
            if (hasUndo(each)) skipped.push(i);
            return;
          }
          const failed = each.fails || each.origin === 'failing';
          if (failed && hasUndo(each)) skipped.push(i);
          if (!failed && hasUndo(each) && each.origin !== 'answered') carriedOut.push(i);
          skipping = failed && isExtended(each.kind);
          expected += seen(each);
        });
        assert.equal(toClient, expected);
        assert.deepEqual(
          undone.toSorted((a, b) => a - b),
          skipped,
        );
        assert.deepEqual(done, carriedOut);
        assert.ok(ledger.empty && !ledger.unsynced && !ledger.tainted && !ledger.skipping);
      },
    ),
    { numRuns: 3000 },
  );
});

const types = (ledger: Outstanding, text: string): Reply[] =>
  [...text].map((type) => ledger.reply(type.charCodeAt(0)));

test('effects are taken back in reverse order', () => {
  const ledger = new Outstanding();
  const undone: string[] = [];
  ledger.sent(Request.Bind);
  for (const name of ['a', 'b', 'c'])
    ledger.sentParse(true, { undo: () => undone.push(name), done: assert.fail });
  types(ledger, 'E');
  assert.deepEqual(undone, ['c', 'b', 'a']);
});

test('an answer of the proxy’s own opens a pipeline, which lasts until the Sync', () => {
  const ledger = new Outstanding();
  assert.equal(ledger.answered(Request.Parse, Buffer.from('1')), true);
  assert.ok(ledger.empty && ledger.unsynced);
  ledger.sent(Request.Sync);
  assert.equal(ledger.unsynced, false);
});

test('a Sync between Execute and CopyDone gets no answer, whenever the server asks for the data', () => {
  for (const requestAt of [0, 1, 2]) {
    const ledger = new Outstanding();
    ledger.sent(Request.Execute);
    const steps = [
      () => ledger.sent(Request.Sync),
      () => ledger.copyEnded(),
      () => ledger.sent(Request.Sync),
    ];
    steps.forEach((step, i) => {
      if (i === requestAt) types(ledger, 'G');
      step();
    });
    assert.deepEqual(types(ledger, 'CZ'), [Reply.Forward, Reply.Ready], `request before step ${requestAt}`);
    assert.ok(ledger.empty && !ledger.tainted);
  }
});

test('CopyDone and Sync that were sent ahead belong to their COPY', () => {
  const ledger = new Outstanding();
  ledger.sent(Request.Query);
  ledger.copyEnded();
  ledger.sent(Request.Query);
  ledger.copyEnded();
  ledger.sent(Request.Sync);
  assert.deepEqual(types(ledger, 'GCZGCZZ').at(-1), Reply.Ready);
  assert.ok(ledger.empty && !ledger.tainted);
});

test('after a COPY that fails with a Sync on its way, the server may still answer', () => {
  const ledger = new Outstanding();
  ledger.sent(Request.Execute);
  ledger.sent(Request.Sync);
  types(ledger, 'GE');
  assert.ok(ledger.tainted);
});

test('an answer that nothing asked for is out of step; errors and notices are the server’s own', () => {
  for (const type of '123TnCIZ')
    assert.deepEqual(types(new Outstanding(), type), [Reply.OutOfStep], `type ${type}`);
  assert.deepEqual(types(new Outstanding(), 'ENAS'), [0, 0, 0, 0]);
});

test('the ledger of an endless pipeline does not grow', () => {
  const ledger = new Outstanding();
  ledger.sent(Request.Sync);
  for (let i = 0; i < 100_000; i++) {
    ledger.sent(Request.Query);
    assert.equal(ledger.reply(0x5a), Reply.Ready);
  }
  assert.equal(ledger.reply(0x5a), Reply.Ready);
  assert.ok(ledger.empty);
});

/** Every kind of entry that the ledger can get. */
const ENTERED: Record<string, (ledger: Outstanding) => void> = {
  ...Object.fromEntries(
    Object.entries(REQUEST).map(([kind, request]) => [kind, (ledger: Outstanding) => ledger.sent(request)]),
  ),
  ownParse: (ledger) => ledger.sentParse(true, { undo() {}, done() {} }),
  ownClose: (ledger) => ledger.sentClose({ undo() {}, done() {} }),
  failingQuery: (ledger) => ledger.sentFailing(Request.Query, Buffer.alloc(0)),
  failingParse: (ledger) => ledger.sentFailing(Request.Parse, Buffer.alloc(0)),
  answeredParse: (ledger) => void ledger.answered(Request.Parse, Buffer.alloc(0), { undo() {}, done() {} }),
  answeredQuery: (ledger) => void ledger.answered(Request.Query, Buffer.alloc(0)),
  copyEnd: (ledger) => ledger.copyEnded(),
};

/** The server's messages, right or wrong, over and over. */
const SAID = [
  'Z',
  'E',
  'EZ',
  'G',
  'GE',
  'GEZ',
  'GCZ',
  'GCCZ',
  'C',
  'CZ',
  '1',
  '2',
  '3',
  'T',
  '12CZ',
  '12GCZ',
];

const COUNT = 1500;

/** Array methods that read or move a whole array. */
const WHOLE = [
  ...([
    'slice',
    'splice',
    'shift',
    'unshift',
    'concat',
    'filter',
    'map',
    'forEach',
    'some',
    'every',
  ] as const),
  ...(['indexOf', 'lastIndexOf', 'includes', 'find', 'findIndex', 'findLast', 'findLastIndex'] as const),
];

/** Entries that are looked at or moved, by the ledger's own count and by the arrays'. */
function stepsOf(pair: readonly string[], said: string, count: number): number {
  const ledger = new Outstanding();
  let moved = 0;
  const prototype = Array.prototype as unknown as Record<string, (...args: unknown[]) => unknown>;
  const own = WHOLE.map((name) => [name, prototype[name]!] as const);
  for (const [name, method] of own) {
    prototype[name] = function counted(this: unknown[], ...args: unknown[]): unknown {
      const result = method.apply(this, args);
      moved += name === 'slice' ? (result as unknown[]).length : this.length;
      return result;
    };
  }
  try {
    for (let i = 0; i < count; i++) ENTERED[pair[i % pair.length]!]!(ledger);
    for (let i = 0; i < count; i++) {
      ledger.reply(said.charCodeAt(i % said.length));
      let due = ledger.due();
      while (due !== null) due = ledger.due();
      // the relay asks these questions after each answer
      assert.ok(ledger.readies >= 0 && (ledger.busy || ledger.empty));
    }
    ledger.clear();
  } finally {
    for (const [name, method] of own) prototype[name] = method;
  }
  return ledger.steps + moved;
}

test('the cost of a message does not depend on how many are outstanding, for each pair of kinds', () => {
  const kinds = Object.keys(ENTERED);
  for (const first of kinds) {
    for (const second of kinds) {
      for (const said of SAID) {
        const what = `${first}, ${second}, ... answered with ${said}`;
        const one = stepsOf([first, second], said, COUNT);
        const two = stepsOf([first, second], said, 2 * COUNT);
        assert.ok(two <= 3 * one + 100, `${what}: ${one} steps, then ${two}`);
        assert.ok(two <= 24 * COUNT, `${what}: ${two} steps for ${2 * COUNT} messages`);
      }
    }
  }
});

test('the cost of a megabyte of each kind of message is linear', () => {
  for (const kind of Object.keys(ENTERED))
    for (const said of ['EZ', 'GEZ']) {
      const steps = stepsOf([kind], said, 100_000);
      assert.ok(steps <= 12 * 100_000, `${kind}, answered with ${said}: ${steps} steps`);
    }
});

test('a pipeline is open from its first message to the answer that ends it, with a Flush or without', () => {
  const ledger = new Outstanding();
  for (const [request, answer] of [
    [Request.Parse, '1'],
    [Request.Bind, '2'],
    [Request.Describe, 'n'],
    [Request.Execute, 'C'],
    [Request.Close, '3'],
  ] as const) {
    ledger.sent(request);
    types(ledger, answer);
    assert.ok(ledger.empty && ledger.unsynced && ledger.busy);
  }
  ledger.sent(Request.Sync);
  assert.ok(!ledger.unsynced && ledger.busy);
  ledger.sent(Request.Sync);
  types(ledger, 'Z');
  assert.ok(ledger.busy, 'the second Sync is not answered');
  types(ledger, 'Z');
  assert.ok(!ledger.busy);
});

test('a failed pipeline is open until a Sync, even if a Query was skipped with it', () => {
  for (const skipped of [Request.Query, Request.FunctionCall, Request.Execute]) {
    const ledger = new Outstanding();
    ledger.sent(Request.Parse);
    ledger.sent(skipped);
    ledger.reply('E'.charCodeAt(0));
    assert.ok(ledger.busy && ledger.unsynced && ledger.empty);
    ledger.sent(Request.Sync);
    assert.equal(ledger.reply('Z'.charCodeAt(0)), Reply.Ready);
    assert.ok(!ledger.busy);
  }
});

test('a Sync that a COPY ignores ends no pipeline', () => {
  const ledger = new Outstanding();
  ledger.sent(Request.Execute);
  ledger.sent(Request.Sync);
  types(ledger, 'G');
  assert.ok(ledger.unsynced);
  ledger.copyEnded();
  types(ledger, 'C');
  assert.ok(ledger.empty && ledger.unsynced && ledger.busy);
  ledger.sent(Request.Sync);
  types(ledger, 'Z');
  assert.ok(!ledger.busy);
});

test('only a Query or FunctionCall between an Execute and the Sync makes a pipeline mixed', () => {
  for (const [before, end, isMixed] of [
    [Request.Execute, Request.Query, true],
    [Request.Execute, Request.FunctionCall, true],
    [Request.Execute, Request.Sync, false],
    [Request.Parse, Request.Query, false],
  ] as const) {
    const ledger = new Outstanding();
    ledger.sent(before);
    ledger.sent(end);
    assert.equal(ledger.mixed, isMixed);
    ledger.clear();
    assert.equal(ledger.mixed, false);
  }
});
