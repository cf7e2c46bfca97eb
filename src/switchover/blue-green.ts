/** Blue/green deployments: which nodes may write while one is under way. */
import type { Resolver } from '../pool/resolver.ts';
import type { Node } from './node.ts';
import { deploymentOf, type Deployment, type TopologyRow } from './topology.ts';

/** The interval of topology queries during a blue/green deployment, in ms. */
const DEPLOYMENT_MS = 1000;

/** A blue/green deployment, by the role and status columns of the topology query. */
export class BlueGreen {
  readonly #resolver: Resolver;
  readonly #parts = new Map<Node, 'source' | 'target'>();
  #deployment: Deployment | null = null;

  constructor(resolver: Resolver) {
    this.#resolver = resolver;
  }

  /** The switchover is in progress: no node's claim counts. */
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
   * Takes over the latest answer to the topology query.
   * @returns true if the switchover was completed since the last one
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
    // names move from the old servers to the new ones meanwhile: addresses count
    for (const { target } of nodes.keys()) {
      if (isMoving) this.#resolver.pin(target.host);
      else this.#resolver.unpin(target.host);
    }
    return this.isDone && !wasDone;
  }

  /** ms until the next topology query; `refreshMs` if no deployment is under way. */
  refreshMs(refreshMs: number, urgentMs: number): number {
    const deployment = this.#deployment;
    if (deployment === null || deployment.isSettled) return refreshMs;
    return deployment.isUnderWay ? urgentMs : Math.min(refreshMs, DEPLOYMENT_MS);
  }
}
