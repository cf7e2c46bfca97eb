/** The bytes of a client that are kept for resending, without a server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Transcript } from '../../src/session/state/transcript.ts';
import * as raw from '../support/raw.ts';

const ONE = raw.query('SELECT 1');
const TWO = raw.query('SELECT 2');
const THREE = raw.query('SELECT 3');
const PARSE = raw.parse('a', 'SELECT 1');
const SYNC = raw.sync();

type Step = (transcript: Transcript) => void;

/** The first bytes of a transaction. */
const start =
  (...bytes: Buffer[]): Step =>
  (transcript) =>
    transcript.add(Buffer.concat(bytes), true);
/** More of them. */
const more =
  (...bytes: Buffer[]): Step =>
  (transcript) =>
    transcript.add(Buffer.concat(bytes), false);
const answer: Step = (transcript) => transcript.noteAnswer();
const ahead: Step = (transcript) => transcript.noteAnsweredAhead();
const cycle: Step = (transcript) => transcript.endCycle();
const end: Step = (transcript) => transcript.endTransaction(true);
const endAll: Step = (transcript) => transcript.endTransaction(false);
const beginAnswer: Step = (transcript) => transcript.beginAnswer();
const rewrite =
  (text: string): Step =>
  (transcript) =>
    transcript.noteRewritten(text);

const ROWS: readonly {
  readonly name: string;
  readonly steps: readonly Step[];
  /** null: nothing is kept */
  readonly bytes: readonly Buffer[] | null;
  readonly isUnanswered: boolean;
  readonly isComplete: boolean;
}[] = [
  { name: 'nothing is kept at first', steps: [], bytes: null, isUnanswered: false, isComplete: false },
  {
    name: 'all pieces are kept until an answer comes',
    steps: [start(ONE), more(TWO), more(THREE)],
    bytes: [ONE, TWO, THREE],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'an answer to a single piece leaves it whole',
    steps: [start(ONE), answer],
    bytes: [ONE],
    isUnanswered: false,
    isComplete: true,
  },
  {
    name: 'after an answer only the first piece is kept',
    steps: [start(ONE), more(TWO), answer],
    bytes: [ONE],
    isUnanswered: false,
    isComplete: false,
  },
  {
    name: 'bytes after an answer are not kept',
    steps: [start(ONE), answer, more(TWO)],
    bytes: [ONE],
    isUnanswered: false,
    isComplete: false,
  },
  {
    name: 'bytes in the middle of a transaction that was not kept are not kept either',
    steps: [more(ONE)],
    bytes: null,
    isUnanswered: false,
    isComplete: false,
  },
  {
    name: 'a new transaction begins anew',
    steps: [start(ONE), answer, start(TWO)],
    bytes: [TWO],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'what the proxy has answered itself need not be sent again',
    steps: [start(PARSE, SYNC), ahead],
    bytes: [SYNC],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'the proxy’s answer after one of a server’s is an answer like any other',
    steps: [start(PARSE), answer, ahead],
    bytes: [PARSE],
    isUnanswered: false,
    isComplete: true,
  },
  {
    name: 'at the end of a transaction nothing is kept of it',
    steps: [start(ONE), endAll],
    bytes: null,
    isUnanswered: false,
    isComplete: false,
  },
  {
    name: 'what came after a transaction in the same piece is kept',
    steps: [start(ONE, TWO), end],
    bytes: [TWO],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'what came after a transaction in other pieces is kept',
    steps: [start(ONE.subarray(0, 7)), more(ONE.subarray(7), TWO.subarray(0, 3)), more(TWO.subarray(3)), end],
    bytes: [TWO],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'what came as a piece of its own is kept',
    steps: [start(ONE), more(TWO), more(THREE), end],
    bytes: [TWO, THREE],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'the end of the transaction before does not answer what is kept',
    steps: [start(ONE, TWO), end, answer, beginAnswer],
    bytes: [TWO],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'what is sent after that does',
    steps: [start(ONE, TWO), end, beginAnswer, answer],
    bytes: [TWO],
    isUnanswered: false,
    isComplete: true,
  },
  {
    name: 'a transaction of several cycles is dropped as a whole',
    steps: [start(ONE, TWO, THREE), cycle, end],
    bytes: [THREE],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'half a message after a transaction is kept',
    steps: [start(ONE, TWO.subarray(0, 7)), end],
    bytes: [TWO.subarray(0, 7)],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'nothing is kept after a transaction of which a part was not',
    steps: [start(ONE), more(TWO), answer, end],
    bytes: null,
    isUnanswered: false,
    isComplete: false,
  },
  {
    name: 'a text that was rewritten into one that can be sent again stays',
    steps: [start(ONE), rewrite('SELECT 3')],
    bytes: [ONE],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'a text that was rewritten into one that can’t be is dropped',
    steps: [start(ONE), rewrite('VACUUM')],
    bytes: null,
    isUnanswered: false,
    isComplete: false,
  },
  {
    name: 'more than 1 MB is not kept',
    steps: [start(ONE), more(Buffer.alloc(1 << 20))],
    bytes: [ONE],
    isUnanswered: false,
    isComplete: false,
  },
  {
    name: 'many small pieces are all kept',
    steps: [start(ONE), ...Array.from({ length: 200 }, () => more(TWO))],
    bytes: [ONE, ...Array.from({ length: 200 }, () => TWO)],
    isUnanswered: true,
    isComplete: true,
  },
  {
    name: 'nothing is kept of a client that has left',
    steps: [start(ONE), more(TWO), (transcript) => transcript.forget()],
    bytes: null,
    isUnanswered: false,
    isComplete: false,
  },
];

for (const { name, steps, bytes, isUnanswered, isComplete } of ROWS) {
  test(`transcript: ${name}`, () => {
    const transcript = new Transcript();
    for (const step of steps) step(transcript);
    assert.deepEqual(transcript.bytes(), bytes === null ? null : Buffer.concat(bytes));
    assert.deepEqual([transcript.isUnanswered, transcript.isComplete], [isUnanswered, isComplete]);
  });
}

test('transcript: statements are counted until the next ReadyForQuery, or until the server is lost', () => {
  for (const end of ['endQuery', 'loseServer'] as const) {
    const transcript = new Transcript();
    transcript.noteStatementAnswered();
    transcript.noteStatementAnswered();
    transcript.noteTransactionEnd();
    assert.deepEqual([transcript.answered, transcript.mayHaveEnded], [2, true]);
    transcript[end]();
    assert.deepEqual([transcript.answered, transcript.mayHaveEnded], [0, false]);
  }
});

test('transcript: a rewritten text stays marked for the statements of the same pieces', () => {
  const transcript = new Transcript();
  transcript.add(Buffer.concat([ONE, TWO]), true);
  transcript.noteRewritten('SELECT 3');
  transcript.endTransaction(true);
  assert.equal(transcript.isRewritten, true);
  transcript.add(THREE, true);
  assert.equal(transcript.isRewritten, false);
});
