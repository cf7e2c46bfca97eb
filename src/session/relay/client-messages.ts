/**
 * The outcome for one message of a client. `classify` decides by the type, for messages that are only passed on; `inspect`
 * looks into the others.
 */
import { clientErrors } from '../../wire/errors.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import { mayDeallocate } from '../../sql/deallocate.ts';
import type { LoggedInClient } from '../client.ts';
import { isJudged } from '../query/judges.ts';
import { nameWithoutEnd } from '../send/refusal.ts';
import { forwardRequest } from '../send/requests.ts';
import { Handled } from '../state/handled.ts';
import { Request } from '../state/entry.ts';
import { executeFreeing } from '../statements/deallocate.ts';
import { noteQuery } from '../statements/discard.ts';
import { noteUnnamedParse } from '../statements/parse.ts';
import { isTracked, mayBeTracked } from '../statements/tracking.ts';
import { rollsBackFailed, tellLostTransaction } from '../resend/lost-transaction.ts';
import { isPastFunctions } from '../query/decide.ts';
import { takeQuery } from './query-steps.ts';
import { answerError, answerReady } from '../send/reject.ts';
import { isKept } from '../state/unnamed.ts';
import { isUnnamedCurrent } from '../statements/rejudge.ts';
import { useStatement } from '../statements/use.ts';

/** The names in a Bind, Describe or Close must end within this many bytes. */
const NAMES_BYTES = 16 * 1024;

/** The byte in Describe and Close that means a portal. Portals exist on one server only. */
const PORTAL = 0x50;

/** The outcome for a message by its type, where the type decides. Enters a message that is passed on in the ledger. */
export function classify(
  client: LoggedInClient,
  type: number,
  size: number,
  chunk: Buffer,
  at: number,
): Handled {
  if (client.intake.isSkipping) return classifySkipped(client, type);
  switch (type) {
    case Frontend.Query:
      return classifyQuery(client, size, chunk, at);
    case Frontend.Parse:
      return classifyParse(client, size, chunk, at);
    case Frontend.Bind:
      return classifyBind(client, chunk, at);
    case Frontend.Describe:
      if (chunk[at + HEADER_BYTES] === PORTAL || !(isTracked(client) || isJudged(client)))
        return forwardRequest(client, Request.Describe);
      return Handled.Inspect;
    case Frontend.Close:
      if (chunk[at + HEADER_BYTES] === PORTAL || !isTracked(client))
        return forwardRequest(client, Request.Close);
      return Handled.Inspect;
    case Frontend.Execute:
      return client.statements.freeing.isOpen ? Handled.Inspect : forwardRequest(client, Request.Execute);
    case Frontend.FunctionCall:
      return isJudged(client) ? Handled.Inspect : forwardRequest(client, Request.FunctionCall);
    case Frontend.Sync:
      return forwardRequest(client, Request.Sync);
    case Frontend.Flush:
      // without a link, there is nothing to flush
      return client.server === null ? Handled.Discard : Handled.Forward;
    case Frontend.CopyData:
      // without a link, the server has already given up this copy, and the rest of its data is still arriving
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

/**
 * The proxy has answered with an error: only a Sync ends the pipeline, unless the client must be told something else first.
 */
function classifySkipped(client: LoggedInClient, type: number): Handled {
  const matters = type === Frontend.Sync || type === Frontend.Terminate || client.loss.transaction !== null;
  return matters ? Handled.Inspect : Handled.Discard;
}

function classifyQuery(client: LoggedInClient, size: number, chunk: Buffer, at: number): Handled {
  if (isJudged(client) || client.context.config.settings.disable_pqexec || client.replication !== 'none')
    return Handled.Inspect;
  if (client.statements.named.isUsed && mayDeallocate(chunk, at + HEADER_BYTES, size)) return Handled.Inspect;
  noteQuery(client, chunk, at, size);
  return forwardRequest(client, Request.Query);
}

/** Where statements can be tracked, a named one is found by its name, and an unnamed one is kept. */
function classifyParse(client: LoggedInClient, size: number, chunk: Buffer, at: number): Handled {
  if (isJudged(client)) return Handled.Inspect;
  if (!mayBeTracked(client)) return forwardRequest(client, Request.Parse);
  if (chunk[at + HEADER_BYTES] !== 0 || (size > chunk.length - at && isKept(size))) return Handled.Inspect;
  if (client.statements.named.isUsed && mayDeallocate(chunk, at + HEADER_BYTES + 1, size))
    return Handled.Inspect;
  const handled = forwardRequest(client, Request.Parse);
  if (handled === Handled.Forward) noteUnnamedParse(client, chunk, at, size);
  return handled;
}

function classifyBind(client: LoggedInClient, chunk: Buffer, at: number): Handled {
  const mustAsk = isJudged(client);
  // Neither the portal nor the statement has a name, so there is nothing to rename. (Bytes that have not arrived do not
  // match.)
  const isPlain =
    chunk[at + HEADER_BYTES] === 0 &&
    chunk[at + HEADER_BYTES + 1] === 0 &&
    client.server !== null &&
    (mustAsk ? isTracked(client) && isUnnamedCurrent(client) : client.statements.unnamed.route === null) &&
    client.statements.isUnnamedPlain;
  const mustLook = !isPlain && (mustAsk || isTracked(client));
  return mustLook ? Handled.Inspect : forwardRequest(client, Request.Bind);
}

/** The outcome for a message whose content matters. @param bytes the part of it that has arrived */
export function inspect(client: LoggedInClient, type: number, size: number, bytes: Buffer): Handled {
  const whole = bytes.length === size;
  const { transaction: lost } = client.loss;
  if (lost !== null && type !== Frontend.Terminate && !rollsBackFailed(client, type, bytes))
    return tellLostTransaction(client, type, lost);
  switch (type) {
    case Frontend.Terminate:
      // all earlier requests of the client are done, as if the message had waited
      client.flush();
      client.close('client close request');
      return Handled.Later;
    case Frontend.Sync:
      return endSkipping(client);
    case Frontend.Query:
    case Frontend.Parse:
      return takeQuery(client, type, size, bytes);
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

/** The Sync after an error that the proxy itself sent. */
function endSkipping(client: LoggedInClient): Handled {
  client.intake.endSkip();
  if (client.server !== null && client.outstanding.busy) {
    return forwardRequest(client, Request.Sync);
  }
  return answerReady(client);
}
