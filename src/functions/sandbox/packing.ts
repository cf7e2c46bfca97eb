/** Batches of calls as one string, and answers from one string (sandbox/crossing.ts). */
import {
  ANSWER_FIELDS,
  CALL_AT,
  CALL_FIELDS,
  FIELD,
  FLAG,
  PART,
  SAME_CONTEXT,
  TAG,
  type CallContext,
  type CallField,
  type Rejection,
} from '../../../sandbox/crossing.ts';
import { PACKING } from '../limits.ts';
import type { CallFailure, FailureOutcome, HostAnswer, HostCall, Part } from './host.ts';

/** The call's own fields as texts. The context is the packer's, which knows the contexts of other calls. */
const TEXT_OF: Record<Exclude<CallField, 'context'>, (call: HostCall) => string> = {
  username: (call) => call.username,
  query: (call) => call.query,
  flags: (call) =>
    `${call.inTransaction ? FLAG.inTransaction : ''}${call.routeOnly === true ? FLAG.routeOnly : ''}`,
};

/** Packs calls, and remembers the JSON of contexts: most calls bring one that an earlier call has brought. */
export class CallPacker {
  /** by the database that they are about, and the login's where that is another */
  readonly #contexts = new Map<string, { readonly context: CallContext; readonly text: string }>();
  /** characters of all texts that are remembered */
  #length = 0;

  pack(calls: readonly HostCall[]): string {
    let packed = '';
    let last = SAME_CONTEXT;
    for (let i = 0; i < calls.length; i++) {
      const call = calls[i]!;
      const context = this.#textOf(call.context);
      for (let at = 0; at < CALL_FIELDS.length; at++) {
        const field = CALL_FIELDS[at]!;
        const text = field !== 'context' ? TEXT_OF[field](call) : context === last ? SAME_CONTEXT : context;
        packed += i + at === 0 ? text : FIELD + text;
      }
      last = context;
    }
    return packed;
  }

  #textOf(context: CallContext): string {
    const { database = '', login_database: login = database } = context;
    const key = login === database ? database : `${database}${FIELD}${login}`;
    const known = this.#contexts.get(key);
    if (known !== undefined && isSame(known.context, context)) return known.text;
    const text = JSON.stringify(context);
    this.#length += text.length - (known?.text.length ?? 0);
    if (this.#length > PACKING.maxContexts) {
      this.#contexts.clear();
      this.#length = text.length;
    }
    this.#contexts.set(key, { context, text });
    return text;
  }
}

/** Whether two contexts have the same values. Lists are compared by identity: their owners keep them until they change. */
function isSame(a: CallContext, b: CallContext): boolean {
  for (const field in a) if (a[field as keyof CallContext] !== b[field as keyof CallContext]) return false;
  for (const field in b) if (!(field in a)) return false;
  return true;
}

export function unpackCalls(packed: string): HostCall[] {
  const fields = packed.split(FIELD);
  const calls: HostCall[] = [];
  let context: CallContext = {};
  for (let i = 0; i + CALL_FIELDS.length <= fields.length; i += CALL_FIELDS.length) {
    const flags = fields[i + CALL_AT.flags]!;
    const text = fields[i + CALL_AT.context]!;
    if (text !== SAME_CONTEXT) context = JSON.parse(text) as CallContext;
    calls.push({
      username: fields[i + CALL_AT.username]!,
      query: fields[i + CALL_AT.query]!,
      inTransaction: flags.includes(FLAG.inTransaction),
      context,
      ...(flags.includes(FLAG.routeOnly) && { routeOnly: true }),
    });
  }
  return calls;
}

const NOTHING: HostAnswer = { rewrite: null, route: null };
/** The fields of one answer. */
const SIZE = ANSWER_FIELDS.length;

export interface Answers {
  readonly answers: HostAnswer[];
  readonly consoleText: string;
}

/** Reads answers; the field after the last one is what the functions printed. */
export function unpackAnswers(packed: string): Answers {
  return readAnswers(packed.split(FIELD));
}

/**
 * Reads answers of a process that is not trusted. It looks for no more fields than there may be.
 * @param calls how many there may be answers for
 * @returns null: there are more answers than calls
 */
export function unpackAtMost(packed: string, calls: number): Answers | null {
  const most = calls * SIZE + 1;
  const fields = packed.split(FIELD, most + 1);
  return fields.length > most ? null : readAnswers(fields);
}

function readAnswers(fields: readonly string[]): Answers {
  const answers: HostAnswer[] = [];
  let at = 0;
  for (; at + SIZE <= fields.length; at += SIZE) answers.push(readAnswer(fields[at]!, fields[at + 1]!));
  return { answers, consoleText: fields[at] ?? '' };
}

/** The most frequent answer takes no object of its own. */
function readAnswer(rewrite: string, route: string): HostAnswer {
  return rewrite === TAG.nothing && route === TAG.nothing
    ? NOTHING
    : { rewrite: unpackPart(rewrite), route: unpackPart(route) };
}

/** @throws SyntaxError: a rejection is not JSON */
export function unpackPart(field: string): Part {
  switch (field[0]) {
    case TAG.text:
      return { text: field.slice(1) };
    case TAG.rejection:
      return { rejection: JSON.parse(field.slice(1)) as Rejection };
    case TAG.failure: {
      const [outcome = 'threw', message = '', stack = ''] = field.slice(1).split(PART);
      return { failure: { outcome: outcome as FailureOutcome, message, stack } };
    }
    case TAG.nothing:
      return null;
    default:
      // A missing answer is not the answer "nothing".
      return { failure: { outcome: 'overloaded', message: 'the sandbox gave no answer', stack: '' } };
  }
}

export function packAnswers(answers: readonly HostAnswer[], consoleText: string): string {
  return [
    ...answers.flatMap((answer) => ANSWER_FIELDS.map((field) => packPart(answer[field]))),
    consoleText,
  ].join(FIELD);
}

function packPart(part: Part): string {
  if (part === null) return TAG.nothing;
  if ('text' in part) return `${TAG.text}${part.text}`;
  if ('rejection' in part) return `${TAG.rejection}${JSON.stringify(part.rejection)}`;
  return packFailure(part.failure);
}

function packFailure({ outcome, message, stack }: CallFailure): string {
  return `${TAG.failure}${outcome}${PART}${message}${PART}${stack}`.replaceAll(FIELD, '\ufffd');
}
