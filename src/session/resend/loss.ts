import { isRollback } from '../../sql/rollback.ts';
import { isAlarm } from '../../pool/alarms.ts';
import type { SessionWatch } from '../../pool/watch.ts';
import type { Server } from '../../pool/server.ts';
import { runControl } from '../../pool/control.ts';
import { ClientError, clientErrors } from '../../wire/errors.ts';
import { parameterStatus, parseErrorFields, readyForQuery } from '../../wire/messages.ts';
import { Frontend, HEADER_BYTES, TxStatus } from '../../wire/protocol.ts';
import type { Client } from '../client.ts';
import { Request } from '../relay/outstanding.ts';
import { answerError } from '../query/reject.ts';
import { Handled } from '../relay/handled.ts';
import { dropHeld } from '../relay/requests.ts';
import {
  cycleEnd,
  cyclesOf,
  isRolledBack,
  isUncommitted,
  parsedNames,
  resendable,
  isForgettable,
  uncommittedBytes,
  type Resendable,
} from './resendable.ts';

/**
 * Clients of a database whose cluster is watched, when their server goes away: they stay. What was open is told to be
 * rolled back where that is certain, and to be unknown where it is not; one statement that provably had no effect is
 * sent again.
 */

const EMPTY = Buffer.alloc(0);
/**
 * Looks at an error that a server reports.
 * @param before what came in the same piece before the error, and was not sent to the client yet
 * @param payload of the ErrorResponse
 * @returns true: the link has ended, and what becomes of the client is decided later
 */
export function takeError(client: Client, cluster: SessionWatch, before: Buffer, payload: Buffer): boolean {
  const fields = parseErrorFields(payload);
  const code = fields.get('C') ?? '';
  if (!isAlarm(code) || client.replication !== 'none') return false;
  const server = client.server!;
  const isFatal = /^(?:FATAL|PANIC)$/.test(fields.get('V') ?? fields.get('S') ?? '');
  const isDoubted = cluster.serverError(server, code);
  const hasNoEffect = code === '57P01' || code === '25006' || code === '57P03';
  const found = hasNoEffect ? replay(client, server, cluster) : null;
  // a server that is still there does what comes behind
  const again =
    isForgettable(before, found?.isWhole ?? true) && (isFatal || found?.hasMore !== true) ? found : null;
  const kept = again?.bytes ?? null;
  if (!isFatal && (kept === null || !isDoubted)) return false;
  // A session's server has more than this statement, and one has the transaction: it is given up only when the node is.
  const isParked = !isFatal && (client.poolMode === 'session' || again!.opensTransaction);
  if (isParked && !again!.isWhole) return false;
  const original = new ClientError(isFatal ? 'FATAL' : 'ERROR', code, fields.get('M') ?? 'server error', {
    detail: fields.get('D') ?? null,
    hint: fields.get('H') ?? null,
  });
  const error = whatIsLost(client, server, original);
  const behind = isFatal && kept === null ? notBegun(client, server, cluster) : null;
  if (kept === null && before.length > 0) client.send(before, true);
  const answered = Buffer.from(before);
  const isSession = client.poolMode === 'session';
  const loss = detach(client, server);
  if (behind !== null) {
    loss.readies = 1;
    loss.isUnsynced = false;
  }
  const isIdle = loss.readies === 0 && !loss.isUnsynced && !loss.inTransaction;
  const settled = isParked ? park(server) : null;
  if (isFatal || !again!.isWhole) server.close(`${code} ${original.message}`, { notify: false });
  else if (!isParked) giveBack(client, server);
  client.gate.close('verdict');
  client.clock.beginWait(performance.now());
  if (kept !== null || behind !== null) takeUp(client, kept ?? behind!);
  const verdict = (client.verdict = { isLost: kept === null });
  cluster.onVerdict(server, code, (gone) => {
    if (isParked && (gone || client.verdict !== verdict)) server.close('not the writer any more');
    if (client.state !== 'waiting' || client.verdict !== verdict) return;
    if (isParked && !gone)
      return void settled!.then(() => {
        if (client.state !== 'waiting' || client.verdict !== verdict) return server.close('session lost');
        goOnWith(client, server);
        refuseKept(client, again!, answered, original);
        client.resume();
      });
    client.verdict = null;
    client.gate.open('verdict');
    if (gone && kept !== null) {
      forgetParsed(client, kept);
      client.context.log.debug({ client: client.id }, `${client.label} statement is sent again`);
    } else if (gone || (isIdle && !isSession)) {
      // FATAL ended the first statement: the server has not begun another
      tell(client, cluster, loss, [error], clientErrors.transactionLost());
      if (behind !== null) client.transcript.restart(client.intake.held);
    } else if (isFatal) {
      return client.close(original.message, original);
    } else {
      refuseKept(client, again!, answered, original);
    }
    client.resume();
  });
  return true;
}

/**
 * What came after the statement that has ended by FATAL: the server has not looked at it. null: nothing, or nothing that
 * may be sent again.
 */
function notBegun(client: Client, server: Server, cluster: SessionWatch): Buffer | null {
  if (!client.transcript.isUnanswered || !cluster.mayRetry || server.txStatus !== TxStatus.Idle) return null;
  const bytes = client.transcript.bytes();
  const end = bytes === null ? -1 : cycleEnd(bytes);
  if (end < 0 || end === bytes!.length || client.outstanding.readies === 0) return null;
  const behind = bytes!.subarray(end);
  forgetParsed(client, behind);
  return behind;
}

/** What the client has sent is to be looked at once more. */
function takeUp(client: Client, kept: Buffer): void {
  client.intake.restart(kept);
  // the decision was about a message that comes later, or that is judged anew
  client.question.drop();
}

/** Of what is held the first part gets its answer after all; what has come behind it is still to be done. */
function refuseKept(client: Client, kept: Kept, answered: Buffer, error: ClientError): void {
  client.intake.drop(kept.bytes.length);
  if (kept.isWhole) client.intake.endSkip();
  else client.intake.skipToSync();
  const ready = client.intake.isSkipping ? EMPTY : readyForQuery(client.txStatus);
  client.send(Buffer.concat([answered, error.encode(), ready]));
  // what is skipped must not be taken for something to be done
  if (client.intake.isSkipping) client.transcript.forget();
  else client.transcript.restart(client.intake.held);
}

/** What the server still says of a statement that it has refused is taken from it. */
async function park(server: Server): Promise<void> {
  server.moveTo('tested');
  const { server_connect_timeout: timeoutMs } = server.pool.context.settings;
  await runControl(server, '', { timeoutMs, afterStrays: true }).catch(() => {});
}

/** A transaction's server is the next one's as soon as it has said all. */
function giveBack(client: Client, server: Server): void {
  server.markInDoubt();
  client.pool!.give(server);
}

/** The node is as it was: the client has its session back. */
function goOnWith(client: Client, server: Server): void {
  if (server.state !== 'closed') {
    server.moveTo('active');
    server.attach(client);
    client.server = server;
  }
  client.verdict = null;
  client.gate.open('verdict');
}

/** The connection to a client's server has ended. */
export function serverLost(client: Client, server: Server, reason: string): void {
  if (client.server !== server) return;
  const { watch } = client.database!;
  if (watch !== null && client.replication === 'none') return lostInCluster(client, server, watch);
  client.server = null;
  client.outstanding.clear();
  client.close(reason, clientErrors.serverLost(reason));
}

/** The connection of a linked client ended without a word. */
function lostInCluster(client: Client, server: Server, cluster: SessionWatch): void {
  client.gate.endWait();
  const plan = planAfterCrash(client, server, cluster);
  const loss = detach(client, server);
  client.gate.open('answers');
  if (plan.again !== null) {
    loss.readies = plan.errors.length;
    loss.isUnsynced = false;
    forgetParsed(client, plan.again);
    takeUp(client, plan.again);
    client.gate.open('decision');
  }
  tell(client, cluster, loss, plan.errors, plan.otherError);
  if (plan.again !== null) client.transcript.restart(plan.again);
  client.resume();
}

/** What becomes of what a client has sent to a server that has vanished. */
interface Plan {
  /** what its first cycles are answered with */
  readonly errors: ClientError[];
  /** the others, and what runs or was begun in a transaction */
  readonly otherError: ClientError;
  /** what is sent again, to the end of what the client has sent; null: only what no server was sent */
  readonly again: Buffer | null;
}

function planAfterCrash(client: Client, server: Server, cluster: SessionWatch): Plan {
  const { outstanding } = client;
  const { requests } = outstanding;
  const isExecuting = requests.some((each) => EXECUTES.has(each));
  if (!isExecuting && client.transcript.answered === 0)
    return (
      nothingDone(client, server, cluster) ?? {
        errors: [],
        otherError: clientErrors.transactionLost(),
        again: null,
      }
    );
  const unknown = clientErrors.outcomeUnknown();
  const bytes = keptWholly(client, server);
  if (bytes === null) {
    const isCut = client.intake.isCut && !outstanding.unsynced && !outstanding.inCopy;
    const errors = requests.filter((each) => each <= Request.Sync).map(() => unknown);
    // without its end the server has not executed it
    if (isCut && errors.length > 0) errors[errors.length - 1] = clientErrors.transactionLost();
    return { errors, otherError: unknown, again: null };
  }
  return planByBytes(client, server, cluster, bytes);
}

/** Requests that execute something. A Bind or Describe may run functions too, but commits nothing. */
const EXECUTES: ReadonlySet<Request> = new Set([Request.Query, Request.FunctionCall, Request.Execute]);

/** All that a client has sent and has no answer of; null: not all of it is there, or a transaction is open. */
function keptWholly(client: Client, server: Server): Buffer | null {
  return client.transcript.isUnanswered && server.txStatus === TxStatus.Idle
    ? client.transcript.bytes()
    : null;
}

/** What was sent executes nothing. null: it can't be sent again. */
function nothingDone(client: Client, server: Server, cluster: SessionWatch): Plan | null {
  const bytes = keptWholly(client, server);
  if (bytes === null || !cluster.mayRetry || client.outstanding.empty) return null;
  return { errors: [], otherError: clientErrors.transactionLost(), again: bytes };
}

function planByBytes(client: Client, server: Server, cluster: SessionWatch, bytes: Buffer): Plan {
  const { readies, unsynced } = client.outstanding;
  const text = (name: string): string | null => textOf(client, name);
  const { ends, isCut } = cyclesOf(bytes);
  const isCutAtServer = isCut && client.intake.isCut;
  /** whole cycles that the server may have had */
  const whole = readies - (isCutAtServer ? 1 : 0);
  const unknown = clientErrors.outcomeUnknown();
  if (whole < 0 || whole > ends.length) return { errors: [], otherError: unknown, again: null };
  const startOf = (cycle: number): number => (cycle === 0 ? 0 : ends[cycle - 1]!);
  const cycle = (at: number): Buffer => bytes.subarray(startOf(at), ends[at] ?? bytes.length);
  // A server executes what it has the end of, and commits what was executed when a Sync follows.
  const mayMove = (at: number): boolean =>
    isQuery(cycle(at)) || startOf(at) === bytes.length || resendable(cycle(at), text) !== null;
  let first = whole;
  const isOpenMovable = !unsynced || mayMove(whole);
  if (isOpenMovable && server.sendFailed && !unsynced && !isCutAtServer && whole > 0 && mayMove(whole - 1))
    first--;
  const isHarmless =
    !client.transcript.isRewritten && isOpenMovable && isUncommitted(bytes.subarray(0, startOf(first)), text);
  if (isHarmless) first = 0;
  // of what comes first, and changes nothing but its session, it is certain that nothing is left
  const harmless = client.transcript.isRewritten ? 0 : uncommittedBytes(bytes, text, false);
  const lost = clientErrors.transactionLost();
  const errors = ends.slice(0, first).map((end) => (end <= harmless ? lost : unknown));
  const isMoved = isOpenMovable && (first < readies || unsynced);
  if (isMoved && cluster.mayRetry)
    return { errors, otherError: unknown, again: bytes.subarray(startOf(first)) };
  return { errors, otherError: isOpenMovable ? clientErrors.transactionLost() : unknown, again: null };
}

function isQuery(bytes: Buffer): boolean {
  return bytes[0] === Frontend.Query;
}

/** What the client still has to be told of. */
interface Loss {
  /** ReadyForQuery messages that it waits for */
  readies: number;
  /** messages are outstanding that no Sync has closed yet */
  isUnsynced: boolean;
  /** all that it waits for is the answer to Sync messages, before which nothing was executed */
  readonly isSyncOnly: boolean;
  /** it knows of the error already, and its Sync is still to come */
  readonly isSkipping: boolean;
  readonly inTransaction: boolean;
  readonly hasFailed: boolean;
}

function detach(client: Client, server: Server): Loss {
  const { outstanding } = client;
  const { requests } = outstanding;
  const loss: Loss = {
    readies: outstanding.readies,
    isSyncOnly: client.transcript.answered === 0 && requests.every((each) => each === Request.Sync),
    isUnsynced: outstanding.unsynced,
    isSkipping: outstanding.skipping,
    inTransaction: server.txStatus !== TxStatus.Idle,
    hasFailed: server.txStatus === TxStatus.Failed,
  };
  client.server = null;
  client.database!.watch?.letGo(client);
  server.detach();
  outstanding.clear();
  client.clock.loseServer(performance.now());
  client.replies.loseServer();
  client.transcript.loseServer();
  rollBackSettings(client);
  // nobody will tell that the server has taken what it was sent
  if (client.gate.isOpen && client.socket.isPaused()) client.readOn();
  return loss;
}

/** Undoes the settings that the lost transaction has changed, and tells the client so, as a server would after a ROLLBACK. */
function rollBackSettings(client: Client): void {
  const mayTell = client.state !== 'closed' && !client.replies.isCut;
  for (const [name, value] of client.settings.rollBack(client.pool!.welcome, mayTell))
    client.send(parameterStatus(name, value));
}

/**
 * Every query that waits for its end gets an error; a client that waits for nothing is told at its next message.
 * @param errors of the first queries, in turn
 * @param other of all others
 */
function tell(
  client: Client,
  cluster: SessionWatch,
  loss: Loss,
  errors: readonly ClientError[],
  other: ClientError,
): void {
  const error = errors[0] ?? other;
  if (client.replies.isCut) return client.close(error.message);
  client.replies.endBody();
  if (loss.inTransaction || loss.readies > 0 || loss.isUnsynced) cluster.transactionBroken();
  const parts: Buffer[] = [];
  const encoded = new Map<ClientError, Buffer>();
  const encode = (each: ClientError): Buffer => {
    const bytes = encoded.get(each) ?? each.encode();
    encoded.set(each, bytes);
    return bytes;
  };
  const ready = readyForQuery(TxStatus.Idle);
  for (let i = 0; i < loss.readies; i++) {
    // nothing was executed, so that nothing is lost
    if (!loss.isSyncOnly || loss.inTransaction) parts.push(encode(errors[i] ?? other));
    parts.push(ready);
  }
  if (loss.isUnsynced) {
    if (!loss.isSkipping) parts.push(encode(errors[loss.readies] ?? other));
    client.intake.skipToSync();
  }
  client.transcript.forget();
  if (parts.length > 0) client.send(Buffer.concat(parts));
  else if (loss.inTransaction) {
    client.lostTransaction = error;
    client.lostHadFailed = loss.hasFailed;
    // makes the relay look at the next message
    client.intake.skipToSync();
  }
}

/**
 * Whether the first message behind a transaction that was lost is the ROLLBACK of one that had failed before: its client
 * knows that it is lost, and gets what it asks for.
 */
export function rollsBackFailed(client: Client, type: number, bytes: Buffer): boolean {
  if (!client.lostHadFailed) return false;
  const from = bytes.indexOf(0, HEADER_BYTES) + 1;
  let text: string | null = null;
  if (type === Frontend.Query) text = bytes.toString('latin1', HEADER_BYTES, from - 1);
  else if (type === Frontend.Parse) text = bytes.toString('latin1', from, bytes.indexOf(0, from));
  else if (type === Frontend.Bind)
    text = textOf(client, bytes.toString('latin1', from, bytes.indexOf(0, from)));
  if (text === null || !isRollback(text)) return false;
  client.lostTransaction = null;
  client.intake.endSkip();
  return true;
}

/** The first message behind a transaction that was lost while its client said nothing. */
export function tellLostTransaction(client: Client, type: number): Handled {
  const error = client.lostTransaction!;
  client.lostTransaction = null;
  client.intake.endSkip();
  client.question.forget();
  if (type === Frontend.Sync) client.send(Buffer.concat([error.encode(), readyForQuery(TxStatus.Idle)]));
  else answerError(client, type === Frontend.FunctionCall ? Frontend.Query : type, error);
  return Handled.Discard;
}

/** Nobody will give this waiting client a server: its query gets an error, and it stays. */
export function refuseWaiting(client: Client, error: ClientError): void {
  const type = client.intake.held[0];
  if (type === undefined || client.state !== 'waiting') return client.close(error.message, error);
  client.gate.endWait();
  client.question.forget();
  client.verdict = null;
  dropHeld(client);
  if (type === Frontend.Sync) {
    client.clock.dropQuery(performance.now());
    client.send(Buffer.concat([error.encode(), readyForQuery(TxStatus.Idle)]));
  } else answerError(client, type === Frontend.FunctionCall ? Frontend.Query : type, error);
  client.resume();
}

/** What a client has sent, and can be sent again where the server has done nothing about it. */
interface Kept extends Resendable {
  readonly bytes: Buffer;
}

/** null: there is more to it than that. */
function replay(client: Client, server: Server, cluster: SessionWatch): Kept | null {
  if (!client.transcript.isUnanswered || !cluster.mayRetry || server.txStatus !== TxStatus.Idle) return null;
  const bytes = client.transcript.bytes();
  const found = bytes === null ? null : resendable(bytes, (name) => textOf(client, name));
  return found === null ? null : { ...found, bytes: bytes! };
}

/** The text of a named prepared statement, as servers know it; null: there is none. */
function textOf({ statements }: Client, name: string): string | null {
  const body = name === '' ? statements.unnamed.body : statements.named.find(name)?.shared.body;
  return body === undefined ? null : body.toString('latin1', 0, body.indexOf(0));
}

/** The error for a client whose server was shut down in the middle of something: it claims no more than is certain. */
function whatIsLost(client: Client, server: Server, original: ClientError): ClientError {
  if (client.transcript.mayHaveEnded) return clientErrors.outcomeUnknown();
  if (server.txStatus !== TxStatus.Idle) return clientErrors.transactionLost();
  const { requests } = client.outstanding;
  const end = requests.findIndex((each) => each <= Request.Sync);
  const pending = requests
    .slice(0, end < 0 ? undefined : end + 1)
    .filter((each) => EXECUTES.has(each)).length;
  const { answered, isComplete } = client.transcript;
  const bytes = client.transcript.bytes();
  const isCertain =
    (pending === 0 && answered === 0) ||
    (bytes !== null &&
      isRolledBack({ bytes, isComplete, answered, pending }, (name) => textOf(client, name)));
  if (isCertain) return clientErrors.transactionLost();
  return answered > 0 ? clientErrors.outcomeUnknown() : clientErrors.interrupted(original.message);
}

/** The server has made statements that the client does not know of yet: their Parse comes again. */
function forgetParsed(client: Client, kept: Buffer): void {
  for (const name of parsedNames(kept)) client.statements.named.remove(name);
}
