/** The facts about a node that its state is judged by, and what follows from them. No I/O, and no writes. */
import type { Target } from '../pool/socket.ts';
import type { Evidence } from './question.ts';

/** A node's own claim in its last answer; `unknown` once the connection that gave the answer is gone. */
export type Role = 'unknown' | 'writer' | 'reader';

/** Whether a standby follows the writer (following.ts). */
export interface FollowingFacts {
  readonly isOrphaned: boolean;
  readonly isReadable: boolean;
  readonly isLagUnknown: boolean;
  readonly why: string;
}

/** A node of a cluster, read-only. Times are ms of performance.now(); 0: never. */
export interface NodeFacts {
  /** `host:port` */
  readonly key: string;
  readonly target: Target;
  /** the configuration names it, whether or not the topology query does */
  readonly isSeed: boolean;
  readonly role: Role;
  readonly evidence: Evidence | null;
  /** the reason for the lack of evidence; '': there is evidence, or the node was not asked yet */
  readonly failure: string;
  /** the node is not read from before this time: it did not answer, or it was the writer and was replaced */
  readonly readerFrom: number;
  readonly lastProbe: number;
  /** the node has sent nothing since; 0: it answers, or refuses to */
  readonly silentSince: number;
  readonly lastChange: number;
  /** the node was first seen to refuse writes although it is no standby, after it had accepted them */
  readonly readOnlySince: number;
  /** it claims to be the writer while a better node does, too */
  readonly isFenced: boolean;
  readonly following: FollowingFacts;
  /** role and status columns of the topology query */
  readonly label: string;
}

/** A line for the log about a change of a node. */
export interface News {
  readonly level: 'info' | 'warn';
  readonly event: string;
  readonly message: string;
}

/** `10.0.0.1:5432`, `[::1]:5432` */
export function nodeKey({ host, port }: Target): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The history that the writer belongs to; known even after the writer is gone. */
export interface Lineage {
  readonly timeline: number | null;
  readonly system: string | null;
}

/** Whether a node descends from the same initdb, as far as is known. */
export function isKin(node: NodeFacts, known: Lineage | null): boolean {
  const system = node.evidence?.system ?? null;
  return system === null || known === null || known.system === null || known.system === system;
}

/**
 * Whether a node may become, or be again, the writer.
 *
 * A promoted standby always begins a timeline of its own, higher than the one that it followed. So a node with a lower
 * timeline is a writer of the past. The same timeline at another node is valid only if the old writer is gone: the node is
 * a standby that was started as a primary without promotion. Timelines of another cluster say nothing.
 */
export function isSuccessor(candidate: NodeFacts, old: NodeFacts | null, known: Lineage | null): boolean {
  if (candidate.role !== 'writer') return false;
  if (known === null) return true;
  // a new cluster at the writer's own address: the operator has decided so
  if (!isKin(candidate, known)) return candidate === old;
  const { timeline: oldTimeline } = known;
  const timeline = candidate.evidence?.timeline ?? null;
  if (timeline === null || oldTimeline === null) return true;
  if (timeline > oldTimeline) return true;
  return (
    timeline === oldTimeline &&
    (old === null || candidate === old || (old.role !== 'writer' && old.failure !== ''))
  );
}

/** The better of two writers: the higher timeline, then the current one, then the one that topology knows. */
export function betterWriter<N extends NodeFacts>(a: N, b: N, current: N | null): N {
  const difference = (a.evidence?.timeline ?? 0) - (b.evidence?.timeline ?? 0);
  if (difference !== 0) return difference > 0 ? a : b;
  if (a === current || b === current) return a === current ? a : b;
  if (a.isSeed !== b.isSeed) return a.isSeed ? b : a;
  return a;
}

/** Whether two nodes are two addresses of one server. */
export function isSameServer(a: NodeFacts, b: NodeFacts): boolean {
  const started = a.evidence?.instance ?? null;
  return (
    started !== null && started === b.evidence?.instance && a.evidence?.timeline === b.evidence?.timeline
  );
}
