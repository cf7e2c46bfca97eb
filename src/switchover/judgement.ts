/** The decisions about a cluster's writer: pure functions of what is known of its nodes. */
import { isSameServer, type NodeFacts } from './facts.ts';

export type Judgement<N extends NodeFacts> =
  | { readonly kind: 'nothing' }
  /** the first writer that is seen */
  | { readonly kind: 'adopt'; readonly node: N }
  /** clients must wait: something is seen that a healthy writer does not do */
  | { readonly kind: 'hold'; readonly reason: string }
  /** the wait is over: the node is the writer */
  | { readonly kind: 'release'; readonly node: N };

export interface Situation<N extends NodeFacts> {
  /** the current writer, or the last one while another is searched for; null: none was ever known */
  readonly writer: N | null;
  /** the best candidate by an election; null: no node claims to be the writer */
  readonly best: N | null;
  /** `best` was promoted after the writer, or is the target of a blue/green deployment */
  readonly isAhead: boolean;
  /** `best` may be taken without a writer to compare it with */
  readonly mayAdopt: boolean;
}

/** The state of a hold that a judgement depends on. */
export interface HoldFacts {
  /** a SWITCHOVER holds the clients: only another node ends that */
  readonly isPlanned: boolean;
  /** a blue/green deployment is switching over: only its end ends the hold */
  readonly isDeployment: boolean;
  /** the first look at the nodes, before a writer is known */
  readonly isFirst: boolean;
}

const NOTHING = { kind: 'nothing' } as const;

/** No client waits: is the writer still the writer? */
export function judgeServing<N extends NodeFacts>(situation: Situation<N>): Judgement<N> {
  const { writer, best, isAhead, mayAdopt } = situation;
  if (writer === null) return best !== null && mayAdopt ? { kind: 'adopt', node: best } : NOTHING;
  if (writer.role === 'reader') return { kind: 'hold', reason: `${writer.key} is in recovery` };
  if (best === null || best === writer || isSameServer(best, writer) || !isAhead) return NOTHING;
  return { kind: 'hold', reason: `${best.key} is the writer now` };
}

/** Clients wait: is there a writer to continue with? */
export function judgeHolding<N extends NodeFacts>(situation: Situation<N>, hold: HoldFacts): Judgement<N> {
  const { writer, best, mayAdopt } = situation;
  if (best === null) return NOTHING;
  if (hold.isPlanned) return best === writer ? NOTHING : { kind: 'release', node: best };
  if (hold.isDeployment) return NOTHING;
  return hold.isFirst && !mayAdopt ? NOTHING : { kind: 'release', node: best };
}
