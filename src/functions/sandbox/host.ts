/** A host evaluates user functions: in isolates of this process (inline-host.ts) or of a child (supervisor.ts). */
import type { HostAnswer, HostCall } from './call.ts';
import type { LoadResult } from './load-result.ts';

/** One version of a tenant's code, ready to be loaded. */
export interface VersionCode {
  /** unique in the process */
  readonly id: number;
  /** the bundle: a script that sets `__pgswitchyard` */
  readonly code: string;
  /** it was found pure: what outlives a call is frozen, and it is loaded once more without that if a call tries to change it */
  readonly isPure?: boolean;
  /** a call has tried to: the reason, which each answer brings. For engines only. */
  readonly changed?: string;
  /** names in ctx.databases, unless a call brings its own */
  readonly databases: readonly string[];
  readonly memoryLimitMb: number;
  /** characters */
  readonly maxResult: number;
  /** for one call, in ms */
  readonly timeoutMs: number;
  /** for the bundle's top level, in ms; 2 s unless given */
  readonly loadMs?: number;
}

/** What a batch has cost. */
export interface BatchCost {
  /** processor time, garbage collection and new isolates included */
  readonly cpuMs: number;
  /** memory that its version's isolate holds now; 0: unknown, or it has none */
  readonly heapBytes: number;
}

export const NO_COST: BatchCost = { cpuMs: 0, heapBytes: 0 };

/** @param consoleText the lines that the functions printed */
export type OnAnswers = (answers: readonly HostAnswer[], consoleText: string, cost: BatchCost) => void;

/** A version has used processor time: for calls, for its top level, or for a new isolate. */
export type OnUsed = (versionId: number, cpuMs: number) => void;

/** The reason why a host could not even try. */
export const NO_PROCESS = 'no sandbox process can be started';
export const NO_PROCESSOR = 'its process had no processor, again and again';
export const STOPPING = 'the sandbox is stopping';

export interface SandboxHost {
  /** Calls block the proxy while they run. */
  readonly isInline: boolean;
  /** of the process that calls run in now; none: the proxy's own, or there is none just now */
  readonly pid?: number | undefined;
  /** No process could be started when that was last tried: calls wait until one can be. */
  readonly isDown?: boolean;
  load(version: VersionCode): Promise<LoadResult>;
  /**
   * Takes a version that was tried elsewhere, and loads it with its first call. A host without this method loads it at once.
   */
  adopt?(version: VersionCode): void;
  /**
   * Evaluates a batch. The answers are those of its first calls: of all, or of fewer if the batch ended early (time, size, a
   * call that was cut off, a process that ended). The other calls have not been run. A batch of one call always has its
   * answer.
   * @param done called once, possibly before `evaluate` returns
   */
  evaluate(versionId: number, calls: readonly HostCall[], done: OnAnswers): void;
  dispose(versionId: number): void;
  stop(): Promise<void>;
}
