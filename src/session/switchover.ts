import { isRollback } from '../functions/decision.ts';
import { isAlarm, type Cluster } from '../pool/cluster.ts';
import type { Server } from '../pool/server.ts';
import { runControl } from '../pool/control.ts';
import { ClientError, clientErrors } from '../wire/errors.ts';
import { parameterStatus, parseErrorFields, readyForQuery } from '../wire/messages.ts';
import { Frontend, HEADER_BYTES, TxStatus } from '../wire/protocol.ts';
import type { Client } from './client.ts';
import { releaseStatement } from './prepared.ts';
import { answerError } from './query.ts';
import { dropHeld, dropQuery, Handled, resumeClient } from './relay-client.ts';
import {
  isAtomic,
  isPlainStatement,
  parsedNames,
  replayable,
  REPLAY_BYTES,
  said,
  type Replayable,
} from './replay.ts';

/**
 * Clients of a database whose cluster is watched, when their server goes away: they stay. What was open is told to be
 * rolled back where that is certain, and to be unknown where it is not; one statement that provably had no effect is
 * sent again.
 */

const EMPTY = Buffer.alloc(0);
/** Pieces of a statement that are kept as they came. */
const MAX_PIECES = 64;

/** Remembers what a client has sent since its transaction began, for as long as nothing was answered. */
export function keepForReplay(client: Client, chunk: Buffer): void {
  const isStart =
    !client.blocked &&
    client.held.length === 0 &&
    client.bodyLeft === 0 &&
    client.collecting === null &&
    !client.inTransaction;
  if (isStart) {
    client.kept = chunk;
    client.keptMore = null;
    client.keptAnswered = 0;
    client.keepsAll = true;
  } else if (client.keepsAll && client.kept !== null) {
    keepMore(client, client.kept, chunk);
  }
}

function keepMore(client: Client, first: Buffer, chunk: Buffer): void {
  const more = (client.keptMore ??= []);
  more.push(chunk);
  let size = first.length;
  for (const piece of more) size += piece.length;
  if (size > REPLAY_BYTES) client.keepsAll = false;
  else if (more.length > MAX_PIECES) client.kept = Buffer.concat([first, ...more]);
  else return;
  client.keptMore = null;
}

/** Sends what the proxy itself answers to the first messages of a pipeline: those behind them can still be sent again. */
export function answerAhead(client: Client, reply: Buffer): void {
  const { keepsAll, keptMore } = client;
  client.send(reply);
  if (!keepsAll) return;
  client.keptAnswered++;
  client.keepsAll = true;
  client.keptMore = keptMore;
}

/**
 * Looks at an error that a server reports.
 * @param before what came in the same piece before the error, and was not sent to the client yet
 * @param payload of the ErrorResponse
 * @returns true: the link has ended, and what becomes of the client is decided later
 */
export function takeError(client: Client, cluster: Cluster, before: Buffer, payload: Buffer): boolean {
  const fields = parseErrorFields(payload);
  const code = fields.get('C') ?? '';
  if (!isAlarm(code) || client.replication !== 'none') return false;
  const server = client.server!;
  const isFatal = /^(?:FATAL|PANIC)$/.test(fields.get('V') ?? fields.get('S') ?? '');
  const isDoubted = cluster.serverError(server, code);
  const hasNoEffect = code === '57P01' || code === '25006' || code === '57P03';
  const found = hasNoEffect ? replay(client, server, cluster) : null;
  const { isForgettable, isExecuted } = said(before, found?.isWhole ?? true);
  // a server that is still there does what comes behind
  const again = isForgettable && (isFatal || found?.hasMore !== true) ? found : null;
  const kept = again?.bytes ?? null;
  if (!isFatal && (kept === null || !isDoubted)) return false;
  // A session's server has more than this statement, and one has the transaction: it is given up only when the node is.
  const isParked = !isFatal && (client.poolMode === 'session' || again!.opensTransaction);
  if (isParked && !again!.isWhole) return false;
  if (kept === null && before.length > 0) client.send(before, true);

  const original = new ClientError(isFatal ? 'FATAL' : 'ERROR', code, fields.get('M') ?? 'server error', {
    detail: fields.get('D') ?? null,
    hint: fields.get('H') ?? null,
  });
  const isUncertain = client.hasCommitted || (found !== null && isExecuted);
  const error = isUncertain ? clientErrors.outcomeUnknown() : whatIsLost(client, server, original);
  const answered = Buffer.from(before);
  const loss = detach(client, server);
  const settled = isParked ? park(server) : null;
  if (isFatal || !again!.isWhole) server.close(`${code} ${original.message}`, { notify: false });
  else if (!isParked) giveBack(client, server);
  client.state = 'waiting';
  client.blocked = true;
  client.waitingSince = performance.now();
  if (kept !== null) takeUp(client, kept);
  const verdict = (client.verdict = { isLost: kept === null });
  cluster.whenJudged(server, (gone) => {
    if (isParked && (gone || client.verdict !== verdict)) server.close('not the writer any more');
    if (client.state !== 'waiting' || client.verdict !== verdict) return;
    if (isParked && !gone)
      return void settled!.then(() => {
        if (client.state !== 'waiting' || client.verdict !== verdict) return server.close('session lost');
        goOnWith(client, server);
        refuseKept(client, again!, answered, original);
        resumeClient(client);
      });
    client.verdict = null;
    client.state = 'idle';
    client.blocked = false;
    if (gone && kept !== null) {
      forgetParsed(client, kept);
      client.sessions.log.debug({ client: client.id }, `${client.label} statement is sent again`);
    } else if (gone) {
      tell(client, cluster, loss, error);
    } else if (isFatal) {
      return client.close(original.message, original);
    } else {
      refuseKept(client, again!, answered, original);
    }
    resumeClient(client);
  });
  return true;
}

/** What the client has sent is to be looked at once more. */
function takeUp(client: Client, kept: Buffer): void {
  client.held = kept;
  // it was about a message that comes behind, or that is judged anew
  client.decision = null;
  client.asked = null;
  // half a message is whole again when its rest has come
  client.bodyLeft = 0;
  client.collecting = null;
}

/** Of what is held the first part gets its answer after all; what has come behind it is still to be done. */
function refuseKept(client: Client, kept: Kept, answered: Buffer, error: ClientError): void {
  client.held = client.held.subarray(kept.bytes.length);
  client.skipToSync = !kept.isWhole;
  const ready = client.skipToSync ? EMPTY : readyForQuery(client.txStatus);
  client.send(Buffer.concat([answered, error.encode(), ready]));
}

/** What the server still says of a statement that it has refused is taken from it. */
async function park(server: Server): Promise<void> {
  server.state = 'tested';
  const { server_connect_timeout: timeoutMs } = server.pool.registry.config.settings;
  await runControl(server, '', { timeoutMs, afterStrays: true }).catch(() => {});
}

/** A transaction's server is the next one's as soon as it has said all. */
function giveBack(client: Client, server: Server): void {
  server.inDoubt = true;
  client.pool!.give(server);
}

/** The node is as it was: the client has its session back. */
function goOnWith(client: Client, server: Server): void {
  if (server.state !== 'closed') {
    server.state = 'active';
    server.user = client;
    client.server = server;
  }
  client.verdict = null;
  client.state = client.server === null ? 'idle' : 'active';
  client.blocked = false;
}

/** Whether a client that has a server has to wait with it before it begins anything: the writer is not known. */
export function waitsWithServer(client: Client): boolean {
  const { cluster } = client.database!;
  if (cluster === null || !cluster.held || client.poolMode !== 'session') return false;
  if (client.inTransaction || client.replication !== 'none') return false;
  client.state = 'waiting';
  client.blocked = true;
  client.waitingSince = performance.now();
  cluster.waitWithServer(client, () => {
    if (client.state !== 'waiting' || client.server === null) return;
    client.state = 'active';
    client.blocked = false;
    resumeClient(client);
  });
  return true;
}

/** The connection of a linked client ended without a word. */
export function lostInCluster(client: Client, server: Server, cluster: Cluster): void {
  if (client.state === 'waiting') client.blocked = false;
  const again = replay(client, server, cluster);
  const loss = detach(client, server);
  client.state = 'idle';
  // Of what the server does not have the end of it has done nothing.
  if (again !== null && (server.sendFailed ? !(again.isWhole && again.hasMore) : !again.isWhole)) {
    forgetParsed(client, again.bytes);
    takeUp(client, again.bytes);
    client.awaitsAnswers = false;
    client.blocked = false;
    return resumeClient(client);
  }
  const isBusy = loss.readies > 0 || loss.isUnsynced;
  tell(client, cluster, loss, isBusy ? clientErrors.outcomeUnknown() : clientErrors.transactionLost());
  if (client.awaitsAnswers) {
    client.awaitsAnswers = false;
    client.blocked = false;
  }
  resumeClient(client);
}

/** What the client still has to be told of. */
interface Loss {
  /** ReadyForQuery messages that it waits for */
  readonly readies: number;
  /** messages are outstanding that no Sync has closed yet */
  readonly isUnsynced: boolean;
  /** it knows of the error already, and its Sync is still to come */
  readonly isSkipping: boolean;
  readonly inTransaction: boolean;
  readonly hasFailed: boolean;
}

function detach(client: Client, server: Server): Loss {
  const { outstanding } = client;
  const loss: Loss = {
    readies: outstanding.readies,
    isUnsynced: outstanding.unsynced,
    isSkipping: outstanding.skipping,
    inTransaction: server.txStatus !== TxStatus.Idle,
    hasFailed: server.txStatus === TxStatus.Failed,
  };
  client.server = null;
  client.database!.cluster?.letGo(client);
  server.user = null;
  outstanding.clear();
  client.queryStart = 0;
  client.xactStart = 0;
  client.idleSince = performance.now();
  client.unlinkWhenFlushed = false;
  client.unlinkLate = false;
  client.replyCarry = EMPTY;
  client.hasCommitted = false;
  rollBackParameters(client);
  // nobody will tell that the server has taken what it was sent
  if (!client.blocked && client.socket.isPaused() && !client.sessions.suspended) client.socket.resume();
  return loss;
}

/** What a transaction has set goes with it, and the client is told so as a server would tell. */
function rollBackParameters(client: Client): void {
  const { parametersBefore: before, parameters } = client;
  client.parametersBefore = null;
  if (before === null || client.state === 'closed') return;
  client.parameters = before;
  if (client.replyLeft > 0 && client.replyForwarded) return;
  for (const [i, name] of client.sessions.registry.tracked.names.entries()) {
    const value = before[i] ?? client.pool!.welcome?.get(name);
    if (value !== undefined && value !== parameters[i]) client.send(parameterStatus(name, value));
  }
}

/** Every query that waits for its end gets the error; one who waits for nothing is told at his next message. */
function tell(client: Client, cluster: Cluster, loss: Loss, error: ClientError): void {
  if (client.replyLeft > 0 && client.replyForwarded) return client.close(error.message);
  client.replyLeft = 0;
  if (loss.inTransaction || loss.readies > 0 || loss.isUnsynced) cluster.transactionBroken();
  const parts: Buffer[] = [];
  for (let i = 0; i < loss.readies; i++) parts.push(error.encode(), readyForQuery(TxStatus.Idle));
  if (loss.isUnsynced) {
    if (!loss.isSkipping) parts.push(error.encode());
    client.skipToSync = true;
  }
  if (parts.length > 0) client.send(Buffer.concat(parts));
  else if (loss.inTransaction) {
    client.lostTransaction = error;
    client.lostHadFailed = loss.hasFailed;
    // makes the relay look at the next message
    client.skipToSync = true;
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
  client.skipToSync = false;
  return true;
}

/** The first message behind a transaction that was lost while its client said nothing. */
export function tellLostTransaction(client: Client, type: number): Handled {
  const error = client.lostTransaction!;
  client.lostTransaction = null;
  client.skipToSync = false;
  client.decision = null;
  if (type === Frontend.Sync) client.send(Buffer.concat([error.encode(), readyForQuery(TxStatus.Idle)]));
  else answerError(client, type === Frontend.FunctionCall ? Frontend.Query : type, error);
  return Handled.Discard;
}

/** Nobody will give this waiting client a server: its query gets an error, and it stays. */
export function refuseWaiting(client: Client, error: ClientError): void {
  const type = client.held[0];
  if (type === undefined || client.state !== 'waiting') return client.close(error.message, error);
  client.state = client.server === null ? 'idle' : 'active';
  client.blocked = false;
  client.decision = null;
  client.verdict = null;
  dropHeld(client);
  if (type === Frontend.Sync) {
    dropQuery(client);
    client.send(Buffer.concat([error.encode(), readyForQuery(TxStatus.Idle)]));
  } else answerError(client, type === Frontend.FunctionCall ? Frontend.Query : type, error);
  resumeClient(client);
}

/** What a client has sent, and can be sent again where the server has done nothing about it. */
interface Kept extends Replayable {
  readonly bytes: Buffer;
}

/** null: there is more to it than that. */
function replay(client: Client, server: Server, cluster: Cluster): Kept | null {
  if (!client.keepsAll || !cluster.mayRetry || server.txStatus !== TxStatus.Idle) return null;
  const bytes = keptBytes(client);
  const found = bytes === null ? null : replayable(bytes, (name) => textOf(client, name));
  return found === null ? null : { ...found, bytes: bytes! };
}

/** What was kept and is not answered; null: nothing was kept. */
function keptBytes({ kept, keptMore, keptAnswered }: Client): Buffer | null {
  if (kept === null) return null;
  let bytes = keptMore === null ? kept : Buffer.concat([kept, ...keptMore]);
  for (let i = 0; i < keptAnswered && bytes.length >= HEADER_BYTES; i++)
    bytes = bytes.subarray(1 + bytes.readInt32BE(1));
  return bytes;
}

/** The text of a named prepared statement, as servers know it; null: there is none. */
function textOf(client: Client, name: string): string | null {
  const body = name === '' ? client.unnamed.body : client.statements?.get(name)?.shared.body;
  return body === undefined ? null : body.toString('latin1', 0, body.indexOf(0));
}

/** The server runs another text than the one that is kept (rewrite_query): that one decides. */
export function noteRewritten(client: Client, text: string): void {
  if (client.kept === null || isPlainStatement(text)) return;
  client.kept = null;
  client.keepsAll = false;
}

/** What a client is told whose server was shut down in the middle of something: not more than is certain. */
function whatIsLost(client: Client, server: Server, original: ClientError): ClientError {
  const kept = keptBytes(client);
  const isRolledBack =
    server.txStatus !== TxStatus.Idle || (kept !== null && isAtomic(kept, (name) => textOf(client, name)));
  return isRolledBack ? clientErrors.transactionLost() : clientErrors.interrupted(original.message);
}

/** The server has made statements that the client does not know of yet: their Parse comes again. */
function forgetParsed(client: Client, kept: Buffer): void {
  for (const name of parsedNames(kept)) {
    const statement = client.statements?.get(name);
    if (statement === undefined) continue;
    client.statements!.delete(name);
    releaseStatement(client, statement);
  }
}
