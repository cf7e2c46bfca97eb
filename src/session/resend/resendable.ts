import { ANY_SIZE, frames, frameSize } from '../../wire/frame.ts';
import { Backend, Frontend } from '../../wire/protocol.ts';
import { isBegin, isRepeatable, kindOf } from '../../sql/kind.ts';
import { statementsOf } from '../../sql/statements.ts';

/**
 * What may be sent again behind a switchover: one plain statement that runs in a transaction of its own, or the first of
 * one, of which nothing has been told to the client. What is not recognized is not repeated.
 */

/**
 * A Query, or messages of the extended protocol that execute once, or twice where the first is BEGIN, without those that
 * only ask (Describe, Flush) or tidy up (Close). Their end may not have come yet: without a Sync nothing is committed.
 */
const ONE_STATEMENT = /^(?:Q|(?:P?BE){1,2}P?B?S?)$/;
/** Without Execute nothing is done: a driver prepares a statement, or has not sent more yet. */
const NO_STATEMENT = /^[PDBCH]*S?$/;
/** What bytes of a client are that can be sent again. */
export interface Replayable {
  /** a BEGIN and the first statement behind it: the transaction is open when that has failed */
  readonly opensTransaction: boolean;
  /** what makes the server end it has come, a Query or a Sync: before that nothing can be committed */
  readonly isWhole: boolean;
  /**
   * more has come behind the ReadyForQuery that ends it, or half a message: a server that has ended before has done
   * nothing about it
   */
  readonly hasMore: boolean;
}

/** Gives the text of a prepared statement that is there already, '' for the unnamed one; null: there is none. */
export type TextOf = (name: string) => string | null;

/** One message of a client's bytes. */
interface Message {
  readonly type: number;
  /** where it ends */
  readonly end: number;
  /** the end has not come */
  readonly isCut: boolean;
  /** what it executes; undefined: nothing; null: something that is not known */
  readonly text: string | null | undefined;
  /** what a Bind makes ready to be executed; null: it is not known, or the message is no Bind */
  readonly bound: string | null;
}

/** The messages of these bytes, and what each executes. The last one may be cut. */
function* messagesOf(bytes: Buffer, textOf: TextOf): Generator<Message> {
  const parsed = new Map<string, string>();
  const portals = new Map<string, string | null>();
  for (const { type, end, isCut, payload: body } of frames(bytes)) {
    const name = type === Frontend.Query ? '' : zeroEnded(body, 0);
    const second = body.indexOf(0) + 1;
    let text: string | null | undefined;
    let bound: string | null = null;
    if (type === Frontend.Query) text = isCut ? null : zeroEnded(body, 0);
    else if (type === Frontend.FunctionCall) text = null;
    else if (type === Frontend.Parse) parsed.set(name, zeroEnded(body, second));
    else if (type === Frontend.Bind) {
      const statement = zeroEnded(body, second);
      bound = parsed.get(statement) ?? textOf(statement);
      portals.set(name, bound);
    } else if (type === Frontend.Execute) text = portals.get(name) ?? null;
    yield { type, end, isCut, text, bound };
  }
}

/** ReadyForQuery answers it: it ends a cycle. */
function endsCycle(type: number): boolean {
  return type === Frontend.Query || type === Frontend.Sync || type === Frontend.FunctionCall;
}

/**
 * What bytes of a client are that begin with one such statement, or with messages that execute none at all; null:
 * anything else.
 */
export function replayable(bytes: Buffer, textOf: TextOf): Replayable | null {
  const executed: (string | null)[] = [];
  let order = '';
  let isWhole = false;
  let seen = 0;
  for (const { type, end, isCut, text } of messagesOf(bytes, textOf)) {
    if (isCut) break;
    order += String.fromCharCode(type);
    if (text !== undefined) executed.push(text);
    seen = end;
    isWhole = endsCycle(type);
    if (isWhole) break;
  }
  const hasMore = seen < bytes.length;
  if (NO_STATEMENT.test(order)) return { opensTransaction: false, isWhole, hasMore };
  if (!ONE_STATEMENT.test(order.replaceAll(/[DHC]/g, ''))) return null;
  if (!executed.every((text) => text !== null && isRepeatable(text))) return null;
  const opensTransaction = executed.length > 1;
  if (opensTransaction && !isBegin(executed[0]!)) return null;
  return { opensTransaction, isWhole, hasMore };
}

/** Where the first cycle of the bytes ends; negative: its end has not come. */
export function cycleEnd(bytes: Buffer): number {
  for (let at = 0, size = frameSize(bytes, 0, ANY_SIZE); size > 0; size = frameSize(bytes, at, ANY_SIZE)) {
    const type = bytes[at]!;
    at += size;
    if (at > bytes.length) return -1;
    if (endsCycle(type)) return at;
  }
  return -1;
}

/**
 * Where each cycle of the bytes ends, that is after each Query, FunctionCall and Sync; and whether the last message is
 * one of these and has been cut.
 */
export function cyclesOf(bytes: Buffer): { readonly ends: readonly number[]; readonly isCut: boolean } {
  const ends: number[] = [];
  for (const { type, end, isCut } of messagesOf(bytes, () => null)) {
    if (isCut) return { ends, isCut: endsCycle(type) };
    if (endsCycle(type)) ends.push(end);
  }
  return { ends, isCut: false };
}

/**
 * Whether nothing can have been committed, were all of the bytes executed: they only prepare, ask and change the session,
 * or (`mayBegin`) they open a transaction and do not end it.
 */
export function isUncommitted(bytes: Buffer, textOf: TextOf): boolean {
  return uncommittedBytes(bytes, textOf, true) === bytes.length;
}

/** How many bytes at the beginning are such, in whole messages; all of them where that is true of each message. */
export function uncommittedBytes(bytes: Buffer, textOf: TextOf, mayBegin: boolean): number {
  let isOpen = false;
  let seen = 0;
  for (const { text, isCut, end } of messagesOf(bytes, textOf)) {
    if (!isCut && text !== undefined) {
      const statements = text === null ? null : statementsOf(text);
      if (statements === null) return seen;
      for (const statement of statements) {
        const kind = kindOf(statement);
        if (kind === 'begin' && mayBegin) isOpen = true;
        else if (kind === 'rollback') isOpen = false;
        else if (kind !== 'session' && !(kind === 'plain' && isOpen)) return seen;
      }
    }
    seen = end;
  }
  return bytes.length;
}

/** A cycle that began outside of a transaction block, and whose server has ended by FATAL. */
export interface Interrupted {
  /** what the client has sent of it, and perhaps of later ones */
  readonly bytes: Buffer;
  /** false: there is more of it than these bytes */
  readonly isComplete: boolean;
  /** statements that the server has answered since the cycle began */
  readonly answered: number;
  /** statements that have been sent, and are not answered, up to the end of the cycle */
  readonly pending: number;
}

/**
 * Whether it is certain that nothing of the cycle has been committed. A COMMIT among several statements is the caller's
 * affair: the server has answered it.
 */
export function isRolledBack(cycle: Interrupted, textOf: TextOf): boolean {
  const { bytes, isComplete, answered, pending } = cycle;
  const isOwn = (statement: string): boolean => kindOf(statement) === 'other';
  let bound: string | null = null;
  let executed = 0;
  for (const message of messagesOf(bytes, textOf)) {
    bound = message.bound ?? bound;
    const { type, text } = message;
    if (text !== undefined) {
      const statements = text === null ? null : statementsOf(text);
      if (statements === null || statements.some(isOwn)) return false;
      // Several statements in one string are one transaction. The last one is answered after all have been committed.
      if (type === Frontend.Query) return answered < Math.max(1, statements.length);
      executed++;
    }
    // Sync commits when everything before it has been answered.
    if (type === Frontend.Sync) return pending > 0 || answered === 0;
  }
  if (isComplete) return true;
  // All that is not known is the rest of the one statement's parameters.
  const statements = bound === null ? null : statementsOf(bound);
  return answered + pending === 1 && executed <= 1 && statements !== null && !statements.some(isOwn);
}

function zeroEnded(body: Buffer, start: number): string {
  const end = body.indexOf(0, start);
  return body.toString('latin1', start, end < 0 ? body.length : end);
}

/** Names of the statements that Parse messages in these bytes make. */
export function parsedNames(bytes: Buffer): string[] {
  const names: string[] = [];
  for (const { type, payload } of frames(bytes))
    if (type === Frontend.Parse) names.push(zeroEnded(payload, 0));
  return names.filter((name) => name !== '');
}

const SAYS_NOTHING: ReadonlySet<number> = new Set([
  Backend.CloseComplete,
  Backend.ParseComplete,
  Backend.BindComplete,
  Backend.ParameterDescription,
  Backend.RowDescription,
  Backend.NoData,
  Backend.DataRow,
]);

/** What a server has said of a statement before it went. */
export interface Said {
  /** all of it can be forgotten: nothing is done yet, and there is no warning */
  readonly isForgettable: boolean;
  /** the statement was executed, whether or not that has been committed */
  readonly isExecuted: boolean;
}

/** @param isWhole as in Replayable: what has no end yet may have been executed, and is not committed */
export function said(answer: Buffer, isWhole: boolean): Said {
  let isForgettable = true;
  let isExecuted = false;
  for (const { type, payload } of frames(answer)) {
    if (type === Backend.CommandComplete) {
      if (isBegin(zeroEnded(payload, 0))) continue;
      isExecuted = true;
      if (isWhole) isForgettable = false;
    } else if (!SAYS_NOTHING.has(type)) isForgettable = false;
  }
  return { isForgettable, isExecuted };
}
