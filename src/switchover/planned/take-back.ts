/** SWITCHOVER to the node that is the writer already: takes back a switchover that cannot be finished. */
import type { SwitchableCluster } from './cluster.ts';

/**
 * Takes back an unfinished switchover of this cluster, or of another one with the same writer, if the target is already the
 * writer. Without one, the fence that a failed one has left at the writer is lowered.
 * @param name the target, as the console knows it
 * @param all all clusters of this proxy
 * @returns false: the target is another node, and nothing was done
 * @throws Error, also if there is nothing to take back
 */
export async function takenBack(
  cluster: SwitchableCluster,
  name: string,
  all: Iterable<SwitchableCluster>,
): Promise<boolean> {
  const { writer, nodes, fences } = cluster;
  const node = nodes.named(name);
  if (node !== writer) return false;
  const running = [...all].map((each) => each.planned);
  const planned = cluster.planned ?? running.find((each) => each?.leaves(node) === true) ?? null;
  if (planned === null) {
    await fences.takeBack(writer);
  } else {
    planned.takeBack();
    await planned.over;
  }
  return true;
}
