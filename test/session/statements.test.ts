/** The prepared statements of one client, without servers: which exist, which are in doubt, and which hold a text. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Request } from '../../src/session/state/entry.ts';
import { Outstanding } from '../../src/session/state/outstanding.ts';
import { Freeing } from '../../src/session/state/freeing.ts';
import { NamedStatement } from '../../src/session/state/named.ts';
import { StatementRegistry } from '../../src/session/state/shared.ts';
import { Statements } from '../../src/session/state/statements.ts';
import { isKept, UnnamedStatement } from '../../src/session/state/unnamed.ts';
import { closeStatement, message } from '../../src/wire/messages.ts';
import { Backend, Frontend } from '../../src/wire/protocol.ts';

const judged = { originGeneration: 3, targetGeneration: 0 };
const body = (text: string): Buffer => Buffer.from(`${text}\0\0\0`);
const parse = (text: string): Buffer => message(Frontend.Parse, '', body(text));

interface Fixture {
  readonly ledger: Outstanding;
  readonly registry: StatementRegistry;
  readonly originals: StatementRegistry;
  readonly statements: Statements;
}

function fixture(): Fixture {
  const ledger = new Outstanding();
  const registry = new StatementRegistry();
  const originals = new StatementRegistry();
  return { ledger, registry, originals, statements: new Statements(registry, originals, ledger) };
}

/** A statement of that text; if `original` is given, user functions have changed it. */
function named({ registry, originals }: Fixture, text: string, sentAt = 0, original = ''): NamedStatement {
  const own = original === '' ? null : originals.acquire(body(original));
  return new NamedStatement(registry.acquire(body(text)), own, 'app', sentAt, judged);
}

// Statements in doubt.

/** The messages and answers after a Parse of the statement `s`, and whether they leave `s` in doubt. */
const doubts: { name: string; steps: (at: Fixture) => void; inDoubt: boolean }[] = [
  { name: 'nothing follows', steps: () => {}, inDoubt: false },
  { name: 'a Bind follows', steps: ({ ledger }) => ledger.sent(Request.Bind), inDoubt: false },
  { name: 'a Sync follows', steps: ({ ledger }) => ledger.sent(Request.Sync), inDoubt: true },
  {
    name: 'a Sync follows, and its outcome does not matter any more',
    steps: ({ ledger, statements }) => {
      ledger.sent(Request.Sync);
      statements.unanswered.forget('s');
    },
    inDoubt: false,
  },
  {
    name: 'a COPY waits for data, so that no answers can come',
    steps: ({ ledger }) => {
      ledger.sent(Request.Sync);
      ledger.sent(Request.Query);
      ledger.reply(Backend.ReadyForQuery);
      ledger.reply(Backend.CopyInResponse);
    },
    inDoubt: false,
  },
];

for (const { name, steps, inDoubt } of doubts) {
  test(`a Parse that is not answered leaves its statement ${inDoubt ? '' : 'not '}in doubt: ${name}`, () => {
    const at = fixture();
    at.statements.unanswered.add('s');
    steps(at);
    assert.equal(at.statements.unanswered.isInDoubt('s'), inDoubt);
    assert.equal(at.statements.unanswered.isInDoubt('other'), false);
  });
}

test('a statement is no longer in doubt when the outcome of the last Parse or Close is known', () => {
  const { ledger, statements } = fixture();
  const settleParse = statements.unanswered.add('s');
  const settleClose = statements.unanswered.add('s', true);
  ledger.sent(Request.Sync);
  settleParse.settle();
  assert.equal(statements.unanswered.isInDoubt('s'), true, 'the Close is still unanswered');
  assert.equal(
    statements.unanswered.isInDoubt('s', true),
    false,
    'after a Close the name is free either way',
  );
  settleClose.settle();
  assert.equal(statements.unanswered.isInDoubt('s'), false);
  assert.equal(statements.unanswered.has('s'), false);
});

// Statements that are dropped together.

test('a DISCARD ALL is pending until everything that was sent is answered', () => {
  const { ledger, statements } = fixture();
  assert.equal(statements.discards.isPending(), false);
  ledger.sent(Request.Query);
  statements.discards.expect();
  assert.equal(statements.discards.isPending(), true);
  ledger.reply(Backend.ReadyForQuery);
  assert.equal(statements.discards.isPending(), false);
  ledger.sent(Request.Query);
  assert.equal(statements.discards.isPending(), false, 'the next query is another one');
});

test('statements whose Parse was sent before DISCARD ALL are dropped, and their texts released', () => {
  const at = fixture();
  const { statements, registry } = at;
  for (const [name, sentAt] of [
    ['a', 1],
    ['b', 2],
    ['c', 5],
  ] as const)
    statements.set(name, named(at, `select '${name}'`, sentAt));
  statements.dropBefore(5);
  assert.deepEqual(
    ['a', 'b', 'c'].map((name) => statements.named.find(name) !== undefined),
    [false, false, true],
  );
  assert.equal(registry.size, 1);
  statements.dropBefore(6);
  assert.equal(statements.named.isUsed, false);
  assert.equal(registry.size, 0);
});

test('a statement that was closed is not restored if DISCARD ALL has dropped it meanwhile', () => {
  const at = fixture();
  const { statements, registry } = at;
  statements.set('s', named(at, 'select 1', 1));
  const statement = statements.remove('s');
  assert.ok(statement);
  statements.dropBefore(4);
  statements.named.restore('s', statement);
  assert.equal(statements.named.find('s'), undefined);
  assert.equal(registry.size, 0);
});

// Named statements and the texts that they hold.

test('a Close that failed gives the statement back, unless its name has been taken', () => {
  const at = fixture();
  const { statements, registry, originals } = at;
  const statement = named(at, 'select 1', 0, 'select one');
  statements.set('s', statement);
  statements.remove('s');
  assert.deepEqual([registry.size, originals.size], [0, 0]);
  statements.named.restore('s', statement);
  assert.equal(statements.named.find('s'), statement);
  assert.deepEqual([registry.size, originals.size], [1, 1]);
  statements.remove('s');
  const other = named(at, 'select 2');
  statements.set('s', other);
  statements.named.restore('s', statement);
  assert.equal(statements.named.find('s'), other);
  assert.deepEqual([registry.size, originals.size], [1, 0]);
});

test('a statement of the same name releases the one before', () => {
  const at = fixture();
  at.statements.set('s', named(at, 'select 1'));
  at.statements.set('s', named(at, 'select 2'));
  assert.equal(at.registry.size, 1);
  assert.equal(at.statements.named.size, 1);
});

test('another rewriting replaces the shared statement, and the client’s own text is kept', () => {
  const at = fixture();
  const { registry, originals, statements } = at;
  const statement = named(at, 'select 1');
  statements.set('s', statement);
  statement.described('hash of no columns', false);
  assert.equal(statement.shape, null, 'it has no result on any server');
  statement.described('hash of the columns', true);
  statements.named.rewrite(statement, body('select 1'), body('select 1'), null);
  assert.equal(statement.original, null, 'the same text is no rewriting');
  assert.equal(statement.shape, 'hash of the columns');
  statements.named.rewrite(statement, body('select 1'), body('select 2'), null);
  assert.deepEqual(statement.shared.body, body('select 2'));
  assert.deepEqual(statements.named.find('s')?.original?.body, body('select 1'));
  assert.equal(statement.shape, 'hash of the columns', 'the client was told these');
  assert.deepEqual([registry.size, originals.size], [1, 1]);
  statements.releaseAll();
  assert.deepEqual([registry.size, originals.size], [0, 0]);
});

// Statements that are not tracked.

test('a Parse that failed gives its name back to the untracked statement before, unless that was dropped', () => {
  for (const isDropped of [false, true]) {
    const { originals, statements } = fixture();
    const add = (text: string, sentAt: number): ReturnType<typeof statements.untracked.set> =>
      statements.untracked.set('s', {
        ...judged,
        original: originals.acquire(body(text)),
        sentAt,
        madeIn: 1,
      });
    add('select 1', 1).done();
    const { undo } = add('select 2', 7);
    assert.equal(originals.size, 2);
    if (isDropped) statements.dropBefore(5);
    undo();
    assert.equal(statements.untracked.get('s')?.sentAt, isDropped ? undefined : 1);
    assert.equal(originals.size, isDropped ? 0 : 1);
  }
});

test('an untracked statement is handed over with its text, and one without a text stays', () => {
  const { originals, statements } = fixture();
  const { untracked } = statements;
  untracked.set('kept', { ...judged, original: originals.acquire(body('select 1')), sentAt: 1, madeIn: 1 });
  untracked.set('unkept', { ...judged, original: null, sentAt: 2, madeIn: 1 });
  assert.equal(untracked.handOver('kept')?.sentAt, 1);
  assert.equal(untracked.handOver('unkept'), undefined);
  assert.deepEqual([untracked.mayHave('kept'), untracked.mayHave('unkept')], [false, true]);
  assert.equal(originals.size, 1, 'the text now belongs to the caller');
});

test('in session mode statements are tracked from the first time that functions apply until all are dropped', () => {
  const { statements } = fixture();
  assert.equal(statements.isSessionTracked(false), false);
  assert.equal(statements.untracked.mayHave('any'), true, 'prepared while nothing was tracked');
  assert.equal(statements.isSessionTracked(true), true);
  assert.equal(
    statements.isSessionTracked(false),
    true,
    'the functions have gone, the statements stay tracked',
  );
  statements.dropBefore(1);
  assert.equal(statements.isSessionTracked(false), false);
});

// The unnamed statement.

/** The events after the Parse of an unnamed statement, and the resulting state. */
const fates: {
  name: string;
  change: (statement: UnnamedStatement) => void;
  isHere: boolean;
  text: string | null;
}[] = [
  { name: 'it is on the server and kept', change: () => {}, isHere: true, text: 'select 1' },
  {
    name: 'another server does not have it',
    change: (statement) => statement.displaced(),
    isHere: false,
    text: 'select 1',
  },
  {
    name: 'a Query drops it, on the server too',
    change: (statement) => statement.dropped(),
    isHere: true,
    text: null,
  },
  {
    name: 'after an error the server may have another one',
    change: (statement) => statement.lost(),
    isHere: false,
    text: null,
  },
  {
    name: 'another rewriting must be sent to the server',
    change: (statement) => assert.equal(statement.replace(parse('select 2')), true),
    isHere: false,
    text: 'select 2',
  },
  {
    name: 'the same rewriting need not be sent again',
    change: (statement) => assert.equal(statement.replace(parse('select 1')), false),
    isHere: true,
    text: 'select 1',
  },
];

for (const { name, change, isHere, text } of fates) {
  test(`the unnamed statement: ${name}`, () => {
    const statement = new UnnamedStatement();
    const before = closeStatement('s');
    const whole = parse('select 1');
    statement.parsed(Buffer.concat([before, whole]), before.length, whole.length);
    change(statement);
    assert.equal(statement.isHere, isHere);
    assert.deepEqual(statement.parse, text === null ? null : parse(text));
  });
}

test('an unnamed statement that is too long, or that came in pieces, is not kept', () => {
  const long = parse('x'.repeat(70_000));
  assert.equal(isKept(long.length), false);
  for (const [bytes, size] of [
    [long, long.length],
    [parse('select 1'), 1000],
  ] as const) {
    const statement = new UnnamedStatement();
    statement.parsed(bytes, 0, size);
    assert.equal(statement.isUnkept, true);
    assert.equal(statement.parse, null);
    assert.equal(statement.original, null);
  }
});

test('a Bind of the unnamed statement is passed on only while nothing about it has to be looked at', () => {
  const { statements } = fixture();
  const { freeing, unnamed } = statements;
  const whole = parse('select 1');
  const again = (): void => unnamed.parsed(whole, 0, whole.length);
  assert.equal(statements.isUnnamedPlain, false, 'the server has none of this client');
  again();
  assert.equal(statements.isUnnamedPlain, true);
  unnamed.routed('app');
  assert.equal(statements.isUnnamedPlain, true, 'to which database it belongs is looked at elsewhere');
  again();
  unnamed.deallocates('s');
  assert.equal(statements.isUnnamedPlain, false, 'it deallocates a statement');
  again();
  freeing.bound('p', 's');
  assert.equal(statements.isUnnamedPlain, false, 'its portal may replace one that drops a statement');
  freeing.done();
  assert.equal(statements.isUnnamedPlain, true);
});

test('the portal of a DEALLOCATE drops its statement until it is executed, or bound to another statement', () => {
  const freeing = new Freeing();
  assert.equal(freeing.nameFor(''), null);
  freeing.bound('', 's');
  assert.equal(freeing.nameFor(''), 's');
  assert.equal(freeing.nameFor('p'), null);
  freeing.bound('p', null);
  assert.equal(freeing.isOpen, true, 'another portal');
  freeing.bound('', null);
  assert.equal(freeing.isOpen, false);
});
