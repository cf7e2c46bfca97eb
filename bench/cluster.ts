/** A primary and its standby for the switchover benchmarks. */
import { performance } from 'node:perf_hooks';
import { Client } from 'pg';
import type { Cluster } from '../test/support/cluster.ts';
import type { Scope } from '../test/support/scope.ts';

/** Runs `work` with a scope that is cleaned up afterwards, even after a failure or Ctrl-C. */
export async function withScope(work: (scope: Scope) => Promise<void>): Promise<void> {
  const cleanUps: (() => Promise<void> | void)[] = [];
  const interrupted = new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
  try {
    await Promise.race([work({ after: (cleanUp) => void cleanUps.unshift(cleanUp) }), interrupted]);
  } finally {
    for (const cleanUp of cleanUps) await cleanUp();
  }
}

/** Takes the primary away: by a clean shutdown, or with SIGKILL for all of its processes. */
export type Kind = 'planned' | 'crash';

export interface Promotion {
  /** performance.now() of the order to stop the old writer */
  readonly startedAt: number;
  /** performance.now() when the promoted node first said that it is not in recovery */
  readonly promotedAt: number;
}

/** A switchover without a proxy: the old writer goes, the standby is promoted. */
export async function promoteInstead(primary: Cluster, standby: Cluster, kind: Kind): Promise<Promotion> {
  const witness = new Client(standby.connection({ application_name: 'witness' }));
  await witness.connect();
  try {
    const startedAt = performance.now();
    await (kind === 'planned' ? primary.stop('fast') : primary.kill());
    const promoted = standby.promote();
    for (;;) {
      const { rows } = await witness.query<{ recovering: boolean }>(
        'SELECT pg_is_in_recovery() AS recovering',
      );
      if (rows[0]?.recovering === false) break;
    }
    const promotedAt = performance.now();
    await promoted;
    return { startedAt, promotedAt };
  } finally {
    await witness.end();
  }
}

/** The quantile: `share` of the values are no greater than the result. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
