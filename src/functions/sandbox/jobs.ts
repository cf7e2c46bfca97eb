/** Jobs of a child: it works on one after the other, in the order in which they were sent. */
import { SUPERVISOR } from '../limits.ts';
import { cutOff, type FailureOutcome, type HostCall } from './call.ts';
import { NO_COST, type BatchCost, type OnAnswers, type VersionCode } from './host.ts';
import type { LoadResult } from './load-result.ts';

export interface Batch {
  readonly kind: 'batch';
  readonly id: number;
  readonly versionId: number;
  /**
   * the version when the batch was sent: a batch is answered even after its version was disposed of; undefined: the version
   * can't be loaded
   */
  version: VersionCode | undefined;
  readonly calls: readonly HostCall[];
  readonly done: OnAnswers;
  /** how many children were ended from outside while it ran, or had no processor for it */
  accidents: number;
  /** how many children ended by themselves while it ran, alone */
  deaths: number;
  /** how often its isolate was missing and could not be rebuilt */
  misses: number;
}

export interface Load {
  readonly kind: 'load';
  readonly version: VersionCode;
  /** null: it was loaded before, in a child that is gone */
  readonly settle: ((result: LoadResult) => void) | null;
  /** how many children did not start for it */
  starts: number;
  accidents: number;
  deaths: number;
}

export type Job = Batch | Load;

export function newLoad(version: VersionCode, settle: Load['settle']): Load {
  return { kind: 'load', version, settle, starts: 0, accidents: 0, deaths: 0 };
}

export function newBatch(
  id: number,
  versionId: number,
  version: VersionCode | undefined,
  calls: readonly HostCall[],
  done: Batch['done'],
): Batch {
  return { kind: 'batch', id, versionId, version, calls, done, accidents: 0, deaths: 0, misses: 0 };
}

/** Answers all calls of a batch with a failure. */
export function failBatch(
  batch: Batch,
  outcome: Extract<FailureOutcome, 'killed' | 'lost' | 'overloaded' | 'starved'>,
  message: string,
  cost: BatchCost = NO_COST,
): void {
  batch.done(
    batch.calls.map(() => cutOff(outcome, message)),
    '',
    cost,
  );
}

/** The circumstances of a child's end. */
export interface Ending {
  /** a signal from outside ended it */
  readonly isAccident: boolean;
  /** the proxy ended it, because it had no processor */
  readonly isStalled: boolean;
  /** the proxy ended it, for any reason */
  readonly wasKilled: boolean;
}

/**
 * The fate of the job that was running when its child ended. `again`: it is run in the next child, before all others.
 * `starved`: no child had a processor for it. `lost`: children were ended from outside again and again. `split`: one of its
 * calls may be to blame, and they are sent again one by one. `guilty`: it ended the child, or did not come back.
 */
export type Fate = 'again' | 'starved' | 'lost' | 'split' | 'guilty';

/** @param job its counts include this end afterwards */
export function fateOf(job: Job, { isAccident, isStalled, wasKilled }: Ending): Fate {
  if ((isAccident || isStalled) && ++job.accidents <= SUPERVISOR.maxAccidents) return 'again';
  if (isStalled) return 'starved';
  // Other jobs may have filled or broken the child: in the next one this job comes first, and is alone.
  const isAlone = job.kind === 'load' || job.calls.length === 1;
  if (isAlone && !isAccident && !wasKilled && ++job.deaths === 1) return 'again';
  if (job.kind === 'load') return 'guilty';
  if (job.calls.length > 1) return 'split';
  return isAccident ? 'lost' : 'guilty';
}
