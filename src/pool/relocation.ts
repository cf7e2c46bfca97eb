/** The effects of changes in a cluster on a pool's servers: a switchover, a demotion, a vanished node. */
import { TxStatus } from '../wire/protocol.ts';
import type { Pool } from './pool.ts';
import type { Server } from './server.ts';
import type { Target } from './socket.ts';

/** The reason to close a server as soon as its statement or transaction has ended, even in session mode. */
export const NOT_THE_WRITER = 'not the writer';

function isAt(server: Server, { host, port }: Target): boolean {
  return server.host === host && server.port === port;
}

/** Whether the server runs one statement, outside of a transaction block, that began later than `since`. */
function hasBegunAfter(server: Server, since: number): boolean {
  return (
    server.state === 'active' &&
    server.txStatus === TxStatus.Idle &&
    server.user?.inTransaction === true &&
    (server.user.queryStart ?? 0) > since
  );
}

/**
 * Closes servers that are not connected to the writer, each as soon as it is free, and gives up a connection that is being
 * made to another node.
 */
export function retireElsewhere(pool: Pool, writer: Target): void {
  const { connecting } = pool.opener;
  if (connecting === null || !isAt(connecting, writer)) pool.opener.abort(NOT_THE_WRITER);
  for (const server of [...pool.servers]) if (!isAt(server, writer)) leaveServer(pool, server);
}

/**
 * The writer has changed, or has come back: closes at once every server that is connected elsewhere, whatever it is doing.
 * Earlier failures no longer count.
 * @param readOnlySince when the old writer was first seen to refuse writes: a statement that began after that only reads, and
 * gets its answer; 0: it does not refuse them
 */
export function moveServers(pool: Pool, writer: Target, readOnlySince = 0): void {
  pool.opener.forgetFailures();
  pool.opener.abort('switchover');
  for (const server of [...pool.servers]) {
    if (isAt(server, writer) && pool.resolver.leadsTo(server.host, server.remoteAddress)) continue;
    if (readOnlySince > 0 && hasBegunAfter(server, readOnlySince)) server.closeWhenFree(NOT_THE_WRITER);
    else server.close('switchover');
  }
}

/** Moves idle servers from a pool with the same credentials and target to this pool's waiters. */
export function takeOver(pool: Pool, from: Pool): void {
  // clients that are logging in wait for the settings that the pool's first server reports
  const welcome = pool.welcome ?? from.welcome;
  if (welcome === null || pool.paused) return;
  for (let wanted = pool.waiters.size; wanted > 0; wanted--) {
    const server = from.idle.findLast((each) => each.closeReason === null && each.cancelsInFlight === 0);
    if (server === undefined || !pool.adopt(server, welcome)) return;
  }
}

/** The node is no longer read from: sessions of clients that asked for any reader end between transactions. */
export function moveReaders(pool: Pool, reason: string): void {
  for (const server of [...pool.servers]) if (server.user?.mayMove === true) server.close(reason);
}

/** The node of a pool does not answer: a smart shutdown must not wait for idle servers, and waiters may go elsewhere. */
export function nodeGone(pool: Pool, reason: string): void {
  pool.closeIdle(reason);
  for (const waiter of [...pool.waiters]) waiter.onNodeGone?.();
}

/** Leaves a node that accepts no more logins: at once if nothing is open, otherwise at the end of the transaction. */
export function leaveNode(pool: Pool, node: Target): void {
  for (const server of [...pool.servers]) if (isAt(server, node)) leaveServer(pool, server);
}

function leaveServer(pool: Pool, server: Server): void {
  // a session would keep it
  if (server.user?.inTransaction === false) server.close(NOT_THE_WRITER);
  else pool.retireServer(server, NOT_THE_WRITER);
}

/** Ends all work at a node that does not answer. */
export function cutOff(pool: Pool, node: Target, reason: string): void {
  for (const server of [...pool.servers]) if (isAt(server, node)) server.close(reason);
}
