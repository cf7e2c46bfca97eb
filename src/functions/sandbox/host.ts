/** A host evaluates user functions: in isolates of this process (inline-host.ts) or of a child (supervisor.ts). */
import type { CallContext, Rejection } from '../../../sandbox/crossing.ts';
import type { LoadResult } from './load-result.ts';

/** One version of a tenant's code, ready to be loaded. */
export interface VersionCode {
  /** unique in the process */
  readonly id: number;
  /** the bundle: a script that sets `__pgswitchyard` */
  readonly code: string;
  /** names that ctx.databases shows, unless a call says otherwise */
  readonly databases: readonly string[];
  readonly memoryLimitMb: number;
  /** characters */
  readonly maxResult: number;
  /** for one call, in ms */
  readonly timeoutMs: number;
  /** for the bundle's top level, in ms; 2 s unless given */
  readonly loadMs?: number;
}

/** A query that a tenant's functions are asked about. */
export interface HostCall {
  readonly username: string;
  readonly query: string;
  /** a transaction or pipeline is open */
  readonly inTransaction: boolean;
  readonly context: CallContext;
  /** the query is not in UTF-8: each of its characters is a byte, and so must be those of a rewritten query */
  readonly isBytes?: boolean;
  /** only the routing function is asked */
  readonly routeOnly?: boolean;
  /** the entry whose functions are asked, by which a routing function's answer is judged; none: that of the login */
  readonly entry?: string;
  /** number of the client's connection, by which costly calls are counted; it does not cross into an isolate */
  readonly clientId?: number;
  /** where the client connects from, for clients that come back under another number; it does not cross either */
  readonly address?: string;
}

/**
 * How a call can end without an answer, and whether that is the rule's own failure on that very query. If it is, the
 * policy decides what becomes of the query. If not, the query could not be judged: it gets an error, whatever the policy.
 */
const IS_OWN = {
  threw: true,
  bad_result: true,
  unknown_dbkey: true,
  too_large: true,
  deadline: true,
  memory: true,
  /** the call, alone in its process, ended the process or did not come back */
  killed: true,
  /** the files cannot be loaded, and never could be */
  no_version: true,
  /** it waited too long, or no sandbox process can be started */
  overloaded: false,
  starved: false,
  /** its process was ended from outside again and again */
  lost: false,
  /** the functions have failed for many clients, and are not asked for a while */
  suspended: false,
} as const;

export type FailureOutcome = keyof typeof IS_OWN;

export function isFailureOutcome(text: string): text is FailureOutcome {
  return Object.hasOwn(IS_OWN, text);
}

/** Whether the proxy could not ask the rule, rather than the rule having failed on the query. */
export function isPlatformFailure(outcome: FailureOutcome): boolean {
  return !IS_OWN[outcome];
}

export interface CallFailure {
  readonly outcome: FailureOutcome;
  readonly message: string;
  /** stack inside the bundle, for mapping to the source; '': there is none */
  readonly stack: string;
}

/** One function's part of an answer; null: it returned null, or there is no such function. */
export type Part =
  | null
  | { readonly text: string }
  | { readonly rejection: Rejection }
  | { readonly failure: CallFailure };

export interface HostAnswer {
  readonly rewrite: Part;
  readonly route: Part;
}

/** Why a host could not even try. */
export const NO_PROCESS = 'no sandbox process can be started';
export const NO_PROCESSOR = 'its process had no processor, again and again';
export const STOPPING = 'the sandbox is stopping';

export interface SandboxHost {
  /** Calls block the proxy while they run. */
  readonly isInline: boolean;
  load(version: VersionCode): Promise<LoadResult>;
  /** Takes a version that has been tried elsewhere, and loads it with its first call. A host without this loads it at once. */
  adopt?(version: VersionCode): void;
  /**
   * Evaluates a batch. The answers are those of its first calls: of all, or of fewer when the batch was ended early (time,
   * size, a call that was cut off, a process that ended). The rest has not been run. A batch of one call always has its answer.
   * @param done called once, possibly before `evaluate` returns
   */
  evaluate(
    versionId: number,
    calls: readonly HostCall[],
    done: (answers: readonly HostAnswer[], consoleText: string) => void,
  ): void;
  dispose(versionId: number): void;
  stop(): Promise<void>;
}

/** Both functions failed the same way: the call was cut off. */
export function cutOff(outcome: FailureOutcome, message: string): HostAnswer {
  const failure = { failure: { outcome, message, stack: '' } };
  return { rewrite: failure, route: failure };
}
