/** Calls a rule's functions, and packs their answers. */
import {
  CALL_AT,
  CALL_FIELDS,
  CHANGED,
  FIELD,
  FLAG,
  PART,
  TAG,
  type Activation,
  type Prelude,
  type Progress,
} from '../crossing.ts';
import type { Basis } from './basis.ts';
import type { Console } from './console.ts';
import { Contexts } from './context.ts';
import type { Lasting } from './lasting.ts';
import type { PreludeLimits } from './limits.ts';
import { explainedAtLoad } from './missing.ts';
import { optionsOf } from './options.ts';
import { forgetLastMatch } from './patterns.ts';
import {
  defineProperty,
  global,
  includes,
  isAsync,
  join,
  now,
  split,
  stringify,
  type AnyFunction,
  type Loose,
} from './primordials.ts';
import { isPromise } from './promises.ts';
import type { Rejections } from './reject.ts';
import { clip, describeError, type ErrorText } from './texts.ts';

/** Globals in which a bundle leaves its functions, and the error of its top level, as a list of one. */
const BUNDLE = '__pgswitchyard';
const FAILED = '__pgswitchyard_failed';

/**
 * Makes both globals, as properties that can be assigned to and never turned into accessors: an accessor could throw at the
 * prelude.
 */
export function reserveBundleNames(): void {
  for (const name of [BUNDLE, FAILED])
    defineProperty(global, name, {
      value: undefined,
      writable: true,
      enumerable: false,
      configurable: false,
    });
}

export class Calls implements Prelude {
  readonly #limits: PreludeLimits;
  readonly #basis: Basis;
  readonly #rejections: Rejections;
  readonly #console: Console;
  readonly #contexts: Contexts;
  readonly #maxRoute: number;
  #routingRules: AnyFunction | null = null;
  #rewriteQuery: AnyFunction | null = null;
  /** the answers of the batch that runs */
  #finished: string[] = [];
  /** the field of the rewriting, while routing runs; '' before that */
  #rewritten = '';
  /** when the running call began */
  #startedAt = 0;

  readonly #lasting: Lasting;
  readonly #intrinsics: ReadonlySet<unknown>;
  /** no call can leave anything behind: it is impossible, or the author promises it */
  #isPure = false;
  /** stands for what an answer depended on if the version is not pure after all */
  readonly #reason: string;

  /** @param kept what outlives a call, and what the prelude has frozen of it already */
  constructor(
    limits: PreludeLimits,
    basis: Basis,
    rejections: Rejections,
    console: Console,
    kept: { readonly lasting: Lasting; readonly intrinsics: ReadonlySet<unknown> },
  ) {
    this.#lasting = kept.lasting;
    this.#intrinsics = kept.intrinsics;
    this.#reason = limits.changed === '' ? '' : `${CHANGED}${limits.changed}`;
    this.#limits = limits;
    this.#basis = basis;
    this.#rejections = rejections;
    this.#console = console;
    this.#contexts = new Contexts(limits, basis);
    this.#maxRoute = limits.maxResult < limits.maxRoute ? limits.maxResult : limits.maxRoute;
  }

  activate(context: string): string {
    return stringify(this.#activate(context));
  }

  evaluate(packed: string): string {
    try {
      return this.#evaluate(packed);
    } catch {
      return '';
    }
  }

  progress(): string {
    try {
      return stringify({
        ranMs: now() - this.#startedAt,
        rewritten: this.#rewritten,
        answers: join(this.#finished, FIELD),
        printed: this.#console.textBefore,
      } satisfies Progress);
    } catch {
      return '';
    }
  }

  #activate(context: string): Activation {
    try {
      this.#contexts.setBase(context);
      const failed = global[FAILED] as readonly [unknown] | undefined;
      if (failed !== undefined) {
        const { message, stack } = this.#describe(failed[0], '');
        return { kind: 'refused', message: explainedAtLoad(message), stack };
      }
      const bundle = global[BUNDLE] as Loose | undefined;
      if (bundle === undefined || bundle === null)
        return { kind: 'refused', message: 'the bundle has not run', stack: '' };
      this.#routingRules = functionOf(bundle, 'routing_rules');
      this.#rewriteQuery = functionOf(bundle, 'rewrite_query');
      const options = optionsOf((bundle['options'] ?? []) as Parameters<typeof optionsOf>[0]);
      const state = options.pure ? '' : this.#freeze(bundle);
      this.#isPure = options.pure || this.#lasting.isFrozen;
      const [routes, rewrites] = [this.#routingRules !== null, this.#rewriteQuery !== null];
      return { kind: 'loaded', manifest: { routes, rewrites, options, ...(state !== '' && { state }) } };
    } catch (error) {
      return { kind: 'refused', ...this.#describe(error, '') };
    }
  }

  /** @returns why the version is not pure, although it was found to be; '': it is, or was not found to be */
  #freeze(bundle: Loose): string {
    const lasting = this.#lasting;
    if (this.#basis.isOutside)
      lasting.note('it reads the clock or something else from outside while it is loaded');
    lasting.freeze([bundle, this.#routingRules, this.#rewriteQuery], this.#intrinsics);
    return lasting.why === '' ? '' : clip(lasting.why, this.#limits.maxMessage);
  }

  #evaluate(packed: string): string {
    const fields = split(packed, FIELD);
    this.#finished = [];
    this.#console.clear();
    this.#contexts.beginBatch();
    let length = 0;
    const begunAt = now();
    this.#startedAt = begunAt;
    // promises of the last call may have been settled since
    this.#lasting.compare();
    for (let i = 0; i + CALL_FIELDS.length <= fields.length; i += CALL_FIELDS.length) {
      const flags = fields[i + CALL_AT.flags]!;
      const answer = this.#callSafely(
        fields[i + CALL_AT.username]!,
        fields[i + CALL_AT.query]!,
        includes(flags, FLAG.inTransaction),
        includes(flags, FLAG.routeOnly),
        this.#contexts.of(fields[i + CALL_AT.context]!),
      );
      this.#lasting.compare();
      if (this.#basis.hasPromise) this.#lasting.note('a call makes a promise');
      if (this.#lasting.hasChanged) return `${CHANGED}${clip(this.#lasting.why, this.#limits.maxMessage)}`;
      this.#finished[this.#finished.length] = answer;
      this.#console.mark();
      length += answer.length;
      this.#startedAt = now();
      if (this.#startedAt - begunAt >= this.#limits.batchMs || length >= this.#limits.batchLength) break;
    }
    const answers = `${join(this.#finished, FIELD)}${FIELD}${this.#console.text}`;
    // A cut from here on happens in the microtasks of the last call: that call counts as the running one.
    this.#rewritten = '';
    this.#finished.length -= 1;
    return answers;
  }

  /** @returns the fields of an answer, in the order of ANSWER_FIELDS */
  #callSafely(
    username: string,
    query: string,
    inTransaction: boolean,
    routeOnly: boolean,
    context: object,
  ): string {
    this.#basis.clear();
    forgetLastMatch();
    try {
      const parts = this.#call(username, query, inTransaction, routeOnly, context);
      return `${parts}${FIELD}${this.#isPure ? this.#basis.field : this.#reason}`;
    } catch (error) {
      const failed = this.#threw(error, query);
      return `${failed}${FIELD}${failed}${FIELD}`;
    }
  }

  /** @returns the fields of both functions */
  #call(
    username: string,
    query: string,
    inTransaction: boolean,
    routeOnly: boolean,
    context: object,
  ): string {
    let rewritten: string = TAG.nothing;
    let text = query;
    this.#rewritten = '';
    this.#rejections.clear();
    if (this.#rewriteQuery !== null && !routeOnly) {
      const { maxResult } = this.#limits;
      rewritten = this.#ask(this.#rewriteQuery, maxResult, username, query, inTransaction, context);
      if (rewritten[0] === TAG.text) text = rewritten.slice(1);
    }
    if (this.#routingRules === null || rewritten[0] === TAG.rejection)
      return `${rewritten}${FIELD}${TAG.nothing}`;
    this.#rewritten = rewritten;
    const route = this.#ask(this.#routingRules, this.#maxRoute, username, text, inTransaction, context);
    return `${rewritten}${FIELD}${route}`;
  }

  /** @returns one function's answer as a field */
  #ask(
    fn: AnyFunction,
    maxLength: number,
    username: string,
    query: string,
    inTransaction: boolean,
    context: object,
  ): string {
    let result: unknown;
    try {
      result = fn(username, query, inTransaction, context);
      if (isPromise(result))
        return this.#failure('bad_result', 'a user function must not be async: it has to answer at once');
    } catch (error) {
      const rejection = this.#rejections.isToken(error) ? this.#rejections.json : null;
      return rejection === null ? this.#threw(error, query) : `${TAG.rejection}${rejection}`;
    }
    if (result === null || result === undefined) return TAG.nothing;
    if (typeof result !== 'string')
      return this.#failure('bad_result', `returned ${typeof result}, not a string or null`);
    if (result.length > maxLength) {
      const limit =
        maxLength === this.#limits.maxResult ? 'user_function_max_result' : 'the length of any name';
      return this.#failure('too_large', `returned ${result.length} characters, over ${limit}`);
    }
    if (includes(result, FIELD)) return this.#failure('bad_result', 'returned a string with a NUL character');
    return `${TAG.text}${result}`;
  }

  #threw(error: unknown, query: string): string {
    this.#lasting.noteError(error);
    const { message, stack } = this.#describe(error, query);
    return `${this.#failure('threw', message)}${PART}${stack}`;
  }

  #failure(outcome: 'bad_result' | 'too_large' | 'threw', message: string): string {
    this.#basis.noteMore();
    return `${TAG.failure}${outcome}${PART}${message}`;
  }

  #describe(error: unknown, query: string): ErrorText {
    return this.#rejections.isToken(error)
      ? { message: 'reject() outside of a call', stack: '' }
      : describeError(error, query, this.#limits, (another) => this.#lasting.noteError(another));
  }
}

/** @throws TypeError if it is not a function, or async */
function functionOf(bundle: Loose, name: string): AnyFunction | null {
  const value = bundle[name];
  if (value === undefined || value === null) return null;
  if (typeof value !== 'function') throw new TypeError(`${name} is not a function`);
  if (isAsync(value)) throw new TypeError(`${name} must not be async: it has to answer at once`);
  return value as AnyFunction;
}
