import type { Database, Registry } from '../pool/databases.ts';
import type { Node } from './node.ts';

/** What may be slept between two questions about how far the standby is. */
const POLL_MS = 5;

/**
 * What SWITCHOVER does while everybody waits: lets the open transactions end, waits until the standby has replayed what
 * the writer has written, promotes it.
 * @param timeoutMs for all of it
 * @throws Error saying what did not happen; the writer is as it was then
 */
export async function promote(
  registry: Registry,
  database: Database,
  writer: Node,
  standby: Node,
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const left = (): number => Math.max(1, Math.round(deadline - performance.now()));
  const isQuiet = (): boolean => {
    for (const pool of database.pools.values())
      for (const server of pool.servers)
        if (server.state === 'active' || server.state === 'tested') return false;
    return true;
  };
  await within(registry.untilServers(isQuiet), left(), 'transactions are still open');

  const [written] = await writer.probe.query('SELECT pg_current_wal_flush_lsn() AS lsn', left());
  for (;;) {
    const [row] = await standby.probe.query(
      `SELECT pg_last_wal_replay_lsn() >= '${written?.['lsn'] ?? ''}'::pg_lsn AS done`,
      left(),
    );
    if (row?.['done'] === 't') break;
    if (performance.now() > deadline) throw new Error(`${standby.key} lags behind`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }

  const seconds = Math.max(1, Math.floor(left() / 1000));
  const [row] = await standby.probe.query(`SELECT pg_promote(true, ${seconds}) AS done`, left() + 1000);
  if (row?.['done'] !== 't') throw new Error(`${standby.key} was not promoted in time`);
}

async function within(promise: Promise<void>, timeoutMs: number, complaint: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(complaint)), timeoutMs);
  });
  try {
    await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
