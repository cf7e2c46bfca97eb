import { hash } from 'node:crypto';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import {
  CLOSE_COMPLETE,
  FLUSH,
  PARSE_COMPLETE,
  closeStatement,
  describeStatement,
  message,
  readyForQuery,
  resultShape,
} from '../../wire/messages.ts';
import { Backend, Frontend, HEADER_BYTES, TxStatus } from '../../wire/protocol.ts';
import type { Server } from '../../pool/server.ts';
import { deallocatedName, dropsAll, mayDeallocate } from '../../sql/deallocate.ts';
import type { Client } from '../client.ts';
import { link, unlinkIfDone } from '../link/link.ts';
import { Request, type Effect } from '../relay/outstanding.ts';
import { answerError } from '../query/query.ts';
import {
  adoptUntracked,
  forgetUntrackedBefore,
  forgetUntracked,
  reviewNamed,
  reviewUnnamed,
  reviewUntracked,
} from './rejudge.ts';
import { Handled } from '../relay/handled.ts';
import { forwardRequest, nameWithoutEnd } from '../relay/relay-client.ts';
import type { Generations } from './generations.ts';
import { parseMessage, SharedStatement } from './shared.ts';
import { bringUnnamed, type UnnamedStatement } from './unnamed.ts';

/**
 * Named prepared statements across servers (pgbouncer's max_prepared_statements): a client's statement is kept as the
 * shared statement that it is, prepared on whichever server gets its Bind, and called there by the shared name.
 */
export interface ClientStatement {
  /** what servers have of it */
  shared: SharedStatement;
  /** what the client's Parse said, where user functions have changed that; null: they have not */
  original: SharedStatement | null;
  /** the database that the Parse was routed to; null without user functions */
  route: string | null;
  /** position of its Parse in the ledger */
  readonly sentAt: number;
  /** its Parse failed, or was skipped behind an error: no server need have it, and its next use prepares it */
  isUnmade: boolean;
  /** what its client was told that its result is, as a hash; null: the client has not asked, or there is none */
  shape: string | null;
  /** under which functions it was judged (rejudge.ts) */
  originGeneration: number;
  targetGeneration: number;
}

/** A statement that servers have, or the client's name of one. */
export type Undecided = SharedStatement | UnnamedStatement | string;

/** An Effect of something that either happens or does not. */
type Decided = Omit<Effect, 'described'>;

/** In place of the position of a Parse on the server that is answered. */
const ANSWERED = -1;

/**
 * Whether this client's named statements are tracked. In session mode a client keeps its server and there is no need;
 * but a routing function or a switchover may move it. Functions come and go, and the statements that a session has stay
 * what they are.
 */
export function isTracked(client: Client): boolean {
  if (!mayBeTracked(client)) return false;
  if (client.inCluster || client.pool!.mode !== 'session') return true;
  if (client.isSessionTracked) return true;
  client.isSessionTracked = client.statements !== null || client.functions !== null;
  client.hasUntracked ||= !client.isSessionTracked;
  return client.isSessionTracked;
}

/** Whether statements can be tracked, now or when user functions come to apply: their texts are kept. */
export function mayBeTracked(client: Client): boolean {
  return client.replication === 'none' && client.context.config.settings.max_prepared_statements !== 0;
}

/**
 * A named Parse, whole.
 * @param original as the client sent it
 */
export function parseNamed(client: Client, bytes: Buffer, original: Buffer, judged: Generations): Handled {
  if (client.outstanding.skipping) return Handled.Discard;
  const nameEnd = bytes.indexOf(0, HEADER_BYTES);
  if (nameEnd < 0) {
    nameWithoutEnd(client, Frontend.Parse);
    return Handled.Later;
  }
  const name = bytes.toString('latin1', HEADER_BYTES, nameEnd);
  if (awaitsDiscard(client) || isInDoubt(client, name, true)) return waitForAnswers(client);
  if (find(client, name)?.isUnmade === false)
    return nameError(client, clientErrors.duplicateStatement(nameText(name)));
  if (!link(client)) return Handled.Later;
  const { statements } = client.context;
  const shared = statements.acquire(bytes.subarray(nameEnd + 1));
  if (isInDoubt(client, shared)) {
    statements.release(shared);
    return waitForAnswers(client);
  }
  const statement: ClientStatement = {
    shared,
    original: original === bytes ? null : client.context.originals.acquire(original.subarray(nameEnd + 1)),
    route: client.functions === null ? null : client.database!.name,
    sentAt: client.outstanding.nextPosition,
    isUnmade: false,
    shape: null,
    originGeneration: judged.originGeneration,
    targetGeneration: judged.targetGeneration,
  };
  take(client, name);
  (client.statements ??= new Map()).set(name, statement);
  forgetUntracked(client, name);
  client.database!.stats.clientParseCount++;
  client.clock.noteRequest(Request.Parse, client.outstanding, client.database!.stats);
  const done = undecided(client, name);
  const effect = {
    undo: () => {
      done();
      statement.isUnmade = true;
    },
    done,
  };
  const server = client.server!;
  if (touch(server, shared)) {
    if (client.outstanding.answered(Request.Parse, PARSE_COMPLETE, effect)) client.sendAhead(PARSE_COMPLETE);
    return Handled.Done;
  }
  prepareOn(client, server, shared, effect);
  return Handled.Done;
}

/** Bind, Describe or Close: those of a named statement get the shared name. */
export function handlePrepared(client: Client, type: number, size: number, bytes: Buffer): Handled {
  const request =
    type === Frontend.Bind ? Request.Bind : type === Frontend.Describe ? Request.Describe : Request.Close;
  let nameStart = HEADER_BYTES;
  if (type === Frontend.Bind) {
    const portalEnd = bytes.indexOf(0, HEADER_BYTES);
    if (portalEnd < 0) return Handled.Incomplete;
    nameStart = portalEnd + 1;
  } else {
    if (bytes.length <= HEADER_BYTES) return Handled.Incomplete;
    // a portal lives and dies on its server
    if (bytes[HEADER_BYTES] !== 0x53) return forwardRequest(client, request);
    nameStart = HEADER_BYTES + 1;
  }
  const nameEnd = bytes.indexOf(0, nameStart);
  if (nameEnd < 0) return Handled.Incomplete;
  if (client.outstanding.skipping) return Handled.Discard;
  const name = bytes.toString('latin1', nameStart, nameEnd);
  if (!isTracked(client)) return reviewUntracked(client, type, name) ?? forwardRequest(client, request);
  if (name === '') {
    const held = request === Request.Close ? null : reviewUnnamed(client, type);
    if (held !== null) return held;
    if (!link(client)) return Handled.Later;
    if (request === Request.Close) client.unnamed.dropped();
    else if (!bringUnnamed(client)) return waitForAnswers(client);
    if (request === Request.Bind) noteBound(client, bytes, nameStart, client.unnamed.frees);
    return forwardRequest(client, request);
  }
  if (isInDoubt(client, name)) return waitForAnswers(client);
  if (request === Request.Close) return closeNamed(client, name);

  if (awaitsDiscard(client)) return waitForAnswers(client);
  const statement = find(client, name) ?? adoptUntracked(client, name);
  if (statement === undefined && (client.hasUntracked || client.untracked?.has(name))) {
    answerError(client, type, clientErrors.mustBePrepared(name));
    return Handled.Done;
  }
  if (statement === undefined) return nameError(client, clientErrors.noSuchStatement(nameText(name)));
  const held = reviewNamed(client, type, statement);
  if (held !== null) return held;
  if (!link(client)) return Handled.Later;
  const { shared } = statement;
  if (isInDoubt(client, shared)) return waitForAnswers(client);
  const server = client.server!;
  client.clock.noteRequest(request, client.outstanding, client.database!.stats);
  // One that the server doesn't have is prepared there first.
  if (!touch(server, shared)) prepareOn(client, server, shared);
  if (request === Request.Bind) {
    if (statement.shape !== null && statement.shape !== server.shapes.get(shared)) {
      const other = otherShape(client, type, server, shared);
      if (other !== null) return other;
    }
    client.database!.stats.bindCount++;
    noteBound(client, bytes, nameStart, null);
    client.outstanding.sentAbout(shared.bind);
  } else {
    client.outstanding.sentDescribe(false, describing(server, shared, statement), shared);
  }
  sendRenamed(client, type, size, bytes, nameStart, nameEnd, shared.serverName);
  return Handled.ForwardRest;
}

/**
 * The client knows what the result is, from another server: this one may have prepared the statement after a change of the
 * schema, and would send other columns without a word. So it is asked first, and the client gets the error that the server
 * which it knows would have had for it.
 * @returns what becomes of the Bind
 */
function otherShape(client: Client, type: number, server: Server, shared: SharedStatement): Handled | null {
  const { outstanding } = client;
  if (outstanding.inCopy) return null;
  if (server.shapes.has(shared)) {
    client.context.statements.retire(shared);
    answerError(client, type, clientErrors.staleStatement());
    // the server may be sent a Parse that fails, which drops it
    client.unnamed.isHere = false;
    return Handled.Done;
  }
  outstanding.sentDescribe(true, describing(server, shared, null), shared);
  client.forward(describeStatement(shared.serverName));
  return waitForAnswers(client);
}

/** A Describe is on its way. @param statement the client's own, who learns from the answer; null: the proxy asks */
function describing(server: Server, shared: SharedStatement, statement: ClientStatement | null): Effect {
  return {
    described(columns: Buffer): void {
      // each client remembers it for each of its statements
      const shape = hash('sha256', resultShape(columns), 'base64');
      server.shapes.set(shared, shape);
      // what has no result now has none anywhere, and need not be asked for
      if (statement?.shared === shared) statement.shape = columns.length === 0 ? null : shape;
    },
  };
}

/** The most recently used is the last. @returns whether the server has it */
function touch(server: Server, shared: SharedStatement): boolean {
  const since = server.prepared.get(shared);
  if (since === undefined) return false;
  server.prepared.delete(shared);
  server.prepared.set(shared, since);
  return true;
}

/** A name as its client wrote it. */
function nameText(name: string): string {
  return Buffer.from(name, 'latin1').toString();
}

/**
 * A name that is unknown, or taken: an error as PostgreSQL's. But what was sent before may turn out to have failed, and
 * then the server skips the message up to Sync, and the name may mean something else: the answers tell.
 */
function nameError(client: Client, error: ClientError): Handled {
  const { outstanding } = client;
  if (outstanding.inCopy) {
    const reason = 'unexpected message about a prepared statement during COPY from stdin';
    client.close(reason, clientErrors.protocolViolation(reason));
    return Handled.Later;
  }
  if (!outstanding.empty) return waitForAnswers(client);
  answerError(client, Frontend.Bind, error);
  // the server may be sent a Parse that fails, which drops it
  client.unnamed.isHere = false;
  return Handled.Done;
}

/** Goes on with this message when the server has answered all that was sent before it (relay-server.ts). */
export function waitForAnswers(client: Client): Handled {
  // or else the answers of a pipeline may come with its Sync only
  if (client.outstanding.unsynced) client.forward(FLUSH);
  client.gate.close('answers');
  return Handled.Later;
}

/**
 * Whether it may exist or not: the Parse or Close that decides has not been answered, and a Sync was sent behind it, so
 * that it may fail without this message being skipped too.
 * @param unlessClosed not where a Close is what decides: then there is none, or one that is to be replaced
 */
export function isInDoubt(client: Client, what: Undecided, unlessClosed = false): boolean {
  const since = client.undecided?.get(what);
  if (since === undefined || (unlessClosed && since.isClose)) return false;
  return since.syncs !== client.outstanding.syncs && !client.outstanding.inCopy;
}

/** A Parse or Close is on its way. @returns to be called when it is known what became of it */
export function undecided(client: Client, what: Undecided, isClose = false): () => void {
  const since = { syncs: client.outstanding.syncs, isClose };
  const all = (client.undecided ??= new Map());
  all.set(what, since);
  return () => {
    if (all.get(what) === since) all.delete(what);
  };
}

/** The message with another statement name. Its rest, a Bind's values of any size, follows as it comes. */
function sendRenamed(
  client: Client,
  type: number,
  size: number,
  bytes: Buffer,
  start: number,
  end: number,
  name: string,
): void {
  const head = Buffer.concat([bytes.subarray(HEADER_BYTES, start), Buffer.from(name)]);
  const tail = bytes.subarray(end);
  const out = Buffer.allocUnsafe(HEADER_BYTES + head.length + tail.length);
  out[0] = type;
  out.writeInt32BE(size - 1 + name.length - (end - start), 1);
  head.copy(out, HEADER_BYTES);
  tail.copy(out, HEADER_BYTES + head.length);
  client.forward(out);
}

/**
 * A query is on its way that may drop all prepared statements. What is not seen here (behind a comment, or in a statement
 * of several) is noticed when it has run: only a named statement that was used before, without waiting, is missed then.
 */
export function noteDiscard(client: Client, chunk: Buffer, at: number, end: number): void {
  if (dropsAll(chunk, at, end)) client.mayDiscard = true;
}

/** Whether there are statements to speak of is only known when what was sent before has been answered. */
function awaitsDiscard(client: Client): boolean {
  if (!client.mayDiscard) return false;
  const { empty, inCopy } = client.outstanding;
  if (!empty && !inCopy) return true;
  client.mayDiscard = false;
  return false;
}

/** Sends the Parse of a shared statement. @param own what is noted of the client's own Parse; null: the proxy adds it */
function prepareOn(
  client: Client,
  server: Server,
  shared: SharedStatement,
  own: Required<Decided> | null = null,
): void {
  const { max_prepared_statements: limit } = client.context.config.settings;
  const decided = undecided(client, shared);
  const sentAt = client.outstanding.nextPosition;
  client.outstanding.sentParse(own === null, {
    undo: () => {
      decided();
      server.prepared.delete(shared);
      own?.undo();
    },
    done: () => {
      decided();
      if (server.prepared.get(shared) === sentAt) server.prepared.set(shared, ANSWERED);
      own?.done();
    },
  });
  client.database!.stats.serverParseCount++;
  server.shapes.delete(shared);
  client.forward(parseMessage(shared));
  server.prepared.set(shared, sentAt);
  while (server.prepared.size > limit) {
    const oldest = oldestOf(client, server);
    if (oldest === null || oldest === shared) break;
    closeOn(client, server, oldest);
  }
}

/** Sends the Close of a shared statement. */
function closeOn(client: Client, server: Server, shared: SharedStatement): void {
  const sentAt = server.prepared.get(shared)!;
  const discards = client.discardedBefore;
  server.prepared.delete(shared);
  const closed = undecided(client, shared);
  client.outstanding.sentClose({
    undo: () => {
      closed();
      const isDiscarded = client.discardedBefore !== discards && sentAt < client.discardedBefore;
      if (!isDiscarded) server.prepared.set(shared, ANSWERED);
    },
    done: closed,
  });
  client.forward(closeStatement(shared.serverName));
}

/** So many are looked at for one that can be closed. */
const MAX_CANDIDATES = 16;

/** What to close for another: not what may never have come into being, of which the next time tells more. */
function oldestOf(client: Client, server: Server): SharedStatement | null {
  let left = MAX_CANDIDATES;
  for (const each of server.prepared.keys()) {
    const shared = each as SharedStatement;
    if (!isInDoubt(client, shared)) return shared;
    if (--left === 0) break;
  }
  return null;
}

/** Servers keep the statement for others; only the client forgets it. */
function closeNamed(client: Client, name: string): Handled {
  if (client.server === null) {
    take(client, name);
    forgetUntracked(client, name);
    client.sendAhead(CLOSE_COMPLETE);
    return Handled.Done;
  }
  const effect = dropNamed(client, name);
  if (client.outstanding.answered(Request.Close, CLOSE_COMPLETE, effect)) client.sendAhead(CLOSE_COMPLETE);
  return Handled.Done;
}

/** The client has it no more, if the server comes to what says so. */
function dropNamed(client: Client, name: string): Required<Decided> {
  const statement = take(client, name);
  forgetUntracked(client, name);
  const done = undecided(client, name, true);
  return {
    undo: () => {
      done();
      if (statement !== undefined) remember(client, name, statement);
    },
    done,
  };
}

/**
 * SQL's DEALLOCATE of a statement that was prepared by the protocol (psycopg, Rails): servers know it by another name, and
 * keep it for others, so the proxy answers.
 * @returns what became of the Query; null: it is something else, or the server has to say that it can't be done now
 */
export function deallocate(client: Client, bytes: Buffer): Handled | null {
  const { statements, outstanding } = client;
  if (statements === null || !mayDeallocate(bytes, HEADER_BYTES, bytes.length) || outstanding.skipping)
    return null;
  const name = deallocatedName(bytes.toString('latin1', HEADER_BYTES, bytes.length - 1));
  if (name === null || !statements.has(name)) return null;
  if (outstanding.inCopy || outstanding.unsynced) return null;
  if (!outstanding.empty) return waitForAnswers(client);
  if (client.txStatus === TxStatus.Failed || find(client, name)?.isUnmade !== false) return null;
  take(client, name);
  client.unnamed.dropped();
  client.send(Buffer.concat([DEALLOCATED, readyForQuery(client.txStatus)]));
  if (client.txStatus === TxStatus.Idle) client.clock.dropQuery(performance.now());
  // it may have been linked for this
  if (client.server !== null) unlinkIfDone(client);
  return Handled.Done;
}

/** The same as a Parse without a name (psycopg in its pipeline mode). @returns the client's statement; null: it is something else */
export function deallocated(client: Client, parse: Buffer): string | null {
  const start = HEADER_BYTES + 1;
  if (client.statements === null || !mayDeallocate(parse, start, parse.length) || client.outstanding.skipping)
    return null;
  const name = deallocatedName(parse.toString('latin1', start, parse.indexOf(0, start)));
  return name !== null && isTracked(client) && find(client, name)?.isUnmade === false ? name : null;
}

/** An empty statement, on whichever server a client's DEALLOCATE is executed: it is what that deallocates. */
const FREED = 'PGSWITCHYARD_FREED';
const CLOSE_FREED = closeStatement(FREED);
const PARSE_FREED = message(Frontend.Parse, FREED, '', Buffer.alloc(2));
const NO_EFFECT: Effect = {};

/** What goes to the server instead, so that it answers as to the original, and others keep what they share. */
export function freeingParse(parse: Buffer): Buffer {
  const types = parse.subarray(parse.indexOf(0, HEADER_BYTES + 1) + 1);
  return message(Frontend.Parse, '', `DEALLOCATE "${FREED}"`, types);
}

/** A Bind goes to the server. @param frees the statement that its statement deallocates; null: none */
function noteBound(client: Client, bytes: Buffer, nameStart: number, frees: string | null): void {
  if (frees === null && client.freeing === null) return;
  const portal = bytes.toString('latin1', HEADER_BYTES, nameStart - 1);
  if (frees !== null) client.freeing = { portal, name: frees };
  else if (client.freeing!.portal === portal) client.freeing = null;
}

/** An Execute, while there is a portal that deallocates a statement of the client's. */
export function executeFreeing(client: Client, bytes: Buffer): Handled {
  const { outstanding, freeing } = client;
  const portal = bytes.toString(
    'latin1',
    HEADER_BYTES,
    Math.max(HEADER_BYTES, bytes.indexOf(0, HEADER_BYTES)),
  );
  if (portal !== freeing!.portal || outstanding.skipping || outstanding.inCopy)
    return forwardRequest(client, Request.Execute);
  if (!link(client)) return Handled.Later;
  const { name } = freeing!;
  if (isInDoubt(client, name)) return waitForAnswers(client);
  client.freeing = null;
  client.clock.noteRequest(Request.Execute, client.outstanding, client.database!.stats);
  outstanding.sentClose(NO_EFFECT);
  client.forward(CLOSE_FREED);
  // it is gone already, and the server says so
  if (find(client, name) === undefined) return forwardRequest(client, Request.Execute);
  outstanding.sentParse(true, NO_EFFECT);
  client.forward(PARSE_FREED);
  outstanding.sentExecute(dropNamed(client, name));
  return Handled.Forward;
}

const DEALLOCATED = message(Backend.CommandComplete, 'DEALLOCATE');

/** "cached plan must not change result type", in any language: the code and the routine that it comes from. */
const STALE = [Buffer.from('\0C0A000\0'), Buffer.from('\0RRevalidateCachedQuery\0')];
/** "bind message has 3 result formats but query has 4 columns" */
const OTHER_COLUMNS = [Buffer.from('\0C08P01\0'), Buffer.from('\0RPortalSetResultFormat\0')];
const STALE_ERROR = clientErrors.staleStatement().encode();

/**
 * After a change of the schema a statement may only have an error left, until it is prepared anew. Drivers do that, and
 * must not get what others have prepared before.
 * @param subject what the error is about, as the ledger has it
 * @returns what the client gets in its place; null: it is passed on. A server that has prepared the statement after the
 * change finds fault with its Bind, where the server that the client knows would have said that the result has changed.
 */
export function retireStale(client: Client, subject: object, error: Buffer): Buffer | null {
  if (!(subject instanceof SharedStatement)) return null;
  const isElsewhere = OTHER_COLUMNS.every((field) => error.includes(field));
  if (!isElsewhere && !STALE.every((field) => error.includes(field))) return null;
  client.context.statements.retire(subject);
  return isElsewhere ? STALE_ERROR : null;
}

/** The client's statement of a name; undefined: there is none, or it went with all others. */
function find(client: Client, name: string): ClientStatement | undefined {
  const statement = client.statements?.get(name);
  if (statement === undefined || statement.sentAt >= client.discardedBefore) return statement;
  take(client, name);
  return undefined;
}

/** The client has it no more. */
function take(client: Client, name: string): ClientStatement | undefined {
  const statement = client.statements?.get(name);
  if (statement === undefined) return undefined;
  client.statements!.delete(name);
  releaseStatement(client, statement);
  return statement;
}

/** A client has it no more, for whatever reason. */
export function releaseStatement({ context }: Client, { shared, original }: ClientStatement): void {
  context.statements.release(shared);
  if (original !== null) context.originals.release(original);
}

/** DISCARD ALL or DEALLOCATE ALL has run on the client's server: there is only what was sent behind it. */
export function forgetStatements(client: Client): void {
  const { prepared } = client.server!;
  const before = client.outstanding.position;
  client.discardedBefore = before;
  for (const [shared, sentAt] of prepared) if (sentAt < before) prepared.delete(shared);
  client.isSessionTracked = false;
  // In the order in which they were sent, but for those whose Close failed: `find` knows better.
  for (const [name, { sentAt }] of client.statements ?? []) {
    if (sentAt >= before) break;
    take(client, name);
  }
  if (client.statements?.size === 0) client.statements = null;
  forgetUntrackedBefore(client, before);
  client.hasUntracked = client.untracked !== null;
}

/** The client has it again. */
function remember(client: Client, name: string, statement: ClientStatement): void {
  if (client.state === 'closed' || client.statements?.has(name)) return;
  if (statement.sentAt < client.discardedBefore) return;
  client.statements ??= new Map();
  client.context.statements.retain(statement.shared);
  if (statement.original !== null) client.context.originals.retain(statement.original);
  client.statements.set(name, statement);
}
