/** A transaction was lost while its client had nothing outstanding: its next message is answered with the error. */
import { isRollback } from '../../sql/rollback.ts';
import type { ClientError } from '../../wire/errors.ts';
import { readyForQuery } from '../../wire/messages.ts';
import { Frontend, HEADER_BYTES, TxStatus } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { answerError } from '../send/reject.ts';
import { Handled } from '../state/handled.ts';
import { textOf } from './resending.ts';

/**
 * Whether the first message after the loss is the ROLLBACK of a transaction that had already failed. The client knows that the
 * transaction is lost, and gets the answer that it expects.
 */
export function rollsBackFailed(client: LoggedInClient, type: number, bytes: Buffer): boolean {
  if (!client.loss.hadFailed) return false;
  const text = executedText(client, type, bytes);
  if (text === null || !isRollback(text)) return false;
  client.loss.forgetTransaction();
  client.intake.endSkip();
  return true;
}

/** The SQL text of a message that executes it, or prepares its execution; null: none. */
function executedText(client: LoggedInClient, type: number, bytes: Buffer): string | null {
  const second = bytes.indexOf(0, HEADER_BYTES) + 1;
  if (type === Frontend.Query) return bytes.toString('latin1', HEADER_BYTES, second - 1);
  if (type !== Frontend.Parse && type !== Frontend.Bind) return null;
  const text = bytes.toString('latin1', second, bytes.indexOf(0, second));
  return type === Frontend.Parse ? text : textOf(client, text);
}

/** Answers the first message after the loss with the error. */
export function tellLostTransaction(client: LoggedInClient, type: number, error: ClientError): Handled {
  client.loss.forgetTransaction();
  client.intake.endSkip();
  client.question.forget();
  if (type === Frontend.Sync) client.send(Buffer.concat([error.encode(), readyForQuery(TxStatus.Idle)]));
  else answerError(client, type === Frontend.FunctionCall ? Frontend.Query : type, error);
  return Handled.Discard;
}
