/** The distance between a writer and the standby that will take over, in WAL. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lag } from '../lag.ts';
import type { Node } from '../node.ts';
import { parseLsn } from '../question.ts';
import { ANSWER_MS } from './checks.ts';
import { markOf } from './fence-mark.ts';
import type { OwnSession } from './own-session.ts';

/** The pause between two questions, in ms. */
export const POLL_MS = 5;
/** A standby with more lag is waited for only if the command says so (WAIT). */
const NEAR_BYTES = 16n * 1024n * 1024n;
/** A standby is near if it replays within this time, in ms, what the writer had written at its beginning. */
const NEAR_MS = 1000;
/**
 * The insert position is after the header of the next page, the flush position before it: with nothing left to flush they
 * differ by this at most.
 */
const PAGE_HEADER_BYTES = 40n;

/** The writer's progress. */
interface Progress {
  /** bytes of WAL on disk, which is what standbys are sent */
  readonly written: bigint;
  readonly isFenced: boolean;
  /** everything that was written is on disk */
  readonly isFlushed: boolean;
  /** the next transaction number */
  readonly transactions: bigint;
}

export interface DistanceOptions {
  readonly writer: Node;
  readonly target: Node;
  readonly onWriter: OwnSession;
  readonly onTarget: OwnSession;
  readonly lag: Lag;
  /** @throws Error if the switchover must be given up */
  readonly check: () => void;
}

export class Distance {
  readonly #options: DistanceOptions;

  constructor(options: DistanceOptions) {
    this.#options = options;
  }

  /** The lag of the standby now, for an error text. */
  async describe(): Promise<string> {
    const bytes = (await this.#written()) - (await this.#replayed());
    const seconds = this.#options.lag.seconds(this.#options.target);
    return `${bytes} bytes${seconds === null ? '' : `, ${seconds} s`}`;
  }

  /**
   * Waits until the standby replays in a short time what the writer has written.
   * @param waitMs the time to wait for it
   * @param limitMs the longest that clients may be held; 0: no limit
   * @returns false: it has not come near in time
   */
  async becomesNear(waitMs: number, limitMs: number): Promise<boolean> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      this.#options.check();
      const from = performance.now();
      const goal = await this.#written();
      const lag = goal - (await this.#replayed());
      const nearMs = Math.min(NEAR_MS, limitMs || NEAR_MS);
      if (lag <= NEAR_BYTES && (await this.#reaches(goal, from + nearMs))) return true;
      if (performance.now() >= deadline) return false;
      if (lag > NEAR_BYTES) await sleep(100);
    }
  }

  /**
   * Waits until the standby has replayed all, while no transaction begins any more that could write.
   * @param deadline ms of performance.now()
   * @returns the number of transactions that the writer has seen
   * @throws Error after the deadline, or if the fence is gone
   */
  async closes(deadline: number): Promise<bigint> {
    const { writer, target } = this.#options;
    let before = await this.#progress();
    for (;;) {
      if (!(await this.#reaches(before.written, deadline)))
        throw new Error(`${target.key} lags behind: ${await this.describe()}`);
      const now = await this.#progress();
      if (!now.isFenced) throw new Error(`the fence of ${writer.key} was taken back meanwhile`);
      // checkpoints and the like may continue: they write no client's data
      const isStill = now.transactions === before.transactions && now.isFlushed;
      if (isStill && (now.written === before.written || (await this.#replayed()) >= now.written))
        return now.transactions;
      if (performance.now() > deadline)
        throw new Error(
          `${writer.key} goes on writing although it is fenced (${now.written - before.written} bytes, ` +
            `${now.transactions - before.transactions} transactions)${await this.#writing()}`,
        );
      before = now;
    }
  }

  /** The number of transactions that the writer has seen; null: it does not answer. */
  async transactions(): Promise<bigint | null> {
    const progress = await this.#progress().catch(() => null);
    return progress === null ? null : progress.transactions;
  }

  async #reaches(goal: bigint, deadline: number): Promise<boolean> {
    for (;;) {
      this.#options.check();
      if ((await this.#replayed()) >= goal) return true;
      if (performance.now() > deadline) return false;
      await sleep(POLL_MS);
    }
  }

  async #written(): Promise<bigint> {
    const [row] = await this.#options.onWriter.query('SELECT pg_current_wal_flush_lsn() AS lsn', ANSWER_MS);
    return parseLsn(row?.['lsn'] ?? null) ?? 0n;
  }

  async #replayed(): Promise<bigint> {
    const [row] = await this.#options.onTarget.query('SELECT pg_last_wal_replay_lsn() AS lsn', ANSWER_MS);
    return parseLsn(row?.['lsn'] ?? null) ?? 0n;
  }

  async #progress(): Promise<Progress> {
    const [row] = await this.#options.onWriter.query(
      `SELECT pg_current_wal_flush_lsn() AS flushed, pg_current_wal_insert_lsn() AS inserted,
      pg_snapshot_xmax(pg_current_snapshot())::text AS next,
      current_setting('synchronous_standby_names') AS names`,
      ANSWER_MS,
    );
    const written = parseLsn(row?.['flushed'] ?? null) ?? 0n;
    const inserted = parseLsn(row?.['inserted'] ?? null) ?? 0n;
    return {
      written,
      isFenced: markOf(row?.['names'] ?? null) !== null,
      isFlushed: inserted - written <= PAGE_HEADER_BYTES,
      transactions: BigInt(row?.['next'] ?? '0'),
    };
  }

  /** The sessions that have open transactions, for an error text. */
  async #writing(): Promise<string> {
    const sql = `SELECT pid, backend_type, application_name FROM pg_stat_activity
      WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() LIMIT 5`;
    const rows = await this.#options.onWriter.query(sql, ANSWER_MS).catch(() => []);
    const named = rows.map((row) => `${row['backend_type']} ${row['application_name']} (pid ${row['pid']})`);
    return named.length === 0 ? '' : `: ${named.join(', ')}`;
  }
}
