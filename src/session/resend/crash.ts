/**
 * The messages that a client has sent to a server that vanished without an error: which are answered with which error, and
 * which are resent to the next writer. No side effects.
 */
import { ClientError, clientErrors } from '../../wire/errors.ts';
import { Frontend } from '../../wire/protocol.ts';
import { EXECUTES, Request } from '../state/entry.ts';
import type { Outstanding } from '../state/outstanding.ts';
import { cyclesOf, isUncommitted, resendable, uncommittedBytes, type TextOf } from '../state/resendable.ts';
import type { Transcript } from '../state/transcript.ts';

/** The circumstances in which the server vanished. */
export interface Crash {
  /** the server was in a transaction block at its last ReadyForQuery */
  readonly inTransaction: boolean;
  /** the last bytes for the server could not be sent */
  readonly sendFailed: boolean;
  /** the end of the last message had not been sent to the server */
  readonly isCut: boolean;
  /** switchover_retry allows resending */
  readonly mayRetry: boolean;
  readonly textOf: TextOf;
}

export interface CrashPlan {
  /** the answers to the first cycles, one each */
  readonly errors: readonly ClientError[];
  /** the answer to all other cycles, and to a transaction that is open */
  readonly otherError: ClientError;
  /** the bytes that are resent, up to the client's last one; null: none */
  readonly again: Buffer | null;
}

export function planAfterCrash(transcript: Transcript, outstanding: Outstanding, crash: Crash): CrashPlan {
  const { requests, unsynced, inCopy } = outstanding;
  const lost = clientErrors.transactionLost();
  const unknown = clientErrors.outcomeUnknown();
  const bytes = transcript.isUnanswered && !crash.inTransaction ? transcript.bytes() : null;
  const isExecuting = requests.some((each) => EXECUTES.has(each));
  if (!isExecuting && transcript.answered === 0) {
    const again = crash.mayRetry && !outstanding.empty ? bytes : null;
    return { errors: [], otherError: lost, again };
  }
  if (bytes !== null) return planOf(bytes, transcript.isRewritten, outstanding, crash);
  const errors = requests.filter((each) => each <= Request.Sync).map(() => unknown);
  // a server executes nothing of a message whose end it has not received
  if (crash.isCut && !unsynced && !inCopy && errors.length > 0) errors[errors.length - 1] = lost;
  return { errors, otherError: unknown, again: null };
}

/** A plan for bytes that are all that the client has sent, none of them answered. */
function planOf(
  bytes: Buffer,
  isRewritten: boolean,
  { readies, unsynced }: Outstanding,
  { sendFailed, isCut, mayRetry, textOf }: Crash,
): CrashPlan {
  const lost = clientErrors.transactionLost();
  const unknown = clientErrors.outcomeUnknown();
  const cycles = cyclesOf(bytes);
  const { ends } = cycles;
  const isCutAtServer = cycles.isCut && isCut;
  /** cycles that the server may have received whole */
  const whole = readies - (isCutAtServer ? 1 : 0);
  if (whole < 0 || whole > ends.length) return { errors: [], otherError: unknown, again: null };
  const startOf = (cycle: number): number => (cycle === 0 ? 0 : (ends[cycle - 1] ?? bytes.length));
  const cycle = (at: number): Buffer => bytes.subarray(startOf(at), ends[at] ?? bytes.length);
  // A server executes a message that has arrived whole, and commits it when a Sync follows.
  const mayMove = (at: number): boolean =>
    isQuery(cycle(at)) || startOf(at) === bytes.length || resendable(cycle(at), textOf) !== null;
  /** the first cycle that is resent */
  let first = whole;
  const isOpenMovable = !unsynced || mayMove(whole);
  if (isOpenMovable && sendFailed && !unsynced && !isCutAtServer && whole > 0 && mayMove(whole - 1)) first--;
  const isHarmless =
    !isRewritten && isOpenMovable && isUncommitted(bytes.subarray(0, startOf(first)), textOf);
  if (isHarmless) first = 0;
  // The first messages certainly left nothing behind if they changed nothing but their session.
  const harmless = isRewritten ? 0 : uncommittedBytes(bytes, textOf, false);
  const errors = ends.slice(0, first).map((end) => (end <= harmless ? lost : unknown));
  if (isOpenMovable && mayRetry && (first < readies || unsynced))
    return { errors, otherError: unknown, again: bytes.subarray(startOf(first)) };
  return { errors, otherError: isOpenMovable ? lost : unknown, again: null };
}

function isQuery(bytes: Buffer): boolean {
  return bytes[0] === Frontend.Query;
}
