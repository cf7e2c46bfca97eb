/** Jobs of a child: it works on one after the other, in the order in which they were sent. */
import { PLACEMENT, SUPERVISOR } from '../limits.ts';
import { cutOff, type FailureOutcome, type HostCall } from './call.ts';
import { NO_COST, type BatchCost, type OnAnswers, type VersionCode } from './host.ts';
import type { LoadResult } from './load-result.ts';
import type { Cause } from './placement.ts';

/**
 * Called instead of `done` with a batch that must be run elsewhere, from the first call without an answer on: it may be to blame
 * for the end of its slice or child, which a shared child can't tell.
 */
export type GiveBack = (...ended: [...Parameters<OnAnswers>, cause: Cause]) => void;

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
  /** its child is shared: it has a slice of time there, and may be given back; null: it has all of its time */
  readonly giveBack: GiveBack | null;
  /** the slice, in ms, while it is in the child; 0: none */
  sliceMs: number;
  /** how many children were ended from outside while it ran, or had no processor for it */
  accidents: number;
  /** how many children ended by themselves while it ran, alone */
  deaths: number;
  /** how often its isolate was missing and could not be rebuilt */
  misses: number;
  /** how often its slice was over before it had a processor */
  starves: number;
}

export interface Load {
  readonly kind: 'load';
  readonly version: VersionCode;
  /** null: it was loaded before, in a child that is gone */
  readonly settle: ((result: LoadResult) => void) | null;
  /** its child is shared: it is refused if it ends the child */
  readonly isSliced: boolean;
  /** how many children did not start for it */
  starts: number;
  accidents: number;
  deaths: number;
}

export type Job = Batch | Load;

export function newLoad(version: VersionCode, settle: Load['settle'], isSliced: boolean): Load {
  const loadMs = Math.min(version.loadMs ?? PLACEMENT.loadSliceMs, PLACEMENT.loadSliceMs);
  const sliced = isSliced ? { ...version, loadMs } : version;
  return { kind: 'load', version: sliced, settle, isSliced, starts: 0, accidents: 0, deaths: 0 };
}

/** The version that a job is about. */
export function versionOf(job: Job): number {
  return job.kind === 'load' ? job.version.id : job.versionId;
}

export function newBatch(
  id: number,
  versionId: number,
  version: VersionCode | undefined,
  calls: readonly HostCall[],
  done: Batch['done'],
  giveBack: GiveBack | null,
): Batch {
  const counts = { accidents: 0, deaths: 0, misses: 0, starves: 0 };
  return { kind: 'batch', id, versionId, version, calls, done, giveBack, sliceMs: 0, ...counts };
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
 * calls may be to blame, and they are sent again one by one. `elsewhere`: a batch of a shared child, which blames nobody.
 * `guilty`: it ended the child, or did not come back.
 */
export type Fate = 'again' | 'starved' | 'lost' | 'split' | 'elsewhere' | 'guilty';

/** @param job its counts include this end afterwards */
export function fateOf(job: Job, { isAccident, isStalled, wasKilled }: Ending): Fate {
  if ((isAccident || isStalled) && ++job.accidents <= SUPERVISOR.maxAccidents) return 'again';
  if (isSliced(job)) return job.kind === 'load' ? 'guilty' : 'elsewhere';
  if (isStalled) return 'starved';
  // Other jobs may have filled or broken the child: in the next one this job comes first, and is alone.
  const isAlone = job.kind === 'load' || job.calls.length === 1;
  if (isAlone && !isAccident && !wasKilled && ++job.deaths === 1) return 'again';
  if (job.kind === 'load') return 'guilty';
  if (job.calls.length > 1) return 'split';
  return isAccident ? 'lost' : 'guilty';
}

function isSliced(job: Job): boolean {
  return job.kind === 'load' ? job.isSliced : job.giveBack !== null;
}
