import { clientErrors } from '../../wire/errors.ts';
import { BAD_HEADER, frameSize, INCOMPLETE } from '../../wire/frame.ts';
import { FLUSH } from '../../wire/messages.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import { takeBack } from '../link/cancel.ts';
import { mayDeallocate } from '../../sql/deallocate.ts';
import type { Client } from '../client.ts';
import { link, unlinkIfDone } from '../link/link.ts';
import { Handled } from './handled.ts';
import { Request } from './outstanding.ts';
import { executeFreeing } from '../statements/deallocate.ts';
import { noteQuery } from '../statements/discard.ts';
import { noteUnnamedParse } from '../statements/parse.ts';
import { isTracked, mayBeTracked } from '../statements/tracking.ts';
import { rollsBackFailed, tellLostTransaction } from '../resend/loss.ts';
import {
  answerError,
  answerReady,
  handleQueryText,
  isPastFunctions,
  tooLongForFunctions,
} from '../query/query.ts';
import { isKept } from '../statements/unnamed.ts';
import { useStatement } from '../statements/use.ts';

/**
 * The hot path from client to server. Headers are looked at, bodies go as they came. A message is held back only for a
 * server or for a decision of user functions, and collected only when it must be looked at whole. A run is what has been
 * looked at and not been sent yet; it is only ever non-empty while the client is linked.
 */

/**
 * Answers that a client may be ahead of its server. More are not asked for before some have come: each takes memory here,
 * and what the proxy itself answers costs no server any, so that nothing else would end it.
 */
export const MAX_AHEAD = 16 * 1024;
/** Longest Bind, Describe or Close whose names are looked for before the rest has come. */
const NAMES_BYTES = 16 * 1024;

/** Bytes have come from the client. */
export function relayClientBytes(client: Client, chunk: Buffer): void {
  const { intake } = client;
  if (client.database!.watch !== null) client.transcript.add(chunk, isBetweenTransactions(client));
  if (!client.gate.lets) {
    intake.hold(chunk);
    if (!intake.isFull) return;
    intake.holdBack();
    client.socket.pause();
    return;
  }
  pump(client, intake.takeWith(chunk));
  if (client.outstanding.size > MAX_AHEAD) haltAhead(client);
  client.flush();
}

/** Nothing of the client's is open, outstanding or held: its next byte begins a transaction. */
function isBetweenTransactions(client: Client): boolean {
  return client.gate.isOpen && client.intake.isEmpty && !client.inTransaction;
}

/**
 * The client waits until its server has caught up. The server may keep its answers back until a Sync or Flush, and the
 * client's Sync may be among the messages that are not read now.
 */
function haltAhead(client: Client): void {
  // not in the middle of a message
  if (client.intake.bodyLeft > 0 || client.server === null) return;
  client.forward(FLUSH);
  client.gate.halt('ahead');
  client.socket.pause();
}

/** The server has answered something: the client goes on if it has caught up. */
export function resumeAhead(client: Client): void {
  if (client.outstanding.size > MAX_AHEAD / 2) return;
  // or else it goes on when its answers have left
  if (client.congested) client.gate.halt('unsent');
  else client.goOn();
}

/** The gate has opened: goes on with the messages that the client has sent meanwhile. */
export function resumeClient(client: Client): void {
  const { gate, intake } = client;
  if (!gate.isOpen || client.isClosed) return;
  if (client.question.isCanceled) takeBack(client);
  if (gate.isAhead) return resumeAhead(client);
  if (gate.isHalted) return;
  const held = intake.take();
  if (held.length > 0) pump(client, held);
  if (client.outstanding.size > MAX_AHEAD) haltAhead(client);
  client.flush();
  // as much as before may be held again: the client is read when there is room
  if (intake.readAgain()) client.readOn();
}

/**
 * Looks at the messages in these bytes, one after the other, until one has to wait. `run` is the beginning of the bytes that
 * were looked at and are passed on as they came; they are put together as far as possible.
 */
function pump(client: Client, arrived: Buffer): void {
  const { intake } = client;
  const { max_packet_size: largest } = client.context.config.settings;
  const chunk = intake.completed(arrived);
  if (chunk === null) return;
  let at = intake.takeBody(chunk.length);
  let run = 0;
  if (at > 0) {
    run = passBody(client, chunk, at);
    if (client.isClosed) return;
  }
  // The ledger is looked at between messages only: a client whose chunks all end within one would never be halted.
  while (at < chunk.length && client.outstanding.size <= MAX_AHEAD) {
    const size = frameSize(chunk, at, largest);
    if (size === INCOMPLETE) break;
    if (size === BAD_HEADER) return refuseHeader(client, chunk, run, at);
    const type = chunk[at]!;
    let handled = classify(client, type, size, chunk, at);
    if (handled === Handled.Inspect) {
      // bytes that the handler sends come after the messages before
      if (at > run) client.forward(chunk.subarray(run, at));
      run = at;
      handled = inspect(client, type, size, chunk.subarray(at, at + size));
      if (client.isClosed) return;
      if (handled === Handled.NeedsAll) return intake.collect(chunk.subarray(at), size);
    }
    if (handled === Handled.Later) break;
    if (handled === Handled.Unknown) return refuseUnknown(client, chunk, run, at);
    // a decision is about this message, whatever has become of it, and about none after it
    client.question.drop();
    const here = Math.min(size, chunk.length - at);
    if (handled !== Handled.Forward) {
      if (at > run) client.forward(chunk.subarray(run, at));
      run = at + here;
    }
    at += here;
    intake.beginBody(size - here, handled === Handled.Forward || handled === Handled.ForwardRest);
    // halted: the answer that the message got from the proxy has not left
    if (client.isClosed || client.gate.isHalted) break;
  }
  if (client.isClosed) return;
  if (at > run) client.forward(chunk.subarray(run, at));
  if (at < chunk.length) intake.putBack(chunk.subarray(at));
}

/** The first bytes belong to the body of a message that has begun before. @returns where the run begins */
function passBody(client: Client, chunk: Buffer, length: number): number {
  if (!client.intake.isBodyForwarded || client.server === null) return length;
  if (client.intake.bodyLeft > 0 || !client.outstanding.empty) return 0;
  // the server has answered already (a COPY that failed), and kept its link for these bytes
  client.forward(chunk.subarray(0, length));
  client.flush();
  unlinkIfDone(client);
  return length;
}

/** Describe and Close say with this byte that they mean a portal, which lives and dies on its server. */
const PORTAL = 0x50;

/** What becomes of a message, from its type alone. Enters what is forwarded in the ledger. */
function classify(client: Client, type: number, size: number, chunk: Buffer, at: number): Handled {
  if (client.skipToSync) {
    if (type === Frontend.Sync || type === Frontend.Terminate || client.lostTransaction !== null)
      return Handled.Inspect;
    return Handled.Discard;
  }
  switch (type) {
    case Frontend.Query:
      if (client.isJudged || client.context.config.settings.disable_pqexec || client.replication !== 'none')
        return Handled.Inspect;
      return forwardQuery(client, size, chunk, at);
    case Frontend.Parse:
      if (client.isJudged) return Handled.Inspect;
      return mayBeTracked(client)
        ? classifyParse(client, size, chunk, at)
        : forwardRequest(client, Request.Parse);
    case Frontend.Bind:
      // Both names empty, the portal's and the statement's: nothing to rename. (Two bytes that have not come count as no.)
      if (
        chunk[at + HEADER_BYTES] === 0 &&
        chunk[at + HEADER_BYTES + 1] === 0 &&
        client.server !== null &&
        client.statements.isUnnamedPlain &&
        !client.isJudged
      ) {
        return forwardRequest(client, Request.Bind);
      }
      return isTracked(client) || client.isJudged ? Handled.Inspect : forwardRequest(client, Request.Bind);
    case Frontend.Describe:
      if (chunk[at + HEADER_BYTES] === PORTAL || !(isTracked(client) || client.isJudged))
        return forwardRequest(client, Request.Describe);
      return Handled.Inspect;
    case Frontend.Close:
      if (chunk[at + HEADER_BYTES] === PORTAL || !isTracked(client))
        return forwardRequest(client, Request.Close);
      return Handled.Inspect;
    case Frontend.Execute:
      return client.statements.freeing.isOpen ? Handled.Inspect : forwardRequest(client, Request.Execute);
    case Frontend.FunctionCall:
      return client.isJudged ? Handled.Inspect : forwardRequest(client, Request.FunctionCall);
    case Frontend.Sync:
      return forwardRequest(client, Request.Sync);
    case Frontend.Flush:
      // Nothing has been sent that could be flushed while there is no link.
      return client.server === null ? Handled.Discard : Handled.Forward;
    case Frontend.CopyData:
      // The server has given up on this copy already, and the rest of it is still arriving.
      return client.server === null ? Handled.Discard : Handled.Forward;
    case Frontend.CopyDone:
    case Frontend.CopyFail:
      if (client.server === null) return Handled.Discard;
      client.outstanding.copyEnded();
      return Handled.Forward;
    case Frontend.Terminate:
      return Handled.Inspect;
    default:
      return Handled.Unknown;
  }
}

/** The messages before one that ends the connection are sent, as if it had come later. */
function sendBefore(client: Client, chunk: Buffer, run: number, at: number): void {
  if (at > run) client.forward(chunk.subarray(run, at));
  client.flush();
}

function refuseHeader(client: Client, chunk: Buffer, run: number, at: number): void {
  sendBefore(client, chunk, run, at);
  refuse(client, `bad packet header: '${chunk.toString('hex', at, at + 8)}'`);
}

function refuseUnknown(client: Client, chunk: Buffer, run: number, at: number): void {
  sendBefore(client, chunk, run, at);
  const type = chunk[at]!;
  client.context.log.error(
    { client: client.id },
    `${client.label} unknown pkt from client: ${type}/0x${type.toString(16)}`,
  );
  refuse(client, 'unknown pkt');
}

/** A Query that nobody judges. */
function forwardQuery(client: Client, size: number, chunk: Buffer, at: number): Handled {
  if (client.statements.named.isUsed && mayDeallocate(chunk, at + HEADER_BYTES, size)) return Handled.Inspect;
  noteQuery(client, chunk, at, size);
  return forwardRequest(client, Request.Query);
}

/** Where statements can be tracked, a named one goes by its name, and an unnamed one is kept. */
function classifyParse(client: Client, size: number, chunk: Buffer, at: number): Handled {
  if (chunk[at + HEADER_BYTES] !== 0 || (size > chunk.length - at && isKept(size))) return Handled.Inspect;
  if (client.statements.named.isUsed && mayDeallocate(chunk, at + HEADER_BYTES + 1, size))
    return Handled.Inspect;
  const handled = forwardRequest(client, Request.Parse);
  if (handled === Handled.Forward) noteUnnamedParse(client, chunk, at, size);
  return handled;
}

function inspect(client: Client, type: number, size: number, bytes: Buffer): Handled {
  const whole = bytes.length === size;
  const isLost = client.lostTransaction !== null && type !== Frontend.Terminate;
  if (isLost && !rollsBackFailed(client, type, bytes)) return tellLostTransaction(client, type);
  switch (type) {
    case Frontend.Terminate:
      // what it has asked for before is done, as if it had waited
      client.flush();
      client.close('client close request');
      return Handled.Later;
    case Frontend.Sync:
      return endSkipping(client);
    case Frontend.Query:
    case Frontend.Parse: {
      if (type === Frontend.Query && client.context.config.settings.disable_pqexec) {
        client.close('PQexec disallowed', clientErrors.pqexecDisallowed());
        return Handled.Later;
      }
      if (client.replication !== 'none' && isPastFunctions(client, 'replication')) {
        // they were not there when it logged in
        const error = clientErrors.replicationRefused(client.entry);
        client.close(error.message, error);
        return Handled.Later;
      }
      const isJudged = client.isJudged;
      const tooLong = isJudged ? tooLongForFunctions(client, type, size, bytes) : 0;
      const needsText = isJudged && tooLong === 0;
      if (!whole && !needsText && !mustBeWhole(client, type, size, bytes)) {
        // Too large to be judged, and the policy lets it pass: it goes through in pieces.
        return handleQueryText(client, type, bytes, tooLong);
      }
      return whole ? handleQueryText(client, type, bytes, tooLong) : Handled.NeedsAll;
    }
    case Frontend.FunctionCall: {
      if (!isPastFunctions(client, 'function_call')) return forwardRequest(client, Request.FunctionCall);
      answerError(client, type, clientErrors.functionCallRefused(client.entry));
      return Handled.Done;
    }
    case Frontend.Execute:
      if (whole) return executeFreeing(client, bytes);
      return size > NAMES_BYTES ? forwardRequest(client, Request.Execute) : Handled.NeedsAll;
    default: {
      const result = useStatement(client, type, size, bytes);
      if (result !== Handled.Incomplete) return result;
      if (whole || bytes.length > NAMES_BYTES) nameWithoutEnd(client, type);
      return Handled.Later;
    }
  }
}

/** Of a Parse all is needed where its text is kept, of a Query where it could be DEALLOCATE. */
function mustBeWhole(client: Client, type: number, size: number, bytes: Buffer): boolean {
  if (type === Frontend.Query)
    return client.statements.named.isUsed && mayDeallocate(bytes, HEADER_BYTES, size);
  return mayBeTracked(client) && (isKept(size) || (bytes[HEADER_BYTES] !== 0 && isTracked(client)));
}

/** The first of the messages that are held back is not sent to any server: what is still to come of it is thrown away. */
export function dropHeld(client: Client): void {
  client.question.drop();
  client.intake.dropMessage();
}

/** A message that is passed on and answered by the server: the link and the ledger's entry. */
export function forwardRequest(client: Client, request: Request): Handled {
  if ((client.server === null || client.database!.watch !== null) && !link(client)) return Handled.Later;
  client.clock.noteRequest(request, client.outstanding, client.database!.stats);
  client.outstanding.sent(request);
  return Handled.Forward;
}

/** The Sync behind an error that the proxy itself answered. */
function endSkipping(client: Client): Handled {
  client.skipToSync = false;
  if (client.server !== null && client.outstanding.busy) {
    return forwardRequest(client, Request.Sync);
  }
  return answerReady(client);
}

/** A message about a prepared statement that can't be one. */
export function nameWithoutEnd(client: Client, type: number): void {
  client.context.log.error(
    { client: client.id },
    `${client.label} failed to parse prepared statement packet type '${String.fromCharCode(type)}'`,
  );
  refuse(client, 'failed to parse packet');
}

function refuse(client: Client, reason: string): void {
  client.close(reason, clientErrors.protocolViolation(reason));
}
