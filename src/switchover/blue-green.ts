import type { Resolver } from '../pool/resolver.ts';
import type { Node } from './node.ts';
import { deploymentOf, type Deployment, type TopologyRow } from './topology.ts';

/** How often a topology that has a blue/green deployment is looked at, in ms. */
const DEPLOYMENT_MS = 1000;

/** A blue/green deployment, as the role and status columns of the topology query tell it. */
export class BlueGreen {
  readonly #resolver: Resolver;
  readonly #parts = new Map<Node, 'source' | 'target'>();
  #deployment: Deployment | null = null;

  constructor(resolver: Resolver) {
    this.#resolver = resolver;
  }

  /** The switchover is in progress: no node's word counts. */
  get isSwitching(): boolean {
    return this.#deployment?.isSwitching === true;
  }

  get isDone(): boolean {
    return this.#deployment?.isDone === true;
  }

  has(node: Node): boolean {
    return this.#parts.has(node);
  }

  isTarget(node: Node): boolean {
    return this.#parts.get(node) === 'target';
  }

  /** Green takes no writes before it is done, and blue none after. */
  mayWrite(node: Node): boolean {
    return !this.has(node) || this.isTarget(node) === this.isDone;
  }

  /**
   * Takes in what the topology query says now.
   * @returns true when the switchover has been done since the last time
   */
  update(nodes: ReadonlyMap<Node, TopologyRow>): boolean {
    const wasDone = this.isDone;
    this.#parts.clear();
    for (const [node, { role }] of nodes)
      if (role?.startsWith('BLUE_GREEN_'))
        this.#parts.set(node, role.endsWith('_TARGET') ? 'target' : 'source');
    const deployment = deploymentOf([...nodes.values()]);
    this.#deployment = deployment;
    const isMoving =
      deployment !== null && (deployment.isUnderWay || deployment.isDone) && !deployment.isSettled;
    // Names move from the old servers to the new ones meanwhile: addresses count.
    for (const { target } of nodes.keys()) {
      if (isMoving) this.#resolver.pin(target.host);
      else this.#resolver.unpin(target.host);
    }
    return this.isDone && !wasDone;
  }

  /** When the topology is to be looked at again, in ms; `refreshMs` where nothing is going on. */
  refreshMs(refreshMs: number, urgentMs: number): number {
    const deployment = this.#deployment;
    if (deployment === null || deployment.isSettled) return refreshMs;
    return deployment.isUnderWay ? urgentMs : Math.min(refreshMs, DEPLOYMENT_MS);
  }
}
