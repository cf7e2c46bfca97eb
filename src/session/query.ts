import { isUtf8 } from 'node:buffer';
import type { Decision } from '../functions/functions.ts';
import { ClientError, clientErrors } from '../wire/errors.ts';
import { message, readyForQuery } from '../wire/messages.ts';
import { Frontend, HEADER_BYTES } from '../wire/protocol.ts';
import type { Client } from './client.ts';
import { link, moveTo } from './link.ts';
import { Request } from './outstanding.ts';
import { deallocate, isTracked, parseNamed, waitForAnswers } from './prepared.ts';
import { dropQuery, forwardRequest, Handled, noteQuery, noteRequest, resumeClient } from './relay-client.ts';
import { noteRewritten } from './switchover.ts';
import { noteUnnamedParse } from './unnamed.ts';

/**
 * One Query or Parse: ask the user functions, then rewrite, move, reject or let it go. The message is looked at a second
 * time when the decision is there.
 */
export function handleQueryText(client: Client, type: number, bytes: Buffer): Handled {
  const set = client.functions;
  const { decision } = client;
  if (set !== null && decision === null) return ask(client, type, bytes);
  let rewritten: Buffer | null = null;
  if (decision !== null) {
    if (decision.kind !== 'go') return refuse(client, type, decision);
    const elsewhere = route(client, type, decision.dbkey);
    if (elsewhere !== null) return elsewhere;
    // Only behind it is the decision used up: waiting for a server comes back here.
    if (!link(client)) return Handled.Later;
    client.decision = null;
    if (decision.query !== null) {
      rewritten = rewrite(client, type, bytes, decision.query);
      noteRewritten(client, decision.query);
    }
  }
  if (type === Frontend.Parse) {
    const named = bytes[HEADER_BYTES] !== 0;
    if (named && isTracked(client)) return parseNamed(client, rewritten ?? bytes);
    if (!named) client.unnamedRoute = set === null ? null : client.database!.name;
    if (!named && isTracked(client)) {
      if (!link(client)) return Handled.Later;
      noteUnnamedParse(client, rewritten ?? bytes);
    }
  } else {
    const freed = deallocate(client, rewritten ?? bytes);
    if (freed !== null) return freed;
    noteQuery(client, rewritten ?? bytes);
  }
  const request = type === Frontend.Query ? Request.Query : Request.Parse;
  if (rewritten === null) return forwardRequest(client, request);
  noteRequest(client, request);
  client.outstanding.sent(request);
  client.forward(rewritten);
  return Handled.Done;
}

/** What a Parse may hold behind its text: the types of 65,535 parameters. */
const MAX_TYPES_BYTES = 2 + 65_535 * 4;

/**
 * The decision for a query that is over user_function_max_query, which the functions never see. Null: it is not, or that is
 * not known before all of it has come.
 */
export function tooLargeForFunctions(
  client: Client,
  type: number,
  size: number,
  bytes: Buffer,
): Decision | null {
  const set = client.functions!;
  let length = size - HEADER_BYTES - 1;
  if (length <= set.maxQueryBytes) return null;
  if (type === Frontend.Parse) {
    const start = bytes.indexOf(0, HEADER_BYTES) + 1;
    length = bytes.length === size ? bytes.indexOf(0, start) - start : size - start - MAX_TYPES_BYTES;
    if (length <= set.maxQueryBytes) return null;
  }
  return set.tooLarge(length);
}

function ask(client: Client, type: number, bytes: Buffer): Handled {
  const set = client.functions!;
  const text = textOf(type, bytes);
  if (text === null) {
    client.close(
      'bad packet: query without end',
      clientErrors.protocolViolation('bad packet: query without end'),
    );
    return Handled.Later;
  }
  const isBytes = isInBytes(client, text);
  client.askedInBytes = isBytes;
  client.blocked = true;
  set.evaluate(
    {
      username: client.user,
      query: isBytes ? text.toString('latin1', 0, text.length) : text.toString('utf8', 0, text.length),
      inTransaction: client.inTransaction,
      database: client.database!.name,
      isBytes,
      nodes: client.database!.topology?.nodesJson ?? '',
    },
    client.onDecision,
  );
  return Handled.Later;
}

/** The functions have answered: the held message is taken up again. */
export function decided(client: Client, decision: Decision): void {
  if (client.state === 'closed') return;
  client.decision = decision;
  client.blocked = false;
  resumeClient(client);
}

/** The text of a Query or Parse; null: it has no end. */
function textOf(type: number, bytes: Buffer): Buffer | null {
  const start = type === Frontend.Query ? HEADER_BYTES : bytes.indexOf(0, HEADER_BYTES) + 1;
  const end = bytes.indexOf(0, start);
  return start <= 0 || end < 0 ? null : bytes.subarray(start, end);
}

/**
 * PostgreSQL's text is in the client's encoding. UTF-8 is decoded; any other encoding, and what is no UTF-8, is shown byte
 * by byte (as Latin-1), which keeps ASCII readable and every byte as it was when the text is sent on.
 */
function isInBytes(client: Client, text: Buffer): boolean {
  const encoding = client.parameters[0] ?? client.pool!.welcome?.get('client_encoding') ?? 'UTF8';
  return !((encoding === 'UTF8' || /^(utf-?8|unicode)$/i.test(encoding)) && isUtf8(text));
}

/** The message with another query text; all else in it, a Parse's name and parameter types, stays. */
function rewrite(client: Client, type: number, bytes: Buffer, query: string): Buffer {
  const { settings } = client.sessions.registry.config;
  const tagged = settings.rewritten_tag ? `${REWRITTEN_TAG}${query}` : query;
  const text = Buffer.from(`${tagged}\0`, client.askedInBytes ? 'latin1' : 'utf8');
  if (type === Frontend.Query) return message(Frontend.Query, text);
  const name = bytes.subarray(HEADER_BYTES, bytes.indexOf(0, HEADER_BYTES) + 1);
  const types = bytes.subarray(bytes.indexOf(0, HEADER_BYTES + name.length) + 1);
  return message(Frontend.Parse, name, text, types);
}

/** What pgbouncer-fast-switchover puts before each query that it rewrote (tag_rewritten in its rewrite_query.c). */
const REWRITTEN_TAG = `/* rewritten: pid=${String(process.pid).padStart(5, '0')} */ `;

/**
 * Moves the client where the routing function wants it. A move inside a transaction or pipeline would break it: it is
 * refused, and routing_in_transaction says whether the client hears of it. What was sent before and
 * ends by itself, with a Sync or as a Query, is waited for: only then is it known whether a transaction is open.
 * @returns null when the message is to go on; or what became of it
 */
export function route(client: Client, type: number, dbkey: string | null): Handled | null {
  if (dbkey === null || dbkey === client.database!.name) return null;
  const { registry, log } = client.sessions;
  const target = registry.find(dbkey, client.database);
  if (target === null) return null;
  const via = target.name === dbkey ? null : dbkey;
  if (target === client.database) {
    client.via = via;
    return null;
  }
  const from = client.database!.name;
  if (client.inTransaction) {
    const { readies, unsynced, inCopy } = client.outstanding;
    if (readies > 0 && !unsynced && !inCopy) return waitForAnswers(client);
    if (client.functions?.noteRefusedMove() ?? true) {
      log.warn(
        { client: client.id, event: 'move_refused' },
        `${client.label} routing to ${dbkey} refused inside a transaction`,
      );
    }
    if (registry.config.settings.routing_in_transaction !== 'error') return null;
    client.decision = null;
    answerError(client, type, clientErrors.moveInTransaction(from, dbkey));
    return Handled.Done;
  }
  if (target.disabled) {
    client.decision = null;
    answerError(client, type, new ClientError('ERROR', '08P01', `database "${dbkey}" is disabled`));
    return Handled.Done;
  }
  moveTo(client, target);
  client.via = via;
  return null;
}

function refuse(client: Client, type: number, decision: Exclude<Decision, { kind: 'go' }>): Handled {
  client.decision = null;
  if (decision.kind === 'disconnect') {
    client.close(decision.message, new ClientError('FATAL', decision.code, decision.message));
    return Handled.Later;
  }
  const { message: text, code, hint, detail } = decision;
  answerError(client, type, new ClientError('ERROR', code, text, { hint, detail }));
  return Handled.Done;
}

/** A statement that no server takes: its text is a syntax error everywhere. */
const FAILING_QUERY = message(Frontend.Query, 'pgswitchyard: a user function rejected this statement');
const FAILING_PARSE = message(
  Frontend.Parse,
  '',
  'pgswitchyard: a user function rejected this statement',
  Buffer.alloc(2),
);

/**
 * The client gets an ErrorResponse in place of an answer, and stays. Inside a transaction or a pipeline the server must
 * come to the same conclusion, or it would commit what the client takes to be rolled back: it is sent something that
 * fails, and its error is replaced by ours.
 */
export function answerError(client: Client, type: number, error: ClientError): void {
  const { server, outstanding } = client;
  const isQuery = type === Frontend.Query;
  // what the server is sent in its place has no name either
  if (type === Frontend.Parse) client.unnamed.lost();
  if (server !== null && client.inTransaction) {
    const request = isQuery ? Request.Query : Request.Parse;
    noteRequest(client, request);
    outstanding.sentFailing(request, error.encode());
    client.forward(isQuery ? FAILING_QUERY : FAILING_PARSE);
    // what follows may be about a statement that only the client believes to be there
    client.skipToSync = !isQuery;
    return;
  }
  if (server === null) dropQuery(client);
  const reply = error.encode();
  if (isQuery) {
    const both = Buffer.concat([reply, readyForQuery(client.txStatus)]);
    if (server === null || outstanding.answered(Request.Query, both)) client.send(both);
    return;
  }
  if (server === null || outstanding.answered(Request.Parse, reply)) client.send(reply);
  client.skipToSync = true;
}
