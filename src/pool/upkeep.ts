import { TxStatus } from '../wire/protocol.ts';
import { runControl } from './control.ts';
import { minPoolSize, poolSize, reservePoolSize, serverLifetime } from './limits.ts';
import type { Pool } from './pool.ts';
import type { Server } from './server.ts';

/** Fails on a server in recovery, and works on whatever speaks SQL. */
const WRITER_CHECK = 'SELECT 1 / (CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END)';

/** Whether a pool's servers are fit for the next client: checked, reset and settled where they must be, and not too old. */
export class Upkeep {
  readonly #pool: Pool;
  #lastLifetimeClose = 0;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** A free server that can be lent as it is. */
  isFit(server: Server): boolean {
    return this.isCurrent(server) && !this.#needsCheck(server) && server.cancelsInFlight === 0;
  }

  /** False: the node may have been demoted under it. */
  isCurrent(server: Server): boolean {
    return server.epoch === (this.#pool.database.watch?.epoch ?? server.epoch);
  }

  /** It has been free for server_check_delay. */
  #needsCheck(server: Server): boolean {
    const { server_check_query: query, server_check_delay: delay } = this.#pool.registry.config.settings;
    return query !== '' && performance.now() - server.releasedAt >= delay;
  }

  /** Begins to check one free server that can't be used as it is. False: there is none. */
  checkIdle(): boolean {
    const { idle, database, registry } = this.#pool;
    const { server_check_query: query } = registry.config.settings;
    const at = idle.findLastIndex((each) => each.cancelsInFlight === 0);
    if (at < 0) return false;
    const server = idle[at]!;
    idle.splice(at, 1);
    if (!this.isCurrent(server)) {
      server.epoch = database.watch!.epoch;
      this.#prepare(server, WRITER_CHECK, 'not the writer any more');
    } else {
      this.#prepare(server, query === '<empty>' ? '' : query, 'server check query failed');
    }
    return true;
  }

  /** Whatever a server has still to say to its last user is behind it when it answers something else. */
  settle(server: Server): void {
    server.inDoubt = false;
    server.state = 'tested';
    runControl(server, '', { afterStrays: true }).then(
      () => this.#pool.give(server),
      (error: Error) => server.close(`unclean server: ${error.message}`),
    );
  }

  /** Runs server_reset_query. */
  reset(server: Server): void {
    server.needsReset = false;
    this.#prepare(server, this.#pool.registry.config.settings.server_reset_query, 'reset query failed');
  }

  /** Runs a query of the proxy's own on a server, then frees it. */
  #prepare(server: Server, sql: string, complaint: string): void {
    server.state = 'tested';
    runControl(server, sql).then(
      () => {
        server.releasedAt = performance.now();
        if (server.closeReason !== null) server.close(server.closeReason);
        else if (server.txStatus !== TxStatus.Idle)
          server.close(`${complaint}: transaction left open`, { level: 'warn' });
        else if (server.state !== 'closed') this.#pool.free(server);
      },
      (error: Error) => server.close(`${complaint}: ${error.message}`, { level: 'warn' }),
    );
  }

  /** server_lifetime is over, and it is this server's turn. */
  isOverAge(server: Server, now: number): boolean {
    const lifetime = serverLifetime(this.#pool);
    if (now - server.connectedAt < lifetime) return false;
    // spread out, so that connections made together do not all go together
    const size = poolSize(this.#pool);
    const gap = size === Infinity ? 0 : lifetime / size;
    if (now - this.#lastLifetimeClose < gap) return false;
    this.#lastLifetimeClose = now;
    return true;
  }

  /** Closes idle servers that are past their time (maintenance, three times a second). */
  expireIdle(now: number): void {
    const pool = this.#pool;
    const { server_idle_timeout: idleTimeout } = pool.registry.config.settings;
    const minimum = minPoolSize(pool);
    for (const server of [...pool.idle]) {
      const isExpendable = minimum === 0 || pool.servers.size > minimum;
      if (server.closeReason !== null) server.close(server.closeReason);
      else if (idleTimeout > 0 && now - server.releasedAt > idleTimeout && isExpendable)
        server.close('server idle timeout');
      else if (this.isOverAge(server, now)) server.close('server lifetime over');
    }
    // the sizes may have been changed
    const most = poolSize(pool) + reservePoolSize(pool);
    while (pool.servers.size > most && pool.idle.length > 0)
      pool.longestIdle()!.close('too many servers in the pool');
  }
}
