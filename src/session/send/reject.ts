/**
 * Answers a client's message in the server's place: with the ReadyForQuery of a Sync that no server needs to see, or with an
 * error. In a transaction or pipeline the server must reach the same state as the client, or it would commit work that the
 * client believes rolled back. So the server gets a message that fails, and its error is replaced by the proxy's.
 */
import { message, readyForQuery } from '../../wire/messages.ts';
import { Frontend } from '../../wire/protocol.ts';
import type { ClientError } from '../../wire/errors.ts';
import type { Decision } from '../../functions/functions.ts';
import type { LoggedInClient } from '../client.ts';
import { Handled } from '../state/handled.ts';
import { Request } from '../state/entry.ts';
import { noteRequest } from './requests.ts';
import { subjectOf } from './trace.ts';

/** A text that is a syntax error on every server. */
const FAILING_TEXT = 'pgswitchyard: a user function rejected this statement';
const FAILING_QUERY = message(Frontend.Query, FAILING_TEXT);
const FAILING_PARSE = message(Frontend.Parse, '', FAILING_TEXT, Buffer.alloc(2));
/** No server has a function with OID 0. */
const FAILING_CALL = message(Frontend.FunctionCall, Buffer.alloc(10));

/** User functions have rejected a text, or disconnect the client. */
export function refuse(
  client: LoggedInClient,
  type: number,
  refusal: Exclude<Decision, { kind: 'go' }>,
): Handled {
  client.question.forget();
  const { kind, error } = refusal;
  if (kind === 'disconnect') {
    client.close(error.message, error);
    return Handled.Later;
  }
  answerError(client, type, error);
  return Handled.Done;
}

/** Answers a Sync that no server needs to see. */
export function answerReady(client: LoggedInClient): Handled {
  client.transcript.forget();
  client.send(readyForQuery(client.txStatus));
  return Handled.Done;
}

/**
 * Answers a message with an ErrorResponse, and with ReadyForQuery if the message is a cycle of its own. From now on messages
 * of the extended protocol are skipped, up to the next Sync.
 * @param type of the message
 */
export function answerError(client: LoggedInClient, type: number, error: ClientError): void {
  const endsItself = type === Frontend.Query || type === Frontend.FunctionCall;
  // the failing message that the server gets in its place is unnamed, too
  if (type === Frontend.Parse) client.statements.unnamed.lost();
  if (client.server !== null && client.inTransaction) {
    failAtServer(client, type, error);
    // the following messages may use a statement that only the client believes to exist
    if (!endsItself) client.intake.skipToSync();
  } else if (endsItself) {
    answerAtOnce(client, type, error);
  } else {
    answerPart(client, error);
    client.intake.skipToSync();
  }
}

/** The server fails too, and its error is replaced. */
function failAtServer(client: LoggedInClient, type: number, error: ClientError): void {
  const request = requestOf(type);
  noteRequest(client, request);
  client.clock.trace?.failed(error.code);
  client.outstanding.sentFailing(request, error.encode());
  client.forward(failing(request));
  // it replaces the server's unnamed statement
  if (request === Request.Parse) client.statements.unnamed.displaced();
}

/** A Query or FunctionCall, between transactions. */
function answerAtOnce(client: LoggedInClient, type: number, error: ClientError): void {
  noteRefused(client, error);
  const reply = Buffer.concat([error.encode(), readyForQuery(client.txStatus)]);
  client.transcript.forget();
  if (client.server === null || client.outstanding.answered(requestOf(type), reply)) client.send(reply);
}

/** A message of the extended protocol, between transactions: its Sync is still to come. */
function answerPart(client: LoggedInClient, error: ClientError): void {
  noteRefused(client, error);
  const reply = error.encode();
  if (client.server === null || client.outstanding.answered(Request.Parse, reply)) client.send(reply);
}

/** The query ends here, with an error: one that waited for a server, or one that had not begun. */
function noteRefused(client: LoggedInClient, { code }: ClientError): void {
  const { clock } = client;
  const now = performance.now();
  if (clock.queryStart === 0) {
    const trace = clock.refuse(now);
    if (trace === null) return;
    trace.failed(code);
    trace.describe(subjectOf(client, null));
    clock.endRefused(trace, now);
  } else if (client.server === null) {
    clock.trace?.describe(subjectOf(client, null));
    clock.dropQuery(now, code);
  }
}

/** The ledger's kind of request: any message of the extended protocol fails like a Parse. */
function requestOf(type: number): Request {
  if (type === Frontend.Query) return Request.Query;
  return type === Frontend.FunctionCall ? Request.FunctionCall : Request.Parse;
}

function failing(request: Request): Buffer {
  if (request === Request.Query) return FAILING_QUERY;
  return request === Request.FunctionCall ? FAILING_CALL : FAILING_PARSE;
}
