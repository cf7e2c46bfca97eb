import type { HostAnswer, Part } from './host.ts';
import { unpackAnswers } from './packing.ts';

/**
 * Answers of a child process, in which somebody may have broken out of an isolate.
 * @returns null for what a prelude does not write
 */
export function unpackUntrusted(text: string): { answers: HostAnswer[]; consoleText: string } | null {
  try {
    const unpacked = unpackAnswers(text);
    const sound = unpacked.answers.every(({ rewrite, route }) => isSound(rewrite) && isSound(route));
    return sound ? unpacked : null;
  } catch {
    return null;
  }
}

function isSound(part: Part): boolean {
  if (part === null || !('rejection' in part)) return true;
  const { message, code, hint, detail } = { ...(part.rejection as unknown as Record<string, unknown>) };
  return isText(message) && isText(code) && /^[0-9A-Z]{5}$/.test(code) && [hint, detail].every(isTextOrNull);
}

/** What goes into an ErrorResponse: a NUL would end its field. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0');
}

function isTextOrNull(value: unknown): boolean {
  return value === null || isText(value);
}
