/** Every state in which a server's error can meet a client, and the client's fate; without a server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Request } from '../../src/session/state/entry.ts';
import { Outstanding } from '../../src/session/state/outstanding.ts';
import { Transcript } from '../../src/session/state/transcript.ts';
import {
  outcomeOf,
  verdictOf,
  type Circumstances,
  type Harmful,
  type Harmless,
  type Outcome,
  type Verdict,
} from '../../src/session/resend/verdict.ts';
import { ClientError } from '../../src/wire/errors.ts';
import * as raw from '../support/raw.ts';

type Kind = Verdict['kind'];

const SHUT_DOWN = new ClientError('FATAL', '57P01', 'terminating connection due to administrator command');
const CRASH = new ClientError('FATAL', '57P02', 'terminating connection because of a crash');
const READ_ONLY = new ClientError('ERROR', '25006', 'cannot execute INSERT in a read-only transaction');

const REQUESTS = new Map<string, Request>([
  ['Q', Request.Query],
  ['P', Request.Parse],
  ['B', Request.Bind],
  ['E', Request.Execute],
  ['S', Request.Sync],
]);

const insert = raw.query('INSERT INTO t VALUES (1)');
const call = raw.query('CALL p()');
const several = raw.query('INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)');
const extended = (...texts: string[]): Buffer =>
  Buffer.concat(texts.flatMap((text) => [raw.parse('', text), raw.bind(), raw.execute()]));
const complete = (tag: string): Buffer => raw.message('C', Buffer.from(`${tag}\0`));

interface State {
  /** the client's bytes since its transaction began, all of them sent to the server */
  readonly sent: Buffer;
  /** a server's reply to them has reached the client */
  readonly isAnswered?: boolean;
  /** statements that the server has answered */
  readonly answered?: number;
  /** and one of them ended a transaction */
  readonly hasEnded?: boolean;
  readonly circumstances?: Partial<Circumstances>;
}

/** The messages in the ledger of a client that has sent these bytes. */
function ledgerOf(bytes: Buffer): Outstanding {
  const outstanding = new Outstanding();
  for (let at = 0; at + 5 <= bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
    const request = REQUESTS.get(String.fromCharCode(bytes[at]!));
    if (request !== undefined) outstanding.sent(request);
  }
  return outstanding;
}

function verdict(error: ClientError, state: State): Verdict {
  const transcript = new Transcript();
  transcript.add(state.sent, true);
  if (state.isAnswered === true) transcript.noteAnswer();
  for (let i = 0; i < (state.answered ?? 0); i++) transcript.noteStatementAnswered();
  if (state.hasEnded === true) transcript.noteTransactionEnd();
  return verdictOf(error, transcript, ledgerOf(state.sent), {
    inTransaction: false,
    isSession: false,
    mayRetry: true,
    isDoubted: true,
    before: Buffer.alloc(0),
    textOf: () => null,
    ...state.circumstances,
  });
}

/** The outcome of the same state for three errors: FATAL 57P01, FATAL 57P02 and ERROR 25006. */
const ROWS: readonly (readonly [name: string, state: State, kinds: readonly [Kind, Kind, Kind]])[] = [
  ['nothing was sent', { sent: Buffer.alloc(0) }, ['resend', 'lost', 'resend']],
  ['one statement', { sent: insert }, ['resend', 'lost', 'resend']],
  [
    'one statement in session mode',
    { sent: insert, circumstances: { isSession: true } },
    ['resend', 'lost', 'park'],
  ],
  [
    'one statement, and no node is asked about the error',
    { sent: insert, circumstances: { isDoubted: false } },
    ['resend', 'lost', 'pass'],
  ],
  [
    'one statement with switchover_retry = never',
    { sent: insert, circumstances: { mayRetry: false } },
    ['lost', 'lost', 'pass'],
  ],
  [
    'one statement inside a transaction block',
    { sent: insert, circumstances: { inTransaction: true } },
    ['lost', 'lost', 'pass'],
  ],
  ['one statement that commits inside', { sent: call }, ['interrupted', 'interrupted', 'pass']],
  ['two statements in one string', { sent: several }, ['lost', 'lost', 'pass']],
  [
    'BEGIN and one statement',
    { sent: Buffer.concat([extended('BEGIN', 'INSERT INTO t VALUES (1)'), raw.sync()]) },
    ['resend', 'lost', 'park'],
  ],
  [
    'BEGIN and one statement without a Sync',
    { sent: extended('BEGIN', 'INSERT INTO t VALUES (1)') },
    ['resend', 'lost', 'pass'],
  ],
  [
    'one statement without a Sync',
    { sent: extended('INSERT INTO t VALUES (1)') },
    ['resend', 'lost', 'resend'],
  ],
  [
    'one statement without a Sync in session mode',
    { sent: extended('INSERT INTO t VALUES (1)'), circumstances: { isSession: true } },
    ['resend', 'lost', 'pass'],
  ],
  [
    'a statement with another after it',
    { sent: Buffer.concat([insert, insert]) },
    ['resend', 'lost', 'pass'],
  ],
  [
    'a statement that commits inside, with another after it',
    { sent: Buffer.concat([call, insert]) },
    ['interrupted', 'interrupted', 'pass'],
  ],
  [
    'one statement with rows in the same piece as the error',
    { sent: insert, circumstances: { before: raw.message('T') } },
    ['resend', 'lost', 'resend'],
  ],
  [
    'one statement with its end in the same piece as the error',
    { sent: insert, answered: 1, circumstances: { before: complete('INSERT 0 1') } },
    ['unknown', 'unknown', 'pass'],
  ],
  [
    'one statement with a warning in the same piece as the error',
    { sent: insert, circumstances: { before: raw.message('N') } },
    ['lost', 'lost', 'pass'],
  ],
  [
    'one statement of whose rows some have reached the client',
    { sent: insert, isAnswered: true },
    ['lost', 'lost', 'pass'],
  ],
  [
    'a statement was executed and answered, and its ReadyForQuery is missing',
    { sent: insert, isAnswered: true, answered: 1 },
    ['unknown', 'unknown', 'pass'],
  ],
  [
    'the first of two statements in one string was answered',
    { sent: several, isAnswered: true, answered: 1 },
    ['lost', 'lost', 'pass'],
  ],
  [
    'the end of a transaction was answered, and its ReadyForQuery is missing',
    { sent: several, isAnswered: true, answered: 1, hasEnded: true },
    ['unknown', 'unknown', 'pass'],
  ],
];

for (const [name, state, [onShutdown, onCrash, onReadOnly]] of ROWS) {
  test(`the verdict on an error: ${name}`, () => {
    assert.equal(verdict(SHUT_DOWN, state).kind, onShutdown, 'FATAL 57P01');
    assert.equal(verdict(CRASH, state).kind, onCrash, 'FATAL 57P02');
    assert.equal(verdict(READ_ONLY, state).kind, onReadOnly, 'ERROR 25006');
  });
}

test('the verdict on an error: the client’s error claims no more than is certain', () => {
  const codes = (state: State): string | null => {
    const found = verdict(SHUT_DOWN, state);
    return 'error' in found ? `${found.kind} ${found.error.code} ${found.error.message}` : null;
  };
  assert.equal(
    codes({ sent: insert, circumstances: { inTransaction: true } }),
    'lost 57P01 the server went away during a switchover',
  );
  assert.equal(
    codes({ sent: insert, isAnswered: true, answered: 1 }),
    'unknown 08007 the connection to the server was lost while a statement ran',
  );
  assert.equal(
    codes({ sent: call }),
    'interrupted 57P01 terminating connection due to administrator command',
    'the server’s own words',
  );
});

test('the verdict on an error: a server that has executed nothing goes back to its pool if it stays', () => {
  const whole = { kind: 'resend', again: insert, isWhole: true };
  assert.deepEqual(verdict(SHUT_DOWN, { sent: insert }), { ...whole, keepsServer: false });
  assert.deepEqual(verdict(READ_ONLY, { sent: insert }), { ...whole, keepsServer: true });
  const bytes = extended('INSERT INTO t VALUES (1)');
  assert.deepEqual(
    verdict(READ_ONLY, { sent: bytes }),
    { kind: 'resend', again: bytes, isWhole: false, keepsServer: false },
    'the end of its messages would go to another client’s server',
  );
});

test('the verdict on an error: the messages after the one that was interrupted are handled again', () => {
  const rest = (state: State): Buffer | null => {
    const found = verdict(SHUT_DOWN, state);
    return found.kind === 'pass' ? null : found.again;
  };
  const sent = Buffer.concat([call, insert, insert]);
  assert.deepEqual(rest({ sent }), Buffer.concat([insert, insert]));
  assert.equal(rest({ sent: call }), null, 'nothing comes after it');
  assert.equal(rest({ sent, circumstances: { mayRetry: false } }), null);
  assert.equal(rest({ sent, circumstances: { inTransaction: true } }), null);
  assert.equal(rest({ sent, isAnswered: true }), null, 'it is not known where the rest begins');
});

const YES = [true, false];

/** Some verdict of that kind. */
function of(kind: Exclude<Kind, 'pass'>): Harmless | Harmful {
  return kind === 'resend' || kind === 'park'
    ? { kind, again: insert, isWhole: true, keepsServer: true }
    : { kind, error: SHUT_DOWN, again: null };
}

/** The outcome by kind of verdict, for a node that is gone, and for an unchanged one. */
function expected(
  kind: Exclude<Kind, 'pass'>,
  isGone: boolean,
  isFatal: boolean,
  staysIdle: boolean,
): Outcome {
  const isSendable = kind === 'resend' || kind === 'park';
  if (isGone) return isSendable ? 'resend' : 'tell';
  if (kind === 'park') return 'return';
  if (staysIdle) return 'tell';
  return isFatal ? 'close' : 'refuse';
}

test('the outcome of a verdict, for every state', () => {
  const seen = new Map<string, number>();
  for (const kind of ['resend', 'park', 'lost', 'unknown', 'interrupted'] as const)
    for (const isGone of YES)
      for (const isFatal of YES)
        for (const isSession of YES)
          for (const isIdle of YES) {
            const outcome = outcomeOf(of(kind), isGone, { isFatal, isSession, isIdle });
            const state = JSON.stringify({ kind, isGone, isFatal, isSession, isIdle });
            assert.equal(outcome, expected(kind, isGone, isFatal, isIdle && !isSession), state);
            seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
          }
  assert.deepEqual(Object.fromEntries(seen), { resend: 16, return: 8, tell: 32, close: 12, refuse: 12 });
});
