/**
 * The hot path from client to server. Headers are looked at, and bodies are passed on as they arrive. A message is held only
 * while the gate is closed or halted, and is collected only if it must be looked at whole.
 */
import { BAD_HEADER, frameSize, INCOMPLETE } from '../../wire/frame.ts';
import { FLUSH } from '../../wire/messages.ts';
import type { LoggedInClient } from '../client.ts';
import { takeBack } from '../cancel.ts';
import { unlinkIfDone } from '../link/unlink.ts';
import { classify, inspect } from './client-messages.ts';
import { Handled } from '../state/handled.ts';
import { refuse, refuseType } from '../send/refusal.ts';
import { describe } from '../send/trace.ts';

/**
 * How many unanswered messages a client may have. At this number the proxy stops taking more until some are answered: each
 * takes memory here, and those that the proxy itself answers cost no server anything, so nothing else would limit them.
 */
const MAX_AHEAD = 16 * 1024;

/** Bytes have arrived from the client. */
export function relayClientBytes(client: LoggedInClient, chunk: Buffer): void {
  const { intake } = client;
  if (client.database.watch !== null) client.transcript.add(chunk, isBetweenTransactions(client));
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

/** Nothing is open, outstanding or held for the client: its next byte begins a transaction. */
function isBetweenTransactions(client: LoggedInClient): boolean {
  return client.gate.isOpen && client.intake.isEmpty && !client.inTransaction;
}

/**
 * The client waits until its server has caught up. The server may keep its answers back until a Sync or Flush, which may be
 * among the client's unread messages.
 */
function haltAhead(client: LoggedInClient): void {
  // not in the middle of a message
  if (client.intake.bodyLeft > 0 || client.server === null) return;
  client.forward(FLUSH);
  client.gate.halt('ahead');
  client.socket.pause();
}

/** The server has answered something: the client continues if the server has caught up. */
export function resumeAhead(client: LoggedInClient): void {
  if (client.outstanding.size > MAX_AHEAD / 2) return;
  // otherwise it continues when its answers have left
  if (client.replies.isUnsent) client.gate.halt('unsent');
  else client.resumeHalted();
}

/** The gate has opened: continues with the messages that the client has sent meanwhile. */
export function resumeClient(client: LoggedInClient): void {
  const { gate, intake } = client;
  if (!gate.isOpen || client.isClosed) return;
  if (client.question.isCanceled) takeBack(client);
  if (gate.isAhead) return resumeAhead(client);
  if (gate.isHalted) return;
  const held = intake.take();
  if (held.length > 0) pump(client, held);
  if (client.outstanding.size > MAX_AHEAD) haltAhead(client);
  client.flush();
  // held bytes may again reach the limit: the client is read when there is room
  if (intake.readAgain()) client.readOn();
}

/**
 * Looks at the messages in these bytes, one after the other, until one has to wait. `run` is the beginning of the bytes that
 * have been looked at and are passed on unchanged; runs are made as long as possible.
 */
function pump(client: LoggedInClient, arrived: Buffer): void {
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
  // The ledger is checked between messages only. Otherwise a client whose chunks all end inside a message would never be
  // halted.
  while (at < chunk.length && client.outstanding.size <= MAX_AHEAD) {
    const size = frameSize(chunk, at, largest);
    if (size === INCOMPLETE) break;
    if (size === BAD_HEADER) return refuseHeader(client, chunk, run, at);
    const type = chunk[at]!;
    let handled = classify(client, type, size, chunk, at);
    if (handled === Handled.Inspect) {
      // bytes that the handler sends must follow the earlier messages
      if (at > run) client.forwardPart(chunk, run, at);
      run = at;
      handled = inspect(client, type, size, chunk.subarray(at, at + size));
      if (client.isClosed) return;
      if (handled === Handled.NeedsAll) return intake.collect(chunk.subarray(at), size);
    }
    if (handled === Handled.Later) break;
    if (handled === Handled.Unknown) return refuseUnknown(client, chunk, run, at);
    // a decision is about this message, whatever happened to it, and about none after it
    client.question.drop();
    const here = Math.min(size, chunk.length - at);
    if (client.clock.trace !== null) noteTraced(client, size, chunk.subarray(at, at + here));
    if (handled !== Handled.Forward) {
      if (at > run) client.forwardPart(chunk, run, at);
      run = at + here;
    }
    at += here;
    intake.beginBody(size - here, handled === Handled.Forward || handled === Handled.ForwardRest);
    // halted: the proxy's own answer to this message has not left
    if (client.isClosed || client.gate.isHalted) break;
  }
  if (client.isClosed) return;
  if (at > run) client.forwardPart(chunk, run, at);
  if (at < chunk.length) intake.putBack(chunk.subarray(at));
}

/** A message of a traced query has been dealt with. @param message the part of it that has arrived */
function noteTraced(client: LoggedInClient, size: number, message: Buffer): void {
  const { trace } = client.clock;
  if (trace !== null && !trace.isDescribed) describe(client, trace, size, message);
}

/** The first bytes belong to the body of an earlier message. @returns where the run begins */
function passBody(client: LoggedInClient, chunk: Buffer, length: number): number {
  if (!client.intake.isBodyForwarded || client.server === null) return length;
  if (client.intake.bodyLeft > 0 || !client.outstanding.empty) return 0;
  // the server has already answered (a COPY that failed), and kept its link for these bytes
  client.forward(chunk.subarray(0, length));
  client.flush();
  unlinkIfDone(client);
  return length;
}

/** Sends the messages before one that ends the connection, as if that one had arrived later. */
function sendBefore(client: LoggedInClient, chunk: Buffer, run: number, at: number): void {
  if (at > run) client.forwardPart(chunk, run, at);
  client.flush();
}

function refuseHeader(client: LoggedInClient, chunk: Buffer, run: number, at: number): void {
  sendBefore(client, chunk, run, at);
  refuse(client, `bad packet header: '${chunk.toString('hex', at, at + 8)}'`);
}

function refuseUnknown(client: LoggedInClient, chunk: Buffer, run: number, at: number): void {
  sendBefore(client, chunk, run, at);
  refuseType(client, chunk[at]!);
}
