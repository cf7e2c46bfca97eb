/** The fate of the messages that a vanished server received, in every state of their client; without a server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Request } from '../../src/session/state/entry.ts';
import { Outstanding } from '../../src/session/state/outstanding.ts';
import { planAfterCrash, type Crash } from '../../src/session/resend/crash.ts';
import { Transcript } from '../../src/session/state/transcript.ts';
import * as raw from '../support/raw.ts';

const insert = raw.query('INSERT INTO t VALUES (1)');
const show = raw.query('SHOW search_path');
const call = raw.query('CALL p()');
const prepare = Buffer.concat([raw.parse('a', 'SELECT 1'), raw.sync()]);
const execute = Buffer.concat([raw.parse('', 'INSERT INTO t VALUES (1)'), raw.bind(), raw.execute()]);
const begin = raw.query('BEGIN');

const REQUESTS: Record<string, Request> = {
  Q: Request.Query,
  P: Request.Parse,
  B: Request.Bind,
  E: Request.Execute,
  S: Request.Sync,
};

interface State {
  /** the client's bytes since its transaction began */
  readonly sent: readonly Buffer[];
  /** types of the messages that are not answered, as the ledger has them */
  readonly unanswered: string;
  /** a server's reply to the bytes has reached the client */
  readonly isAnswered?: boolean;
  /** statements that the server has answered */
  readonly answered?: number;
  /** the server was sent another text than the client's */
  readonly isRewritten?: boolean;
  readonly crash?: Partial<Crash>;
}

interface Plan {
  /** the SQLSTATE of each error; 08007: unknown, 57P01: rolled back */
  readonly errors: readonly string[];
  readonly other: string;
  /** the bytes that are resent; null: none */
  readonly again: readonly Buffer[] | null;
}

function plan({ sent, unanswered, isAnswered, answered = 0, isRewritten, crash }: State): {
  readonly errors: readonly string[];
  readonly other: string;
  readonly again: Buffer | null;
} {
  const transcript = new Transcript();
  transcript.add(Buffer.concat(sent), true);
  if (isRewritten === true) transcript.noteRewritten('SELECT 1');
  if (isAnswered === true) transcript.noteAnswer();
  for (let i = 0; i < answered; i++) transcript.noteStatementAnswered();
  const outstanding = new Outstanding();
  for (const type of unanswered) outstanding.sent(REQUESTS[type]!);
  const { errors, otherError, again } = planAfterCrash(transcript, outstanding, {
    inTransaction: false,
    sendFailed: false,
    isCut: false,
    mayRetry: true,
    textOf: () => null,
    ...crash,
  });
  return { errors: errors.map((error) => error.code), other: otherError.code, again };
}

const LOST = '57P01';
const UNKNOWN = '08007';

const ROWS: readonly (readonly [name: string, state: State, plan: Plan])[] = [
  ['nothing was sent', { sent: [], unanswered: '' }, { errors: [], other: LOST, again: null }],
  [
    'messages that execute nothing are sent again',
    { sent: [prepare], unanswered: 'PS' },
    { errors: [], other: LOST, again: [prepare] },
  ],
  [
    'messages that execute nothing are lost with switchover_retry = never',
    { sent: [prepare], unanswered: 'PS', crash: { mayRetry: false } },
    { errors: [], other: LOST, again: null },
  ],
  [
    'messages that execute nothing are lost after a part of their answer',
    { sent: [prepare], unanswered: 'S', isAnswered: true },
    { errors: [], other: LOST, again: null },
  ],
  [
    'a Query may have been committed',
    { sent: [insert], unanswered: 'Q' },
    { errors: [UNKNOWN], other: LOST, again: null },
  ],
  [
    'a Query inside a transaction block may have been its end',
    { sent: [insert], unanswered: 'Q', crash: { inTransaction: true } },
    { errors: [UNKNOWN], other: UNKNOWN, again: null },
  ],
  [
    'a Query after a part of its answer may have been committed',
    { sent: [insert], unanswered: 'Q', isAnswered: true },
    { errors: [UNKNOWN], other: UNKNOWN, again: null },
  ],
  [
    'a Query that changes the session alone is sent again',
    { sent: [show], unanswered: 'Q' },
    { errors: [], other: UNKNOWN, again: [show] },
  ],
  [
    'a Query that opens a transaction is sent again',
    { sent: [begin, insert], unanswered: 'QQ' },
    { errors: [], other: UNKNOWN, again: [begin, insert] },
  ],
  [
    'a rewritten Query is not known well enough to be sent again',
    { sent: [show], unanswered: 'Q', isRewritten: true },
    { errors: [UNKNOWN], other: LOST, again: null },
  ],
  [
    'a Query that could not be sent is sent again',
    { sent: [insert], unanswered: 'Q', crash: { sendFailed: true } },
    { errors: [], other: UNKNOWN, again: [insert] },
  ],
  [
    'only the last of several Queries was not sent',
    { sent: [insert, call], unanswered: 'QQ', crash: { sendFailed: true } },
    { errors: [UNKNOWN], other: UNKNOWN, again: [call] },
  ],
  [
    'a Query of which the server has half is sent again',
    { sent: [insert, call.subarray(0, 7)], unanswered: 'QQ', crash: { isCut: true } },
    { errors: [UNKNOWN], other: UNKNOWN, again: [call.subarray(0, 7)] },
  ],
  [
    'half a Query is certainly lost if its beginning is not kept',
    { sent: [insert, call.subarray(0, 7)], unanswered: 'QQ', isAnswered: true, crash: { isCut: true } },
    { errors: [UNKNOWN, LOST], other: UNKNOWN, again: null },
  ],
  [
    'an Execute without a Sync is sent again',
    { sent: [execute], unanswered: 'PBE' },
    { errors: [], other: UNKNOWN, again: [execute] },
  ],
  [
    'an Execute without a Sync is lost with switchover_retry = never',
    { sent: [execute], unanswered: 'PBE', crash: { mayRetry: false } },
    { errors: [], other: LOST, again: null },
  ],
  [
    'of two cycles the first may have been committed, and the open one is sent again',
    { sent: [insert, execute], unanswered: 'QPBE' },
    { errors: [UNKNOWN], other: UNKNOWN, again: [execute] },
  ],
  [
    'a first cycle that changes the session alone is certainly lost, the second may have been committed',
    { sent: [show, insert], unanswered: 'QQ' },
    { errors: [LOST, UNKNOWN], other: LOST, again: null },
  ],
  [
    'a statement was answered, and its ReadyForQuery is missing',
    { sent: [insert], unanswered: 'Q', isAnswered: true, answered: 1 },
    { errors: [UNKNOWN], other: UNKNOWN, again: null },
  ],
];

for (const [name, state, expected] of ROWS) {
  test(`a crash: ${name}`, () => {
    const again = expected.again === null ? null : Buffer.concat(expected.again);
    assert.deepEqual(plan(state), { ...expected, again });
  });
}
