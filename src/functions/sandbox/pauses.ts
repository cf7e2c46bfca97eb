/** Versions whose calls are refused for a while, because rebuilding their isolate failed repeatedly. */
import { SUPERVISOR } from '../limits.ts';

interface Pause {
  readonly until: number;
  readonly ms: number;
}

export class Pauses {
  readonly #pauses = new Map<number, Pause>();

  isPaused(versionId: number, now = performance.now()): boolean {
    return now < (this.#pauses.get(versionId)?.until ?? 0);
  }

  /** Pauses a version, each time for twice as long, up to the longest pause. */
  begin(versionId: number, now = performance.now()): void {
    const last = this.#pauses.get(versionId);
    const ms = last === undefined ? SUPERVISOR.pauseMs : Math.min(last.ms * 2, SUPERVISOR.longestPauseMs);
    this.#pauses.set(versionId, { until: now + ms, ms });
  }

  /** The version was loaded, or is gone. */
  forget(versionId: number): void {
    this.#pauses.delete(versionId);
  }
}
