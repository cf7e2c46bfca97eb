/** The nodes of a cluster, by its topology query. */
import type { Pool } from '../pool/pool.ts';
import { queryNode } from './query.ts';
import { parseTopology, type TopologyRow } from './topology.ts';

const FIRST_RETRY_MS = 1000;
/** The time limit of a topology query, in ms. */
const QUERY_MS = 5000;

export interface DiscoveryEvents {
  readonly sql: string;
  /** ms until the next round after a success */
  refreshMs(): number;
  /** pools of the nodes that answer, the most trusted one first */
  pools(): Iterable<Pool>;
  /**
   * @param isPartial nodes may be missing, since the role may not see them all
   * @param problem the fault of the answer, as a sentence; '': none
   */
  onTopology(rows: readonly TopologyRow[], isPartial: boolean, problem: string): void;
  onFailure(message: string, retryMs: number): void;
}

/** Runs the topology query periodically, on the first node that answers. */
export class Discovery {
  readonly #events: DiscoveryEvents;
  #timer: NodeJS.Timeout | null = null;
  #running = false;
  #again = false;
  #stopped = false;
  #failures = 0;

  constructor(events: DiscoveryEvents) {
    this.#events = events;
  }

  /** Runs it now. A round that is already running may have seen the old state: another one follows it. */
  refresh(): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#running = true;
    void this.#round().then((delayMs) => {
      this.#running = false;
      if (this.#stopped || delayMs === null) return;
      if (this.#again) {
        this.#again = false;
        this.refresh();
      } else {
        this.#timer = setTimeout(() => this.refresh(), delayMs);
      }
    });
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** @returns ms until the next round; null: it was stopped */
  async #round(): Promise<number | null> {
    const problems: string[] = [];
    for (const pool of [...this.#events.pools()]) {
      try {
        const { rows, hostless } = parseTopology(await queryNode(pool, this.#events.sql, QUERY_MS));
        const missing = hostless === 0 ? null : await missingRight(pool);
        if (this.#stopped) return null;
        const problem = hostless === 0 ? '' : whyHostless(hostless, missing);
        if (rows.length === 0) throw new Error(problem);
        this.#failures = 0;
        this.#events.onTopology(rows, missing !== null, problem);
        return this.#events.refreshMs();
      } catch (error) {
        problems.push(`${pool.database.name}: ${(error as Error).message}`);
      }
      if (this.#stopped) return null;
    }
    // no node answers now
    if (problems.length === 0) return Math.min(this.#events.refreshMs(), FIRST_RETRY_MS);
    const retryMs = Math.min(this.#events.refreshMs(), FIRST_RETRY_MS * 2 ** this.#failures++);
    this.#events.onFailure(problems.join('; '), retryMs);
    return retryMs;
  }
}

/** The role whose rights do not suffice to see the addresses of standbys; null: they suffice. */
async function missingRight(pool: Pool): Promise<string | null> {
  const { rows } = await queryNode(
    pool,
    "SELECT current_user, pg_has_role('pg_read_all_stats', 'USAGE')",
    QUERY_MS,
  );
  return rows[0]?.[1] === 'f' ? (rows[0][0] ?? '') : null;
}

function whyHostless(count: number, user: string | null): string {
  const what = `the topology query returned ${count} ${count === 1 ? 'row' : 'rows'} without a host`;
  if (user === null) return `${what}: NULL is the address of what came through a Unix socket`;
  return (
    `${what}: "${user}" may not see the addresses in pg_stat_replication and pg_stat_wal_receiver, and nodes are ` +
    `missing. GRANT pg_monitor TO "${user}"`
  );
}
