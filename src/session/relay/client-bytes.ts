/**
 * The hot path from client to server. Headers are looked at, bodies are passed on as they come. A message is held only while
 * the gate is closed or halted, and is collected only if it must be looked at whole.
 */
import { BAD_HEADER, frameSize, INCOMPLETE } from '../../wire/frame.ts';
import { FLUSH } from '../../wire/messages.ts';
import type { LoggedInClient } from '../client.ts';
import { takeBack } from '../cancel.ts';
import { unlinkIfDone } from '../link/unlink.ts';
import { classify, inspect } from './client-messages.ts';
import { Handled } from '../state/handled.ts';
import { refuse, refuseType } from '../send/refusal.ts';

/**
 * Answers that a client may be ahead of its server. More are not asked for before some have come: each takes memory here, and
 * the ones that the proxy itself gives cost no server anything, so that nothing else would limit them.
 */
const MAX_AHEAD = 16 * 1024;

/** Bytes have come from the client. */
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

/** Nothing of the client's is open, outstanding or held: its next byte begins a transaction. */
function isBetweenTransactions(client: LoggedInClient): boolean {
  return client.gate.isOpen && client.intake.isEmpty && !client.inTransaction;
}

/**
 * The client waits until its server has caught up. The server may keep its answers back until a Sync or Flush, and the
 * client's Sync may be among the messages that are not read now.
 */
function haltAhead(client: LoggedInClient): void {
  // not in the middle of a message
  if (client.intake.bodyLeft > 0 || client.server === null) return;
  client.forward(FLUSH);
  client.gate.halt('ahead');
  client.socket.pause();
}

/** The server has answered something: the client goes on if it has caught up. */
export function resumeAhead(client: LoggedInClient): void {
  if (client.outstanding.size > MAX_AHEAD / 2) return;
  // or else it goes on when its answers have left
  if (client.replies.isUnsent) client.gate.halt('unsent');
  else client.goOn();
}

/** The gate has opened: goes on with the messages that the client has sent meanwhile. */
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
  // as much as before may be held again: the client is read when there is room
  if (intake.readAgain()) client.readOn();
}

/**
 * Looks at the messages in these bytes, one after the other, until one has to wait. `run` is the beginning of the bytes that
 * were looked at and are passed on as they came; they are put together as far as possible.
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
function passBody(client: LoggedInClient, chunk: Buffer, length: number): number {
  if (!client.intake.isBodyForwarded || client.server === null) return length;
  if (client.intake.bodyLeft > 0 || !client.outstanding.empty) return 0;
  // the server has answered already (a COPY that failed), and kept its link for these bytes
  client.forward(chunk.subarray(0, length));
  client.flush();
  unlinkIfDone(client);
  return length;
}

/** The messages before one that ends the connection are sent, as if it had come later. */
function sendBefore(client: LoggedInClient, chunk: Buffer, run: number, at: number): void {
  if (at > run) client.forward(chunk.subarray(run, at));
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
