/**
 * The hot path from server to client. Headers are looked at, and bodies are passed on as they arrive: rows and copied data in
 * one piece per read.
 */
import { parseErrorFields, parseParameterStatus } from '../../wire/messages.ts';
import { clientErrors } from '../../wire/errors.ts';
import { BAD_HEADER, frameSize, INCOMPLETE } from '../../wire/frame.ts';
import { Backend, HEADER_BYTES, TxStatus } from '../../wire/protocol.ts';
import { CommandTag, commandTag, endsTransaction, mayChangeSession } from '../../sql/command-tag.ts';
import type { Server } from '../../pool/server.ts';
import type { LoggedInClient } from '../client.ts';
import { noteAnswered, noteServerError } from '../query/canaries.ts';
import { unlinkIfDone } from '../link/unlink.ts';
import { subjectOf } from '../send/trace.ts';
import { Reply } from '../state/outstanding.ts';
import { dropAllStatements } from '../statements/discard.ts';
import { retireStale } from '../statements/result-shape.ts';
import { resumeAhead } from './client-bytes.ts';
import { takeError } from '../resend/server-error.ts';

/** The untranslated severity field of a notice that is more than a notice. */
const WARNING = Buffer.from('VWARNING\0');
/**
 * Where a cluster is watched, messages up to this size are sent to the client in one piece: if the server died in the middle
 * of a message, no ErrorResponse could be sent, and the client would have to be disconnected.
 */
const WHOLE_BYTES = 64 * 1024;
const READY_BYTES = HEADER_BYTES + 1;
/** The SQLSTATE is among the first fields of an ErrorResponse, after the severity, which may be translated. */
const SQLSTATE_WITHIN = 256;
/** Longest setting or notice that is collected whole; PostgreSQL's are far shorter. */
const MAX_CARRY = 1 << 20;

/**
 * Bytes have arrived from the server. `run` is the beginning of the bytes that have been looked at and are passed on
 * unchanged; runs are made as long as possible.
 */
export function relayServerBytes(client: LoggedInClient, server: Server, received: Buffer): void {
  const { outstanding, replies, transcript } = client;
  const { watch } = client.database;
  const { max_packet_size: largest } = client.context.config.settings;
  const chunk = replies.join(received);
  if (chunk === null) return;
  const isBorrowed = chunk === received;
  const end = chunk.length;
  let at = replies.takeBody(end);
  let run = replies.isBodyForwarded ? 0 : at;
  if (at > 0 && replies.bodyLeft === 0) run = sendDue(client, chunk, run, at, isBorrowed);
  let isReady = false;

  while (at < end) {
    const size = frameSize(chunk, at, largest);
    if (size === INCOMPLETE) break;
    if (size === BAD_HEADER) return server.close('bad pkt header');
    const type = chunk[at]!;
    const here = Math.min(size, end - at);
    if (here < size && mustBeWhole(client, type, size, watch !== null)) {
      if (size <= MAX_CARRY) break;
      return outOfStep(client, server, `message "${String.fromCharCode(type)}" of ${size} bytes`);
    }
    if (type === Backend.DataRow || type === Backend.CopyData) {
      at += here;
      if (here < size) replies.beginBody(size - here, true);
      continue;
    }
    if (type === Backend.ErrorResponse && watch !== null) {
      const payload = chunk.subarray(at + HEADER_BYTES, at + size);
      if (takeError(client, watch, chunk.subarray(run, at), payload)) return;
    }
    let reply = outstanding.reply(type);
    transcript.beginAnswer();
    if (reply === Reply.Ready) {
      if (size !== READY_BYTES) return outOfStep(client, server, `message "Z" of ${size} bytes`);
      server.noteStatus(chunk[at + HEADER_BYTES]!);
      if (server.txStatus !== TxStatus.Idle && client.poolMode === 'statement') {
        if (at > run) client.send(chunk.subarray(run, at), isBorrowed);
        return refuseTransaction(client);
      }
      isReady = true;
      endQuery(client, server.txStatus);
    } else if (reply === Reply.OutOfStep || reply === Reply.Unknown) {
      return refuseReply(client, server, reply, type);
    } else {
      reply = noteReply(client, server, reply, type, chunk, at, size);
    }
    const isForwarded = reply !== Reply.Drop && reply !== Reply.Replace;
    if (!isForwarded) {
      if (at > run) client.send(chunk.subarray(run, at), isBorrowed);
      if (reply === Reply.Replace && outstanding.replacement !== null) client.send(outstanding.replacement);
      run = at + here;
    }
    at += here;
    replies.beginBody(size - here, isForwarded);
    // the proxy's own answers take their turn after the whole of this message
    if (here === size) run = sendDue(client, chunk, run, at, isBorrowed);
  }
  if (at > run) client.send(chunk.subarray(run, at), isBorrowed);
  transcript.beginAnswer();
  if (at < end) replies.keep(chunk.subarray(at), frameSize(chunk, at, largest) || HEADER_BYTES);
  if ((isReady || replies.unlinksLate) && !client.isClosed && replies.endTransaction()) unlinkIfDone(client);
  resumeAwaiting(client);
}

/** Sends the proxy's own answers that are due. @returns where the run begins after them */
function sendDue(
  client: LoggedInClient,
  chunk: Buffer,
  run: number,
  at: number,
  isBorrowed: boolean,
): number {
  let start = run;
  for (let due = client.outstanding.due(); due !== null; due = client.outstanding.due()) {
    if (at > start) client.send(chunk.subarray(start, at), isBorrowed);
    start = at;
    client.transcript.beginAnswer();
    client.send(due);
  }
  return start;
}

/**
 * A message that has not arrived whole is kept until it has, because its content is looked at, or because it must not be sent
 * in two pieces.
 */
function mustBeWhole(client: LoggedInClient, type: number, size: number, isWatched: boolean): boolean {
  switch (type) {
    case Backend.ReadyForQuery:
    case Backend.ParameterStatus:
      return true;
    case Backend.CommandComplete:
      if (mayChangeSession(size - HEADER_BYTES)) return true;
      break;
    case Backend.ErrorResponse:
      if (isWatched || (seesErrors(client) && size <= WHOLE_BYTES)) return true;
      break;
    case Backend.RowDescription:
      if (seesColumns(client) && size <= MAX_CARRY) return true;
      break;
  }
  return isWatched && size <= WHOLE_BYTES;
}

/** Result columns are looked at. */
function seesColumns({ statements }: LoggedInClient): boolean {
  return statements.named.isUsed || statements.unnamed.columns !== null;
}

/** Errors are looked at. */
function seesErrors(client: LoggedInClient): boolean {
  return client.statements.named.isUsed || client.context.functions.hasCanaries;
}

/** Tells the parts of the session about an answer. @returns the final verdict on the message */
function noteReply(
  client: LoggedInClient,
  server: Server,
  reply: Reply,
  type: number,
  chunk: Buffer,
  at: number,
  size: number,
): Reply {
  switch (type) {
    case Backend.CommandComplete:
      noteCommand(client, commandTag(chunk, at + HEADER_BYTES, at + size));
      break;
    case Backend.PortalSuspended:
    case Backend.EmptyQueryResponse:
      client.transcript.noteStatementAnswered();
      break;
    case Backend.RowDescription:
    case Backend.NoData:
      tellDescribed(client, chunk, at, size);
      break;
    case Backend.ErrorResponse:
      if (client.clock.trace !== null) noteTracedError(client, chunk.subarray(at + HEADER_BYTES, at + size));
      if (client.context.functions.hasCanaries)
        noteServerError(client, chunk, at + HEADER_BYTES, Math.min(at + size, chunk.length));
      return noteError(client, reply, chunk.subarray(at, at + size));
    case Backend.ParameterStatus:
      return noteParameter(client, server, chunk.subarray(at + HEADER_BYTES, at + size)) ? reply : Reply.Drop;
    case Backend.NoticeResponse:
      if (client.database.watch !== null && chunk.subarray(at, at + size).includes(WARNING))
        client.transcript.noteTransactionEnd();
      break;
  }
  return reply;
}

/** @param payload the part of the ErrorResponse that has arrived */
function noteTracedError({ clock }: LoggedInClient, payload: Buffer): void {
  const code = parseErrorFields(payload.subarray(0, SQLSTATE_WITHIN)).get('C');
  if (code?.length === 5) clock.trace?.failed(code);
}

function noteCommand(client: LoggedInClient, tag: CommandTag): void {
  client.transcript.noteStatementAnswered();
  if (tag === CommandTag.Other) return;
  if (tag === CommandTag.DiscardAll || tag === CommandTag.DeallocateAll) dropAllStatements(client);
  else if (tag === CommandTag.Set) client.settings.noteSet();
  else if (endsTransaction(tag)) client.transcript.noteTransactionEnd();
}

/** A RowDescription or NoData that an effect in the ledger waits for. If its rest has not arrived, it is too long for that. */
function tellDescribed(client: LoggedInClient, chunk: Buffer, at: number, size: number): void {
  const effect = client.outstanding.takeDescribed();
  if (effect !== null && size <= chunk.length - at)
    effect.described?.(chunk.subarray(at + HEADER_BYTES, at + size));
}

/** @param error the part of the ErrorResponse that has arrived */
function noteError(client: LoggedInClient, reply: Reply, error: Buffer): Reply {
  const { outstanding } = client;
  if (outstanding.lostParse) client.statements.unnamed.lost();
  if (outstanding.failed === null || reply !== Reply.Forward) return reply;
  const other = retireStale(client, outstanding.failed, error);
  return other === null ? reply : outstanding.replaceError(other);
}

/** False: the client already knows the setting, from another server. */
function noteParameter(client: LoggedInClient, server: Server, payload: Buffer): boolean {
  const parameter = parseParameterStatus(payload);
  if (parameter === null) return true;
  server.settings.note(parameter.name, parameter.value);
  return client.settings.reported(parameter.name, server.settings, client.database.watch !== null);
}

/** ReadyForQuery has arrived. @param status its transaction status */
function endQuery(client: LoggedInClient, status: number): void {
  const now = performance.now();
  const { stats } = client.database;
  const isNext = client.outstanding.busy;
  client.clock.endQuery(now, isNext, stats);
  if (isNext) client.clock.trace?.describe(subjectOf(client, null));
  client.transcript.endQuery();
  client.settings.endQuery();
  if (client.context.functions.hasCanaries) noteAnswered(client);
  if (status !== TxStatus.Idle) return client.transcript.endCycle();
  client.transcript.endTransaction(isNext || client.intake.held.length > 0);
  client.settings.endTransaction();
  client.clock.endTransaction(now, isNext, stats);
}

/** Continues with messages that wait for all earlier answers. During a COPY from the client there are none. */
function resumeAwaiting(client: LoggedInClient): void {
  if (client.gate.isAhead && !client.isClosed) resumeAhead(client);
  if (client.gate.reason !== 'answers' || client.isClosed) return;
  if (!client.outstanding.empty && !client.outstanding.inCopy) return;
  client.gate.open('answers');
  client.resume();
}

/** Replaces the ReadyForQuery that would tell the client that its transaction is open. */
function refuseTransaction(client: LoggedInClient): void {
  const error = clientErrors.statementPoolingTransaction();
  client.close(error.message, error, error.message);
}

function refuseReply(client: LoggedInClient, server: Server, reply: Reply, type: number): void {
  if (reply === Reply.OutOfStep)
    return outOfStep(client, server, `unexpected message "${String.fromCharCode(type)}"`);
  const name = type > 0x20 && type < 0x7f ? String.fromCharCode(type) : `\\x${type.toString(16)}`;
  client.context.log.error({ server: server.id }, `${server.label} unknown pkt: '${name}'`);
  server.close('unknown pkt');
}

function outOfStep(client: LoggedInClient, server: Server, what: string): void {
  client.context.log.error({ client: client.id, server: server.id }, `${server.label} out of step: ${what}`);
  server.close(`out of step: ${what}`);
}
