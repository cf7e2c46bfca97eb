/** Batches of calls as one string, and answers from one string (sandbox/crossing.ts). */
import {
  ANSWER_FIELDS,
  CALL_AT,
  CALL_FIELDS,
  CHANGED,
  FIELD,
  FLAG,
  isContextJson,
  PART,
  TAG,
  type CallContext,
  type Rejection,
} from '../../../sandbox/crossing.ts';
import { PACKING } from '../limits.ts';
import type { CallFailure, FailureOutcome, HostAnswer, HostCall, Part } from './call.ts';
import { CONTEXT_FIELDS } from './context-fields.ts';

/** Packs calls, and remembers the JSON of contexts: most calls bring the same context as an earlier one. */
export class CallPacker {
  /** of the current call, in the order in which they cross */
  readonly #fields: string[] = CALL_FIELDS.map(() => '');
  /** by the database that they are about, and the login's if that is another */
  readonly #contexts = new Map<string, { readonly context: CallContext; readonly text: string }>();
  /** characters of all remembered texts */
  #length = 0;

  pack(calls: readonly HostCall[]): string {
    const fields = this.#fields;
    const contexts: string[] = [];
    let packed = '';
    for (let i = 0; i < calls.length; i++) {
      const { username, query, inTransaction, routeOnly, context } = calls[i]!;
      const text = this.#textOf(context);
      fields[CALL_AT.username] = username;
      fields[CALL_AT.query] = query;
      fields[CALL_AT.flags] =
        `${inTransaction ? FLAG.inTransaction : ''}${routeOnly === true ? FLAG.routeOnly : ''}`;
      const known = contexts.indexOf(text);
      if (known < 0) contexts.push(text);
      fields[CALL_AT.context] = known < 0 ? text : String(known);
      for (let at = 0; at < fields.length; at++) packed += i + at === 0 ? fields[at]! : FIELD + fields[at]!;
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
  return a === b || CONTEXT_FIELDS.every((field) => a[field] === b[field]);
}

export function unpackCalls(packed: string): HostCall[] {
  const fields = packed.split(FIELD);
  const calls: HostCall[] = [];
  const contexts: CallContext[] = [];
  for (let i = 0; i + CALL_FIELDS.length <= fields.length; i += CALL_FIELDS.length) {
    const flags = fields[i + CALL_AT.flags]!;
    const text = fields[i + CALL_AT.context]!;
    if (isContextJson(text)) contexts.push(JSON.parse(text) as CallContext);
    calls.push({
      username: fields[i + CALL_AT.username]!,
      query: fields[i + CALL_AT.query]!,
      inTransaction: flags.includes(FLAG.inTransaction),
      context: isContextJson(text) ? contexts.at(-1)! : contexts[Number(text)]!,
      ...(flags.includes(FLAG.routeOnly) && { routeOnly: true }),
    });
  }
  return calls;
}

const NOTHING: HostAnswer = { rewrite: null, route: null };
/** The same, by what it depended on. */
const NOTHINGS: readonly HostAnswer[] = Array.from({ length: 2 ** CONTEXT_FIELDS.length }, (_, basis) => ({
  ...NOTHING,
  basis,
}));
/** The fields of one answer. */
const SIZE = ANSWER_FIELDS.length;

export interface Answers {
  readonly answers: HostAnswer[];
  readonly consoleText: string;
}

/** Reads answers; the field after the last one holds the printed lines. */
export function unpackAnswers(packed: string): Answers {
  return readAnswers(packed.split(FIELD));
}

/**
 * Reads answers of a process that is not trusted. It looks for no more fields than there may be.
 * @param calls the most answers that there may be
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
  for (; at + SIZE <= fields.length; at += SIZE)
    answers.push(readAnswer(fields[at]!, fields[at + 1]!, fields[at + 2]!));
  return { answers, consoleText: fields[at] ?? '' };
}

/** The most frequent answer takes no object of its own. */
function readAnswer(rewrite: string, route: string, basis: string): HostAnswer {
  if (rewrite === TAG.nothing && route === TAG.nothing && basis[0] !== CHANGED)
    return basis === '' ? NOTHING : (NOTHINGS[Number(basis)] ?? NOTHING);
  const parts = { rewrite: unpackPart(rewrite), route: unpackPart(route) };
  if (basis[0] === CHANGED) return { ...parts, changed: basis.slice(CHANGED.length) };
  return basis === '' ? parts : { ...parts, basis: Number(basis) };
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
    ...answers.flatMap(({ rewrite, route, basis = '', changed }) => [
      packPart(rewrite),
      packPart(route),
      changed === undefined ? basis : CHANGED + changed.replaceAll(FIELD, '\ufffd'),
    ]),
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
