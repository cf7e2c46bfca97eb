import { setTimeout as sleep } from 'node:timers/promises';
import type { Settings } from '../config/options.ts';
import type { Database } from '../pool/databases.ts';
import type { Server } from '../pool/server.ts';
import type { ClusterController } from './controller.ts';
import { isSameServer, type Node } from './node.ts';

/** What may be slept between two questions about how far the standby is. */
const POLL_MS = 5;
/** An answer may take as long as this when the time is almost over: what is said then is what was waited for. */
const ANSWER_MS = 1000;
/** How long it may take where switchover_timeout is 0. */
const DEFAULT_MS = 30_000;
/** A promotion that was ordered can't be taken back: it is waited for, also when there is less time than this. */
const PROMOTION_S = 15;

/**
 * SWITCHOVER db TO node.
 * @param signal ends it for as long as no promotion has been asked for; its reason is the error
 * @param all the clusters of this proxy: through none of them may anything be written to the old writer any more
 * @throws Error saying why not; everything is as it was then
 */
export async function switchTo(
  controller: ClusterController,
  name: string,
  all: Iterable<ClusterController>,
  settings: Settings,
  signal: AbortSignal,
): Promise<void> {
  const node = controller.nodes.named(name);
  const { writer } = controller;
  if (settings.switchover_dry_run) throw new Error('switchover_dry_run is on');
  if (writer === null || controller.state === 'holding') throw new Error('the writer is not known now');
  if (node === writer) throw new Error(`${node.key} is the writer already`);
  if (node.role !== 'reader') throw new Error(`${node.key} is not a standby in good health`);
  const same = [...all].filter(
    (each) =>
      each.writer !== null &&
      isSameServer(each.writer, writer) &&
      // one that does not know the node could not go there
      [...each.nodes].some((known) => known.role === 'reader' && isSameServer(known, node)),
  );
  const concerned = [...new Set([controller, ...same])];
  if (concerned.some((each) => each.state === 'holding'))
    throw new Error('another database of this cluster does not know its writer now');

  const holds = concerned.map((each) => each.holdForSwitchover(node));
  try {
    const databases = concerned.map((each) => each.database);
    await promote(databases, writer, node, settings.switchover_timeout || DEFAULT_MS, signal);
  } catch (error) {
    for (const hold of holds) hold.giveUp();
    throw error;
  }
  node.probe.kick();
  // Both say that they are writers now. Only the new one's word ends it.
  await Promise.all(holds.map((hold) => hold.over()));
}

/**
 * What SWITCHOVER does while everybody waits: lets the open transactions end, waits until the standby has replayed what
 * the writer has written, promotes it.
 * @param timeoutMs for all of it
 * @throws Error saying what did not happen; the writer is as it was then
 */
async function promote(
  databases: readonly Database[],
  writer: Node,
  standby: Node,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const left = (): number => Math.max(ANSWER_MS, Math.round(deadline - performance.now()));
  while (databases.some(isBusy)) {
    signal.throwIfAborted();
    if (performance.now() > deadline) throw new Error('transactions are still open');
    await sleep(POLL_MS);
  }

  // commits with synchronous_commit = off are not on disk yet; this one takes them with it
  await writer.probe
    .query("SELECT pg_logical_emit_message(true, 'pgswitchyard', '')", left())
    .catch(() => {});
  const [written] = await writer.probe.query('SELECT pg_current_wal_flush_lsn() AS lsn', left());
  for (;;) {
    const [row] = await standby.probe.query(
      `SELECT pg_last_wal_replay_lsn() >= '${written?.['lsn'] ?? ''}'::pg_lsn AS done`,
      left(),
    );
    signal.throwIfAborted();
    if (row?.['done'] === 't') break;
    if (performance.now() > deadline) throw new Error(`${standby.key} lags behind`);
    await sleep(POLL_MS);
  }

  signal.throwIfAborted();
  const seconds = Math.max(PROMOTION_S, Math.floor(left() / 1000));
  const [row] = await standby.probe.query(
    `SELECT pg_promote(true, ${seconds}) AS done`,
    (seconds + 1) * 1000,
  );
  if (row?.['done'] !== 't') throw new Error(`${standby.key} was not promoted in time`);
}

/**
 * Somebody is in the middle of something. In session pooling servers stay with clients that do nothing; what replicates
 * goes on for ever, and has nothing to lose.
 */
function isBusy(database: Database): boolean {
  for (const pool of database.pools.values())
    for (const server of pool.servers) if (server.state === 'tested' || hasTransaction(server)) return true;
  return false;
}

function hasTransaction(server: Server): boolean {
  return server.state === 'active' && !server.isDedicated && server.user?.inTransaction !== false;
}
