/**
 * A client's server reports a shutdown, or that it is not the writer. Two decisions without side effects: the first when the
 * error arrives, the second when it is known whether the server's node is gone.
 */
import { ClientError, clientErrors } from '../../wire/errors.ts';
import { EXECUTES, Request } from '../state/entry.ts';
import type { Outstanding } from '../state/outstanding.ts';
import {
  cycleEnd,
  isForgettable,
  isRolledBack,
  resendable,
  type Resendable,
  type TextOf,
} from '../state/resendable.ts';
import type { Transcript } from '../state/transcript.ts';

/** The circumstances in which an error arrives. */
export interface Circumstances {
  /** the server was in a transaction block at its last ReadyForQuery */
  readonly inTransaction: boolean;
  /** the client keeps its server until it leaves */
  readonly isSession: boolean;
  /** switchover_retry allows resending */
  readonly mayRetry: boolean;
  /** the nodes of the cluster are being asked about the error */
  readonly isDoubted: boolean;
  /** the server's messages before the error that the client has not been sent */
  readonly before: Buffer;
  readonly textOf: TextOf;
}

/**
 * The statement had no effect.
 * - `resend`: it goes to the writer, if that is another node. The old server is closed, or `keepsServer`: it goes back to its
 * pool.
 * - `park`: the same, but the client can't do without its session or transaction, so the server waits for the verdict as well.
 */
export interface Harmless {
  readonly kind: 'resend' | 'park';
  /** the bytes to be handled again, beginning with the statement */
  readonly again: Buffer;
  readonly isWhole: boolean;
  readonly keepsServer: boolean;
}

/**
 * The client loses something.
 * - `lost`: its open work was certainly rolled back.
 * - `unknown`: its work may have been committed.
 * - `interrupted`: the running statement may have committed a part of its work.
 */
export interface Harmful {
  readonly kind: 'lost' | 'unknown' | 'interrupted';
  readonly error: ClientError;
  /** the messages after the interrupted one, none of them executed by the server; null: there are none */
  readonly again: Buffer | null;
}

/** `pass`: the client gets the error, and its server stays. */
export type Verdict = { readonly kind: 'pass' } | Harmless | Harmful;

export function isHarmless(verdict: Harmless | Harmful): verdict is Harmless {
  return verdict.kind === 'resend' || verdict.kind === 'park';
}

const PASS: Verdict = { kind: 'pass' };

/** Codes of errors with which a statement is refused, or ended, without an effect. 57P02 reports a crash. */
const WITHOUT_EFFECT = new Set(['57P01', '57P03', '25006']);

/** The verdict on an error that `isAlarm`. */
export function verdictOf(
  error: ClientError,
  transcript: Transcript,
  outstanding: Outstanding,
  circumstances: Circumstances,
): Verdict {
  const isFatal = error.severity === 'FATAL';
  const sendable = WITHOUT_EFFECT.has(error.code) ? sendableOf(isFatal, transcript, circumstances) : null;
  if (sendable === null) {
    if (!isFatal) return PASS;
    const again = notBegun(transcript, outstanding, circumstances);
    return { ...lossOf(error, transcript, outstanding, circumstances), again };
  }
  const { bytes: again, isWhole, opensTransaction } = sendable;
  if (isFatal) return { kind: 'resend', again, isWhole, keepsServer: false };
  if (!circumstances.isDoubted) return PASS;
  // In session mode, or inside a transaction, the server holds state that the client needs.
  const isBound = circumstances.isSession || opensTransaction;
  if (!isBound) return { kind: 'resend', again, isWhole, keepsServer: isWhole };
  return isWhole ? { kind: 'park', again, isWhole, keepsServer: true } : PASS;
}

/**
 * The consequence of the nodes' verdict.
 * - `resend`: the statement goes to the new writer.
 * - `tell`: the client gets an error about its loss, and stays.
 * - `return`: the parked server goes back to the client, which gets the error.
 * - `refuse`: the client gets the error, and stays without its server.
 * - `close`: the client gets the error and is disconnected, as by the server.
 */
export type Outcome = 'resend' | 'tell' | 'return' | 'refuse' | 'close';

/** The state of the client when its server failed. */
export interface Left {
  /** the error ended the server */
  readonly isFatal: boolean;
  readonly isSession: boolean;
  /** nothing was outstanding and no transaction was open */
  readonly isIdle: boolean;
}

/** @param isGone the server's node is gone, or no longer the writer */
export function outcomeOf(verdict: Harmless | Harmful, isGone: boolean, left: Left): Outcome {
  if (isGone) return isHarmless(verdict) ? 'resend' : 'tell';
  if (verdict.kind === 'park') return 'return';
  if (left.isIdle && !left.isSession) return 'tell';
  return left.isFatal ? 'close' : 'refuse';
}

/** The bytes that can be resent; null: they are more than one statement without effect. */
function sendableOf(
  isFatal: boolean,
  transcript: Transcript,
  { inTransaction, mayRetry, before, textOf }: Circumstances,
): (Resendable & { readonly bytes: Buffer }) | null {
  if (!transcript.isUnanswered || !mayRetry || inTransaction) return null;
  const bytes = transcript.bytes();
  const found = bytes === null ? null : resendable(bytes, textOf);
  if (bytes === null || found === null || !isForgettable(before, found.isWhole)) return null;
  // a server that stays executes the messages after the statement
  return isFatal || !found.hasMore ? { ...found, bytes } : null;
}

/** The bytes after the statement that FATAL ended; null: none, or none that may be resent. */
function notBegun(
  transcript: Transcript,
  outstanding: Outstanding,
  { inTransaction, mayRetry }: Circumstances,
): Buffer | null {
  if (!transcript.isUnanswered || !mayRetry || inTransaction || outstanding.readies === 0) return null;
  const bytes = transcript.bytes();
  if (bytes === null) return null;
  const end = cycleEnd(bytes);
  return end < 0 || end === bytes.length ? null : bytes.subarray(end);
}

/** Claims a rollback only where that is certain. */
function lossOf(
  original: ClientError,
  transcript: Transcript,
  { requests }: Outstanding,
  { inTransaction, textOf }: Circumstances,
): { readonly kind: 'lost' | 'unknown' | 'interrupted'; readonly error: ClientError } {
  const unknown = { kind: 'unknown', error: clientErrors.outcomeUnknown() } as const;
  if (transcript.mayHaveEnded) return unknown;
  const lost = { kind: 'lost', error: clientErrors.transactionLost() } as const;
  if (inTransaction) return lost;
  const end = requests.findIndex((each) => each <= Request.Sync);
  const pending = requests
    .slice(0, end < 0 ? undefined : end + 1)
    .filter((each) => EXECUTES.has(each)).length;
  const { answered, isComplete } = transcript;
  if (pending === 0 && answered === 0) return lost;
  const bytes = transcript.bytes();
  if (bytes !== null && isRolledBack({ bytes, isComplete, answered, pending }, textOf)) return lost;
  if (answered > 0) return unknown;
  return { kind: 'interrupted', error: clientErrors.interrupted(original.message) };
}
