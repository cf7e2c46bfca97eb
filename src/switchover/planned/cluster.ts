/** The interfaces between a planned switchover and the controller of its cluster. */
import type { Database } from '../../pool/database.ts';
import type { Target } from '../../pool/socket.ts';
import type { Lag } from '../lag.ts';
import type { Node } from '../node.ts';
import type { Nodes } from '../nodes.ts';
import type { Fences } from './fences.ts';

/**
 * The progress of a SWITCHOVER.
 *
 * `checking`: its preconditions. `waiting`: for the standby to come near; no client is held. `draining`: clients are held,
 * open transactions end. `fencing`: the old writer is made read-only. `catching up`: the standby replays the rest.
 * `promoting`: promotion was asked for, and there is no way back. `over`.
 */
export type Phase = 'checking' | 'waiting' | 'draining' | 'fencing' | 'catching up' | 'promoting' | 'over';

/** A SWITCHOVER's control over the clients that it holds in one database. */
export interface PlannedHold {
  readonly isOver: boolean;
  /** resolves when another node is the writer, or when the switchover was given up */
  readonly over: Promise<void>;
  /** The promotion was asked for: from now on clients that wait too long get an error. */
  promoting(): void;
  /** The old writer stays the writer, unless it is gone. */
  giveUp(why: string): void;
}

/** A SWITCHOVER that is under way, as its cluster and the console see it. */
export interface RunningSwitchover {
  readonly target: Node;
  readonly phase: Phase;
  /** resolves when all of its work has ended */
  readonly over: Promise<void>;
  /** Whether it takes the writer away from this node, under any of the node's names. */
  leaves(node: Node): boolean;
  /**
   * Ends it if promotion has not been requested: everything continues as before.
   * @returns false: it can no longer be undone, or it is over
   */
  cancel(reason: string): boolean;
  /**
   * Ends it on the operator's word that the target will no longer be promoted.
   * @throws Error if the target is up, and could be
   */
  takeBack(): void;
  /** How the operator takes back a promotion that does not come, as a sentence. */
  howToTakeBack(): string;
}

/** A cluster of which a SWITCHOVER makes another node the writer. */
export interface SwitchableCluster {
  readonly database: Database;
  readonly nodes: Nodes;
  readonly writer: Node | null;
  readonly state: 'serving' | 'holding';
  readonly lag: Lag;
  readonly fences: Fences;
  /** the SWITCHOVER that is under way; null: none */
  readonly planned: RunningSwitchover | null;
  /** The SWITCHOVER begins. There must be no other one. */
  plan(planned: RunningSwitchover): void;
  /** The SWITCHOVER is over. */
  endPlan(planned: RunningSwitchover): void;
  /** Holds all clients until another node is the writer, or the switchover is given up. Null: they are held already. */
  holdForSwitchover(node: Node): PlannedHold | null;
  /** The databases whose clients a SWITCHOVER holds: the cluster's own, and the writer's own names. */
  heldDatabases(): Iterable<Database>;
  /** Whether a connection goes to the writer, under whichever of its names. */
  isAtWriter(target: Target): boolean;
}
