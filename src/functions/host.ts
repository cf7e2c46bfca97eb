/** What evaluates user functions: isolates in this process (inline-host.ts) or in a child process (process-host.ts). */

/** One version of a function set's code, ready to be loaded. */
export interface VersionCode {
  /** unique in the process */
  readonly id: number;
  /** the bundle: a script that sets `__pgswitchyard` */
  readonly code: string;
  /** names that ctx.databases shows */
  readonly databases: readonly string[];
  readonly memoryLimitMb: number;
  /** characters */
  readonly maxResult: number;
  /** for one call, in ms */
  readonly timeoutMs: number;
  /** for the bundle's top level, in ms; 2 s unless given */
  readonly loadMs?: number;
}

export interface HostCall {
  readonly username: string;
  readonly query: string;
  readonly inTransaction: boolean;
  readonly database: string;
  /** the query is not in UTF-8: each of its characters is a byte, and so must be those of another query */
  readonly isBytes?: boolean;
  /** its rewriting was cut off: only routing is asked, inside the engine */
  readonly routeOnly?: boolean;
  /** JSON of ctx.nodes; none where no cluster is watched */
  readonly nodes?: string;
}

/** How a call can end that is not an answer. The last three are never held against the tenant. */
export type FailureOutcome =
  | 'threw'
  | 'bad_result'
  | 'unknown_dbkey'
  | 'too_large'
  | 'deadline'
  | 'memory'
  | 'killed'
  | 'no_version'
  | 'overloaded'
  | 'starved';

export interface Rejection {
  readonly message: string;
  readonly code: string;
  readonly hint: string | null;
  readonly detail: string | null;
}

export interface CallFailure {
  readonly outcome: FailureOutcome;
  readonly message: string;
  /** stack inside the bundle, for mapping to the source; '' when there is none */
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

/** `ok` and the functions that there are (` routes`, ` rewrites`); anything else is why the version can't be used. */
export type LoadResult = string;

export interface SandboxHost {
  load(version: VersionCode): Promise<LoadResult>;
  /** Takes a version that has been tried elsewhere, and loads it with its first call; not there: it has to be loaded. */
  adopt?(version: VersionCode): void;
  /** `done` is called once, with one answer for each call; it may be called before `evaluate` returns. */
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
