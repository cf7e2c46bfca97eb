import { isUtf8 } from 'node:buffer';
import type { Unjudged } from '../../config/options.ts';
import { GO, type Decision, type Tenant } from '../../functions/functions.ts';
import { canonicalEncoding } from '../../wire/encodings.ts';
import { ClientError, clientErrors } from '../../wire/errors.ts';
import { message, readyForQuery } from '../../wire/messages.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { Client } from '../client.ts';
import { link, moveTo } from '../link/link.ts';
import { Handled } from '../relay/handled.ts';
import { Request } from '../relay/outstanding.ts';
import { forwardRequest } from '../relay/requests.ts';
import { waitForAnswers } from '../relay/wait.ts';
import { deallocate, deallocated, freeingParse } from '../statements/deallocate.ts';
import { noteQuery } from '../statements/discard.ts';
import { generationOf, type Generations } from '../statements/generations.ts';
import { noteUnnamedParse, parseNamed, parseUnnamed, parseUntracked } from '../statements/parse.ts';
import { isTracked, mayBeTracked } from '../statements/tracking.ts';
import type { Asked } from './question.ts';

/** What is to become of a text that may go to a server. */
export interface Verdict extends Generations {
  /** null: unchanged */
  readonly query: string | null;
}

/** A decision that lets the text pass. */
type Go = Extract<Decision, { kind: 'go' }>;

/** There are no functions to be asked. */
const UNJUDGED: Verdict = { query: null, originGeneration: 0, targetGeneration: 0 };

/** A text that is to be judged. */
export interface Judged {
  /** over user_function_max_query: its length in bytes, and the functions never see it; 0: they do */
  readonly tooLong: number;
  /** null: it has no end */
  text(): Buffer | null;
}

/**
 * One Query or Parse: ask the user functions, then rewrite, move, reject or let it go. The message is looked at again when
 * there is a decision.
 * @param tooLong as `tooLongForFunctions` says
 */
export function handleQueryText(client: Client, type: number, bytes: Buffer, tooLong: number): Handled {
  const verdict = judge(client, type, { tooLong, text: () => textOf(type, bytes) });
  if (typeof verdict === 'number') return verdict;
  let rewritten: Buffer | null = null;
  if (verdict.query !== null) {
    rewritten = rewrite(client, type, bytes, verdict.query);
    client.transcript.noteRewritten(verdict.query);
  }
  if (type === Frontend.Parse) {
    const named = bytes[HEADER_BYTES] !== 0;
    const frees = named ? null : deallocated(client, rewritten ?? bytes);
    if (frees !== null) rewritten = freeingParse(rewritten ?? bytes);
    if (named && isTracked(client)) return parseNamed(client, rewritten ?? bytes, bytes, verdict);
    if (verdict !== UNJUDGED) {
      return !named && isTracked(client)
        ? parseUnnamed(client, bytes, rewritten, verdict, frees)
        : parseUntracked(client, bytes, rewritten, verdict);
    }
    if (named) return parseUntracked(client, bytes, null, verdict);
    if (mayBeTracked(client)) {
      if (!link(client)) return Handled.Later;
      noteUnnamedParse(client, rewritten ?? bytes);
      if (frees !== null) client.statements.unnamed.deallocates(frees);
    }
  } else {
    const freed = deallocate(client, rewritten ?? bytes);
    if (freed !== null) return freed;
    noteQuery(client, rewritten ?? bytes);
  }
  const request = type === Frontend.Query ? Request.Query : Request.Parse;
  if (rewritten === null) return forwardRequest(client, request);
  client.clock.noteRequest(request, client.outstanding, client.database!.stats);
  client.outstanding.sent(request);
  client.forward(rewritten);
  return Handled.Done;
}

/**
 * What becomes of a text: first the functions of the database are asked that the client logged in to, which may move it;
 * then those of the database that it is in now, about the text that the first have made of it. Those do not move it on, so
 * that two databases can't send it round in circles.
 * @param stays it was routed before: only its text is judged
 * @returns a verdict when the client is where the text is to go, and linked if there are functions; or what became of the
 *   message meanwhile
 */
export function judge(client: Client, type: number, judged: Judged, stays = false): Handled | Verdict {
  const origin = decisionAtOrigin(client, judged);
  if (origin === null) return UNJUDGED;
  if (typeof origin === 'number') return origin;
  if (origin.kind !== 'go') return refuse(client, type, origin);
  if (!stays) {
    const elsewhere = route(client, type, origin.dbkey);
    if (elsewhere !== null) return elsewhere;
  }
  const target = decisionAtTarget(client, origin, judged);
  if (typeof target === 'number') return target;
  if (target !== null && target.kind !== 'go') return refuse(client, type, target);
  // The decision is used up only after this: waiting for a server comes back here.
  if (!link(client)) return Handled.Later;
  const { originGeneration, targetGeneration } = client.question.take();
  return { query: target?.query ?? origin.query, originGeneration, targetGeneration };
}

/**
 * Decides about a text at the database that the client logged in to.
 * @returns null when there are no functions at all; Handled when they are being asked
 */
function decisionAtOrigin(client: Client, judged: Judged): Decision | Handled | null {
  const { question } = client;
  if (question.origin !== null) return question.origin;
  const set = client.functions;
  if (set === null && client.targetFunctions === null) return null;
  if (set !== null && judged.tooLong === 0) return ask(client, set, client.entry, judged.text());
  const decision = set === null ? GO : set.tooLarge(judged.tooLong);
  question.decideOrigin(decision, generationOf(set));
  return decision;
}

/**
 * Decides about a text at the database that the client is in, where that has functions of its own.
 * @returns null when it has none; Handled when they are being asked
 */
function decisionAtTarget(client: Client, origin: Go, judged: Judged): Decision | Handled | null {
  const { question, targetFunctions: target } = client;
  const { entry } = client.database!;
  if (target === null) {
    question.decideTarget(null, 0, '');
    return null;
  }
  const known = question.targetFor(entry);
  if (known !== null) return known;
  const tooLong = tooLongForTarget(client, target, origin, judged);
  if (tooLong === 0) return ask(client, target, entry, origin.query ?? judged.text());
  const decision = target.tooLarge(tooLong);
  question.decideTarget(decision, target.generation, entry);
  return decision;
}

function tooLongForTarget(client: Client, target: Tenant, origin: Go, judged: Judged): number {
  if (origin.query === null) return judged.tooLong;
  const length = Buffer.byteLength(origin.query, client.question.isInBytes ? 'latin1' : 'utf8');
  return length > target.maxQueryBytes ? length : 0;
}

/** What a Parse may hold behind its text: the types of 65,535 parameters. */
const MAX_TYPES_BYTES = 2 + 65_535 * 4;

/**
 * The length of a text that is over user_function_max_query, which the functions never see. 0: it is not, or that is not
 * known before all of it has come.
 */
export function tooLongForFunctions(client: Client, type: number, size: number, bytes: Buffer): number {
  const { maxQueryBytes } = (client.functions ?? client.targetFunctions)!;
  let length = size - HEADER_BYTES - 1;
  if (length <= maxQueryBytes) return 0;
  if (type === Frontend.Parse) {
    const start = bytes.indexOf(0, HEADER_BYTES) + 1;
    length = bytes.length === size ? bytes.indexOf(0, start) - start : size - start - MAX_TYPES_BYTES;
  }
  return length > maxQueryBytes ? length : 0;
}

/** @param entry whose functions they are */
function ask(client: Client, set: Tenant, entry: string, text: Buffer | string | null): Handled {
  if (text === null) {
    client.close(
      'bad packet: query without end',
      clientErrors.protocolViolation('bad packet: query without end'),
    );
    return Handled.Later;
  }
  let query = text;
  if (typeof query !== 'string') {
    client.question.showInBytes(isInBytes(client, query));
    query = query.toString(client.question.isInBytes ? 'latin1' : 'utf8', 0, query.length);
  }
  const database = client.database!;
  const seesNodes = database.cluster !== null && set.mayName(entry, database.entry);
  const asked = client.question.ask(set.generation, entry);
  client.gate.close('decision');
  set.decide(
    {
      username: client.user,
      query,
      inTransaction: client.inTransaction,
      database: database.name,
      loginDatabase: client.entry,
      entry,
      nameable: set.nameable(entry),
      isBytes: client.question.isInBytes,
      nodes: seesNodes ? database.cluster!.nodesJson : '',
      routeOnly: entry !== client.entry && set.sharesRewriting(client.functions),
      clientId: client.id,
      address: client.remoteAddress,
    },
    (decision) => client.onDecision(asked, decision),
  );
  return Handled.Later;
}

/** The functions have answered: the held message is taken up again. */
export function decided(client: Client, asked: Asked, decision: Decision): void {
  if (client.state === 'closed' || !client.question.answer(asked)) return;
  // its server went away meanwhile: another message may be the first one now
  if (client.verdict !== null) return;
  client.question.note(asked, decision);
  client.gate.open('decision');
  client.resume();
}

/** Whether functions apply where the client is, or where it came in, that can't judge what it wants to do. */
export function isPastFunctions(client: Client, what: Unjudged): boolean {
  const { functions } = client.context;
  const bars = (entry: string): boolean =>
    functions.tenantOf(entry) !== null && !functions.allows(entry, what);
  return bars(client.entry) || (client.database !== null && bars(client.database.entry));
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
  return !(isUtf8Client(client) && isUtf8(text));
}

/** Whether servers take the client's text for UTF-8. SQL_ASCII means that they take it as it is, for their own encoding. */
function isUtf8Client({ settings, pool }: Client): boolean {
  const welcome = pool!.welcome;
  const given = settings.clientEncoding ?? welcome?.get('client_encoding') ?? 'UTF8';
  // the client's own spelling, until it has had a server
  const encoding = given === 'UTF8' ? given : canonicalEncoding(given);
  return encoding === 'UTF8' || (encoding === 'SQL_ASCII' && welcome?.get('server_encoding') === 'UTF8');
}

/** The message with another query text; all else in it, a Parse's name and parameter types, stays. */
function rewrite(client: Client, type: number, bytes: Buffer, query: string): Buffer {
  if (type === Frontend.Query) return message(Frontend.Query, rewrittenText(client, query));
  const behindName = bytes.indexOf(0, HEADER_BYTES) + 1;
  const body = rewriteBody(client, bytes.subarray(behindName), query);
  return message(Frontend.Parse, bytes.subarray(HEADER_BYTES, behindName), body);
}

/** What a Parse holds behind its statement's name, with another query text. */
export function rewriteBody(client: Client, body: Buffer, query: string): Buffer {
  return Buffer.concat([rewrittenText(client, query), body.subarray(body.indexOf(0) + 1)]);
}

function rewrittenText(client: Client, query: string): Buffer {
  const { settings } = client.context.config;
  const tagged = settings.rewritten_tag ? `${REWRITTEN_TAG}${query}` : query;
  return Buffer.from(`${tagged}\0`, client.question.isInBytes ? 'latin1' : 'utf8');
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
  const { registry, config, log } = client.context;
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
    if (config.settings.routing_in_transaction !== 'error') return null;
    client.question.forget();
    answerError(client, type, clientErrors.moveInTransaction(from, dbkey));
    return Handled.Done;
  }
  if (target.disabled) {
    client.question.forget();
    answerError(client, type, new ClientError('ERROR', '08P01', `database "${dbkey}" is disabled`));
    return Handled.Done;
  }
  moveTo(client, target);
  client.via = via;
  return null;
}

function refuse(client: Client, type: number, decision: Exclude<Decision, { kind: 'go' }>): Handled {
  client.question.forget();
  if (decision.kind === 'disconnect') {
    client.close(decision.message, new ClientError('FATAL', decision.code, decision.message));
    return Handled.Later;
  }
  const { message: text, code, hint, detail } = decision;
  answerError(client, type, new ClientError('ERROR', code, text, { hint, detail }));
  return Handled.Done;
}

/** A Sync that no server has to see. */
export function answerReady(client: Client): Handled {
  client.transcript.forget();
  client.send(readyForQuery(client.txStatus));
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

/** A FunctionCall that no server takes: there is no function with this OID. */
const FAILING_CALL = message(Frontend.FunctionCall, Buffer.alloc(10));

/**
 * The client gets an ErrorResponse in place of an answer, and stays. Inside a transaction or a pipeline the server must
 * come to the same conclusion, or it would commit what the client takes to be rolled back: it is sent something that
 * fails, and its error is replaced by ours.
 */
export function answerError(client: Client, type: number, error: ClientError): void {
  const { server, outstanding } = client;
  // messages that are answered with ReadyForQuery by themselves
  const endsItself = type === Frontend.Query || type === Frontend.FunctionCall;
  // what the server is sent in its place has no name either
  if (type === Frontend.Parse) client.statements.unnamed.lost();
  if (server !== null && client.inTransaction) {
    const [request, failing] =
      type === Frontend.Query
        ? ([Request.Query, FAILING_QUERY] as const)
        : type === Frontend.FunctionCall
          ? ([Request.FunctionCall, FAILING_CALL] as const)
          : ([Request.Parse, FAILING_PARSE] as const);
    client.clock.noteRequest(request, client.outstanding, client.database!.stats);
    outstanding.sentFailing(request, error.encode());
    client.forward(failing);
    // it takes the place of the statement that the server has
    if (failing === FAILING_PARSE) client.statements.unnamed.displaced();
    // what follows may be about a statement that only the client believes to be there
    client.skipToSync = !endsItself;
    return;
  }
  if (server === null) client.clock.dropQuery(performance.now());
  const reply = error.encode();
  if (endsItself) {
    const request = type === Frontend.Query ? Request.Query : Request.FunctionCall;
    const both = Buffer.concat([reply, readyForQuery(client.txStatus)]);
    client.transcript.forget();
    if (server === null || outstanding.answered(request, both)) client.send(both);
    return;
  }
  if (server === null || outstanding.answered(Request.Parse, reply)) client.send(reply);
  client.skipToSync = true;
}
