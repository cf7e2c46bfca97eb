/** The console's complaints about commands, and the notices in its answers. */
import { noticeResponse } from '../wire/messages.ts';

/** The verb is known, but not with this argument. */
export class UsageError extends Error {}

/** A NOTICE for the operator. */
export function notice(message: string, detail: string | null = null): Buffer {
  return noticeResponse({ severity: 'NOTICE', code: '00000', message, detail });
}
