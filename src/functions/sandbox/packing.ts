import type { CallFailure, FailureOutcome, HostAnswer, HostCall, Part, Rejection } from './host.ts';

/**
 * Batches cross into an isolate, and its answers back, as one string whose fields are separated by NUL: PostgreSQL's
 * texts can't contain one, and sandbox/prelude.ts lets none out.
 */

export function packCalls(calls: readonly HostCall[]): string {
  let packed = '';
  for (let i = 0; i < calls.length; i++) {
    const call = calls[i]!;
    packed += `${i === 0 ? '' : '\0'}${call.username}\0${call.query}\0${call.inTransaction ? '1' : '0'}${call.routeOnly ? 'r' : ''}\0${call.database}\0${call.nodes ?? ''}\0${call.loginDatabase ?? ''}\0${call.nameable ?? ''}`;
  }
  return packed;
}

export function unpackCalls(packed: string): HostCall[] {
  const fields = packed.split('\0');
  const calls: HostCall[] = [];
  for (let i = 0; i + 6 < fields.length; i += 7) {
    calls.push({
      username: fields[i]!,
      query: fields[i + 1]!,
      inTransaction: fields[i + 2]![0] === '1',
      ...(fields[i + 2]!.length > 1 && { routeOnly: true }),
      database: fields[i + 3]!,
      nodes: fields[i + 4]!,
      loginDatabase: fields[i + 5]!,
      nameable: fields[i + 6]!,
    });
  }
  return calls;
}

const NOTHING: HostAnswer = { rewrite: null, route: null };

/**
 * Reads answers; the field after the last one is what the functions printed.
 * @returns null where there are more answers than calls
 */
export function unpackAnswers(packed: string): { answers: HostAnswer[]; consoleText: string };
export function unpackAnswers(
  packed: string,
  calls: number,
): { answers: HostAnswer[]; consoleText: string } | null;
export function unpackAnswers(
  packed: string,
  calls?: number,
): { answers: HostAnswer[]; consoleText: string } | null {
  const fields = calls === undefined ? packed.split('\0') : packed.split('\0', calls * 2 + 2);
  if (calls !== undefined && fields.length > calls * 2 + 1) return null;
  const answers: HostAnswer[] = [];
  let at = 0;
  for (; at + 1 < fields.length; at += 2) answers.push(unpackAnswer(fields[at]!, fields[at + 1]!));
  return { answers, consoleText: fields[at] ?? '' };
}

export function unpackAnswer(rewrite: string, route: string): HostAnswer {
  return rewrite === 'n' && route === 'n'
    ? NOTHING
    : { rewrite: unpackPart(rewrite), route: unpackPart(route) };
}

export function unpackPart(field: string): Part {
  switch (field[0]) {
    case 's':
      return { text: field.slice(1) };
    case 'r':
      return { rejection: JSON.parse(field.slice(1)) as Rejection };
    case 'f': {
      const [outcome = 'threw', message = '', stack = ''] = field.slice(1).split('\u0001');
      return { failure: { outcome: outcome as FailureOutcome, message, stack } };
    }
    case 'n':
      return null;
    default:
      // no answer at all is not the answer "nothing"
      return { failure: { outcome: 'overloaded', message: 'the sandbox gave no answer', stack: '' } };
  }
}

export function packAnswers(answers: readonly HostAnswer[], consoleText: string): string {
  return [
    ...answers.flatMap((answer) => [packPart(answer.rewrite), packPart(answer.route)]),
    consoleText,
  ].join('\0');
}

function packPart(part: Part): string {
  if (part === null) return 'n';
  if ('text' in part) return `s${part.text}`;
  if ('rejection' in part) return `r${JSON.stringify(part.rejection)}`;
  return packFailure(part.failure);
}

function packFailure({ outcome, message, stack }: CallFailure): string {
  return `f${outcome}\u0001${message}\u0001${stack}`.replaceAll('\0', '\ufffd');
}
