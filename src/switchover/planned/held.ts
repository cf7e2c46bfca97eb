/** The connections of the clusters that one SWITCHOVER concerns. */
import type { Server } from '../../pool/server.ts';
import { isSameServer } from '../facts.ts';
import type { Node } from '../node.ts';
import type { SwitchableCluster } from './cluster.ts';

/**
 * The clusters of this proxy that must be held together: nothing may be written to the old writer through any of them.
 * @throws Error if one of them cannot be held
 */
export function concernedBy(
  cluster: SwitchableCluster,
  { writer, target, all }: { writer: Node; target: Node; all: Iterable<SwitchableCluster> },
): SwitchableCluster[] {
  const same = [...all].filter(
    (each) =>
      each.writer !== null &&
      isSameServer(each.writer, writer) &&
      // a cluster that does not know the target could not go there
      [...each.nodes].some((known) => known.role === 'reader' && isSameServer(known, target)),
  );
  const concerned = [...new Set([cluster, ...same])];
  const other = concerned.find((each) => each.planned !== null);
  if (other !== undefined)
    throw new Error(`SWITCHOVER of ${other.database.name}, which is on the same cluster, is under way`);
  if (concerned.some((each) => each.state === 'holding'))
    throw new Error('another database of this cluster does not know its writer now');
  return concerned;
}

function* serversOf(clusters: readonly SwitchableCluster[]): Generator<[Server, SwitchableCluster]> {
  for (const cluster of clusters)
    for (const database of cluster.heldDatabases())
      for (const pool of database.pools.values()) for (const server of pool.servers) yield [server, cluster];
}

/** Process IDs of the sessions at the writer whose clients are held, or soon will be. */
export function ownPids(clusters: readonly SwitchableCluster[]): number[] {
  const pids: number[] = [];
  for (const [server, cluster] of serversOf(clusters))
    if (server.pid > 0 && cluster.isAtWriter(server)) pids.push(server.pid);
  return pids;
}

/**
 * Whether a transaction is open. In session pooling servers stay with idle clients; replication never ends, and has nothing to
 * lose. A parked server has refused its statement, which the new writer gets.
 */
export function isAnyBusy(clusters: readonly SwitchableCluster[]): boolean {
  for (const [server] of serversOf(clusters))
    if (server.state === 'tested' || hasTransaction(server)) return true;
  return false;
}

function hasTransaction(server: Server): boolean {
  return server.state === 'active' && !server.isDedicated && server.user?.inTransaction !== false;
}
