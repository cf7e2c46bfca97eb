import { Backend, Frontend, HEADER_BYTES } from '../wire/protocol.ts';

/**
 * What may be sent again behind a switchover: one plain statement that runs in a transaction of its own, or the first of
 * one, of which nothing has been told to the client. What is not recognized is not repeated.
 */

/** The most that is kept of a client for being sent again. */
export const REPLAY_BYTES = 1 << 20;

/** Statements that do all that they do inside their transaction, so that its end by FATAL leaves nothing behind. */
const PLAIN =
  /^(?:select|insert|update|delete|merge|with|values|table|begin|start|show|explain|set|reset|lock|notify|truncate|comment|grant|revoke|refresh)\b/i;
/** What CREATE, ALTER and DROP are about where they are such statements: no databases, tablespaces or subscriptions. */
const DEFINITION =
  /^(?:create|alter|drop)\s+(?:or\s+replace\s+|temp(?:orary)?\s+|unlogged\s+|unique\s+|recursive\s+|materialized\s+|foreign\s+)*(?:table|index|view|sequence|schema|function|procedure|aggregate|type|domain|trigger|rule|policy|role|user|group|extension)\b/i;

/** Statements that commit in the middle, or work outside of transactions. */
const COMMITS_INSIDE =
  /^(?:call|do|vacuum|analyze|analyse|reindex|cluster|create\s+subscription)\b|\bconcurrently\b/i;

/**
 * A Query, or messages of the extended protocol that execute once, or twice where the first is BEGIN, without those that
 * only ask (Describe, Flush) or tidy up (Close). Their end may not have come yet: without a Sync nothing is committed.
 */
const ONE_STATEMENT = /^(?:Q|(?:P?BE){1,2}P?B?S?)$/;
/** Without Execute nothing is done: a driver prepares a statement, or has not sent more yet. */
const NO_STATEMENT = /^[PDBCH]*S?$/;
const BEGIN = /^[\s(]*(?:begin|start)\b/i;

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

/**
 * What bytes of a client are that begin with one such statement, or with messages that execute none at all; null:
 * anything else.
 * @param textOf the text of a prepared statement that is there already, '' for the unnamed one; null: there is none
 */
export function replayable(bytes: Buffer, textOf: (name: string) => string | null): Replayable | null {
  let unnamed: string | null = null;
  let bound: string | null = null;
  const executed: (string | null)[] = [];
  let order = '';
  let isOver = false;
  let hasMore = false;
  for (let at = 0; at < bytes.length;) {
    const isCut = bytes.length - at < HEADER_BYTES;
    const end = isCut ? Infinity : at + 1 + bytes.readInt32BE(at + 1);
    if (end < at + HEADER_BYTES) return null;
    if (end > bytes.length) {
      hasMore = true;
      break;
    }
    const body = bytes.subarray(at + HEADER_BYTES, end);
    const type = bytes[at]!;
    at = end;
    hasMore = isOver;
    if (isOver) continue;
    order += String.fromCharCode(type);
    isOver = type === Frontend.Query || type === Frontend.Sync;
    if (type === Frontend.Query) executed.push(zeroEnded(body, 0));
    else if (type === Frontend.Parse && body[0] === 0) unnamed = zeroEnded(body, 1);
    else if (type === Frontend.Bind) {
      const name = zeroEnded(body, body.indexOf(0) + 1);
      bound = name === '' ? (unnamed ?? textOf('')) : textOf(name);
    } else if (type === Frontend.Execute) executed.push(bound);
  }
  if (NO_STATEMENT.test(order)) return { opensTransaction: false, isWhole: isOver, hasMore };
  if (!ONE_STATEMENT.test(order.replaceAll(/[DHC]/g, ''))) return null;
  if (!executed.every((text) => text !== null && isPlainStatement(text))) return null;
  const opensTransaction = executed.length > 1;
  if (opensTransaction && !BEGIN.test(withoutQuoted(executed[0]!)!)) return null;
  return { opensTransaction, isWhole: isOver, hasMore };
}

/**
 * Whether what runs can't have committed anything, as far as its beginning tells: several statements in one string are
 * one transaction too, but for a COMMIT among them.
 * @param bytes of a client since its transaction began; their end may be missing
 */
export function isAtomic(bytes: Buffer, textOf: (name: string) => string | null): boolean {
  let isKnown = false;
  let end = 0;
  for (let at = 0; at + HEADER_BYTES <= bytes.length; at = end) {
    const type = bytes[at];
    end = at + 1 + bytes.readInt32BE(at + 1);
    if (end < at + HEADER_BYTES) return false;
    const body = bytes.subarray(at + HEADER_BYTES, end);
    let text: string | null;
    if (type === Frontend.Query) text = zeroEnded(body, 0);
    else if (type === Frontend.Parse) text = zeroEnded(body, body.indexOf(0) + 1);
    else if (type === Frontend.Bind) {
      const name = zeroEnded(body, body.indexOf(0) + 1);
      if (name === '') continue;
      text = textOf(name);
    } else continue;
    const plain = text === null ? null : withoutQuoted(text);
    if (plain === null || COMMITS_INSIDE.test(plain.trim())) return false;
    isKnown = true;
  }
  return isKnown;
}

function zeroEnded(body: Buffer, start: number): string {
  const end = body.indexOf(0, start);
  return body.toString('latin1', start, end < 0 ? body.length : end);
}

/** Names of the statements that Parse messages in these bytes make. */
export function parsedNames(bytes: Buffer): string[] {
  const names: string[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; at += 1 + bytes.readInt32BE(at + 1))
    if (bytes[at] === Frontend.Parse) names.push(zeroEnded(bytes, at + HEADER_BYTES));
  return names.filter((name) => name !== '');
}

/** One statement, of a kind that is known to be transactional. */
export function isPlainStatement(sql: string): boolean {
  const text = withoutQuoted(sql);
  if (text === null) return false;
  const statement = text.trim().replace(/;\s*$/, '').trim();
  if (statement.includes(';') || /\bconcurrently\b/i.test(statement)) return false;
  return PLAIN.test(statement.replace(/^[\s(]+/, '')) || DEFINITION.test(statement);
}

// A comment without an end goes to the end of the text, or the rest would be searched again for each beginning of one.
const QUOTED = /'[^']*'|"[^"]*"|--[^\n]*|\/\*(?:[^*]|\*(?!\/))*(?:\*\/|$)|\$([A-Za-z_]\w*)?\$/g;

/** The text without literals, quoted names and comments; null where it is not certain what is in them. */
function withoutQuoted(sql: string): string | null {
  let out = '';
  let at = 0;
  QUOTED.lastIndex = 0;
  for (let match = QUOTED.exec(sql); match !== null; match = QUOTED.exec(sql)) {
    const found = match[0];
    // a backslash may escape the quote, in E'' and with standard_conforming_strings = off; comments may be nested
    if (found.startsWith("'") && found.includes('\\')) return null;
    if (found.startsWith('/*') && (found.includes('/*', 2) || found.length < 4 || !found.endsWith('*/')))
      return null;
    out += `${sql.slice(at, match.index)} `;
    at = QUOTED.lastIndex;
    if (found.startsWith('$')) {
      const end = sql.indexOf(found, at);
      if (end < 0) return null;
      at = end + found.length;
      QUOTED.lastIndex = at;
    }
  }
  const rest = out + sql.slice(at);
  return /['"]|\/\*/.test(rest) ? null : rest;
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
  for (let at = 0; at + HEADER_BYTES <= answer.length; at += 1 + answer.readInt32BE(at + 1)) {
    const type = answer[at]!;
    if (type === Backend.CommandComplete) {
      if (BEGIN.test(zeroEnded(answer, at + HEADER_BYTES))) continue;
      isExecuted = true;
      if (isWhole) isForgettable = false;
    } else if (!SAYS_NOTHING.has(type)) isForgettable = false;
  }
  return { isForgettable, isExecuted };
}
