import { isFailureOutcome, type HostAnswer, type Part } from './host.ts';
import { unpackAnswers } from './packing.ts';
import { TEXT } from '../limits.ts';

export interface UntrustedAnswers {
  readonly answers: HostAnswer[];
  readonly consoleText: string;
  /** bytes that the version's isolate holds */
  readonly heapBytes: number;
}

/**
 * Answers of a child process, in which somebody may have broken out of an isolate: bytes that its isolate holds, NUL, and
 * packed answers.
 * @param calls how many there may be answers for
 * @returns null for what a prelude does not write
 */
export function unpackUntrusted(text: string, calls: number): UntrustedAnswers | null {
  try {
    const end = text.indexOf('\0');
    const heapBytes = Number(text.slice(0, Math.max(0, Math.min(end, 20))));
    // two fields for each answer and one for the console: more are not looked for
    const unpacked = unpackAnswers(text.slice(end + 1), calls);
    if (end < 0 || !Number.isSafeInteger(heapBytes) || heapBytes < 0 || unpacked === null) return null;
    const sound = unpacked.answers.every(({ rewrite, route }) => isSound(rewrite) && isSound(route));
    return sound ? { ...unpacked, heapBytes } : null;
  } catch {
    return null;
  }
}

function isSound(part: Part): boolean {
  if (part === null || 'text' in part) return true;
  if ('failure' in part) {
    const { outcome, message, stack } = part.failure;
    return (
      isFailureOutcome(outcome) && message.length <= TEXT.maxUntrusted && stack.length <= TEXT.maxUntrusted
    );
  }
  const { message, code, hint, detail } = { ...(part.rejection as unknown as Record<string, unknown>) };
  return isText(message) && isText(code) && /^[0-9A-Z]{5}$/.test(code) && [hint, detail].every(isTextOrNull);
}

/** What goes into an ErrorResponse: a NUL would end its field. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= TEXT.maxUntrusted && !value.includes('\0');
}

function isTextOrNull(value: unknown): boolean {
  return value === null || isText(value);
}
