import { parseParameterStatus } from '../../wire/messages.ts';
import { clientErrors } from '../../wire/errors.ts';
import { BAD_HEADER, frameSize, INCOMPLETE } from '../../wire/frame.ts';
import { Backend, HEADER_BYTES, TxStatus } from '../../wire/protocol.ts';
import { CommandTag, commandTag, endsTransaction, mayChangeSession } from '../../sql/command-tag.ts';
import type { Client } from '../client.ts';
import { unlinkIfDone } from '../link/link.ts';
import { Reply } from './outstanding.ts';
import { dropAllStatements } from '../statements/discard.ts';
import { retireStale } from '../statements/result-shape.ts';
import { resumeAhead } from './client-bytes.ts';
import { takeError } from '../resend/loss.ts';

/**
 * The hot path from server to client. Headers are looked at, bodies go as they came: rows and copied data in one piece
 * for each read. A run is what has been looked at and not been sent yet.
 */

/** The severity field of a notice that is more than one, untranslated. */
const WARNING = Buffer.from('VWARNING\0');
/**
 * Where a cluster is watched, messages up to this size go to the client in one piece: one whose server has died in the
 * middle of a message could not be told so, and would have to go.
 */
const WHOLE_BYTES = 64 * 1024;
const READY_BYTES = HEADER_BYTES + 1;
/** Settings and notices that must be seen whole; PostgreSQL's are far shorter. */
const MAX_CARRY = 1 << 20;

export function relayServerBytes(client: Client, received: Buffer): void {
  const server = client.server!;
  const { outstanding } = client;
  const { watch: cluster } = client.database!;
  let chunk = received;
  let borrowed = true;
  if (client.replyCarry.length > 0) {
    const all = client.replyCarry.join(received);
    if (all === null) return;
    chunk = all;
    borrowed = false;
  }
  const end = chunk.length;
  const { max_packet_size: largest } = client.context.config.settings;
  let at = 0;
  let run = 0;
  let ready = false;
  /** the last message ended a transaction, and the client has sent more: no answer to it has been seen yet */
  let isBetween = false;

  while (at < end) {
    if (client.replyLeft > 0) {
      const part = Math.min(client.replyLeft, end - at);
      client.replyLeft -= part;
      at += part;
      if (!client.replyForwarded) run = at;
      if (client.replyLeft > 0) break;
      for (let due = outstanding.due(); due !== null; due = outstanding.due()) {
        if (at > run) client.send(chunk.subarray(run, at), borrowed);
        run = at;
        client.send(due);
      }
      continue;
    }
    const size = frameSize(chunk, at, largest);
    if (size === INCOMPLETE) break;
    if (size === BAD_HEADER) return server.close('bad pkt header');
    const type = chunk[at]!;

    if (type === Backend.DataRow || type === Backend.CopyData) {
      if (size <= end - at) {
        at += size;
      } else if (cluster !== null && size <= WHOLE_BYTES) {
        break;
      } else {
        client.replyLeft = size - (end - at);
        client.replyForwarded = true;
        at = end;
      }
      continue;
    }
    if (
      (mustBeWhole(type, size) ||
        (type === Backend.ErrorResponse && client.statements.named.isUsed && size <= WHOLE_BYTES) ||
        (type === Backend.RowDescription && client.statements.named.isUsed && size <= MAX_CARRY) ||
        (cluster !== null && (size <= WHOLE_BYTES || type === Backend.ErrorResponse))) &&
      end - at < size
    ) {
      if (size > MAX_CARRY)
        return outOfStep(client, `message "${String.fromCharCode(type)}" of ${size} bytes`);
      break;
    }

    if (type === Backend.ErrorResponse && cluster !== null) {
      const payload = chunk.subarray(at + HEADER_BYTES, at + size);
      if (takeError(client, cluster, chunk.subarray(run, at), payload)) return;
    }
    let verdict = outstanding.reply(type);
    if (isBetween) isBetween = beginAnswer(client);
    if (verdict === Reply.Ready) {
      if (size !== READY_BYTES) return outOfStep(client, `message "Z" of ${size} bytes`);
      server.noteStatus(chunk[at + HEADER_BYTES]!);
      if (server.txStatus !== TxStatus.Idle && client.poolMode === 'statement') {
        if (at > run) client.send(chunk.subarray(run, at), borrowed);
        return refuseTransaction(client);
      }
      ready = true;
      isBetween = endQuery(client, server.txStatus);
    } else if (verdict === Reply.Unknown) {
      return unknownPacket(client, type);
    } else if (verdict === Reply.OutOfStep) {
      return outOfStep(client, `unexpected message "${String.fromCharCode(type)}"`);
    } else if (type === Backend.ErrorResponse) {
      if (outstanding.lostParse) client.statements.unnamed.lost();
      if (outstanding.failed !== null && verdict === Reply.Forward) {
        const other = retireStale(client, outstanding.failed, chunk.subarray(at, at + size));
        if (other !== null) {
          verdict = Reply.Replace;
          outstanding.replacement = other;
        }
      }
    } else if (outstanding.described !== null) {
      const { described } = outstanding;
      outstanding.described = null;
      if (size <= end - at) described.described?.(chunk.subarray(at + HEADER_BYTES, at + size));
    } else if (type === Backend.ParameterStatus) {
      if (!noteParameter(client, chunk.subarray(at + HEADER_BYTES, at + size))) verdict = Reply.Drop;
    } else if (type === Backend.CommandComplete) {
      client.transcript.noteStatementAnswered();
      const tag = commandTag(chunk, at + HEADER_BYTES, at + size);
      if (tag === CommandTag.DiscardAll || tag === CommandTag.DeallocateAll) {
        dropAllStatements(client);
      } else if (tag === CommandTag.Set) {
        client.settings.noteSet();
      } else if (cluster !== null) {
        if (endsTransaction(tag)) client.transcript.noteTransactionEnd();
      }
    } else if (type === Backend.PortalSuspended || type === Backend.EmptyQueryResponse) {
      client.transcript.noteStatementAnswered();
    } else if (type === Backend.NoticeResponse && cluster !== null) {
      if (chunk.subarray(at, at + size).includes(WARNING)) client.transcript.noteTransactionEnd();
    }

    const here = Math.min(size, end - at);
    if (verdict === Reply.Drop || verdict === Reply.Replace) {
      if (at > run) client.send(chunk.subarray(run, at), borrowed);
      if (verdict === Reply.Replace) client.send(outstanding.replacement!);
      run = at + here;
    }
    at += here;
    client.replyLeft = size - here;
    client.replyForwarded = verdict !== Reply.Drop && verdict !== Reply.Replace;

    // What the proxy itself answers comes in its turn, behind the whole of this message.
    if (client.replyLeft > 0) break;
    for (let due = outstanding.due(); due !== null; due = outstanding.due()) {
      if (at > run) client.send(chunk.subarray(run, at), borrowed);
      run = at;
      if (isBetween) isBetween = beginAnswer(client);
      client.send(due);
    }
  }
  if (at > run) client.send(chunk.subarray(run, at), borrowed);
  if (isBetween) beginAnswer(client);
  if (at < end) client.replyCarry.keep(chunk.subarray(at), frameSize(chunk, at, largest) || HEADER_BYTES);
  if (!(ready || client.unlinkLate) || client.isClosed) return resumeAwaiting(client);
  // the beginning of a notification may be there already: the server is kept until its end
  client.unlinkLate = client.replyLeft > 0 || client.replyCarry.length > 0;
  if (!client.unlinkLate) unlinkIfDone(client);
  resumeAwaiting(client);
}

/** Goes on with what waits for the answers to all that was sent before; none come while the server waits for data. */
function resumeAwaiting(client: Client): void {
  if (client.gate.isAhead && !client.isClosed) resumeAhead(client);
  if (client.gate.reason !== 'answers' || client.isClosed) return;
  if (!client.outstanding.empty && !client.outstanding.inCopy) return;
  client.gate.open('answers');
  client.resume();
}

/** Instead of the ReadyForQuery that would tell the client that its transaction is open. */
function refuseTransaction(client: Client): void {
  const error = clientErrors.statementPoolingTransaction();
  client.close(error.message, error, error.message);
}

/** Messages whose content is looked at. */
function mustBeWhole(type: number, size: number): boolean {
  return (
    type === Backend.ReadyForQuery ||
    type === Backend.ParameterStatus ||
    (type === Backend.CommandComplete && mayChangeSession(size - HEADER_BYTES))
  );
}

/** @returns as Transcript.endTransaction does; false where the transaction goes on */
function endQuery(client: Client, status: number): boolean {
  const now = performance.now();
  const stats = client.database!.stats;
  const more = client.outstanding.busy;
  client.clock.endQuery(now, more, stats);
  client.transcript.endQuery();
  client.settings.endQuery();
  if (status !== TxStatus.Idle) {
    client.transcript.endCycle();
    return false;
  }
  const isKept = client.transcript.endTransaction(more || client.intake.held.length > 0);
  client.settings.endTransaction();
  client.clock.endTransaction(now, more, stats);
  return isKept;
}

/** What is sent from now on answers what the client sent after its last transaction. */
function beginAnswer(client: Client): false {
  client.transcript.beginAnswer();
  return false;
}

/** False: the client knows it already, from another server. */
function noteParameter(client: Client, payload: Buffer): boolean {
  const parameter = parseParameterStatus(payload);
  if (parameter === null) return true;
  const server = client.server!;
  server.noteParameter(parameter.name, parameter.value);
  return client.settings.reported(parameter.name, server, client.database!.watch !== null);
}

function unknownPacket(client: Client, type: number): void {
  const server = client.server!;
  const name = type > 0x20 && type < 0x7f ? String.fromCharCode(type) : `\\x${type.toString(16)}`;
  client.context.log.error({ server: server.id }, `${server.label} unknown pkt: '${name}'`);
  server.close('unknown pkt');
}

function outOfStep(client: Client, what: string): void {
  const server = client.server!;
  client.context.log.error({ client: client.id, server: server.id }, `${server.label} out of step: ${what}`);
  server.close(`out of step: ${what}`);
}
