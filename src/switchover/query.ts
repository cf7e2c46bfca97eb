/** The proxy's own queries on the servers of a node's pool. */
import { ControlError, runControl, type Row } from '../pool/control.ts';
import type { Pool } from '../pool/pool.ts';
import type { Server } from '../pool/server.ts';
import type { Waiter } from '../pool/waiter.ts';

/** The answer to a query, with columns by position: several may have one name, or none. */
export interface Answer {
  /** `?column?` is one without a name */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | null)[])[];
}

/**
 * Runs one of the proxy's own queries on a server of a node's pool, waiting for the server as a client would.
 * @param timeoutMs limit of the wait, and again of the answer
 * @throws ControlError, ClientError
 */
export function queryNode(pool: Pool, sql: string, timeoutMs: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      pool.cancelWait(waiter);
      reject(new ControlError(`no connection within ${timeoutMs} ms`, '08001'));
    }, timeoutMs);
    const waiter: Waiter = {
      waitingSince: performance.now(),
      onServer(server: Server): void {
        clearTimeout(timer);
        let columns: readonly string[] = [];
        const onColumns = (names: readonly string[]): void => void (columns = names);
        runControl(server, sql, { timeoutMs, byPosition: true, onColumns })
          .then(
            (rows) => resolve({ columns, rows: rows.map((row) => valuesOf(row, columns.length)) }),
            reject,
          )
          .finally(() => {
            if (server.state === 'closed') return;
            // a transaction that the query has left open must not reach another user
            if (server.txStatus !== 0x49) server.close('transaction left open');
            else if (!pool.database.isPrepared) server.close('no client needs it');
            else pool.give(server);
          });
      },
      onNoServer(error): void {
        clearTimeout(timer);
        reject(error);
      },
    };
    const server = pool.acquire(waiter);
    if (server !== null) {
      waiter.onServer(server);
    }
  });
}

function valuesOf(row: Row, count: number): (string | null)[] {
  return Array.from({ length: count }, (_, i) => row[String(i)] ?? null);
}
