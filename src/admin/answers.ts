/** Errors and notices that console commands answer with. */
import { ClientError } from '../wire/errors.ts';
import { noticeResponse } from '../wire/messages.ts';

/** The verb is known, but not with this argument. */
export class UsageError extends Error {}

/** An error that a command answers, with pgbouncer's SQLSTATE; the connection stays. */
export function commandError(message: string): ClientError {
  return new ClientError('ERROR', '08P01', message);
}

/** A NOTICE for the operator. */
export function notice(message: string, detail: string | null = null): Buffer {
  return noticeResponse({ severity: 'NOTICE', code: '00000', message, detail });
}
