/**
 * A linked server reports that it shuts down or is not the writer. The client of a watched database stays: its statement is
 * resent if it provably had no effect; otherwise the client gets an error about its loss.
 */
import { isAlarm } from '../../pool/alarms.ts';
import { runControl } from '../../pool/control.ts';
import type { Server } from '../../pool/server.ts';
import type { SessionWatch } from '../../pool/watch.ts';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import { parseErrorFields, readyForQuery } from '../../wire/messages.ts';
import { TxStatus } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import type { PendingVerdict } from '../state/loss.ts';
import { detach, tellLoss, type Owed } from './owed.ts';
import { forgetParsed, handleAgain, textOf } from './resending.ts';
import { isHarmless, outcomeOf, verdictOf, type Harmful, type Harmless, type Left } from './verdict.ts';

/** Everything that is needed once it is known whether the server's node is gone. */
interface Failure {
  readonly client: LoggedInClient;
  readonly server: Server;
  readonly watch: SessionWatch;
  /** the server's own error */
  readonly error: ClientError;
  /** a copy of the server's messages before the error that the client has not been sent */
  readonly before: Buffer;
  readonly verdict: Harmless | Harmful;
  readonly pending: PendingVerdict;
  readonly owed: Owed;
  readonly left: Left;
  /** resolves when a parked server has sent its last answer */
  readonly settled: Promise<void>;
}

const EMPTY = Buffer.alloc(0);
const SETTLED = Promise.resolve();

/**
 * Handles an error that a server reports.
 * @param before the server's messages before the error that the client has not been sent
 * @param payload of the ErrorResponse
 * @returns true: the client no longer has a server, and the error is dealt with; false: the error goes to the client
 */
export function takeError(
  client: LoggedInClient,
  watch: SessionWatch,
  before: Buffer,
  payload: Buffer,
): boolean {
  const { server } = client;
  const fields = parseErrorFields(payload);
  const code = fields.get('C') ?? '';
  if (server === null || !isAlarm(code) || client.replication !== 'none') return false;
  const error = clientErrors.serverError(fields);
  const verdict = verdictOf(error, client.transcript, client.outstanding, {
    isDoubted: watch.serverError(server, code),
    inTransaction: server.txStatus !== TxStatus.Idle,
    isSession: client.poolMode === 'session',
    mayRetry: watch.mayRetry,
    before,
    textOf: (name) => textOf(client, name),
  });
  if (verdict.kind === 'pass') return false;
  const failure = giveUpServer(client, server, watch, error, verdict, before);
  watch.onVerdict(server, code, (isGone) => settle(failure, isGone));
  return true;
}

/** Takes the server from the client, which now waits. */
function giveUpServer(
  client: LoggedInClient,
  server: Server,
  watch: SessionWatch,
  error: ClientError,
  verdict: Harmless | Harmful,
  before: Buffer,
): Failure {
  const { again } = verdict;
  const isFatal = error.severity === 'FATAL';
  if (!isHarmless(verdict)) {
    if (again !== null) forgetParsed(client, again);
    if (before.length > 0) client.send(before, true);
  }
  const copy = Buffer.from(before);
  const detached = detach(client, server, watch);
  // FATAL has ended the first cycle only if the others are handled again
  const owed =
    isHarmless(verdict) || again === null ? detached : { ...detached, readies: 1, isUnsynced: false };
  const isIdle = owed.readies === 0 && !owed.isUnsynced && !owed.inTransaction;
  let settled = SETTLED;
  if (verdict.kind === 'park') settled = park(server);
  else if (isHarmless(verdict) && verdict.keepsServer) giveBack(server);
  else server.close(`${error.code} ${error.message}`, { notify: false });
  client.gate.close('verdict');
  client.clock.beginWait(performance.now());
  if (again !== null) handleAgain(client, again);
  const pending = client.loss.awaitVerdict(!isHarmless(verdict));
  const left = { isFatal, isSession: client.poolMode === 'session', isIdle };
  return { client, server, watch, error, before: copy, verdict, pending, owed, left, settled };
}

/** The verdict has arrived: the server's node is gone, or unchanged. */
function settle(failure: Failure, isGone: boolean): void {
  const { client, server, verdict, error, pending, left } = failure;
  const outcome = outcomeOf(verdict, isGone, left);
  const isAwaited = client.state === 'waiting' && client.loss.isPending(pending);
  if (verdict.kind === 'park' && (isGone || !isAwaited))
    server.close(isGone ? 'not the writer any more' : 'session lost');
  if (!isAwaited) return;
  if (outcome === 'return') return void failure.settled.then(() => returnServer(failure));
  client.loss.endVerdict();
  client.gate.open('verdict');
  switch (outcome) {
    case 'resend':
      if (isHarmless(verdict)) forgetParsed(client, verdict.again);
      client.context.log.debug({ client: client.id }, `${client.label} resending statement`);
      break;
    case 'tell':
      tell(failure);
      break;
    case 'close':
      return client.close(error.message, error);
    case 'refuse':
      refuse(failure);
      break;
  }
  client.resume();
}

function tell({ client, watch, verdict, owed }: Failure): void {
  const errors = isHarmless(verdict) ? [] : [verdict.error];
  tellLoss(client, watch, owed, errors, clientErrors.transactionLost());
  if (!isHarmless(verdict) && verdict.again !== null) client.transcript.restart(client.intake.held);
}

/** Answers the first held message with the server's error. The messages after it are still to be handled. */
function refuse({ client, verdict, before, error }: Failure): void {
  if (!isHarmless(verdict)) return;
  client.intake.drop(verdict.again.length);
  if (verdict.isWhole) client.intake.endSkip();
  else client.intake.skipToSync();
  const ready = verdict.isWhole ? readyForQuery(client.txStatus) : EMPTY;
  client.send(Buffer.concat([before, error.encode(), ready]));
  // skipped messages must never be resent
  if (verdict.isWhole) client.transcript.restart(client.intake.held);
  else client.transcript.forget();
}

/** Discards the server's further messages about the statement that it refused. The server is not lent before the verdict. */
async function park(server: Server): Promise<void> {
  server.moveTo('parked');
  const { server_connect_timeout: timeoutMs } = server.pool.context.settings;
  await runControl(server, '', { timeoutMs, afterStrays: true }).catch(() => {});
}

/** The node is unchanged: the client gets its session back, and the error. */
function returnServer(failure: Failure): void {
  const { client, server, pending } = failure;
  if (client.state !== 'waiting' || !client.loss.isPending(pending)) return server.close('session lost');
  if (server.state !== 'closed') {
    server.moveTo('active');
    server.attach(client);
    client.loan.resume(server);
  }
  client.loss.endVerdict();
  client.gate.open('verdict');
  refuse(failure);
  client.resume();
}

/** The server goes to the next client as soon as it has sent everything about the refused statement. */
function giveBack(server: Server): void {
  server.markInDoubt();
  server.pool.give(server);
}
