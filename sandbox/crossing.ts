/**
 * The traffic into an isolate and back. Calls and answers cross as one string, whose fields are separated by NUL:
 * PostgreSQL's texts cannot contain one, and the prelude lets none out. The prelude and src/functions/sandbox/packing.ts both
 * follow the order that is declared here.
 */
import type { RoutingContext } from './context.ts';

/**
 * The fields of a call. `context`: JSON of a RoutingContext without the fields that the version was loaded with; or, if an
 * earlier call of the batch has brought the same one, its number among the different contexts of the batch, from 0.
 */
export const CALL_FIELDS = ['username', 'query', 'flags', 'context'] as const;
export type CallField = (typeof CALL_FIELDS)[number];

/** Where each field stands in a call. */
export const CALL_AT = Object.fromEntries(CALL_FIELDS.map((field, at) => [field, at])) as Readonly<
  Record<CallField, number>
>;

/** Letters in `flags`. */
export const FLAG = {
  /** the client is in a transaction or pipeline */
  inTransaction: 't',
  /** only the routing function is asked */
  routeOnly: 'r',
} as const;

/** Whether a `context` is JSON, rather than a number. */
export function isContextJson(context: string): boolean {
  return context[0] === '{';
}

/**
 * An answer has three fields: one of the rewriting function, one of the routing function, and what both depended on. The field
 * after the last answer is the console's.
 *
 * `basis`: the parts of ctx that the call has read, as a number whose bits follow the order of the fields of ctx, from the
 * lowest; '': the answer depends on something else than the call, and must not be given again.
 */
export const ANSWER_FIELDS = ['rewrite', 'route', 'basis'] as const;

/** The first character of an answer's field. */
export const TAG = {
  /** the function returned null, or does not exist */
  nothing: 'n',
  /** the returned text follows */
  text: 's',
  /** JSON of a Rejection follows */
  rejection: 'r',
  /** outcome, message and stack follow, separated by PART */
  failure: 'f',
} as const;

/**
 * Begins the result of `evaluate` if a call of the batch tried to change something that outlives it; the reason follows. None of
 * its calls counts: the version is not pure, and must be loaded again without freezing.
 */
export const CHANGED = '\u0002';

export const FIELD = '\0';
export const PART = '\u0001';

/** The texts of `reject()`. */
export interface Rejection {
  readonly message: string;
  /** SQLSTATE */
  readonly code: string;
  readonly hint: string | null;
  readonly detail: string | null;
}

/** What a rule's files say about their functions by `export const options`, with a value for each option. */
export interface VersionOptions {
  /** The author promises that an answer depends on the arguments alone, and that no call leaves anything behind. */
  readonly pure: boolean;
  /** The form in which both functions get queries. */
  readonly sees: 'text' | 'shape';
}

export const DEFAULT_OPTIONS: VersionOptions = { pure: false, sees: 'text' };

/** Which functions a version has, and their options. */
export interface Manifest {
  readonly routes: boolean;
  readonly rewrites: boolean;
  readonly options: VersionOptions;
  /** why the version is not pure, although it was found to be when it was bundled; none: it is, or was not */
  readonly state?: string;
}

/** JSON of this is what `activate` answers. */
export type Activation =
  | { readonly kind: 'loaded'; readonly manifest: Manifest }
  | { readonly kind: 'refused'; readonly message: string; readonly stack: string };

/** JSON of this is what `progress` answers after a batch was cut off. */
export interface Progress {
  /** how long the call that was cut off had run, in ms */
  readonly ranMs: number;
  /** the field of its rewriting; '': it was cut off before that */
  readonly rewritten: string;
  /** packed answers of the calls before it, without a console field; '': none */
  readonly answers: string;
  /** the lines that those calls have printed */
  readonly printed: string;
}

/**
 * The prelude's exports. All arguments and results are strings. An exception that leaves an isolate is copied by reading its
 * properties, after the deadline: so these functions never throw anything that a rule has made.
 */
export interface Prelude {
  /**
   * Takes over the functions of the bundle that has run.
   * @param context JSON of the RoutingContext, for fields that a call does not bring
   * @returns JSON of an Activation
   */
  activate(context: string): string;
  /**
   * Runs a batch of packed calls.
   * @returns packed answers of the first calls, as many as time allowed, and the console's field; or CHANGED and a reason
   */
  evaluate(calls: string): string;
  /** @returns JSON of a Progress; '': unknown */
  progress(): string;
}

/** ctx as a client's call brings it: each field is given, or marked as the one that the version was loaded with. */
export type ClientContext = { readonly [Field in keyof RoutingContext]: RoutingContext[Field] | undefined };

/** ctx as any call brings it. A missing field is the one that the version was loaded with. */
export type CallContext = Partial<ClientContext>;
