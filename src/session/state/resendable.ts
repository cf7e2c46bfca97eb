/**
 * Which of a client's bytes can be resent to another server: a statement in a transaction of its own, or the first of a
 * transaction, if the client has had no answer to it. A statement that is not recognized is never resent.
 */
import { ANY_SIZE, frames, frameSize } from '../../wire/frame.ts';
import { Backend, Frontend } from '../../wire/protocol.ts';
import { isBegin, isRepeatable, kindOf } from '../../sql/kind.ts';
import { statementsOf } from '../../sql/statements.ts';

/**
 * The types of messages that execute one statement, or BEGIN and one statement: a Query, or messages of the extended
 * protocol without those that only ask (Describe, Flush) or tidy up (Close). The last ones may be missing: nothing is
 * committed without a Sync.
 */
const ONE_STATEMENT = /^(?:Q|(?:P?BE){1,2}P?B?S?)$/;
/** The same for messages without an Execute: a driver prepares a statement, or has not sent the rest yet. */
const NO_STATEMENT = /^[PDBCH]*S?$/;

/** A client's bytes that can be resent. */
export interface Resendable {
  /** a BEGIN and the first statement after it: if the statement fails, the transaction stays open */
  readonly opensTransaction: boolean;
  /** the Query or Sync that ends it has arrived; nothing can be committed before that */
  readonly isWhole: boolean;
  /** more bytes have arrived after it; a server that ended earlier has executed none of them */
  readonly hasMore: boolean;
}

/** Looks up the text of an existing prepared statement, '' for the unnamed one. Null: none. */
export type TextOf = (name: string) => string | null;

/** One message of a client's bytes. */
interface Message {
  readonly type: number;
  /** the position after its last byte */
  readonly end: number;
  /** its end has not arrived */
  readonly isCut: boolean;
  /** the SQL text that it executes; undefined: it executes nothing; null: the text is unknown */
  readonly text: string | null | undefined;
  /** the SQL text that a Bind prepares for execution; null: unknown, or the message is not a Bind */
  readonly bound: string | null;
}

/** The messages in these bytes, and the SQL text that each executes. The last message may be cut off. */
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

/** The server answers such a message with ReadyForQuery. A cycle is the messages up to and including it. */
function endsCycle(type: number): boolean {
  return type === Frontend.Query || type === Frontend.Sync || type === Frontend.FunctionCall;
}

/**
 * Describes bytes that begin with a statement that can be resent, or with messages that execute nothing. Null: other bytes.
 */
export function resendable(bytes: Buffer, textOf: TextOf): Resendable | null {
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
  if (opensTransaction && !isBegin(executed[0] ?? '')) return null;
  return { opensTransaction, isWhole, hasMore };
}

/** The position after the first cycle of the bytes; negative: the cycle's end has not arrived. */
export function cycleEnd(bytes: Buffer): number {
  for (let at = 0, size = frameSize(bytes, 0, ANY_SIZE); size > 0; size = frameSize(bytes, at, ANY_SIZE)) {
    const type = bytes.readUInt8(at);
    at += size;
    if (at > bytes.length) return -1;
    if (endsCycle(type)) return at;
  }
  return -1;
}

/** The position after each cycle of the bytes; and whether the last message would end another one, but is cut off. */
export function cyclesOf(bytes: Buffer): { readonly ends: readonly number[]; readonly isCut: boolean } {
  const ends: number[] = [];
  for (const { type, end, isCut } of messagesOf(bytes, () => null)) {
    if (isCut) return { ends, isCut: endsCycle(type) };
    if (endsCycle(type)) ends.push(end);
  }
  return { ends, isCut: false };
}

/**
 * Whether nothing can have been committed even if all of these bytes were executed: they only prepare, ask or change the
 * session, or they open a transaction and do not end it.
 */
export function isUncommitted(bytes: Buffer, textOf: TextOf): boolean {
  return uncommittedBytes(bytes, textOf, true) === bytes.length;
}

/**
 * The length of the initial messages that can have committed nothing; all bytes if that is true of each message.
 * @param mayBegin messages may open a transaction
 */
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

/** A cycle that began outside of a transaction block, and whose server ended with FATAL. */
export interface Interrupted {
  /** the bytes that the client has sent for it, and perhaps for later cycles */
  readonly bytes: Buffer;
  /** false: the client has sent more for it than these bytes */
  readonly isComplete: boolean;
  /** statements that the server has answered since the cycle began */
  readonly answered: number;
  /** statements up to the end of the cycle that were sent and are not answered */
  readonly pending: number;
}

/**
 * Whether nothing of the cycle can have been committed. The caller must look for a COMMIT among several statements that the
 * server has answered.
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
      // Several statements in one string are one transaction. The last one is answered after the commit of all.
      if (type === Frontend.Query) return answered < Math.max(1, statements.length);
      executed++;
    }
    // Sync commits when everything before it has been answered.
    if (type === Frontend.Sync) return pending > 0 || answered === 0;
  }
  if (isComplete) return true;
  // only the rest of the single statement's parameters is missing
  const statements = bound === null ? null : statementsOf(bound);
  return answered + pending === 1 && executed <= 1 && statements !== null && !statements.some(isOwn);
}

function zeroEnded(body: Buffer, start: number): string {
  const end = body.indexOf(0, start);
  return body.toString('latin1', start, end < 0 ? body.length : end);
}

/** The names of the prepared statements that these bytes create. */
export function parsedNames(bytes: Buffer): string[] {
  const names: string[] = [];
  for (const { type, payload } of frames(bytes))
    if (type === Frontend.Parse) names.push(zeroEnded(payload, 0));
  return names.filter((name) => name !== '');
}

/** Replies that tell nothing about the effect of a statement. */
const WITHOUT_EFFECT: ReadonlySet<number> = new Set([
  Backend.CloseComplete,
  Backend.ParseComplete,
  Backend.BindComplete,
  Backend.ParameterDescription,
  Backend.RowDescription,
  Backend.NoData,
  Backend.DataRow,
]);

/**
 * Whether these server replies can be dropped because they report no lasting effect: nothing was committed, and no warning was
 * sent, which may be about a commit.
 * @param isWhole as in Resendable: a statement without its end may have been executed, but is not committed
 */
export function isForgettable(answer: Buffer, isWhole: boolean): boolean {
  for (const { type, payload } of frames(answer)) {
    if (WITHOUT_EFFECT.has(type)) continue;
    if (type !== Backend.CommandComplete) return false;
    if (isWhole && !isBegin(zeroEnded(payload, 0))) return false;
  }
  return true;
}
