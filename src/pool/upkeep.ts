/**
 * Keeps a pool's servers fit for the next client: checks and resets them, waits for left-over replies, and closes those that
 * are too old.
 */
import { TxStatus } from '../wire/protocol.ts';
import { runControl } from './control.ts';
import { minPoolSize, poolSize, reservePoolSize, serverLifetime, type LimitScope } from './limits.ts';
import type { Server } from './server.ts';

/** Fails on a server in recovery, and works on every server that speaks SQL. */
const WRITER_CHECK = 'SELECT 1 / (CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END)';

/** The pool as its upkeep needs it. */
export interface KeptPool extends LimitScope {
  /** The epoch of the database's cluster (watch.ts); null: no cluster is watched. */
  readonly epoch: number | null;
  readonly idle: readonly Server[];
  /** Servers that are logged in. */
  readonly serverCount: number;
  longestIdle(): Server | null;
  /** Takes the most recently freed server out of the idle ones, unless a cancel request is on its way to it. */
  takeIdle(): Server | null;
  /** The server comes back, and may have to be reset. */
  give(server: Server): void;
  /** The next client may have the server as it is. */
  free(server: Server): void;
}

export class Upkeep {
  readonly #pool: KeptPool;
  #lastLifetimeClose = 0;

  constructor(pool: KeptPool) {
    this.#pool = pool;
  }

  /** Whether an idle server can be lent as it is. */
  isFit(server: Server): boolean {
    return this.isCurrent(server) && !this.#needsCheck(server) && server.cancelsInFlight === 0;
  }

  /** False: its node may have been demoted since the server was opened or checked. */
  isCurrent(server: Server): boolean {
    const { epoch } = this.#pool;
    return epoch === null || server.epoch === epoch;
  }

  /** The server has been idle for server_check_delay. */
  #needsCheck(server: Server): boolean {
    const { server_check_query: query, server_check_delay: delay } = this.#pool.context.settings;
    return query !== '' && performance.now() - server.releasedAt >= delay;
  }

  /** Begins to check an idle server that can't be used as it is. False: none. */
  checkIdle(): boolean {
    const { epoch, context } = this.#pool;
    const server = this.#pool.takeIdle();
    if (server === null) return false;
    if (epoch !== null && server.epoch !== epoch) {
      server.noteEpoch(epoch);
      this.#prepare(server, WRITER_CHECK, 'not the writer any more');
    } else {
      const { server_check_query: query } = context.settings;
      this.#prepare(server, query === '<empty>' ? '' : query, 'server check query failed');
    }
    return true;
  }

  /** Once the server answers our empty query, no reply to its previous user can still arrive. */
  settle(server: Server): void {
    server.noteSettling();
    server.moveTo('tested');
    runControl(server, '', { afterStrays: true }).then(
      () => this.#pool.give(server),
      (error: Error) => server.close(`unclean server: ${error.message}`),
    );
  }

  /** Runs server_reset_query. */
  reset(server: Server): void {
    server.noteReset();
    this.#prepare(server, this.#pool.context.settings.server_reset_query, 'reset query failed');
  }

  /** Runs one of the proxy's own queries on a server, then frees it. */
  #prepare(server: Server, sql: string, complaint: string): void {
    server.moveTo('tested');
    runControl(server, sql).then(
      () => {
        server.noteRelease(performance.now());
        if (server.closeReason !== null) server.close(server.closeReason);
        else if (server.txStatus !== TxStatus.Idle)
          server.close(`${complaint}: transaction left open`, { level: 'warn' });
        else if (server.state !== 'closed') this.#pool.free(server);
      },
      (error: Error) => server.close(`${complaint}: ${error.message}`, { level: 'warn' }),
    );
  }

  /** Whether server_lifetime is over and it is this server's turn to be closed. */
  isOverAge(server: Server, now: number): boolean {
    const lifetime = serverLifetime(this.#pool);
    if (now - server.connectedAt < lifetime) return false;
    // spread out, so that connections made together are not all closed together
    const size = poolSize(this.#pool);
    const gap = size === Infinity ? 0 : lifetime / size;
    if (now - this.#lastLifetimeClose < gap) return false;
    this.#lastLifetimeClose = now;
    return true;
  }

  /** Closes idle servers that are past their time (maintenance, three times a second). */
  expireIdle(now: number): void {
    const pool = this.#pool;
    const { server_idle_timeout: idleTimeout } = pool.context.settings;
    const minimum = minPoolSize(pool);
    for (const server of [...pool.idle]) {
      const isExpendable = minimum === 0 || pool.serverCount > minimum;
      if (server.closeReason !== null) server.close(server.closeReason);
      else if (idleTimeout > 0 && now - server.releasedAt > idleTimeout && isExpendable)
        server.close('server idle timeout');
      else if (this.isOverAge(server, now)) server.close('server lifetime over');
    }
    // the sizes may have been lowered
    const most = poolSize(pool) + reservePoolSize(pool);
    while (pool.serverCount > most && pool.idle.length > 0)
      pool.longestIdle()!.close('too many servers in the pool');
  }
}
