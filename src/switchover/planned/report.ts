/** The answer to a SWITCHOVER that has succeeded: the work that is left to be done by hand. */
import { remedy } from '../following.ts';
import { isSameServer, nodeKey } from '../facts.ts';
import type { Node } from '../node.ts';

/**
 * @param writer the new writer
 * @param old the one that was left, and stays fenced
 * @param lateTransactions transactions that have begun at the old writer after it was fenced
 * @returns sentences
 */
export function leftToDo(
  nodes: Iterable<Node>,
  { writer, old, lateTransactions }: { writer: Node; old: Node; lateTransactions: bigint },
): string[] {
  const left: string[] = [];
  if (lateTransactions > 0n)
    left.push(
      `${lateTransactions} transactions were begun at ${old.key} after it was fenced; ` +
        `what they wrote is not at ${writer.key}`,
    );
  left.push(
    `${old.key} is fenced (default_transaction_read_only, synchronous_standby_names) until it is a standby of ` +
      `${writer.key}: stop it, run pg_rewind --source-server='host=${writer.target.host} port=${writer.target.port} ` +
      `dbname=postgres' -D its_data_directory, and start it with standby.signal and primary_conninfo`,
  );
  for (const node of nodes) {
    if (node === writer || node === old || node.role !== 'reader' || isSameServer(node, writer)) continue;
    const sender = node.evidence?.source?.sender ?? null;
    // a standby that streams from the new writer follows it to its new timeline by itself
    if (sender !== null && nodeKey(sender) === writer.key) continue;
    const from = sender === null ? '' : ` streams from ${nodeKey(sender)} and`;
    left.push(`${node.key}${from} has to be pointed to the new writer. ${remedy(writer)}`);
  }
  return left;
}
